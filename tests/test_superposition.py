"""The theorem as a program, held to its own promises in exact arithmetic."""

import bisect
import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kanlite.superposition import (
    MAX_POINTS,
    InnerSums,
    OuterStep,
    Superposition,
    inner_function,
    inner_grid,
    superpose,
)

GRIDS = [(2, 6, 1), (2, 6, 4), (2, 7, 3), (2, 10, 4), (3, 8, 3), (3, 9, 3), (4, 10, 2)]


def beta(r: int, n: int) -> int:
    return sum(n**s for s in range(r))


def product(t: np.ndarray) -> np.ndarray:
    return t[..., 0] * t[..., 1]


def smooth(t: np.ndarray) -> np.ndarray:
    return np.exp(np.sin(np.pi * t[..., 0]) + t[..., 1] ** 2)


def signed(t: np.ndarray) -> np.ndarray:
    return np.sin(2 * np.pi * t[..., 0]) * t[..., 1] + product(t)


def three(t: np.ndarray) -> np.ndarray:
    return 2 + t[..., 0] * t[..., 1] * t[..., 2] - t[..., 2] ** 2


# Inner function ------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "base", "digits"), GRIDS)
def test_inner_function_increases_strictly_on_all_grids(n: int, base: int, digits: int) -> None:
    values, scale = inner_grid(digits, dimension=n, base=base)
    assert len(values) == base**digits + 1
    assert (values[0], values[-1]) == (0, scale)
    assert (np.diff(values) > 0).all()


@pytest.mark.parametrize(("n", "base", "digits"), GRIDS)
def test_smallest_and_largest_steps_are_what_the_theory_says(
    n: int, base: int, digits: int
) -> None:
    values, scale = inner_grid(digits, dimension=n, base=base)
    steps = np.diff(values)
    widest = Fraction(1, base)  # each level halves what the plateau leaves of a step
    for k in range(2, digits + 1):
        widest = (widest - Fraction(base - 2, base ** beta(k, n))) / 2
    assert Fraction(int(steps.min()), scale) == Fraction(1, base ** beta(digits, n))
    assert Fraction(int(steps.max()), scale) == widest
    assert widest <= Fraction(1, base * 2 ** (digits - 1))


def test_inner_function_is_hoelder_continuous_and_the_exponent_is_sharp() -> None:
    base, digits = 6, 4
    values, scale = inner_grid(digits, dimension=2, base=base)
    psi, x = values / scale, np.arange(len(values)) / base**digits
    exponent = math.log(2) / math.log(base)
    for lag in range(1, len(x)):
        assert np.max(psi[lag:] - psi[:-lag]) <= 8 / base * (x[lag] - x[0]) ** exponent
    widest = []
    for k in (2, 3, 4):
        values, scale = inner_grid(k, dimension=2, base=base)
        widest.append(np.diff(values).max() / scale)
    slopes = np.diff(np.log(widest)) / math.log(1 / base)
    assert exponent < slopes[-1] < slopes[0] < 1.05 * exponent  # from above: no better exponent


@pytest.mark.parametrize(("n", "base", "digits"), [(2, 6, 3), (2, 10, 2), (3, 8, 2)])
def test_grid_equals_the_function_of_one_fraction(n: int, base: int, digits: int) -> None:
    values, scale = inner_grid(digits, dimension=n, base=base)
    for index, value in enumerate(values):
        x = Fraction(index, base**digits)
        assert inner_function(x, dimension=n, base=base) == Fraction(int(value), scale)


@given(st.lists(st.integers(0, 9), min_size=2, max_size=7))
def test_the_correction_as_it_is_printed(digits: list[int]) -> None:
    base, n, k = 10, 2, len(digits)

    def psi(x: Fraction) -> Fraction:
        return inner_function(x, dimension=n, base=base)

    x = sum(Fraction(digit, base**r) for r, digit in enumerate(digits, start=1))
    unit = Fraction(1, base**k)
    if digits[-1] < base - 1:
        shorter = x - digits[-1] * unit
        assert psi(x) == psi(shorter) + Fraction(digits[-1], base ** beta(k, n))
    else:
        assert psi(x) == (psi(x - unit) + psi(x + unit)) / 2


