"""B-splines against SciPy, against autograd, and against the properties that define them."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from helpers import (
    autograd_derivative,
    default_dtype,
    knot_vectors,
    largest,
    points_for,
    random_knots,
    scipy_basis,
    scipy_left_limits,
    uniform,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import kanlite as kl
from kanlite.bspline import check_knots

DEGREES = range(6)


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with default_dtype(torch.float64):
        yield


# Agreement with SciPy ------------------------------------------------------------------------


@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("derivative", range(7))
def test_basis_and_derivatives_agree_with_scipy(degree: int, derivative: int) -> None:
    """Inside, outside, and at the knots as right limits; the right end has its own test."""
    for seed in range(12):
        knots = random_knots(seed, degree, intervals=1 + seed)
        x = points_for(knots, seed)
        x = x[x != knots[-degree - 1]]
        ours = kl.bspline_basis(x, knots, degree, derivative=derivative)
        scipys = scipy_basis(x, knots, degree, derivative)
        assert ours.shape == scipys.shape == (len(x), len(knots) - degree - 1)
        assert largest(ours - scipys) <= 1e-12 * max(largest(scipys), 1e-300), f"knots {seed}"
        if derivative > degree:
            assert not ours.any()


@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("derivative", range(6))
def test_right_end_of_the_domain_is_the_limit_from_inside(degree: int, derivative: int) -> None:
    """The last cell holds t[n].

    Where t[n-1] == t[n], SciPy takes the polynomials of the empty cell between them, and
    where knots follow t[n], those of the cell to its right. Neither belongs to the domain.
    Ours is the limit from inside, so it is compared with SciPy's on the mirrored knots.
    """
    for seed in range(12):
        knots = random_knots(seed, degree, intervals=1 + seed)
        end = knots[[-degree - 1]]
        ours = kl.bspline_basis(end, knots, degree, derivative=derivative)
        scipys = scipy_left_limits(end, knots, degree, derivative)
        assert largest(ours - scipys) <= 1e-12 * max(largest(scipys), 1e-300), f"knots {seed}"


@pytest.mark.parametrize("degree", range(1, 6))
def test_simple_knots_agree_with_scipys_design_matrix(degree: int) -> None:
    """At both ends of the domain too, with SciPy used as its users do."""
    from scipy.interpolate import BSpline as ScipyBSpline

    knots = kl.uniform_knots(7, degree, -2.0, 3.0)
    x = torch.linspace(-2.0, 3.0, 101)
    matrix = ScipyBSpline.design_matrix(x.numpy(), knots.numpy(), degree).toarray()
    assert largest(kl.bspline_basis(x, knots, degree) - torch.from_numpy(matrix)) <= 1e-12


@pytest.mark.parametrize("degree", range(4))
def test_to_scipy_is_the_same_spline_on_the_domain(degree: int) -> None:
    knots = random_knots(3, degree, intervals=6)
    coef = uniform(len(knots) - degree - 1, 2)
    x = torch.cat([uniform(50, low=knots[degree].item(), high=knots[-degree - 1].item())])
    theirs = torch.from_numpy(kl.to_scipy(knots, coef, degree)(x.numpy()))
    assert largest(kl.bspline_basis(x, knots, degree) @ coef - theirs) <= 1e-12


def test_to_scipy_takes_float32_that_wants_gradients() -> None:
    coef = torch.ones(3, dtype=torch.float32, requires_grad=True)
    spline = kl.to_scipy(kl.uniform_knots(2, 1, dtype=torch.float32), coef, 1)
    assert spline.c.dtype == np.float64
    assert spline(0.3) == pytest.approx(1.0)


# The properties that define them -------------------------------------------------------------


@given(knot_vectors(), st.integers(0, 2**16))
def test_partition_of_unity_on_the_closed_domain(case: tuple[Tensor, int], seed: int) -> None:
    knots, degree = case
    low, high = knots[degree].item(), knots[-degree - 1].item()
    x = torch.cat([uniform(20, low=low, high=high, seed=seed), knots]).clamp(low, high)
    assert largest(kl.bspline_basis(x, knots, degree).sum(-1) - 1) <= 1e-13


@given(knot_vectors(), st.integers(0, 2**16))
def test_values_lie_between_zero_and_one(case: tuple[Tensor, int], seed: int) -> None:
    knots, degree = case
    basis = kl.bspline_basis(points_for(knots, seed), knots, degree)
    assert (basis >= 0).all()
    assert (basis <= 1 + 1e-14).all()


@given(knot_vectors(), st.integers(0, 2**16), st.integers(0, 6))
def test_support_is_local(case: tuple[Tensor, int], seed: int, derivative: int) -> None:
    """At most degree + 1 neighbors are not zero: those whose support holds the cell of x."""
    knots, degree = case
    x = points_for(knots, seed)
    basis = kl.bspline_basis(x, knots, degree, derivative=derivative)
    cell = kl.find_cell(x, knots, degree).unsqueeze(-1)
    number = torch.arange(basis.shape[-1])
    may_differ = (number >= cell - degree) & (number <= cell)
    assert not basis[~may_differ].any()
    assert ((basis != 0).sum(-1) <= degree + 1).all()


@given(knot_vectors(), st.floats(1e-9, 1e9), st.integers(0, 6))
def test_exactly_zero_outside_the_knots(
    case: tuple[Tensor, int], distance: float, derivative: int
) -> None:
    knots, degree = case
    x = torch.stack([knots[0] - distance, knots[-1] + distance])
    assert not kl.bspline_basis(x, knots, degree, derivative=derivative).any()


@given(knot_vectors(), st.integers(0, 2**16))
def test_find_cell_is_a_sorted_search(case: tuple[Tensor, int], seed: int) -> None:
    knots, degree = case
    x = points_for(knots, seed)
    x = x[x != knots[-degree - 1]]
    expected = np.searchsorted(knots.numpy(), x.numpy(), side="right") - 1
    assert kl.find_cell(x, knots, degree).tolist() == expected.tolist()


@given(knot_vectors())
def test_right_end_lies_in_the_last_cell_that_is_open(case: tuple[Tensor, int]) -> None:
    knots, degree = case
    end = knots[-degree - 1]
    cell = int(kl.find_cell(end, knots, degree))
    assert knots[cell] < knots[cell + 1] == end


def test_find_cell_of_what_lies_outside_and_of_nan() -> None:
    knots = kl.uniform_knots(3, 2)
    x = torch.tensor([-1e3, float("-inf"), float("nan"), 1e3, float("inf")])
    assert kl.find_cell(x, knots, 2).tolist() == [-1, -1, -1, len(knots) - 1, len(knots) - 1]


@given(st.integers(0, 4), st.integers(1, 4), st.integers(0, 2**16), st.integers(0, 5))
def test_knots_per_feature_are_a_loop_over_features(
    degree: int, features: int, seed: int, derivative: int
) -> None:
    rows = [random_knots(seed + i, degree, intervals=4) for i in range(features)]
    x = uniform(3, 5, features, low=-2.0, high=6.0, seed=seed)
    together = kl.bspline_basis(x, torch.stack(rows), degree, derivative=derivative)
    for i, row in enumerate(rows):
        alone = kl.bspline_basis(x[..., i], row, degree, derivative=derivative)
        assert torch.equal(together[..., i, :], alone)


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3, 4)])
def test_any_leading_dimensions(shape: tuple[int, ...]) -> None:
    x, knots = uniform(*shape), kl.uniform_knots(5, 3)
    assert kl.bspline_basis(x, knots, 3).shape == (*shape, 8)
    assert kl.find_cell(x, knots, 3).shape == shape
    each = knots.expand(2, -1)
    assert kl.bspline_basis(uniform(*shape, 2), each, 3).shape == (*shape, 2, 8)


# Derivatives ---------------------------------------------------------------------------------


@settings(max_examples=40)
@given(knot_vectors(), st.integers(0, 2**16), st.integers(1, 4))
def test_closed_form_derivatives_agree_with_autograd(
    case: tuple[Tensor, int], seed: int, order: int
) -> None:
    """At the knots too, since both take the polynomial of the same cell.

    Autograd differentiates products that cancel, and loses some digits where gaps are small;
    that the closed form does not is shown by SciPy, above.
    """
    knots, degree = case
    x = points_for(knots, seed, count=4)
    closed = kl.bspline_basis(x, knots, degree, derivative=order)
    by_autograd = autograd_derivative(lambda z: kl.bspline_basis(z, knots, degree), x, order)
    assert largest(closed - by_autograd) <= 1e-9 * max(largest(closed), 1.0)


@pytest.mark.parametrize("degree", DEGREES)
def test_gradcheck_and_gradgradcheck_away_from_knots(degree: int) -> None:
    knots = kl.uniform_knots(4, degree)
    x = (torch.tensor([-1.2, -0.9, -0.3, 0.1, 0.6, 0.85, 1.3]) + 0.013).requires_grad_()
    for derivative in range(degree + 1):

        def basis(z: Tensor, d: int = derivative) -> Tensor:
            return kl.bspline_basis(z, knots, degree, derivative=d)

        assert gradcheck(basis, x)
        assert gradgradcheck(basis, x)


@pytest.mark.parametrize("degree", range(1, 6))
def test_third_derivative_by_autograd_is_the_closed_form(degree: int) -> None:
    knots, x = random_knots(11, degree, intervals=5), uniform(40, low=-2.0, high=6.0)
    by_autograd = autograd_derivative(lambda z: kl.bspline_basis(z, knots, degree), x, 3)
    closed = kl.bspline_basis(x, knots, degree, derivative=3)
    assert largest(by_autograd - closed) <= 1e-12 * max(largest(closed), 1.0)
    assert closed.any() == (degree >= 3)


@pytest.mark.parametrize("degree", range(1, 6))
def test_smoothness_drops_by_the_multiplicity_of_a_knot(degree: int) -> None:
    """Across a knot of multiplicity m, derivatives up to degree - m are continuous, and no more."""
    for multiplicity in range(1, degree + 1):
        inner = torch.full((multiplicity,), 0.5)
        knots = torch.cat([torch.arange(-degree, 1.0), inner, torch.arange(1.0, degree + 2)])
        at = torch.tensor([0.5])
        for order in range(degree + 1):
            right = kl.bspline_basis(at, knots, degree, derivative=order)
            jump = largest(right - scipy_left_limits(at, knots, degree, order))
            assert (jump < 1e-10) == (order <= degree - multiplicity)


# Precision and what is not finite ------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 0.05), (torch.float16, 5e-3)]
)
def test_lower_precision_runs_and_is_as_exact_as_it_can_be(
    dtype: torch.dtype, tolerance: float
) -> None:
    knots = kl.uniform_knots(4, 3).to(dtype)
    x = uniform(200).to(dtype)
    basis = kl.bspline_basis(x, knots, 3)
    assert basis.dtype == dtype
    exact = kl.bspline_basis(x.double(), knots.double(), 3)
    assert largest(basis.double() - exact) <= tolerance
    assert largest(basis.double().sum(-1) - 1) <= 4 * tolerance


@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("derivative", range(4))
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_never_made_finite(degree: int, derivative: int, bad: float) -> None:
    knots = kl.uniform_knots(3, degree)
    basis = kl.bspline_basis(torch.tensor([0.1, bad]), knots, degree, derivative=derivative)
    assert basis[0].isfinite().all()
    assert not basis[1].isfinite().any()


# Knots ---------------------------------------------------------------------------------------


@given(st.integers(1, 200), st.integers(0, 6), st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_uniform_knots_meet_both_ends_exactly(
    intervals: int, degree: int, low: float, length: float
) -> None:
    high = low + length
    knots = kl.uniform_knots(intervals, degree, low, high)
    assert len(knots) == intervals + 2 * degree + 1
    assert knots[degree].item() == low
    assert knots[-degree - 1].item() == high
    spacing = knots.diff()
    assert largest(spacing - (high - low) / intervals) <= 1e-13 * (abs(low) + abs(high)) * 4


def test_uniform_knots_take_the_default_dtype_or_the_given_one() -> None:
    assert kl.uniform_knots(3, 2).dtype == torch.float64
    assert kl.uniform_knots(3, 2, dtype=torch.float32).dtype == torch.float32


@given(st.integers(1, 8), st.integers(0, 3), st.integers(10, 60), st.integers(0, 2**16))
def test_quantile_knots_are_numpys_quantiles(
    intervals: int, degree: int, samples: int, seed: int
) -> None:
    x = torch.randn(samples, 2, generator=torch.Generator().manual_seed(seed))
    knots = kl.quantile_knots(x, intervals, degree, uniform_fraction=0.0)
    assert knots.shape == (2, intervals + 2 * degree + 1)
    inner = knots[:, degree : len(knots[0]) - degree]
    expected = np.quantile(x.numpy(), np.linspace(0, 1, intervals + 1), axis=0).T
    assert largest(inner - torch.from_numpy(expected)) <= 1e-12
    padding = (inner[:, -1] - inner[:, 0]) / intervals
    if degree:
        assert largest(knots.diff(dim=-1)[:, :degree] - padding[:, None]) <= 1e-12
        assert largest(knots.diff(dim=-1)[:, -degree:] - padding[:, None]) <= 1e-12


def test_quantile_knots_share_the_samples_evenly() -> None:
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    knots = kl.quantile_knots(x, 10, 2, uniform_fraction=0.0)
    counts = torch.histogram(x, knots[2:-2]).hist
    assert (counts - 100).abs().max() <= 1


def test_uniform_fraction_mixes_in_equal_spacing() -> None:
    x = torch.rand(50, generator=torch.Generator().manual_seed(0)) ** 3
    all_quantile, half, all_uniform = (
        kl.quantile_knots(x, 5, 2, uniform_fraction=share) for share in (0.0, 0.5, 1.0)
    )
    assert largest(half - (all_quantile + all_uniform) / 2) <= 1e-14
    assert largest(all_uniform - kl.uniform_knots(5, 2, x.min().item(), x.max().item())) <= 1e-14


def test_quantile_knots_of_samples_that_repeat_or_never_vary() -> None:
    binary_and_constant = torch.stack([torch.arange(40.0) % 2, torch.full((40,), -7.0)], -1)
    knots = kl.quantile_knots(binary_and_constant, 4, 3)
    assert (knots.diff(dim=-1) > 0).all()
    assert knots[:, 3].tolist() == [0.0, -10.5]
    assert knots[:, -4].tolist() == [1.0, -3.5]


def test_quantile_knots_take_ends_the_dtype_and_any_number_of_samples() -> None:
    x = uniform(100)
    knots = kl.quantile_knots(x, 4, 1, low=-2.0, high=3.0)
    assert (knots[1], knots[-2]) == (-2.0, 3.0)
    assert kl.quantile_knots(x.float(), 4, 1).dtype == torch.float32
    many = torch.arange(2.0**24 + 1, dtype=torch.float32)  # more than torch.quantile takes
    assert kl.quantile_knots(many, 2, 0, uniform_fraction=0.0).tolist() == [0, 2.0**23, 2.0**24]


@given(st.integers(0, 5), st.integers(0, 2**16), st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_knot_insertion_keeps_the_function(degree: int, seed: int, places: list[float]) -> None:
    """Everywhere, whatever the multiplicities: on the domain and on the padding."""
    knots = random_knots(seed, degree, intervals=1 + seed % 6)
    low, high = knots[degree].item(), knots[-degree - 1].item()
    new = torch.tensor(places) * (high - low) + low
    coef = uniform(len(knots) - degree - 1, 2, seed=seed)
    finer, finer_coef = kl.insert_knots(knots, coef, degree, _allowed(knots, new, degree))
    assert (finer.diff() >= 0).all()
    assert len(finer) - len(knots) == len(finer_coef) - len(coef)
    assert (finer[degree], finer[-degree - 1]) == (low, high)
    x = points_for(torch.cat([knots, new]), seed)
    for points in (x, torch.tensor([high])):
        before = kl.bspline_basis(points, knots, degree) @ coef
        after = kl.bspline_basis(points, finer, degree) @ finer_coef
        assert largest(before - after) <= 1e-12


def _allowed(knots: Tensor, new: Tensor, degree: int) -> Tensor:
    """Those of the new knots that raise no multiplicity above degree + 1."""
    chosen: list[float] = []
    for knot in new.tolist():
        if (knots == knot).sum().item() + chosen.count(knot) <= degree:
            chosen.append(knot)
    return torch.tensor(chosen)


@pytest.mark.parametrize("degree", range(1, 5))
@pytest.mark.parametrize("end", [-1.0, 1.0])
def test_knots_can_be_inserted_at_the_ends_until_they_are_clamped(degree: int, end: float) -> None:
    """With degree + 1 knots at an end, the first (last) coefficient is the value there."""
    knots, coef = kl.uniform_knots(3, degree), uniform(3 + degree)
    finer, finer_coef = kl.insert_knots(knots, coef, degree, torch.full((degree,), end))
    assert (finer == end).sum() == degree + 1
    x = uniform(50)
    before, after = kl.bspline_basis(x, knots, degree), kl.bspline_basis(x, finer, degree)
    assert largest(before @ coef - after @ finer_coef) <= 1e-13
    value = (kl.bspline_basis(torch.tensor([end]), knots, degree) @ coef).item()
    assert min((finer_coef - value).abs()) <= 1e-13


def test_gradients_flow_through_knot_insertion() -> None:
    knots, coef = kl.uniform_knots(3, 2), uniform(5).requires_grad_()
    new = torch.tensor([0.2, 0.7])
    assert gradcheck(lambda c: kl.insert_knots(knots, c, 2, new)[1], coef)


# Bad input: each with a message that names the argument ---------------------------------------

UNIFORM = kl.uniform_knots(4, 3, dtype=torch.float64)
BAD: dict[str, tuple[Callable[[], object], str]] = {
    "negative degree": (lambda: kl.uniform_knots(3, -1), "degree must be at least 0, got -1"),
    "zero intervals": (lambda: kl.uniform_knots(0, 3), "num_intervals must be at least 1, got 0"),
    "empty domain": (lambda: kl.uniform_knots(3, 3, 1.0, 1.0), "low < high, got 1.0 and 1.0"),
    "infinite end": (lambda: kl.uniform_knots(3, 3, 0.0, float("inf")), "finite"),
    "end that is NaN": (lambda: kl.uniform_knots(3, 3, float("nan"), 1.0), "low and high"),
    "integer samples": (lambda: kl.quantile_knots(torch.arange(5), 2, 1), "x must be floating"),
    "no samples": (lambda: kl.quantile_knots(torch.empty(0, 2), 2, 1), "at least one sample"),
    "samples in three dimensions": (
        lambda: kl.quantile_knots(torch.zeros(2, 3, 4), 2, 1),
        r"got torch.float64 of shape \(2, 3, 4\)",
    ),
    "samples that are NaN": (
        lambda: kl.quantile_knots(torch.tensor([0.0, float("nan")]), 2, 1),
        "x must be finite",
    ),
    "fraction above 1": (
        lambda: kl.quantile_knots(uniform(9), 2, 1, uniform_fraction=1.5),
        r"uniform_fraction must be in \[0, 1\], got 1.5",
    ),
    "fraction that is NaN": (
        lambda: kl.quantile_knots(uniform(9), 2, 1, uniform_fraction=float("nan")),
        "uniform_fraction",
    ),
    "low above the samples": (lambda: kl.quantile_knots(uniform(9), 2, 1, low=5.0), "low=5.0"),
    "infinite low": (lambda: kl.quantile_knots(uniform(9), 2, 1, low=float("-inf")), "low=-inf"),
    "quantiles that coincide": (
        lambda: kl.quantile_knots(torch.arange(40.0) % 2, 4, 3, uniform_fraction=0.0),
        "uniform_fraction must be larger",
    ),
    "integer knots": (lambda: check_knots(torch.arange(9), 3), "knots must be floating point"),
    "knots in three dimensions": (lambda: check_knots(torch.zeros(1, 2, 9), 3), "knots must be"),
    "too few knots": (lambda: check_knots(torch.arange(7.0), 3), "= 8, got 7"),
    "infinite knots": (
        lambda: check_knots(torch.tensor([0.0, 1.0, float("inf")]), 0),
        "knots must be finite",
    ),
    "decreasing knots": (
        lambda: check_knots(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), 0),
        r"non-decreasing, got 1.0 followed by 0.0 at \(1, 0\)",
    ),
    "domain of length zero": (
        lambda: check_knots(torch.tensor([0.0, 1.0, 1.0, 2.0]), 1),
        "domain of positive length",
    ),
    "integer points": (
        lambda: kl.bspline_basis(torch.arange(3), UNIFORM, 3),
        "x must be floating point, got torch.int64",
    ),
    "wrong last dimension": (
        lambda: kl.bspline_basis(torch.zeros(5, 1), UNIFORM.expand(2, -1), 3),
        r"x must have last dimension 2, .* got shape \(5, 1\)",
    ),
    "negative derivative": (
        lambda: kl.bspline_basis(uniform(3), UNIFORM, 3, derivative=-1),
        "derivative must be at least 0, got -1",
    ),
    "negative degree of a basis": (lambda: kl.bspline_basis(uniform(3), UNIFORM, -1), "degree"),
    "coefficients of another count": (
        lambda: kl.insert_knots(UNIFORM, uniform(6), 3, torch.tensor([0.0])),
        "coef must have shape",
    ),
    "insertion into many knot vectors": (
        lambda: kl.insert_knots(UNIFORM.expand(2, -1), uniform(7), 3, torch.tensor([0.0])),
        "coef must have shape",
    ),
    "insertion outside": (
        lambda: kl.insert_knots(UNIFORM, uniform(7), 3, torch.tensor([0.0, 1.1])),
        r"new must lie in the domain \[-1.0, 1.0\]",
    ),
    "insertion of NaN": (
        lambda: kl.insert_knots(UNIFORM, uniform(7), 3, torch.tensor([float("nan")])),
        "new must lie in the domain",
    ),
    "insertion too often": (
        lambda: kl.insert_knots(UNIFORM, uniform(7), 3, torch.zeros(5)),
        "new must not raise a multiplicity above 4",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_by_name(case: str) -> None:
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()
