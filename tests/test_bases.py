"""Every basis goes through the same laws. A new basis is one more entry of BASES."""

import copy
import math
import pickle
from collections.abc import Callable, Iterator

import pytest
import torch
from helpers import (
    autograd_derivative,
    default_dtype,
    largest,
    random_knots,
    same_state,
    seeded,
    uniform,
)
from torch import Tensor

import kanlite as kl

EXTRAPOLATIONS = ("linear", "constant", "zero", "natural")


def _bspline(degree: int, extrapolate: str, features: int) -> kl.BSpline:
    """On [-1, 2] if shared; else with random knots, repeated ones among them, for each feature."""
    if not features:
        return kl.BSpline(5, degree, -1.0, 2.0, extrapolate=extrapolate)
    rows = torch.stack([random_knots(seed, degree, 4) for seed in range(features)])
    return kl.BSpline(degree=degree, knots=rows, extrapolate=extrapolate)


# Functions, so that each test has a basis of its own in the dtype of the moment.
BASES: dict[str, Callable[[], kl.Basis]] = {
    f"BSpline, degree {degree}, {extrapolate}, {'each' if features else 'shared'}": (
        lambda degree=degree, extrapolate=extrapolate, features=features: _bspline(
            degree, extrapolate, features
        )
    )
    for degree in (0, 1, 2, 3)
    for extrapolate in EXTRAPOLATIONS
    for features in (0, 3)
}


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with default_dtype(torch.float64):
        yield


@pytest.fixture(params=BASES)
def basis(request: pytest.FixtureRequest) -> kl.Basis:
    return BASES[request.param]()


def around(basis: kl.Basis, *shape: int, seed: int = 0) -> Tensor:
    """Random points of shape (*shape, *F), a third of them outside the domain."""
    share = uniform(*shape, *basis.feature_shape, low=-0.25, high=1.25, seed=seed)
    return torch.lerp(basis.low, basis.high, share)


# Laws that hold for every basis --------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (0,), (4,), (2, 0, 3), (2, 3, 4)])
def test_shapes_for_any_leading_dimensions(basis: kl.Basis, shape: tuple[int, ...]) -> None:
    x = around(basis, *shape)
    expected = (*shape, *basis.feature_shape, basis.num_basis)
    assert basis(x).shape == expected
    assert basis.derivative(x).shape == expected
    assert basis.derivative(x, 9).shape == expected


def test_one_point_at_a_time_gives_the_same_as_all_at_once(basis: kl.Basis) -> None:
    x = around(basis, 6)
    assert torch.equal(basis(x), torch.stack([basis(point) for point in x]))


@pytest.mark.parametrize("order", range(4))
def test_derivative_is_autograds_inside_and_outside(basis: kl.Basis, order: int) -> None:
    x = around(basis, 12)
    assert basis.outside(x).any()
    assert not basis.outside(x).all()
    closed = basis.derivative(x, order)
    if not basis.feature_shape:
        by_autograd = autograd_derivative(basis, x, order)
    else:  # feature i depends on x_i alone
        by_autograd = torch.stack(
            [
                autograd_derivative(basis.select([i]), x[:, [i]], order)[:, 0]
                for i in range(len(basis.low))
            ],
            dim=1,
        )
    assert largest(closed - by_autograd) <= 1e-11 * max(1.0, largest(closed))


def test_order_zero_is_the_function(basis: kl.Basis) -> None:
    x = around(basis, 20)
    assert torch.equal(basis.derivative(x, 0), basis(x))


def test_negative_order_is_refused(basis: kl.Basis) -> None:
    with pytest.raises(ValueError, match="order must be at least 0, got -1"):
        basis.derivative(around(basis, 2), -1)


def test_ends_of_the_domain_belong_to_it(basis: kl.Basis) -> None:
    ends = torch.stack([basis.low, basis.high])
    assert not basis.outside(ends).any()
    assert basis.outside(torch.stack([basis.low - 1e-9, basis.high + 1e-9])).all()
    assert largest(basis(ends).sum(-1) - 1) <= 1e-13


def test_select_takes_features_in_the_given_order(basis: kl.Basis) -> None:
    x = around(basis, 5)
    chosen = basis.select([2, 0])
    assert chosen is not basis
    if basis.feature_shape:
        assert chosen.feature_shape == (2,)
        assert torch.equal(chosen(x[:, [2, 0]]), basis(x)[:, [2, 0]])
        assert basis.select(torch.tensor([1])).feature_shape == (1,)
    else:
        assert torch.equal(chosen(x), basis(x))
    before = basis(x)
    for buffer in chosen.buffers():
        buffer.zero_()
    assert torch.equal(basis(x), before), "the old basis must not share memory with the new one"