def test_many_digits_stay_exact_where_floats_are_long_lost() -> None:
    x = Fraction(1, 6) + Fraction(1, 6**9)
    step = inner_function(x, dimension=2) - inner_function(Fraction(1, 6), dimension=2)
    assert step == Fraction(1, 6 ** beta(9, 2))
    assert 1 / 6 + float(step) == 1 / 6
    values, scale = inner_grid(5, dimension=2, base=10)  # the fifth digit of Sprecher's example
    as_float = values.astype(np.float64) / float(scale)
    assert (np.diff(values) > 0).all()
    assert (np.diff(as_float) <= 0).any()


def test_sprechers_original_fails() -> None:
    def psi(x: str) -> Fraction:
        return inner_function(Fraction(x), dimension=2, base=10, corrected=False)

    assert psi("0.58999") == Fraction(2207, 4000)
    assert psi("0.59") == Fraction(11, 20)
    assert psi("0.58999") > psi("0.59")  # not increasing
    values = [psi(str(Fraction(i, 10**5))) for i in range(8_990, 9_002)]
    falls = [8_990 + i for i, (a, b) in enumerate(itertools.pairwise(values)) if a > b]
    assert falls == [8_999]  # 0.08999 before 0.09000
    for x in ("0.58999", "0.08999"):
        corrected = [
            inner_function(Fraction(x) + Fraction(i, 10**5), dimension=2, base=10) for i in (0, 1)
        ]
        assert corrected[0] < corrected[1]


