"""Checks of the exercises to the chapter on B-splines.

Glossary
    t, knots  knots, shape (K,)
    k, degree polynomial power
    n         number of basis functions, K - k - 1
    c, coef   coefficients, shape (n,)
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import interpolate
from torch import Tensor

import kanlite as kl
from exercises.checks import Wrong, checker, choose, close, uniform


def _knots(rng: torch.Generator, degree: int, cells: int = 6, repeat: int = 1) -> Tensor:
    """Random knots with simple ends; interior multiplicities from 1 to `repeat`."""
    breaks = uniform(rng, 0.2, 1.0, cells + 1 + 2 * degree).cumsum(0) - 2.0
    copies = torch.ones(len(breaks), dtype=torch.long)
    inner = slice(degree + 1, len(breaks) - degree - 1)
    copies[inner] = torch.randint(1, repeat + 1, copies[inner].shape, generator=rng)
    return breaks.repeat_interleave(copies)


def _clamped(rng: torch.Generator, degree: int, cells: int = 5) -> Tensor:
    """Random knots with degree + 1 equal ones at both ends."""
    breaks = uniform(rng, 0.2, 1.0, cells + 1).cumsum(0) - 2.0
    return torch.cat([breaks[:1].repeat(degree), breaks, breaks[-1:].repeat(degree)])


def _domain(knots: Tensor, degree: int) -> tuple[float, float]:
    return float(knots[degree]), float(knots[len(knots) - degree - 1])


def _inside(rng: torch.Generator, knots: Tensor, degree: int, points: int = 40) -> Tensor:
    """Random points inside the domain, away from its knots."""
    return uniform(rng, *_domain(knots, degree), points)


def _entry(answer: Any, name: str) -> Any:
    """An entry of a dictionary that the exercise asks for."""
    if not isinstance(answer, dict):
        raise Wrong(f"Give a dictionary, not {type(answer).__name__}.")
    if name not in answer:
        raise Wrong(f"The entry {name!r} is missing.")
    return answer[name]


def _vector(answer: Any, name: str, length: int) -> Tensor:
    """A vector of floats from a dictionary, with the right length."""
    got = torch.as_tensor(_entry(answer, name)).double()
    if got.shape != (length,):
        raise Wrong(f"{name!r} should hold {length} numbers, but has shape {tuple(got.shape)}.")
    if not got.isfinite().all():
        raise Wrong(f"{name!r} should hold finite numbers.")
    return got


def _pair(got: Any, what: str) -> tuple[Any, Any]:
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        raise Wrong(f"Return two things, {what}.")
    return got[0], got[1]


@checker("b-splines/predict", "the four predictions, against the basis itself")
def _predict(answer: Any, rng: torch.Generator) -> None:
    knots = kl.uniform_knots(6, 3, dtype=torch.float64)
    basis = kl.bspline_basis(_inside(rng, knots, 3, 500), knots, 3)
    x = torch.linspace(-0.999, 0.999, 2000, dtype=torch.float64)
    moved = kl.bspline_basis(x, knots, 3)[:, 4] > 0
    right = {
        "num_basis": (float(basis.shape[1]), "Count the knots, padding included, and subtract."),
        "touched": (float((basis > 0).sum(1).max()), "Look at part 3 of the theorem on support."),
        "cells": (
            float(kl.find_cell(x[moved], knots, 3).unique().numel()),
            "The support of a B-spline of degree k runs from its first knot to its last.",
        ),
        "sum_at_knot": (
            kl.bspline_basis(knots[2:3], knots, 3).sum().item(),
            "This knot lies outside the domain, where the partition of unity is not complete.",
        ),
    }
    for name, (value, hint) in right.items():
        close(f"your {name!r}", float(_entry(answer, name)), value, 1e-6, hint)


@checker("b-splines/by-hand", "two values and two slopes")
def _by_hand(answer: Any, rng: torch.Generator) -> None:
    knots = np.array([0.0, 1.0, 3.0, 4.0])
    bump = interpolate.BSpline.basis_element(knots)
    for point in (1, 2):
        hint = "Write both hats at this point first; the slope is 2 (B_01 - B_11) / 3."
        for name, order in ((f"value at {point}", 0), (f"slope at {point}", 1)):
            value = float(bump(float(point), nu=order))
            close(f"your {name!r}", float(_entry(answer, name)), value, 1e-6, hint)


@checker("b-splines/recursion", "simple and repeated knots, points on knots, the right end")
def _recursion(answer: Callable[[Tensor, Tensor, int], Tensor], rng: torch.Generator) -> None:
    for degree in range(5):
        knots = _knots(rng, degree)
        x = _inside(rng, knots, degree)
        hint = "Compare your slices with the recursion for the smallest case, degree 1."
        what = f"the basis of degree {degree} on simple knots"
        close(what, answer(x, knots, degree), kl.bspline_basis(x, knots, degree), 1e-9, hint)
        x = knots[:-1]
        hint = "A point on a knot belongs to the cell that begins there, and to no other."
        what = f"the basis of degree {degree} at the knots themselves"
        if degree:  # degree 0 jumps at the last knot, which is checked below
            close(what, answer(x, knots, degree), kl.bspline_basis(x, knots, degree), 1e-9, hint)
    for degree in range(1, 5):
        knots = _knots(rng, degree, repeat=degree + 1)
        x = _inside(rng, knots, degree)
        hint = "Where a length is 0, the function above it is 0 already: do not divide by 0."
        what = f"the basis of degree {degree} on repeated knots"
        close(what, answer(x, knots, degree), kl.bspline_basis(x, knots, degree), 1e-9, hint)
    for degree in range(4):
        knots = _clamped(rng, degree)
        x = knots[-1:]
        hint = "The last nonempty cell before the right end of the domain holds that end."
        what = f"the basis of degree {degree} at the right end of clamped knots"
        close(what, answer(x, knots, degree), kl.bspline_basis(x, knots, degree), 1e-9, hint)


@checker("b-splines/reach", "the cells that change when a knot of a random spline is moved")
def _reach(answer: Callable[[Tensor, int, int], Any], rng: torch.Generator) -> None:
    for degree in (1, 2, 3, 4):
        knots = _knots(rng, degree, cells=2 * degree + 6)
        n = len(knots) - degree - 1
        j = int(torch.randint(2 * degree, n - degree + 1, (1,), generator=rng))
        moved = knots.clone()
        moved[j] = (knots[j] + knots[j + 1]) / 2
        coef = torch.randn(n, generator=rng, dtype=torch.float64)
        middles = (knots[degree:n] + knots[degree + 1 : n + 1]) / 2
        before = kl.bspline_basis(middles, knots, degree) @ coef
        after = kl.bspline_basis(middles, moved, degree) @ coef
        changed = ((before - after).abs() > 1e-12).nonzero()[:, 0] + degree
        first, last = knots[changed.min()], knots[changed.max() + 1]
        low, high = _pair(answer(knots, degree, j), "the low and the high end")
        where = f"of the interval for degree {degree} and j = {j}"
        hint = "Move one knot in a small example, and see which cells change."
        close(f"the low end {where}", low, first, 1e-12, hint)
        close(f"the high end {where}", high, last, 1e-12, hint)


@checker("b-splines/derivative", "random splines of degree 1 to 4, with repeated knots")
def _derivative(answer: Callable[[Tensor, Tensor, int], Any], rng: torch.Generator) -> None:
    for repeat in (1, 2, 4):
        for degree in (1, 2, 3, 4):
            knots = _knots(rng, degree, repeat=min(repeat, degree + 1))
            n = len(knots) - degree - 1
            coef = torch.randn(n, generator=rng, dtype=torch.float64)
            got = answer(knots.clone(), coef.clone(), degree)
            new_knots, new_coef = _pair(got, "knots and coefficients")
            kind = "simple" if repeat == 1 else "repeated"
            what = f"of the derivative, degree {degree}, {kind} knots"
            hint = "The derivative does not need the first and the last knot."
            close(f"the knots {what}", new_knots, knots[1:-1], 1e-12, hint)
            new_coef = torch.as_tensor(new_coef)
            if new_coef.shape != (n - 1,):
                raise Wrong(
                    f"The coefficients {what}, should number {n - 1}, one less than before, "
                    f"but have shape {tuple(new_coef.shape)}."
                )
            x = _inside(rng, knots, degree)
            right = kl.bspline_basis(x, knots, degree, derivative=1) @ coef
            mine = kl.bspline_basis(x, torch.as_tensor(new_knots), degree - 1) @ new_coef
            hint = "Try degree 1, a polyline, where each coefficient is the slope on one cell."
            close(f"values {what},", mine, right, 1e-9, hint)


@checker("b-splines/corner", "the multiplicity of each knot, for random breakpoints")
def _corner(answer: Callable[..., Any], rng: torch.Generator) -> None:
    for degree in (1, 2, 3, 5):
        low, high = -1.0 - degree, 2.0
        breaks = [round(float(b), 3) for b in uniform(rng, low + 0.1, high - 0.1, 3)]
        wanted = {b: int(torch.randint(0, degree, (1,), generator=rng)) for b in breaks}
        knots = torch.as_tensor(answer(degree, low, high, dict(wanted)))
        if knots.dim() != 1 or not knots.is_floating_point():
            raise Wrong("Return one tensor of shape (K,) that holds real numbers.")
        if (knots.diff() < 0).any():
            raise Wrong("The knots are not in ascending order. The breakpoints may come unsorted.")
        for end in (low, high):
            copies = int((knots == end).sum())
            if copies != degree + 1:
                raise Wrong(
                    f"For degree {degree} the end {end} should occur {degree + 1} times (clamped), "
                    f"but occurs {copies} times."
                )
        for tau, r in wanted.items():
            copies = int((knots - tau).abs().lt(1e-9).sum())
            if copies != degree - r:
                raise Wrong(
                    f"For degree {degree} and C^{r} at {tau}, that knot occurs {copies} times. "
                    f"A knot of multiplicity m gives C^(k - m): solve k - m = r for m."
                )
        if len(knots) != 2 * (degree + 1) + sum(degree - r for r in wanted.values()):
            raise Wrong("There are knots at places where none was asked for.")


@checker("b-splines/powers", "every power up to the degree, on random knots")
def _powers(answer: Callable[[Tensor, int, int], Any], rng: torch.Generator) -> None:
    for degree in (1, 2, 3, 4):
        knots = _knots(rng, degree, repeat=2)
        n = len(knots) - degree - 1
        x = _inside(rng, knots, degree)
        basis = kl.bspline_basis(x, knots, degree)
        for j in range(degree + 1):
            coef = torch.as_tensor(answer(knots, degree, j))
            if coef.shape != (n,):
                raise Wrong(
                    f"For degree {degree} and j = {j} there should be {n} coefficients, "
                    f"but the shape is {tuple(coef.shape)}."
                )
            hint = {
                0: "For j = 0 the curve is 1: which theorem gives the coefficients?",
                1: "For j = 1 they are the averages of the inner knots t[i+1], ..., t[i+k].",
            }.get(j, "Averages of products of j different inner knots, not powers of averages.")
            what = f"the spline of degree {degree} for x**{j}"
            close(what, basis @ coef.to(basis.dtype), x**j, 1e-9, hint)


@checker("b-splines/false-step", "the step, and your spline on a fine grid")
def _false_step(answer: Any, rng: torch.Generator) -> None:
    choose(
        _entry(answer, "step"),
        "D",
        {
            "A": "this only assumes the opposite of the claim.",
            "B": "this is the theorem on support and sign, and the partition of unity.",
            "C": "this is the convex hull property.",
            "E": "if the steps before it were true, the contradiction would be one.",
        },
    )
    coef = _vector(answer, "coef", 8)
    knots = kl.uniform_knots(6, 2, dtype=torch.float64)
    x = torch.linspace(-1, 1, 12001, dtype=torch.float64)
    values = kl.bspline_basis(x, knots, 2) @ coef
    if not coef.min() < 0:
        raise Wrong("None of your coefficients is negative, so this does not refute the claim.")
    if not values.min() > 0:
        at = float(x[values.argmin()])
        raise Wrong(
            f"Your spline is not positive everywhere: at x = {at:.3f} it is "
            f"{float(values.min()):.3g}. Make the negative coefficient smaller in size, or its "
            "neighbors larger; at the first and last place it shows at an end of the domain."
        )


@checker("b-splines/dependent", "your knots against the definition, your spline on the domain")
def _dependent(answer: Any, rng: torch.Generator) -> None:
    knots, coef = _vector(answer, "knots", 9), _vector(answer, "coef", 6)
    if (knots.diff() < 0).any():
        raise Wrong("The knots are not in ascending order.")
    if not (knots[:6] < knots[3:]).all():
        i = int((knots[:6] >= knots[3:]).nonzero()[0])
        raise Wrong(
            f"t_{i} = t_{i + 3}: the definition forbids this, a knot may occur three times at most."
        )
    if not knots[2] < knots[6]:
        raise Wrong("The domain [t_2, t_6] has no length.")
    if not coef.abs().max() > 0:
        raise Wrong("All coefficients are zero; any knots would do for that.")
    x = torch.cat([_inside(rng, knots, 2, 200), knots[2:7]])
    values = kl.bspline_basis(x, knots, 2) @ coef
    if values.abs().max() > 1e-12 * coef.abs().max():
        at = float(x[values.abs().argmax()])
        raise Wrong(
            f"At x = {at:.3f}, inside the domain, your spline is {float(values.abs().max()):.3g} "
            "in size, not zero. Which basis function can lie outside the domain altogether?"
        )


@checker("b-splines/shortest", "your knots against the rules, your spline on every cell")
def _shortest(answer: Any, rng: torch.Generator) -> None:
    knots = torch.as_tensor(_entry(answer, "knots")).double()
    if knots.dim() != 1 or len(knots) < 6 or not knots.isfinite().all():
        raise Wrong("'knots' should hold at least six finite numbers.")
    coef = _vector(answer, "coef", len(knots) - 3)
    if (knots.diff() < 0).any():
        raise Wrong("The knots are not in ascending order.")
    if not (knots[:-3] < knots[3:]).all():
        raise Wrong("A knot occurs four times; the definition forbids this.")
    low, high = _domain(knots, 2)
    ends, copies = knots[(knots >= low) & (knots <= high)].unique(return_counts=True)
    if len(ends) < 4:
        raise Wrong(f"Your domain has {len(ends) - 1} cells; one with neighbors needs three.")
    if (copies[1:-1] > 2).any():
        tau = float(ends[1:-1][copies[1:-1] > 2][0])
        raise Wrong(f"The knot {tau:g} occurs three times inside the domain: a spline may jump.")
    u = uniform(rng, 0.05, 0.95, 20)
    x = ends[:-1, None] + ends.diff()[:, None] * u
    sizes = (kl.bspline_basis(x, knots, 2) @ coef).abs().amax(1)
    used = (sizes > 1e-9 * max(1.0, float(coef.abs().max()))).nonzero()[:, 0]
    if len(used) == 0:
        raise Wrong("Your spline is zero on the whole domain.")
    if len(used) > 1:
        raise Wrong(
            f"Your spline lives on {len(used)} cells. Which knots make the support of one "
            "B-spline, four neighboring knots, a single cell?"
        )
    if int(used[0]) in (0, len(ends) - 2):
        raise Wrong(
            "Your cell is at an end of the domain, where a part of a support is out of sight: "
            "it needs a cell of the domain on each side."
        )


@checker("b-splines/referee", "the six verdicts")
def _referee(answer: Any, rng: torch.Generator) -> None:
    claims = {
        "A": ("false", "think of degree 1: is a polyline differentiable at its corners?"),
        "B": ("true", "count: G + 1 knots on the domain, 3 more on each side, minus k + 1."),
        "C": ("false", "look at the factors that the cell above printed."),
        "D": ("true", "the derivative by c_i is a multiple of B_i(x)."),
        "E": ("false", "at a knot, a cubic spline mixes three coefficients."),
        "F": ("true", "what does the convex hull property say?"),
    }
    for letter, (right, reason) in claims.items():
        other = "true" if right == "false" else "false"
        given = _entry(answer, letter)
        if isinstance(given, bool):
            given = str(given).lower()
        try:
            choose(given, right, {other: f"claim {letter}: {reason}"})
        except Wrong as wrong:
            raise Wrong(f"Claim {letter}: {wrong}") from None


@checker("b-splines/scipy", "values on the domain and on straight lines outside")
def _scipy(answer: Callable[[Any], Callable[[Tensor], Any]], rng: torch.Generator) -> None:
    for degree in (1, 2, 3, 4):
        knots = _knots(rng, degree) if degree % 2 else _clamped(rng, degree)
        n = len(knots) - degree - 1
        coef = torch.randn(n, generator=rng, dtype=torch.float64)
        spline = interpolate.BSpline(knots.numpy(), coef.numpy(), degree)
        mine = answer(spline)
        if not callable(mine):
            raise Wrong("Return a function of x, such as `lambda x: basis(x) @ coef`.")
        x = _inside(rng, knots, degree)
        right = torch.as_tensor(spline(x.numpy()))
        close(f"the spline of degree {degree} on its domain", mine(x), right, 1e-9)
        low, high = _domain(knots, degree)
        # The slopes at the ends, from inside: SciPy's own slope at an end is that of its cell.
        for end, side, beyond in (
            (low, "left of", uniform(rng, low - 2, low, 10)),
            (high, "right of", uniform(rng, high, high + 2, 10)),
        ):
            right = torch.as_tensor(spline(end) + (beyond.numpy() - end) * spline(end, nu=1))
            hint = "Outside: value plus slope of the nearer end, times the distance from it."
            what = f"the spline of degree {degree} {side} its domain"
            close(what, mine(beyond), right, 1e-9, hint)