def test_config_and_buffers_rebuild_the_basis(basis: kl.Basis) -> None:
    rebuilt = type(basis).from_config(basis.config())
    rebuilt.load_state_dict(basis.state_dict())
    x = around(basis, 20)
    assert torch.equal(rebuilt(x), basis(x))
    assert rebuilt.config() == basis.config()
    assert repr(rebuilt) == repr(basis)
    assert torch.equal(pickle.loads(pickle.dumps(basis))(x), basis(x))


def test_off_domain_is_the_share_outside(basis: kl.Basis) -> None:
    inside, beyond = (basis.low + basis.high) / 2, basis.high + 1
    nan = torch.full_like(beyond, math.nan)
    x = torch.stack([inside, beyond, nan, basis.high])
    assert torch.equal(basis.off_domain(x), torch.full(basis.feature_shape, 0.5))
    empty = torch.empty(0, *basis.feature_shape)
    assert torch.equal(basis.off_domain(empty), torch.zeros(basis.feature_shape))
    assert basis.off_domain(torch.stack([x, x])).shape == basis.feature_shape


def test_off_domain_counts_each_feature_for_itself() -> None:
    basis = kl.BSpline(knots=torch.stack([kl.uniform_knots(3, 3), kl.uniform_knots(3, 3, 0, 9)]))
    x = torch.tensor([[0.0, 0.0], [2.0, 2.0], [3.0, 3.0], [4.0, -4.0]])
    assert basis.off_domain(x).tolist() == [0.75, 0.25]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_never_made_finite(basis: kl.Basis, bad: float) -> None:
    x = around(basis, 3)
    x[1] = bad
    for values in (basis(x), basis.derivative(x), basis.derivative(x, 2)):
        assert values[[0, 2]].isfinite().all()
        assert not values[1].isfinite().any()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.2)])
def test_lower_precision_runs(basis: kl.Basis, dtype: torch.dtype, tolerance: float) -> None:
    x = around(basis, 30).to(dtype)
    low = copy.deepcopy(basis).to(dtype)
    values = low(x)
    exact = low.double()(x.double())  # on the same, rounded knots
    assert values.dtype == dtype
    assert largest(values.double() - exact) <= tolerance * max(1.0, largest(exact))


def test_integers_and_other_numbers_of_features_are_refused(basis: kl.Basis) -> None:
    with pytest.raises(ValueError, match=r"x must be floating point, got torch\.int64"):
        basis(torch.zeros(2, *basis.feature_shape, dtype=torch.long))
    if basis.feature_shape:  # one feature would silently be taken for all
        with pytest.raises(
            ValueError, match=r"x must have last dimension 3, .* got shape \(2, 1\)"
        ):
            basis(torch.zeros(2, 1))


# Extrapolation of B-splines ------------------------------------------------------------------


def _just_beyond(end: Tensor, towards: float) -> Tensor:
    return torch.nextafter(end, torch.full_like(end, towards))


def _jump(basis: kl.Basis, order: int) -> float:
    """How far the limits from outside are from those from inside, at both ends."""
    jumps = []
    for end, towards in ((basis.low, -math.inf), (basis.high, math.inf)):
        inside = basis.derivative(end[None], order)
        jumps.append(largest(basis.derivative(_just_beyond(end, towards)[None], order) - inside))
    return max(jumps)


@pytest.mark.parametrize("degree", range(5))
@pytest.mark.parametrize("features", [0, 3])
def test_linear_extrapolation_is_c1_and_straight(degree: int, features: int) -> None:
    basis = _bspline(degree, "linear", features)
    assert _jump(basis, 0) <= 1e-12
    assert _jump(basis, 1) == 0
    far = torch.stack([basis.high + distance for distance in (1.0, 2.0, 1000.0)])
    values = basis(far)
    assert largest(values[1] - values[0] - basis.derivative(basis.high[None])[0]) <= 1e-11
    assert largest(values[2] - values[0] - 999 * (values[1] - values[0])) <= 1e-8
    assert not basis.derivative(far, 2).any()
    assert largest(values.sum(-1) - 1) <= 1e-9


@pytest.mark.parametrize("degree", range(5))
@pytest.mark.parametrize("features", [0, 3])
def test_constant_extrapolation_is_c0_and_flat(degree: int, features: int) -> None:
    basis = _bspline(degree, "constant", features)
    assert _jump(basis, 0) == 0
    assert torch.equal(basis(basis.low[None] - 17), basis(basis.low[None]))
    assert torch.equal(basis(basis.high[None] + 17), basis(basis.high[None]))
    assert not basis.derivative(basis.high[None] + 17).any()