def test_both_versions_agree_without_the_last_digit() -> None:
    for index in range(6**3):
        x = Fraction(index, 6**3)
        if all(index // 6**r % 6 < 5 for r in range(2)):  # the first digit may be anything
            original = inner_function(x, dimension=2, corrected=False)
            assert inner_function(x, dimension=2) == original


@pytest.mark.parametrize(
    ("x", "dimension", "base", "message"),
    [
        (Fraction(3, 2), 2, None, r"x must be a Fraction in \[0, 1\], got Fraction\(3, 2\)"),
        (0.5, 2, None, r"x must be a Fraction in \[0, 1\], got 0.5"),
        (Fraction(1, 7), 2, None, "x must have finitely many digits in base 6, got 1/7"),
        (Fraction(1, 10), 1, None, "dimension must be at least 2, got 1"),
        (Fraction(1, 10), 2, 5, r"base must be at least 2 \* dimension \+ 2 = 6, got 5"),
    ],
)
def test_inner_function_refuses(x: Fraction, dimension: int, base: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inner_function(x, dimension=dimension, base=base)


def test_ends_of_the_inner_function() -> None:
    assert inner_function(0, dimension=2) == 0
    assert inner_function(1, dimension=2) == 1
    with pytest.raises(ValueError, match="digits must be at least 1, got 0"):
        inner_grid(0, dimension=2)


# Inner sums ----------------------------------------------------------------------------------

SUMS = [
    InnerSums(dimension=2, base=6, terms=5, digits=3),
    InnerSums(dimension=2, base=8, terms=5, digits=3),
    InnerSums(dimension=2, base=10, terms=9, digits=2),
    InnerSums(dimension=2, base=6, terms=5, digits=4),  # too many digits for int64
    InnerSums(dimension=3, base=8, terms=7, digits=2),
]


@pytest.mark.parametrize("inner", SUMS, ids=str)
def test_sums_follow_their_formula_in_fractions(inner: InnerSums) -> None:
    n, base, digits = inner.dimension, inner.base, inner.digits
    rng = np.random.default_rng(0)
    for index in rng.integers(0, inner.side + 1, (5, n)):
        for q in (0, 1, inner.terms - 1):
            total = Fraction(0)
            for p, i in enumerate(index, start=1):
                alpha = sum(
                    Fraction(1, base ** ((p - 1) * beta(r, n))) for r in range(1, digits + 1)
                )
                shift = q * sum(Fraction(1, base**r) for r in range(2, digits + 1))
                x = Fraction(int(i), base**digits) + shift
                psi = inner_function(x, dimension=n, base=base)
                total += (alpha if p > 1 else 1) * psi
            assert Fraction(int(inner.sums(list(index), q)), inner.scale) == total


def test_integers_are_int64_only_where_they_fit() -> None:
    assert SUMS[0].sums(SUMS[0].grid, 0).dtype == np.int64
    assert SUMS[3].sums(SUMS[3].grid, 0).dtype == object
    assert all(type(v) is int for v in SUMS[3].sums([np.array([0, 7]), np.array([5, 5])], 0))


@pytest.mark.parametrize("inner", SUMS, ids=str)
def test_a_point_is_off_at_most_n_families(inner: InnerSums) -> None:
    for level in range(1, inner.digits + 1):
        covered = inner.covered(level)
        assert covered.shape == (inner.terms, inner.side + 1)
        assert (~covered).sum(0).max() <= 1  # one coordinate is in the gap of one family at most
        assert covered.all() == (level == inner.digits)


@pytest.mark.parametrize("inner", SUMS, ids=str)
def test_images_of_cubes_are_disjoint_for_each_family(inner: InnerSums) -> None:
    for level, q in itertools.product(range(1, inner.digits), range(inner.terms)):
        left, right = inner.images(level, q)
        assert left.shape == (len(inner.anchors(level)),) * inner.dimension
        order = np.argsort(left, axis=None)
        left, right = left.ravel()[order], right.ravel()[order]
        assert (left < right).all()
        assert (right[:-1] < left[1:]).all()


@pytest.mark.parametrize("inner", SUMS, ids=str)
def test_covered_points_land_in_the_image_of_their_cube(inner: InnerSums) -> None:
    rng = np.random.default_rng(0)
    points = rng.integers(0, inner.side + 1, (inner.dimension, 200))
    for level, q in itertools.product(range(1, inner.digits), range(inner.terms)):
        left, right = inner.images(level, q)
        inside = inner.covered(level)[q][points].all(0)
        y = inner.sums(list(points), q)
        hit = (left.ravel() <= y[:, None]) & (y[:, None] <= right.ravel())  # (points, cubes)
        assert inside.any()
        assert (hit.sum(1)[inside] == 1).all()
        # and the cube is the one whose corner is just below
        shift = sum(inner.base ** (inner.digits - r) for r in range(level + 1, inner.digits + 1))
        corner = (points + q * shift) // inner.base ** (inner.digits - level)
        number = np.ravel_multi_index(tuple(corner[:, inside]), left.shape)
        assert (hit[inside].argmax(1) == number).all()


def test_least_distances_between_corners() -> None:
    """In units of base^-beta(k+1): a margin of `base` units is missed at k = 1, exceeded later."""
    inner = InnerSums(dimension=2, base=10, terms=5, digits=3)
    for level, expected in ((1, 9.09991), (2, 49.50499999505)):
        left = np.sort(inner.images(level, 0)[0], axis=None)
        unit = Fraction(1, inner.base ** beta(level + 1, 2))
        least = Fraction(int(np.diff(left).min()), inner.scale) / unit
        assert float(least) == pytest.approx(expected, rel=1e-9)


def test_without_room_at_the_end_the_covering_fails() -> None:
    """Why f is put on [0, 1 - 1/base]: at x_p = 1 no cube with a corner below 1 is left."""
    base, level = 6, 1
    a = Fraction(1, base * (base - 1))
    length = Fraction(base - 2, base - 1) / base**level
    for q in range(5):
        shifted = q * sum((Fraction(1, base**r) for r in range(2, level + 1)), Fraction(0))
        last = 1 - Fraction(1, base**level) + shifted
        assert 1 + q * a > last + length
    # and with a corner at 1, images of one family meet: (0, 1) and (1/base, 0)
    alpha = sum(Fraction(1, base ** beta(r, 2)) for r in range(1, 5))
    growth = (base - 2) * sum(Fraction(1, base ** beta(r, 2)) for r in range(2, 5)) * (1 + alpha)
    psi = inner_function(Fraction(1, base), dimension=2)
    assert psi < alpha * 1 < psi + growth


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((1, 6, 5, 2), "dimension must be at least 2, got 1"),
        ((2, 5, 5, 2), r"base must be at least 2 \* dimension \+ 2 = 6, got 5"),
        ((2, 6, 4, 2), r"terms must be at least 2 \* dimension \+ 1 = 5, got 4"),
        ((2, 6, 6, 2), r"base must be at least terms \+ 1 = 7, got 6"),
        ((2, 6, 5, 0), "digits must be at least 1, got 0"),
    ],
)
def test_inner_sums_refuse(given: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InnerSums(*given)


# Outer functions -----------------------------------------------------------------------------


def test_outer_step_is_constant_on_plateaus_and_linear_on_ramps() -> None:
    left, right = np.array([[100, 0], [40, 60]]), np.array([[110, 10], [50, 70]])
    value = np.array([[4.0, 1.0], [2.0, 3.0]])
    step = OuterStep.from_images(left, right, value, 8)
    assert step.ramp == 5  # half of the gap between 50 and 60
    y = np.arange(-20, 140)
    corners = np.array([-5, 0, 10, 15, 35, 40, 50, 55, 60, 70, 75, 95, 100, 110, 115])
    heights = np.array([0, 1, 1, 0, 0, 2, 2, 0, 3, 3, 0, 0, 4, 4, 0])
    np.testing.assert_allclose(step(y), np.interp(y, corners, heights), atol=1e-15)
    assert step(y.reshape(2, 80)).shape == (2, 80)
    exact = OuterStep.from_images(left, right, value.astype(int).astype(object), 8)
    assert exact(np.array([12]))[0] == Fraction(3, 5)
    huge = 10**30
    far = OuterStep.from_images(left.astype(object) * huge, right.astype(object) * huge, value, 8)
    assert far.ramp == 8
    assert far(np.array([10 * huge, 10 * huge + 2, 10 * huge + 8], dtype=object)).tolist() == [
        1.0,
        0.75,
        0.0,
    ]


def test_images_that_meet_are_refused() -> None:
    with pytest.raises(ValueError, match="images of different cubes must be disjoint, got a gap"):
        OuterStep.from_images(np.array([0, 5]), np.array([5, 9]), np.ones(2), 1)


# Outer iteration -----------------------------------------------------------------------------


def check_promises(g: Superposition) -> None:
    """Each iteration's bound (6), and their product, hold on the whole grid."""
    inner, bound = g.inner, g.iterations[0].before
    for iteration in g.iterations:
        spread = (inner.terms - inner.dimension) * iteration.oscillation
        assert iteration.guaranteed == pytest.approx((spread + 2 * inner.dimension) / inner.terms)
        assert iteration.error <= iteration.guaranteed * iteration.before * (1 + 1e-12)
        bound *= iteration.guaranteed
        assert iteration.error <= bound * (1 + 1e-12)
    assert g.iterations[-1].error == np.abs(g.residual).max()


@pytest.mark.parametrize("f", [product, smooth, signed])
@pytest.mark.parametrize(
    "options",
    [
        {"digits": 3},
        {"digits": 3, "base": 8},
        {"digits": 3, "levels": [2]},
        {"digits": 2, "terms": 9},
        {"digits": 3, "levels": [1, 2, 3]},
    ],
    ids=str,
)
def test_two_variables_contract_as_promised(f: object, options: dict[str, object]) -> None:
    check_promises(superpose(f, 2, **options))


def test_three_variables_contract_as_promised() -> None:
    g = superpose(three, 3, digits=2, levels=[1])
    check_promises(g)
    assert g.iterations[0].measured < g.iterations[0].guaranteed < 1
    check_promises(superpose(three, 3, digits=2, levels=[1, 2]))


@pytest.mark.parametrize(("n", "limit"), [(2, 4 / 5), (3, 6 / 7)])
def test_the_guarantee_tends_to_the_known_constants(n: int, limit: float) -> None:
    constant = superpose(lambda t: np.ones(t.shape[:-1]), n, digits=2, levels=[1])
    assert constant.iterations[0].oscillation == 0
    assert constant.iterations[0].guaranteed == pytest.approx(limit)
    assert constant.iterations[0].measured <= limit
    flat = superpose(lambda t: 9 + product(t), n, digits=2, levels=[1]).iterations[0]
    assert limit < flat.guaranteed < limit + 0.02


def test_finer_cubes_bring_the_guarantee_down_to_its_limit() -> None:
    first = [superpose(smooth, 2, digits=3, levels=[k]).iterations[0] for k in (1, 2)]
    assert first[0].guaranteed > 1 > first[1].guaranteed > 4 / 5
    assert first[1].oscillation < first[0].oscillation / 4


def test_more_families_contract_faster() -> None:
    errors = [
        superpose(smooth, 2, digits=2, terms=terms, levels=[1]).iterations[0]
        for terms in (5, 9, 19, 29)
    ]
    for before, after in itertools.pairwise(errors):
        assert after.guaranteed < before.guaranteed
        assert after.measured < before.measured
    assert errors[-1].measured < errors[-1].guaranteed < 0.3


def test_errors_fall_from_level_to_level_and_vanish_at_the_last() -> None:
    g = superpose(smooth, 2, digits=3, levels=[1, 2, 3])
    errors = [g.iterations[0].before, *(iteration.error for iteration in g.iterations)]
    assert all(after < before for before, after in itertools.pairwise(errors))
    assert errors[-1] <= 1e-15 * errors[0]
    assert g.iterations[-1].oscillation == 0


def test_residual_vanishes_at_the_corners() -> None:
    g = superpose(signed, 2, digits=3, levels=[2])
    at = g.inner.anchors(2)
    assert np.abs(g.residual[np.ix_(at, at)]).max() < 1e-15


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.sampled_from([[1], [2], [1, 2], [1, 3]]))
def test_the_bound_holds_for_any_values(seed: int, levels: list[int]) -> None:
    def noise(t: np.ndarray) -> np.ndarray:
        return np.random.default_rng(seed).uniform(-1, 1, t.shape[:-1])

    check_promises(superpose(noise, 2, digits=3, levels=levels))


