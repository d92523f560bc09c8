"""Candidates that keep their promises, and fits that find their constants."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from kanlite.candidates import CANDIDATES, AffineFit, Candidate, fit_affine, ranked, suggest
from tests.helpers import default_dtype, seeded, uniform

sympy = pytest.importorskip("sympy")
NAMED = {candidate.name: candidate for candidate in CANDIDATES}


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with default_dtype(torch.float64):
        yield


def inside(candidate: Candidate, count: int = 40) -> Tensor:
    """Points well inside a candidate's domain."""
    low, high = candidate.domain
    low, high = (max(low, -2.0), min(high, 2.0))
    return torch.linspace(low, high, count + 2)[1:-1]


# Candidates ----------------------------------------------------------------------------------


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda c: c.name)
def test_both_definitions_agree(candidate: Candidate) -> None:
    x = inside(candidate)
    function = sympy.lambdify(sympy.Symbol("x"), sympy.sympify(candidate.expression), "numpy")
    assert torch.allclose(candidate.function(x), torch.as_tensor(function(x.numpy())), rtol=1e-12)


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda c: c.name)
def test_what_can_be_undone_can_be_undone(candidate: Candidate) -> None:
    f, x = candidate.function, inside(candidate)
    if candidate.scale == "multiplies":
        assert torch.allclose(f(0.3 * x), candidate.value(0.3) / candidate.value(1.0) * f(x))
    if candidate.scale == "adds":
        assert torch.allclose(f(0.3 * x), f(x) + candidate.value(0.3) - candidate.value(1.0))
    if candidate.shift == "multiplies":
        assert torch.allclose(f(x + 0.3), candidate.value(0.3) / candidate.value(0.0) * f(x))
    if candidate.shift == "adds":
        assert torch.allclose(f(x + 0.3), f(x) + candidate.value(0.3) - candidate.value(0.0))
    if candidate.parity:
        assert torch.allclose(f(-x), f(x) if candidate.parity == "even" else -f(x))
    if candidate.period:
        assert torch.allclose(f(x + candidate.period), f(x))


def test_bad_candidates_are_refused() -> None:
    with pytest.raises(ValueError, match="complexity must be finite and at least 0, got -1"):
        Candidate("f", torch.sin, "sin(x)", -1)
    with pytest.raises(ValueError, match="domain must be an interval low < high"):
        Candidate("f", torch.sin, "sin(x)", 1, (1.0, 1.0))


# One edge ------------------------------------------------------------------------------------


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda c: c.name)
@pytest.mark.parametrize("seed", range(2))
def test_a_disguised_function_is_found(candidate: Candidate, seed: int) -> None:
    x = uniform(300, low=-0.8, high=1.3, seed=seed)
    low, high = max(candidate.domain[0], -2.5), min(candidate.domain[1], 2.5)
    left, right = torch.tensor([0.06, 0.4]) + uniform(2, low=0, high=0.3, seed=seed)
    ends = low + (high - low) * torch.stack([left, right + 0.2])
    a = (ends[1] - ends[0]) / 2.1
    y = -2.5 * candidate.function(a * (x + 0.8) + ends[0]) + 7
    fit = fit_affine(x, y, candidate)
    assert 1 - fit.r2 < 1e-12
    assert torch.allclose(fit(candidate, x), y, atol=1e-5)
    argument = fit.a * x + fit.b
    assert candidate.domain[0] < argument.min()
    assert argument.max() < candidate.domain[1]


def test_constants_of_a_sine_are_exact() -> None:
    x = uniform(200)
    a, b, c, d, r2 = fit_affine(x, 3 * torch.sin(5 * x + 0.5) - 1, NAMED["sin"])
    assert a == pytest.approx(5, abs=1e-7)
    assert c * math.sin(b) == pytest.approx(3 * math.sin(0.5), abs=1e-6)
    assert d == pytest.approx(-1, abs=1e-7)
    assert r2 == pytest.approx(1)


def test_weights_choose_the_samples() -> None:
    x = uniform(200)
    y = torch.where(x > 0, x**2, 5.0)
    fit = fit_affine(x, y, NAMED["x^2"], weight=(x > 0).double())
    assert torch.allclose(fit(NAMED["x^2"], x[x > 0]), y[x > 0], atol=1e-6)


def test_the_scale_of_a_fit_does_not_matter() -> None:
    x = uniform(200, low=0.5, high=2.0)
    y = torch.log(x)
    plain, scaled = (fit_affine(s * x, t * y, NAMED["log"]) for s, t in ((1, 1), (1e6, 1e-9)))
    assert plain.r2 == pytest.approx(scaled.r2, abs=1e-9)
    assert scaled.c == pytest.approx(1e-9, rel=1e-4)