@pytest.mark.parametrize("degree", range(5))
@pytest.mark.parametrize("features", [0, 3])
def test_zero_extrapolation_jumps_to_exactly_zero(degree: int, features: int) -> None:
    basis = _bspline(degree, "zero", features)
    ends = torch.stack([basis.low, basis.high])
    assert largest(basis(ends).sum(-1) - 1) <= 1e-13
    for end, towards in ((basis.low, -math.inf), (basis.high, math.inf)):
        assert not basis(_just_beyond(end, towards)[None]).any()
    assert not basis(torch.stack([basis.low - 5, basis.high + 5])).any()


@pytest.mark.parametrize("degree", range(5))
@pytest.mark.parametrize("features", [0, 3])
def test_natural_extrapolation_is_what_the_padded_functions_give(
    degree: int, features: int
) -> None:
    basis = _bspline(degree, "natural", features)
    x = around(basis, 50)
    for order in range(4):
        expected = kl.bspline_basis(x, basis.knots, degree, derivative=order)
        assert torch.equal(basis.derivative(x, order), expected)
    if degree and not features:
        assert basis(basis.high + 0.01).any(), "the functions fade, they do not stop"


@pytest.mark.parametrize("extrapolate", EXTRAPOLATIONS)
@pytest.mark.parametrize("degree", range(5))
def test_on_the_domain_every_extrapolation_is_the_same(degree: int, extrapolate: str) -> None:
    basis = _bspline(degree, extrapolate, 0)
    x = torch.cat([uniform(40, high=2.0), basis.knots]).clamp(-1.0, 2.0)
    for order in range(degree + 1):
        expected = kl.bspline_basis(x, basis.knots, degree, derivative=order)
        assert torch.equal(basis.derivative(x, order), expected)


def test_gradient_is_not_doubled_at_the_ends() -> None:
    """Clamping splits x in two summands there, and one of them must be silent."""
    basis = kl.BSpline(4, 2, 0.0, 1.0)
    x = torch.tensor([0.0, 1.0])
    assert largest(autograd_derivative(basis, x, 1) - basis.derivative(x)) <= 1e-13


# Construction --------------------------------------------------------------------------------


def test_sizes() -> None:
    basis = kl.BSpline(num_intervals=7, degree=2, low=0.0, high=3.0)
    assert (basis.num_intervals, basis.degree, basis.num_basis) == (7, 2, 9)
    assert (basis.low.item(), basis.high.item()) == (0.0, 3.0)
    assert "num_intervals=7, degree=2, [0, 3], extrapolate='linear'" in repr(basis)
    assert "3 domains" in repr(_bspline(2, "zero", 3))


def test_knots_are_a_buffer_and_a_copy() -> None:
    knots = kl.uniform_knots(4, 2)
    basis = kl.BSpline(degree=2, knots=knots)
    knots.zero_()
    assert basis.knots.any()
    assert list(basis.state_dict()) == ["knots"]
    assert not list(basis.parameters())
    assert basis.num_intervals == 4
    other = kl.BSpline(degree=2, knots=kl.uniform_knots(4, 2, 0.0, 5.0))
    assert not same_state(basis, other)


def test_from_data_follows_the_quantiles() -> None:
    x = torch.rand(200, 2, generator=seeded()) ** 3
    basis = kl.BSpline.from_data(x, 6, 2, uniform_fraction=0.1, extrapolate="zero")
    assert torch.equal(basis.knots, kl.quantile_knots(x, 6, 2, uniform_fraction=0.1))
    assert (basis.feature_shape, basis.num_intervals, basis.extrapolate) == ((2,), 6, "zero")
    assert kl.BSpline.from_data(x[:, 0]).feature_shape == ()
    assert not basis.off_domain(x).any()


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "negative degree": (lambda: kl.BSpline(degree=-1), "degree must be at least 0, got -1"),
    "zero intervals": (lambda: kl.BSpline(0), "num_intervals must be at least 1, got 0"),
    "reversed domain": (lambda: kl.BSpline(low=1.0, high=0.0), "low < high, got 1.0 and 0.0"),
    "unknown extrapolation": (
        lambda: kl.BSpline(extrapolate="cubic"),
        "extrapolate must be one of .*, got 'cubic'",
    ),
    "knots and sizes": (
        lambda: kl.BSpline(7, knots=kl.uniform_knots(5, 3)),
        "knots already say num_intervals",
    ),
    "decreasing knots": (lambda: kl.BSpline(knots=torch.arange(9.0).flip(0)), "non-decreasing"),
    "infinite knots": (lambda: kl.BSpline(knots=torch.full((9,), math.inf)), "finite"),
    "knots for another degree": (lambda: kl.BSpline(degree=5, knots=torch.arange(9.0)), "= 12"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_construction_is_refused_by_name(case: str) -> None:
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()