def test_zero_stays_zero() -> None:
    g = superpose(lambda t: np.zeros(t.shape[:-1]), 2, digits=2)
    assert g.iterations[0].measured == g.iterations[0].error == 0
    assert g([0.3, 0.4]) == 0


def loop_residuals(f: object, levels: list[int], digits: int, base: int) -> np.ndarray:
    """The residual on the grid by the definitions, one fraction at a time, for n = 2, m = 4."""
    n, terms, side = 2, 5, (base - 1) * base ** (digits - 1)
    alpha = [1, sum(Fraction(1, base ** beta(r, n)) for r in range(1, digits + 1))]
    psi = [
        inner_function(Fraction(j, base**digits), dimension=n, base=base)
        for j in range(base**digits + 1)
    ]
    axis = range(side + 1)

    def xi(index: tuple[int, int], shift: int) -> Fraction:
        return sum(alpha[p] * psi[index[p] + shift] for p in range(n))

    e = {i: f(Fraction(i[0], side), Fraction(i[1], side)) for i in itertools.product(axis, axis)}
    for k in levels:
        corners = [d for d in e if all(j % base ** (digits - k) == 0 for j in d)]
        cut = sum(base ** (digits - r) for r in range(2, k + 1))
        full = sum(base ** (digits - r) for r in range(2, digits + 1))
        width = (base - 2) * sum(base ** (digits - r) for r in range(k + 1, digits + 1))
        new = dict(e)
        for q in range(terms):
            ends = sorted((xi(d, q * cut), xi(d, q * cut + width), e[d]) for d in corners)
            gap = min(after[0] - before[1] for before, after in itertools.pairwise(ends))
            ramp = min(Fraction(1, base ** beta(k + 1, n)), gap / 2)
            for i in e:
                y = xi(i, q * full)
                place = bisect.bisect_right(ends, (y, math.inf, 0))
                for left, right, value in ends[max(place - 1, 0) : place + 1]:  # the neighbors
                    distance = max(left - y, y - right, 0)
                    if distance < ramp:
                        new[i] -= value * (1 - distance / ramp) / terms
        e = new
    return np.array([[e[i, j] for j in axis] for i in axis], dtype=object)


