"""Knots that move to the data: only when they must, and with the function kept."""

import copy
import math
from collections.abc import Iterator

import pytest
import torch
from helpers import default_dtype, largest, same_state, seeded, snapshot, uniform
from torch import Tensor, nn

import kanlite as kl
from kanlite.refinement import adapt_knots_


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with default_dtype(torch.float64):
        yield


def polynomial_layer(n: int, m: int, degree: int, **domain: float) -> kl.KANLayer:
    """A layer without residual whose edges are polynomials of the given degree, exactly."""
    layer = kl.KANLayer(n, m, kl.BSpline(4, degree, **domain), residual=None)
    x = torch.linspace(layer.basis.low.item(), layer.basis.high.item(), 200)
    powers = torch.stack([x**p for p in range(degree + 1)], -1)  # (200, degree + 1)
    weights = uniform(degree + 1, n * m, low=0.5, seed=3)
    coef = torch.linalg.lstsq(layer.basis(x), powers @ weights).solution  # (num_basis, n * m)
    with torch.no_grad():
        layer.coef.copy_(coef.reshape(-1, n, m).movedim(0, 1))
    assert largest(layer(x[:, None].expand(-1, n))) > 0.1
    return layer


class Shifted(nn.Sequential):
    """A KAN layer behind a linear map, which makes its inputs activations."""

    def __init__(self, layer: kl.KANLayer, scale: float, shift: float = 0.0) -> None:
        linear = nn.Linear(layer.in_features, layer.in_features)
        super().__init__(linear, layer)
        with torch.no_grad():
            linear.weight.copy_(scale * torch.eye(layer.in_features))
            linear.bias.fill_(shift)


@pytest.mark.parametrize("degree", range(1, 5))
@pytest.mark.parametrize(("scale", "shift"), [(0.2, 0.1), (0.4, 0.5), (0.3, -0.6)])
def test_polynomials_are_kept_exactly_when_a_domain_shrinks(
    degree: int, scale: float, shift: float
) -> None:
    """A polynomial of the degree lies in every spline space: its refit is exact."""
    model = Shifted(polynomial_layer(2, 3, degree), scale, shift)
    x = uniform(100, 2)
    y = model(x)
    assert adapt_knots_(model, x)
    assert model[1].basis.high - model[1].basis.low < 2
    assert largest(model(x) - y) <= 1e-10


def test_linear_functions_are_kept_exactly_where_a_domain_widens() -> None:
    """Beyond the old domain the function was its linear extrapolation."""
    for degree in range(1, 5):
        layer = kl.KANLayer(1, 1, kl.BSpline(4, degree), residual=None)
        x = torch.linspace(-1, 1, 50)
        coef = torch.linalg.lstsq(layer.basis(x), 3 * x[:, None] - 1).solution
        with torch.no_grad():
            layer.coef.copy_(coef[None])
        x = torch.linspace(-4.0, 7.0, 60)[:, None]
        assert adapt_knots_(layer, x)
        assert layer.off_domain(x).item() == 0
        assert largest(layer(x) - (3 * x - 1)) <= 1e-10


@pytest.mark.parametrize("basis", ["shared", "each"])
def test_other_functions_are_kept_nearly_on_the_new_domain(basis: str) -> None:
    knots = kl.uniform_knots(20, 3)
    made = kl.BSpline(knots=knots if basis == "shared" else knots.expand(2, -1))
    layer = kl.KANLayer(2, 2, made, generator=seeded())
    x = torch.linspace(-1, 1, 400)[:, None].expand(-1, 2)
    smooth = torch.stack([torch.sin(2 * x[:, 0]), torch.exp(x[:, 0])], -1)
    coef = torch.linalg.lstsq(layer.basis(x)[:, 0], smooth).solution
    with torch.no_grad():
        layer.coef.copy_(coef.expand(2, -1, -1))
    model = Shifted(layer, 0.4)
    y = model(x)
    assert adapt_knots_(model, x)
    assert largest(model(x) - y) <= 1e-5


def test_new_domain_is_the_range_and_a_margin() -> None:
    model = Shifted(
        kl.KANLayer(2, 1, lambda n: kl.BSpline(degree=2, knots=_rows(n))), 5.0, shift=1.0
    )
    x = uniform(100, 2)
    z = model[0](x)
    assert adapt_knots_(model, x, margin=0.25)
    room = 0.25 * (z.amax(0) - z.amin(0))
    assert largest(model[1].basis.low - (z.amin(0) - room)) <= 1e-12
    assert largest(model[1].basis.high - (z.amax(0) + room)) <= 1e-12


def _rows(n: int) -> Tensor:
    return kl.uniform_knots(4, 2).expand(n, -1)