def test_a_constant_has_no_shape() -> None:
    assert fit_affine(uniform(20), torch.full((20,), 3.0), NAMED["sin"]) == AffineFit(1, 0, 0, 3, 1)


def test_bad_samples_are_refused() -> None:
    x = uniform(10)
    with pytest.raises(ValueError, match="must have one shape"):
        fit_affine(x, x[:5], NAMED["x"])
    with pytest.raises(ValueError, match="x and y must be finite"):
        fit_affine(x, x / 0, NAMED["x"])
    with pytest.raises(ValueError, match="x must vary, got 1"):
        fit_affine(torch.ones(10), x, NAMED["x"])
    for bad in (-torch.ones(10), torch.zeros(10)):
        with pytest.raises(ValueError, match="weight must be finite, not negative"):
            fit_affine(x, x, NAMED["x"], weight=bad)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("x", -1, 1),
        ("x^2", -1, 1),
        ("sin", -3, 3),
        ("exp", -2, 2),
        ("log", 0.1, 3),
        ("1/x", 0.3, 2),
        ("sqrt", 0.01, 2),
        ("tanh", -2, 2),
        ("gaussian", -2, 2),
        ("arctanh", -0.9, 0.9),
        ("abs", -1, 1),
    ],
)
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_the_right_function_is_suggested(name: str, low: float, high: float, noise: float) -> None:
    x = uniform(300, low=low, high=high)
    y = NAMED[name].function(x)
    if noise:  # what a spline makes of noisy samples: a smooth error
        y = y + noise * y.std() * torch.sin(6 * x / (high - low) + 1)
    best = suggest(x, y, floor=max(noise, 1e-6))[0]
    assert best.candidate.name == name


def test_a_noisy_sine_stays_a_sine() -> None:
    x = uniform(500)
    y = torch.sin(3 * x) + 0.05 * torch.randn(500, generator=seeded(99))
    best = suggest(x, y, floor=0.05)[0]
    assert best.candidate.name == "sin"
    assert best.fit.a == pytest.approx(3, abs=0.1)


def test_even_a_weak_edge_is_never_a_constant() -> None:
    x = uniform(100)
    for s in suggest(x, 1 + 1e-9 * torch.sin(3 * x)):
        assert s.fit.c != 0


def test_a_custom_candidate_is_one_line() -> None:
    bump = Candidate("sech", lambda x: 1 / torch.cosh(x), "1/cosh(x)", complexity=3)
    x = uniform(200, low=-3, high=3)
    y = 2 / torch.cosh(1.5 * x - 0.3)
    assert suggest(x, y, candidates=[*CANDIDATES, bump])[0].candidate is bump


def test_what_is_known_up_to_other_functions() -> None:
    x = uniform(300, low=-2.0, high=2.0)
    other = torch.cos(x) ** 2
    y = torch.cos(x) - 0.7 * other
    assert suggest(x, y)[0].error > 0.05
    best = suggest(x, y, beside=other[:, None])[0]
    assert best.candidate.name == "sin"
    assert best.error < 1e-10
    assert abs(best.fit.a) == pytest.approx(1)
    assert abs(best.fit.c) == pytest.approx(1)
    fit = fit_affine(x, y, NAMED["sin"], beside=other[:, None])
    assert fit.r2 == pytest.approx(1)
    assert fit_affine(x, y, NAMED["sin"]).r2 < 0.99


def test_accuracy_decides_what_length_is_worth() -> None:
    """A short function that is nearly right is the best until errors count."""
    x = uniform(300)
    found = suggest(x, x + 0.01 * torch.sin(4 * x))
    coarse, fine = (ranked(found, 10, floor)[0] for floor in (0.1, 1e-6))
    assert coarse.candidate.name == "x"
    assert fine.error < coarse.error
    assert len(ranked(found, 10, 0.1)) == len(found)


def test_bad_requests_for_suggestions_are_refused() -> None:
    x = uniform(20)
    with pytest.raises(ValueError, match="freedom and floor must be above 0, got 0"):
        suggest(x, x, freedom=0)
    with pytest.raises(ValueError, match="freedom and floor must be above 0, got 10 and 0"):
        suggest(x, x, floor=0.0)
    with pytest.raises(ValueError, match="at least 8, got"):
        suggest(x[:7], x[:7])
    with pytest.raises(ValueError, match="y must vary"):
        suggest(x, torch.ones(20))
