"""Baselines: the MLP is PyTorch's, counts agree with PyTorch's own, budgets are met."""

import copy
import itertools
import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import kanlite as kl
from kanlite.baselines import (
    ACTIVATIONS,
    MLP,
    Flops,
    count_flops,
    count_parameters,
    match_width,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# MLP -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", [*ACTIVATIONS, nn.Softplus])
def test_mlp_is_linear_layers_with_activations_between(activation: object) -> None:
    model = MLP([3, 7, 5, 2], activation, generator=seeded())
    kind = ACTIVATIONS.get(activation, activation)
    assert [type(module) for module in model] == [nn.Linear, kind, nn.Linear, kind, nn.Linear]
    x = torch.randn(4, 6, 3, generator=seeded())
    y = x
    for i in (0, 2, 4):
        y = y @ model[i].weight.T + model[i].bias
        y = kind()(y) if i < 4 else y
    torch.testing.assert_close(model(x), y)
    assert model(x).shape == (4, 6, 2)
    assert model.widths == (3, 7, 5, 2)


def test_mlp_draws_from_its_generator_alone() -> None:
    state = torch.get_rng_state()
    one, same, other = (MLP([3, 4, 1], generator=seeded(s)) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one[0].weight, other[0].weight)
    torch.manual_seed(7)
    first = MLP([3, 4, 1])
    assert not torch.equal(first[0].weight, MLP([3, 4, 1])[0].weight)
    torch.manual_seed(7)
    assert torch.equal(first[0].weight, MLP([3, 4, 1])[0].weight)


def test_mlp_is_drawn_as_pytorch_draws() -> None:
    model = MLP([50, 400, 3], generator=seeded())
    for layer in (model[0], model[2]):
        bound = 1 / math.sqrt(layer.in_features)
        twin = nn.Linear(layer.in_features, layer.out_features)
        for ours, theirs in ((layer.weight, twin.weight), (layer.bias, twin.bias)):
            assert ours.abs().max() <= bound
            assert theirs.abs().max() <= bound
        assert float(layer.weight.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert not torch.equal(model[0].bias, torch.zeros(400))


def test_mlp_behaves_as_a_module() -> None:
    model = MLP([2, 3, 1], generator=seeded())
    x = torch.randn(5, 2, generator=seeded())
    for same in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(same(x), model(x))
        assert same.widths == (2, 3, 1)
    assert torch.equal(model[:2](x), nn.functional.silu(model[0](x)))
    other = MLP([2, 3, 1], generator=seeded(1))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x), model(x))
    assert all(p.requires_grad and p.is_leaf for p in model.parameters())
    assert model.double()(x.double()).dtype == torch.float64
    assert MLP([2, 1])(x).shape == (5, 1)  # no hidden layer: a linear map


@pytest.mark.parametrize(
    ("widths", "activation", "message"),
    [
        ([2], "silu", r"widths must be two or more numbers of at least 1, got \[2\]"),
        ([2, 0, 1], "silu", r"widths must be two or more .* got \[2, 0, 1\]"),
        ([2, 1], "swish", r"activation must be one of \['silu', .*\] or a callable, got 'swish'"),
    ],
)
def test_mlp_refuses(widths: list[int], activation: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MLP(widths, activation)


# Counts --------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 20), min_size=2, max_size=5))
def test_parameters_of_an_mlp_follow_the_formula(widths: list[int]) -> None:
    expected = sum((n + 1) * m for n, m in itertools.pairwise(widths))
    assert count_parameters(MLP(widths)) == expected


def test_only_trainable_parameters_count_and_shared_ones_once() -> None:
    model = MLP([3, 3, 3])
    assert count_parameters(model) == 24
    model[0].bias.requires_grad_(False)
    assert count_parameters(model) == 21
    model[2].weight = model[0].weight
    assert count_parameters(model) == 12
    assert count_parameters(nn.BatchNorm1d(4)) == 8  # running statistics are no parameters


MODELS = {
    "mlp": (lambda: MLP([3, 8, 8, 2]), (10, 3)),
    "deep relu": (lambda: MLP([3, 5, 5, 5, 1], "relu"), (7, 3)),
    "kan": (lambda: kl.KAN([3, 4, 2], kl.BSpline()), (10, 3)),
    "kan, no residual": (lambda: kl.KAN([3, 4, 2], kl.BSpline(), residual=None), (10, 3)),
    "convolution": (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), (2, 1, 8, 8)),
}


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_matrix_flops_are_those_of_pytorchs_counter(name: str, backward: bool) -> None:
    make, shape = MODELS[name]
    model, x = make(), torch.rand(shape)
    counter = FlopCounterMode(display=False)
    with counter:
        y = model(x)
        if backward:
            y.sum().backward()
    ours = count_flops(model, x, backward=backward)
    assert ours.matrix == counter.get_total_flops() > 0
    assert ours.total == ours.matrix + ours.elementwise > ours.matrix


def test_flops_of_an_mlp_follow_the_formula() -> None:
    b, widths = 10, [3, 8, 5, 2]
    pairs = list(itertools.pairwise(widths))
    forward = count_flops(MLP(widths), torch.rand(b, 3))
    assert forward == Flops(sum(2 * b * n * m for n, m in pairs), b * (8 + 5))
    both = count_flops(MLP(widths), torch.rand(b, 3), backward=True)
    # each weight's gradient costs as much again, each input's too, but for the first layer's
    assert both.matrix == 3 * forward.matrix - 2 * b * 3 * 8
    assert both.elementwise == 2 * forward.elementwise


