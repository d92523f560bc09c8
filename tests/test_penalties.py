"""Penalties: equal to their direct computation, with gradients that are not zero."""

import math
from collections.abc import Iterator

import pytest
import torch

import kanlite as kl
from kanlite.edges import roughness
from kanlite.penalties import entropy, magnitude, sampled_scales, smoothness
from tests.helpers import default_dtype, seeded, uniform


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with default_dtype(torch.float64):
        yield


def model_of(residual: str | None = "silu", bias: bool = False) -> kl.KAN:
    return kl.KAN([3, 4, 2], kl.BSpline(4), residual=residual, bias=bias, generator=seeded())


@pytest.mark.parametrize("residual", ["silu", None])
@pytest.mark.parametrize("bias", [False, True])
def test_scales_are_the_standard_deviations_of_the_edges(residual: str | None, bias: bool) -> None:
    model, x = model_of(residual, bias), uniform(200, 3, low=-1.5, high=1.5)
    for fast, direct in zip(sampled_scales(model, x), kl.edge_scales(model, x), strict=True):
        assert torch.allclose(fast, direct, rtol=1e-10, atol=1e-12)


def test_scales_take_any_leading_dimensions() -> None:
    model, x = model_of(), uniform(30, 3)
    for flat, folded in zip(
        sampled_scales(model, x), sampled_scales(model, x.reshape(5, 6, 3)), strict=True
    ):
        assert torch.allclose(flat, folded)


def test_the_entropy_is_that_of_the_shares() -> None:
    scales = torch.tensor([[1.0, 2.0], [5.0, 0.0]])
    p = torch.tensor([1 / 8, 2 / 8, 5 / 8])
    assert entropy(scales) == pytest.approx(float(-(p * p.log()).sum()))
    assert entropy(torch.eye(3)[:1]) == pytest.approx(0.0, abs=1e-12)
    assert entropy(torch.ones(4, 5)) == pytest.approx(math.log(20))
    assert entropy(torch.zeros(2, 2)) == pytest.approx(0.0, abs=1e-12)


def test_the_penalty_is_the_weighted_sum_of_its_parts() -> None:
    model, x = model_of(), uniform(100, 3)
    scales = kl.edge_scales(model, x)
    expected = (
        0.3 * sum(magnitude(s) for s in scales)
        + 0.5 * sum(entropy(s) for s in scales)
        + 0.2 * sum(smoothness(layer) for layer in model)
    )
    assert kl.Penalty(0.3, 0.5, 0.2)(model, x).item() == pytest.approx(expected.item())
    assert kl.Penalty()(model, x).item() == 0.0


@pytest.mark.parametrize("name", ["magnitude", "entropy", "smoothness"])
def test_each_part_has_a_gradient(name: str) -> None:
    model, x = model_of(), uniform(100, 3)
    kl.Penalty(**{name: 1.0})(model, x).backward()
    for layer in model:
        assert layer.coef.grad.abs().max() > 0
        if name != "smoothness":
            assert layer.residual_weight.grad.abs().max() > 0


@pytest.mark.parametrize("name", ["magnitude", "entropy", "smoothness"])
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    model, x = kl.KAN([2, 2, 1], kl.BSpline(2), generator=seeded()), uniform(15, 2)

    def value(*parameters: torch.Tensor) -> torch.Tensor:
        names = [key for key, _ in model.named_parameters()]
        with torch.nn.utils.stateless._reparametrize_module(
            model, dict(zip(names, parameters, strict=True))
        ):
            return kl.Penalty(**{name: 1.0})(model, x)

    inputs = tuple(p.detach().clone().requires_grad_() for p in model.parameters())
    assert torch.autograd.gradcheck(value, inputs)


def test_an_edge_that_does_not_vary_has_a_finite_gradient() -> None:
    model = model_of()
    with torch.no_grad():
        model[0].coef.zero_()
        model[0].residual_weight.zero_()
    kl.Penalty(magnitude=1.0, entropy=1.0)(model, uniform(20, 3)).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert torch.isfinite(kl.Penalty(magnitude=1.0, entropy=1.0)(model, uniform(1, 3)))


@pytest.mark.parametrize("degree", [1, 2, 3, 5])
def test_roughness_is_the_mean_square_of_a_derivative(degree: int) -> None:
    basis = kl.BSpline(5, degree, low=-2.0, high=1.0)
    layer = kl.KANLayer(1, 1, basis, generator=seeded())
    c, order = layer.coef[0, :, 0].detach(), min(2, degree)
    edges = torch.linspace(-2.0, 1.0, 100_001)
    values = basis.derivative((edges[1:] + edges[:-1]) / 2, order) @ c
    expected = (3.0**order * values).square().mean()
    assert (c @ roughness(layer)[0] @ c).item() == pytest.approx(expected.item(), rel=1e-5)


def test_straight_lines_are_smooth() -> None:
    layer = kl.KANLayer(1, 1, kl.BSpline(5, 3), residual=None)
    t = layer.basis.knots
    with torch.no_grad():  # Greville abscissas: the spline is x itself
        layer.coef[0, :, 0] = (t[1:-3] + t[2:-2] + t[3:-1]) / 3
    assert smoothness(layer).item() == pytest.approx(0.0, abs=1e-12)


def test_training_with_a_penalty_puts_edges_to_sleep() -> None:
    x = uniform(300, 3)
    y = torch.sin(3 * x[:, :1])  # the other two inputs do not matter
    idle = {}
    for name, penalty in {"without": None, "with": kl.Penalty(1e-2, entropy=1e-2)}.items():
        model = kl.KAN([3, 2, 1], kl.BSpline(5), generator=seeded())
        kl.fit(model, (x, y), steps=1000, penalty=penalty)
        first, second = kl.edge_scales(model, x)
        importance = (second @ first).squeeze(0)  # (in,)
        idle[name] = (importance[1:].max() / importance[0]).item()
    assert idle["with"] < 0.01
    assert idle["without"] > 0.1


def test_negative_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="entropy must be finite and at least 0, got -1"):
        kl.Penalty(entropy=-1.0)