def test_knots_move_affinely() -> None:
    """Relative positions, multiplicities among them, stay as they are."""
    knots = torch.tensor([-1.0, -1, -1, -0.5, 0.25, 0.25, 1, 1, 1])
    model = Shifted(kl.KANLayer(1, 1, kl.BSpline(degree=2, knots=knots)), 3.0, shift=2.0)
    assert adapt_knots_(model, uniform(50, 1))
    moved = model[1].basis
    relative = 2 * (moved.knots - moved.low) / (moved.high - moved.low) - 1
    assert largest(relative - knots) <= 1e-12


@pytest.mark.parametrize(
    ("scale", "moves"), [(0.4, True), (0.55, False), (0.99, False), (1.1, True)]
)
def test_knots_move_only_if_the_data_leave_or_use_less_than_half(scale: float, moves: bool) -> None:
    layer = kl.KANLayer(1, 2, kl.BSpline(), generator=seeded())
    model = Shifted(layer, scale)
    x = torch.linspace(-1, 1, 50)[:, None]
    before = snapshot(model)
    assert adapt_knots_(model, x) == moves
    assert same_state(model, before) == (not moves)
    assert not adapt_knots_(model, x), "once the knots fit, they stay"


def test_each_feature_moves_for_itself() -> None:
    layer = kl.KANLayer(2, 1, lambda n: kl.BSpline(degree=2, knots=_rows(n)), generator=seeded())
    before = copy.deepcopy(layer)
    x = torch.stack([torch.linspace(-1, 1, 30), torch.linspace(-3, 3, 30)], -1)
    assert adapt_knots_(layer, x)
    assert torch.equal(layer.basis.knots[0], before.basis.knots[0])
    assert layer.basis.domain[1].tolist() == [1.0, 3.0]
    assert largest(layer.coef[0] - before.coef[0]) <= 1e-12


def test_the_input_layer_only_widens_and_without_a_margin() -> None:
    layer = kl.KANLayer(1, 1, kl.BSpline(), generator=seeded())
    before = snapshot(layer)
    assert not adapt_knots_(layer, 0.01 * uniform(50, 1))
    assert same_state(layer, before)
    assert adapt_knots_(layer, torch.tensor([[0.0], [2.5]]))
    assert (layer.basis.low.item(), layer.basis.high.item()) == (-1.0, 2.5)


def test_layers_see_what_the_adapted_layers_before_them_give() -> None:
    model = kl.KAN([1, 3, 1], kl.BSpline(5, 3, -0.1, 0.1), generator=seeded())
    x = uniform(80, 1, low=-5.0, high=5.0)
    assert adapt_knots_(model, x)
    for layer, z in zip(model, kl.edge_inputs(model, x), strict=True):
        assert not layer.off_domain(z).any()


def test_a_domain_is_measured_behind_the_normalization() -> None:
    layer = kl.KANLayer(2, 1, kl.BSpline(low=-2.0, high=2.0), normalize=nn.LayerNorm)
    assert not adapt_knots_(layer, 100 * uniform(20, 2) + 7)


def test_activations_that_never_vary_leave_the_knots() -> None:
    model = Shifted(kl.KANLayer(1, 1, kl.BSpline()), 0.0, shift=0.5)
    assert not adapt_knots_(model, uniform(20, 1))
    model = Shifted(kl.KANLayer(1, 1, kl.BSpline()), 0.0, shift=5.0)
    assert not adapt_knots_(model, uniform(20, 1))


class Cosines(kl.Basis):
    """A basis that has no knots."""

    num_basis = 2
    feature_shape = ()
    domain = (torch.tensor(-1.0), torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([torch.cos(x), torch.cos(2 * x)], -1)

    def derivative(self, x: Tensor, order: int = 1) -> Tensor:
        raise NotImplementedError

    def select(self, features: object) -> "Cosines":
        raise NotImplementedError

    def config(self) -> dict[str, object]:
        raise NotImplementedError

    from_config = config


def test_other_bases_stay() -> None:
    layer = kl.KANLayer(1, 1, Cosines(), generator=seeded())
    before = snapshot(layer)
    assert not adapt_knots_(layer, 100 * uniform(20, 1))
    assert same_state(layer, before)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_activations_that_are_not_finite_are_refused_by_layer(bad: float) -> None:
    model = kl.KAN([1, 2, 1], kl.BSpline(), generator=seeded())
    with torch.no_grad():
        model[0].coef[0, 3, 1] = bad
    with pytest.raises(FloatingPointError, match="the input of layer 1 is not finite"):
        adapt_knots_(model, uniform(20, 1))


def test_float32_is_refit_in_float64() -> None:
    """The refit adds no more than rounding to a float32 layer."""
    layer = polynomial_layer(1, 2, 3).float()
    model = Shifted(layer, 0.3).float()
    x = uniform(100, 1).float()
    y = model(x)
    assert adapt_knots_(model, x)
    assert layer.coef.dtype == layer.basis.knots.dtype == torch.float32
    assert largest(model(x) - y) <= 2e-6