@pytest.mark.parametrize("residual", ["silu", None])
@pytest.mark.parametrize(("n", "m", "intervals"), [(2, 3, 5), (4, 1, 8)])
def test_flops_of_a_kan_layer_follow_the_formula(
    n: int, m: int, intervals: int, residual: str | None
) -> None:
    b, basis = 6, kl.BSpline(intervals)
    layer = kl.KANLayer(n, m, basis, residual=residual)
    x = torch.rand(b, n)
    flops = count_flops(layer, x)
    branches = basis.num_basis + (residual is not None)
    assert flops.matrix == 2 * b * n * m * branches
    alone = count_flops(basis, x)
    assert alone.matrix == 0
    assert alone.elementwise > b * n * basis.num_basis  # the recursion takes several steps
    extra = b * n + b * m if residual else 0  # the residual function; adding its branch
    assert flops.elementwise == alone.elementwise + extra
    wider = count_flops(kl.KANLayer(n, 10 * m, basis, residual=None), x)
    assert wider.elementwise == alone.elementwise  # the basis does not grow with the outputs


def test_elementwise_flops_of_single_operations() -> None:
    class Apply(nn.Module):
        def __init__(self, function: object) -> None:
            super().__init__()
            self.function = function

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.function(x)

    x = torch.rand(3, 4)
    for function, expected in (
        (lambda t: t + 1, 12),
        (lambda t: (2 * t).exp() / 3, 36),
        (lambda t: t.clone().add_(1).mul_(2), 24),
        (lambda t: t.reshape(4, 3).T.contiguous(), 0),
        (lambda t: torch.where(t > 0.5, t, 0), 0),
        (lambda t: t[:, :1] * t, 12),  # what broadcasting gives, not what it takes
        (torch.tanh, 12),
    ):
        assert count_flops(Apply(function), x) == Flops(0, expected)


def test_counting_leaves_the_model_as_it_was() -> None:
    model = MLP([2, 4, 1], generator=seeded())
    before = copy.deepcopy(model.state_dict())
    x = torch.rand(5, 2, requires_grad=True)
    count_flops(model, x, backward=True)
    assert all(p.grad is None for p in model.parameters())
    assert x.grad is None
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    with torch.no_grad():  # a caller's mode is no obstacle, and is restored
        assert count_flops(model, x, backward=True).matrix > count_flops(model, x).matrix
        assert not torch.is_grad_enabled()


def test_flops_of_parameters_that_are_not_used() -> None:
    class Idle(MLP):
        def __init__(self) -> None:
            super().__init__([2, 3, 1])
            self.idle = nn.Parameter(torch.zeros(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self[2](self[1](self[0](x)))

    x = torch.rand(4, 2)
    assert count_flops(Idle(), x, backward=True) == count_flops(MLP([2, 3, 1]), x, backward=True)


def test_backward_needs_parameters() -> None:
    with pytest.raises(ValueError, match="model must have trainable parameters"):
        count_flops(nn.ReLU(), torch.rand(3), backward=True)
    assert count_flops(nn.ReLU(), torch.rand(3)) == Flops(0, 3)
    assert count_flops(nn.Identity(), torch.rand(3)) == Flops(0, 0)


# Equal budgets -------------------------------------------------------------------------------


def mlp(width: int) -> MLP:
    return MLP([2, width, width, 1])


@given(st.integers(9, 3000))
def test_width_is_the_largest_within_a_parameter_budget(budget: int) -> None:
    width = match_width(mlp, budget)
    assert count_parameters(mlp(width)) <= budget < count_parameters(mlp(width + 1))


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("budget", [1_000, 12_345])
def test_width_is_the_largest_within_a_flop_budget(budget: int, backward: bool) -> None:
    x = torch.rand(3, 2)
    width = match_width(mlp, budget, count="flops", x=x, backward=backward)
    within, beyond = (count_flops(mlp(w), x, backward=backward).total for w in (width, width + 1))
    assert within <= budget < beyond


def test_an_mlp_of_a_kans_size() -> None:
    kan = kl.KAN([2, 5, 1], kl.BSpline())
    width = match_width(lambda w: MLP([2, w, 1]), count_parameters(kan))
    assert count_parameters(MLP([2, width, 1])) <= 135 < count_parameters(MLP([2, width + 1, 1]))
    back = match_width(lambda w: kl.KAN([2, w, 1], kl.BSpline()), count_parameters(kan))
    assert back == 5


def test_any_count_and_few_models() -> None:
    made = []

    def make(width: int) -> nn.Module:
        made.append(width)
        return nn.Linear(width, 1, bias=False)

    width = match_width(make, 1000, count=lambda model: sum(p.numel() for p in model.parameters()))
    assert width == 1000
    assert len(made) <= 2 * math.log2(width) + 2
    assert match_width(make, 1) == 1
    assert match_width(make, 63, limit=64) == 63
    assert match_width(lambda w: nn.Linear((w + 1) // 2, 1, bias=False), 7) == 14  # plateaus


@pytest.mark.parametrize(
    ("make", "budget", "options", "message"),
    [
        (mlp, 5, {}, "budget must be at least 7, the count at width 1, got 5"),
        (mlp, 10**6, {"limit": 50}, r"limit must leave the budget 1000000, got 2751 at 50"),
        (lambda w: nn.Linear(20 - w, 1), 30, {}, "count must not decrease with the width"),
        (mlp, 100, {"count": "flops"}, "x must be given to count flops, got None"),
        (mlp, 100, {"x": torch.rand(1, 2)}, "x and backward must be left out unless count is"),
        (mlp, 100, {"backward": True}, "x and backward must be left out unless count is"),
        (mlp, 100, {"count": "time"}, "count must be 'parameters', 'flops' or a callable"),
    ],
)
def test_match_width_refuses(
    make: object, budget: int, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        match_width(make, budget, **options)