@pytest.mark.parametrize(("digits", "levels"), [(2, [1]), (2, [1, 2])])
def test_vectorized_equals_loops_over_fractions(digits: int, levels: list[int]) -> None:
    def polynomial(u: Fraction, v: Fraction) -> Fraction:
        return 1 + u * v - 2 * v * v

    g = superpose(
        lambda t: polynomial(t[..., 0], t[..., 1]), 2, digits=digits, levels=levels, exact=True
    )
    reference = loop_residuals(polynomial, levels, digits, 6)
    assert (g.residual == reference).all()
    if levels[-1] == digits:
        assert not g.residual.any()  # zero, not merely small
    floats = superpose(lambda t: polynomial(t[..., 0], t[..., 1]), 2, digits=digits, levels=levels)
    np.testing.assert_allclose(floats.residual, g.residual.astype(float), atol=1e-14)


def test_int64_and_python_integers_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = superpose(smooth, 2, digits=3)
    assert fast.steps[0][0].left.dtype == np.int64
    monkeypatch.setattr("kanlite.superposition._integers", lambda bound: np.dtype(object))
    slow = superpose(smooth, 2, digits=3)
    assert slow.steps[0][0].left.dtype == object
    np.testing.assert_allclose(slow.residual, fast.residual, atol=1e-14)
    assert [step.ramp for step in slow.steps[1]] == [step.ramp for step in fast.steps[1]]


