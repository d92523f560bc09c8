"""Edge functions as data, of models of many shapes."""

from collections.abc import Iterator

import pytest
import torch
from helpers import default_dtype, largest, seeded, snapshot, uniform
from torch import Tensor, nn

import kanlite as kl


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with default_dtype(torch.float64):
        yield


@pytest.fixture
def model() -> kl.KAN:
    return kl.KAN([2, 4, 3], kl.BSpline(), bias=True, generator=seeded())


class Mixed(nn.Module):
    """KAN layers among others, on a branch too."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 3)
        self.left = kl.KANLayer(3, 1, kl.BSpline(), generator=seeded(1))
        self.right = nn.Sequential(kl.KANLayer(3, 1, kl.BSpline(), generator=seeded(2)), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return self.left(h) + self.right(2 * h)


def test_layers_come_in_order_from_anywhere(model: kl.KAN) -> None:
    assert kl.edge_layers(model) == list(model)
    assert kl.edge_layers(model[0]) == [model[0]]
    mixed = Mixed()
    assert kl.edge_layers(mixed) == [mixed.left, mixed.right[0]]


def test_a_model_without_kan_layers_is_refused() -> None:
    for function in (kl.edge_layers, lambda m: kl.edge_inputs(m, uniform(3, 2))):
        with pytest.raises(ValueError, match="must contain a KANLayer, got Linear without one"):
            function(nn.Linear(2, 2))


@pytest.mark.parametrize("shape", [(), (5,), (2, 0, 5), (2, 3, 5)])
def test_inputs_are_what_the_layers_see(model: kl.KAN, shape: tuple[int, ...]) -> None:
    x = uniform(*shape, 2)
    first, second = kl.edge_inputs(model, x)
    assert torch.equal(first, x)
    assert torch.equal(second, model[0](x))


def test_inputs_of_layers_on_branches() -> None:
    mixed, x = Mixed(), uniform(5, 2)
    left, right = kl.edge_inputs(mixed, x)
    assert torch.equal(left, mixed.first(x))
    assert torch.equal(right, 2 * mixed.first(x))


@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 5)])
def test_values_sum_to_the_next_layers_input(model: kl.KAN, shape: tuple[int, ...]) -> None:
    x = uniform(*shape, 2)
    first, second = kl.edge_values(model, x)
    assert first.shape == (*shape, 4, 2)
    assert second.shape == (*shape, 3, 4)
    assert largest(first.sum(-1) + model[0].bias - model[0](x)) <= 1e-14
    assert largest(second.sum(-1) + model[1].bias - model(x)) <= 1e-14


def test_scales_are_standard_deviations_over_all_samples(model: kl.KAN) -> None:
    x = uniform(4, 5, 2)
    for scale, values in zip(kl.edge_scales(model, x), kl.edge_values(model, x), strict=True):
        expected = values.reshape(20, *values.shape[-2:]).std(0, correction=0)
        assert torch.equal(scale, expected)
        assert (scale > 0).all()


def test_one_sample_has_no_scale(model: kl.KAN) -> None:
    for x in (uniform(2), uniform(1, 2)):
        assert [scale.shape for scale in kl.edge_scales(model, x)] == [(4, 2), (3, 4)]
        assert not any(scale.any() for scale in kl.edge_scales(model, x))


def test_no_samples_have_no_scale(model: kl.KAN) -> None:
    with pytest.raises(ValueError, match=r"x must hold at least one sample, got shape \(0, 2\)"):
        kl.edge_scales(model, torch.empty(0, 2))


def test_nothing_is_left_behind(model: kl.KAN) -> None:
    """No gradients, no hooks, no changed weights; hooks go even where the model raises."""
    before = snapshot(model)
    for values in (kl.edge_values(model, uniform(5, 2)), kl.edge_scales(model, uniform(5, 2))):
        assert not any(value.requires_grad for value in values)
    with pytest.raises(ValueError, match="in_features"):
        kl.edge_inputs(model, uniform(5, 3))
    assert not any(layer._forward_pre_hooks for layer in model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_layers_must_run_exactly_once() -> None:
    layer = kl.KANLayer(2, 2, kl.BSpline())
    twice = nn.Sequential(layer, layer)
    with pytest.raises(ValueError, match="each KANLayer once, got 2 runs of layer 0"):
        kl.edge_inputs(twice, uniform(3, 2))
    never = Mixed()
    never.unused = kl.KANLayer(1, 1, kl.BSpline())
    with pytest.raises(ValueError, match="got 0 runs of layer 2"):
        kl.edge_inputs(never, uniform(3, 2))