def test_evaluation_is_the_sum_over_the_families() -> None:
    g = superpose(smooth, 2, digits=3)
    side = g.inner.side
    t = np.stack(np.meshgrid(*[np.arange(side + 1) / side] * 2, indexing="ij"), -1)
    values = g(t)
    np.testing.assert_allclose(smooth(t) - values, g.residual, atol=1e-13)
    by_hand = sum(g.outer(q, g.inner.sums(g.inner.grid, q)) for q in range(g.inner.terms))
    np.testing.assert_array_equal(values, by_hand)
    nudge = np.array([0.3, -0.4]) / side
    np.testing.assert_array_equal(g(t[1:-1, 1:-1] + nudge), values[1:-1, 1:-1])  # rounded
    third = np.array([[Fraction(1, 3), Fraction(2, 5)]], dtype=object)
    assert g(third) == g([[1 / 3, 2 / 5]])
    assert g([0, 1]).shape == ()


@pytest.mark.parametrize(
    ("t", "message"),
    [
        ([0.1, 0.2, 0.3], r"t must have last dimension 2, got shape \(3,\)"),
        (0.1, r"t must have last dimension 2, got shape \(\)"),
        ([0.1, 1.2], r"t must lie in \[0, 1\]"),
        ([0.1, float("nan")], r"t must lie in \[0, 1\]"),
    ],
)
def test_points_out_of_range_are_refused(t: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        superpose(product, 2, digits=2)(t)


def test_sufficient_level_is_the_smallest_that_the_bound_allows() -> None:
    g = superpose(product, 2, digits=3, levels=[1])
    only = g.iterations[0]
    slope = only.before * g.inner.scale / min(step.ramp for step in g.steps[0])
    constant = 4 * float(sum(g.inner.alphas)) / g.inner.base * slope
    level = g.sufficient_level()
    assert constant / 2**level <= only.error / 6 < constant / 2 ** (level - 1)  # 6 = 2 (n + 1)
    assert level > g.inner.digits  # the second guaranteed step is out of reach of any such grid
    assert g.sufficient_level(1 / 12) == level + 1
    assert g.sufficient_level(1e9) == 2  # one above the last, at least
    with pytest.raises(ValueError, match=r"oscillation must be positive, got 0\.0"):
        g.sufficient_level(0.0)
    exact = superpose(lambda t: 1 + product(t), 2, digits=2, levels=[2], exact=True)
    with pytest.raises(ValueError, match="there must be a residual"):
        exact.sufficient_level()


@pytest.mark.parametrize(
    ("f", "dimension", "options", "message"),
    [
        (product, 1, {}, "dimension must be at least 2, got 1"),
        (
            product,
            2,
            {"levels": []},
            r"levels must increase from 1 to digits = 3 at most, got \[\]",
        ),
        (product, 2, {"levels": [2, 2]}, r"levels must increase .*, got \[2, 2\]"),
        (product, 2, {"levels": [0, 1]}, r"levels must increase .*, got \[0, 1\]"),
        (product, 2, {"levels": [4]}, r"levels must increase .*, got \[4\]"),
        (product, 2, {"digits": 0}, "digits must be at least 1, got 0"),
        (product, 3, {"digits": 4}, f"digits must leave at most {MAX_POINTS} grid points, got 4"),
        (lambda t: t, 2, {}, r"f must take points of shape .* to values of shape"),
        (lambda t: np.log(t[..., 0] * 0 - 1), 2, {}, "f must be finite"),
        (lambda t: np.ones(t.shape[:-1]), 2, {"exact": True}, "must return fract"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_superpose_refuses(
    f: object, dimension: int, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        superpose(f, dimension, **options)


def test_one_digit_is_enough_for_a_table() -> None:
    g = superpose(smooth, 2, digits=1)
    assert [iteration.level for iteration in g.iterations] == [1]
    assert g.iterations[0].error <= 1e-15 * g.iterations[0].before
