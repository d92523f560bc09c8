"""Checks of the exercises to the chapter on fitting with splines.

Glossary
    t, knots  knots, shape (K,)
    k, degree polynomial power
    n         number of basis functions, K - k - 1
    A         matrix of samples, shape (samples, n)
    c, coef   coefficients, shape (n,)
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

import kanlite as kl
from exercises.checks import Wrong, checker, choose, close, uniform


def _clamped(rng: torch.Generator, degree: int, cells: int = 5, repeat: int = 1) -> Tensor:
    """Random knots, clamped at both ends; interior multiplicities from 1 to `repeat`."""
    breaks = uniform(rng, 0.2, 1.0, cells + 1).cumsum(0) - 2.0
    copies = torch.randint(1, repeat + 1, (cells + 1,), generator=rng)
    copies[0] = copies[-1] = degree + 1
    return breaks.repeat_interleave(copies)


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


def _truth(got: Any) -> bool:
    """A truth value, NumPy's and PyTorch's own included."""
    if isinstance(got, (Tensor, np.bool_)) and got.ndim == 0:
        got = got.item()
    if not isinstance(got, (bool, int)):
        raise Wrong(f"Return True or False, not {type(got).__name__}.")
    return bool(got)


def _fit_error(f: Callable[[Tensor], Tensor], num_intervals: int) -> float:
    """Largest error of the best cubic fit on [-1, 1]."""
    x = torch.linspace(-1, 1, 3001, dtype=torch.float64)
    basis = kl.bspline_basis(x, kl.uniform_knots(num_intervals, 3, dtype=torch.float64), 3)
    return float((basis @ torch.linalg.lstsq(basis, f(x)).solution - f(x)).abs().max())


def _operator_error(num_intervals: int) -> float:
    """Largest error of Schoenberg's operator on sin 3x."""
    x = torch.linspace(-1, 1, 3001, dtype=torch.float64)
    knots = kl.uniform_knots(num_intervals, 3, dtype=torch.float64)
    places = knots[1:-1].unfold(0, 3, 1).mean(1)
    return float((kl.bspline_basis(x, knots, 3) @ (3 * places).sin() - (3 * x).sin()).abs().max())


@checker("fitting-with-splines/predict", "a rank, three factors and a degree, each measured")
def _predict(answer: Any, rng: torch.Generator) -> None:
    x = uniform(rng, -1.0, 1.0, 1000)
    x = x[(x < -0.2) | (x > 0.8)]
    knots = kl.uniform_knots(10, 3, dtype=torch.float64)
    rank = float(torch.linalg.matrix_rank(kl.bspline_basis(x, knots, 3)))
    hint = "A cubic B-spline covers four intervals: how many fit into the empty ones?"
    close("your 'rank'", float(_entry(answer, "rank")), rank, 1e-6, hint)

    def corner(x: Tensor) -> Tensor:
        return (x - 0.3).abs()

    smooth = [_fit_error(lambda x: (3 * x).sin(), size) for size in (40, 80)]
    rough = [_fit_error(corner, size) for size in (40, 160)]
    operator = [_operator_error(size) for size in (40, 80)]
    measured = {
        "smooth_factor": (smooth[0] / smooth[1], "Which power of h does the rate theorem give?"),
        "operator_factor": (operator[0] / operator[1], "Its error on x^2 is (k + 1) h^2 / 12."),
        "corner_factor": ((rough[0] / rough[1]) ** 0.5, "How many derivatives has the function?"),
    }
    for name, (factor, hint) in measured.items():
        mine = float(_entry(answer, name))
        if not 0.75 * factor < mine < 1.33 * factor:
            raise Wrong(f"Your {name!r}, {mine:g}, is not what is measured. {hint}")
    differences = torch.eye(13, dtype=torch.float64).diff(n=3, dim=0)
    x = uniform(rng, -1.0, 1.0, 200)
    basis = kl.bspline_basis(x, knots, 3)
    system = basis.T @ basis + 1e9 * differences.T @ differences
    fit = basis @ torch.linalg.solve(system, basis.T @ (5 * x).exp())
    powers = x[:, None] ** torch.arange(6)
    degree = next(
        d
        for d in range(6)
        if (powers[:, : d + 1] @ torch.linalg.lstsq(powers[:, : d + 1], fit).solution - fit)
        .abs()
        .max()
        < 1e-3 * fit.abs().max()
    )
    hint = "For which polynomials are all third differences of the coefficients zero?"
    mine = float(_entry(answer, "parabola_degree"))
    close("your 'parabola_degree'", mine, float(degree), 1e-6, hint)


@checker("fitting-with-splines/by-hand", "three weights, their size, and one value")
def _by_hand(answer: Any, rng: torch.Generator) -> None:
    knots = torch.tensor([-1.0, -0.5, 0.0, 1.0, 1.5, 2.0], dtype=torch.float64)
    x = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    weights = torch.linalg.inv(kl.bspline_basis(x, knots, 2))[1]  # t_2 = 0 and t_3 = 1
    right = {
        "left": (weights[0], "Write the three equations for f = 1, x and x^2."),
        "middle": (weights[1], "Subtract the equation for x^2 from the one for x."),
        "right": (weights[2], "The functional is symmetric about 1/2."),
        "W": (weights.abs().sum(), "Add the sizes of the weights, not the weights."),
        "quartic": (weights @ x**4, "Only the three values of x^4 count, not its own coefficient."),
    }
    for name, (value, hint) in right.items():
        close(f"your {name!r}", float(_entry(answer, name)), float(value), 1e-6, hint)


@checker("fitting-with-splines/interlaces", "random data, crowded data, repeated knots, any order")
def _interlaces(answer: Callable[[Tensor, Tensor, int], Any], rng: torch.Generator) -> None:
    seen = {True: 0, False: 0}
    hints = {
        True: "You say no, but a subset interlaces. Take the first free point for each function.",
        False: "You say yes, but no subset interlaces. Each point serves one function only, and "
        "points and functions go in the same order.",
    }
    for trial in range(120):
        degree = trial % 4
        knots = _clamped(rng, degree, repeat=degree or 1)
        n = len(knots) - degree - 1
        low, high = float(knots[0]), float(knots[-1])
        power = 1 + 3 * float(torch.rand(1, generator=rng))
        points = n + int(torch.randint(-1, 6, (1,), generator=rng))
        x = low + (high - low) * uniform(rng, 0.0, 1.0, points) ** power
        sees = kl.bspline_basis(x.sort().values, knots, degree) > 0
        served = [True] + [False] * n  # whether the points so far can serve the first i functions
        for row in sees.tolist():
            for i in reversed(range(n)):
                served[i + 1] |= served[i] and row[i]
        right = served[n]
        seen[right] += 1
        if _truth(answer(x, knots, degree)) != right:
            raise Wrong(
                f"Wrong for degree {degree}, {n} functions and {points} points. {hints[right]}"
            )
    if min(seen.values()) < 10:
        raise RuntimeError("the check drew too few cases of one kind")


@checker("fitting-with-splines/false-step", "the step, and the rank of your six equations")
def _false_step(answer: Any, rng: torch.Generator) -> None:
    choose(
        _entry(answer, "step"),
        "D",
        {
            "A": "this is the theorem on least squares.",
            "B": "this is the assumption of the claim, in other words.",
            "C": "this is the theorem of Curry and Schoenberg.",
            "E": "this follows from A and D, if D is true.",
        },
    )
    x = _vector(answer, "x", 6)
    if len(x.unique()) < 6:
        raise Wrong("The six points should all be different.")
    if not ((x >= 0) & (x <= 4)).all():
        raise Wrong("The points should lie in the domain [0, 4].")
    basis = kl.bspline_basis(x, torch.arange(-1.0, 6.0, dtype=torch.float64), 1)
    if not (basis > 0).any(0).all():
        missing = int((basis > 0).any(0).logical_not().nonzero()[0])
        raise Wrong(f"The hat with its top at {missing} is zero at all your points.")
    if int(torch.linalg.matrix_rank(basis)) == 5:
        raise Wrong("Your equations have rank 5, so the fit is unique and refutes nothing.")


@checker("fitting-with-splines/functional", "random splines on clamped knots, degrees 1 to 4")
def _functional(
    answer: Callable[[Tensor, int, int], tuple[Tensor, Tensor]], rng: torch.Generator
) -> None:
    for degree in range(1, 5):
        for _ in range(3):
            knots = _clamped(rng, degree, repeat=degree)
            n = len(knots) - degree - 1
            for i in range(n):
                got = answer(knots, degree, i)
                if not isinstance(got, (tuple, list)) or len(got) != 2:
                    raise Wrong("Return two things, points and weights.")
                points, weights = (torch.as_tensor(part).double() for part in got)
                if points.shape != weights.shape or points.dim() != 1:
                    raise Wrong("Points and weights should be vectors of the same length.")
                if not ((points >= knots[i]) & (points <= knots[i + degree + 1])).all():
                    raise Wrong(f"A point lies outside the support of B_{i}.")
                unit = torch.eye(n, dtype=torch.float64)[i]
                made = weights @ kl.bspline_basis(points, knots, degree)
                hint = "Entry l should be 1 for l = i and 0 for all others."
                what = f"degree {degree}, i = {i}: the functional applied to all B_l"
                close(what, made, unit, 1e-7, hint)
                if weights.abs().sum() >= 1000:
                    raise Wrong(
                        f"Degree {degree}, i = {i}: the weights sum to "
                        f"{float(weights.abs().sum()):.0f} in size. Choose a longer cell, or "
                        "points that are spread over it."
                    )


@checker("fitting-with-splines/pspline", "random data, against fits without one sample each")
def _pspline(answer: Callable[[Tensor, Tensor, float, int], Any], rng: torch.Generator) -> None:
    for d, lam in ((1, 0.3), (2, 5.0), (3, 0.01), (2, 0.02)):
        knots = kl.uniform_knots(8, 3, dtype=torch.float64)
        basis = kl.bspline_basis(uniform(rng, -1.0, 1.0, 30), knots, 3)
        y = uniform(rng, -2.0, 2.0, 30)
        D = torch.eye(11, dtype=torch.float64).diff(n=d, dim=0)
        stacked = torch.cat([basis, lam**0.5 * D])
        right = torch.cat([y, torch.zeros(len(D), dtype=torch.float64)])
        coef = torch.linalg.lstsq(stacked, right).solution
        got = answer(basis.clone(), y.clone(), lam, d)
        if not isinstance(got, (tuple, list)) or len(got) != 3:
            raise Wrong("Return three things: coefficients, effective number, left-out error.")
        what = f"for d = {d} and lambda = {lam}: the"
        hint = "The equations are (A^T A + lambda D^T D) c = A^T y."
        close(f"{what} coefficients", got[0], coef, 1e-7, hint)
        inner, penalty = basis.T @ basis, D.T @ D
        effective = torch.linalg.solve(inner + lam * penalty, inner).trace()
        hint = "It is the trace of H, which maps data to fit."
        close(f"{what} effective number of parameters", got[1], effective, 1e-7, hint)
        worst = torch.zeros((), dtype=torch.float64)
        for j in range(30):
            keep = torch.arange(30) != j
            rest = torch.cat([stacked[:30][keep], stacked[30:]])
            other = torch.cat([y[keep], right[30:]])
            error = y[j] - basis[j] @ torch.linalg.lstsq(rest, other).solution
            worst = torch.maximum(worst, error.abs())
        hint = "Divide each residual by 1 - H_jj first, then take the largest in size."
        close(f"{what} largest left-out error", got[2], worst, 1e-7, hint)


@checker("fitting-with-splines/far", "your knots against the definition, your spline on [0, 2]")
def _far(answer: Any, rng: torch.Generator) -> None:
    knots, coef = _vector(answer, "knots", 7), _vector(answer, "coef", 4)
    if (knots.diff() < 0).any():
        raise Wrong("The knots are not in ascending order.")
    if not (knots[:4] < knots[3:]).all():
        raise Wrong("t_i = t_{i+3} for some i: the definition forbids four equal knots here.")
    if (knots[2], knots[4]) != (0.0, 2.0):
        raise Wrong(f"The domain is [{knots[2]:g}, {knots[4]:g}], not [0, 2].")
    x = torch.cat([uniform(rng, 0.0, 2.0, 500), torch.linspace(0, 2, 401, dtype=torch.float64)])
    values = kl.bspline_basis(x, knots, 2) @ coef
    if values.abs().max() > 1 + 1e-9:
        at = float(x[values.abs().argmax()])
        raise Wrong(f"At x = {at:.3f} your spline is {float(values.abs().max()):.3g} in size.")
    if not coef.abs().max() > 1000:
        raise Wrong(
            f"Your largest coefficient is {float(coef.abs().max()):.3g}, not above 1000. Which "
            "basis function can be made small on the whole domain by moving knots outside of it?"
        )


@checker("fitting-with-splines/jump", "ten random places of the jump, the error on a fine grid")
def _jump(answer: Callable[[float], Tensor], rng: torch.Generator) -> None:
    x = torch.linspace(0, 1, 1001, dtype=torch.float64)
    for c in uniform(rng, 0.1, 0.9, 10).tolist():
        knots = torch.as_tensor(answer(c)).double()
        if knots.dim() != 1 or len(knots) > 12:
            raise Wrong(f"Give a vector of at most 12 knots, not shape {tuple(knots.shape)}.")
        ends = torch.tensor([0.0] * 4 + [1.0] * 4, dtype=torch.float64)
        if len(knots) < 8 or not torch.equal(torch.cat([knots[:4], knots[-4:]]), ends):
            raise Wrong("Four knots should be 0 and four should be 1 (clamped ends, ascending).")
        if (knots.diff() < 0).any():
            raise Wrong("The knots should be in ascending order.")
        basis = kl.bspline_basis(x, knots, 3)
        target = (x - c).clamp(min=0) ** 2
        error = (basis @ torch.linalg.lstsq(basis, target, driver="gelsd").solution - target).abs()
        if error.max() > 1e-9:
            count = int((knots == c).sum())
            raise Wrong(
                f"For c = {c:.3f} the best fit is off by {float(error.max()):.1e}. The knot c "
                f"occurs {count} times: how smooth are your splines there, and how smooth is f?"
            )
        if int((knots == c).sum()) > 2:
            raise Wrong("f is in the space, but so are rougher functions: fewer copies will do.")


@checker("fitting-with-splines/truncated", "random splines of degree 1 to 4, on 2 to 9 cells")
def _truncated(answer: Callable[[Tensor, int, float], Any], rng: torch.Generator) -> None:
    for degree in range(1, 5):
        for cells in (2, 5, 9):
            low, high = -1.0, 2.0
            knots = kl.uniform_knots(cells, degree, low, high, dtype=torch.float64)
            coef = torch.randn(cells + degree, generator=rng, dtype=torch.float64)
            got = torch.as_tensor(answer(coef, degree, (high - low) / cells))
            what = f"degree {degree}, {cells} cells: your coefficients"
            if got.shape != (cells - 1,):
                raise Wrong(
                    f"{what} should number {cells - 1}, one for each breakpoint inside, "
                    f"but have shape {tuple(got.shape)}."
                )
            x = torch.linspace(low, high, 40 * cells + 1, dtype=torch.float64)
            inner = knots[degree + 1 : cells + degree]
            cut = (x[:, None] - inner).clamp(min=0) ** degree
            powers = x[:, None] ** torch.arange(degree + 1)
            values = kl.bspline_basis(x, knots, degree) @ coef
            right = torch.linalg.lstsq(torch.cat([cut, powers], 1), values, driver="gelsd")
            hint = "Each is the jump of the derivative of order k, divided by k!."
            close(what, got, right.solution[: cells - 1], 1e-6, hint)


@checker("fitting-with-splines/referee", "the eight verdicts")
def _referee(answer: Any, rng: torch.Generator) -> None:
    claims = {
        "A": ("false", "look at the corner in the cell above."),
        "B": ("true", "compare (k + 1) h^2 / 12 for both degrees."),
        "C": ("false", "think of the variance, n sigma^2 / N."),
        "D": ("true", "what is in the kernel of D, and which of these vanish at two points?"),
        "E": ("false", "for which penalty is the training error smallest?"),
        "F": ("false", "how fast does a cubic with a slightly wrong leading coefficient leave?"),
        "G": ("true", "divide the residual by 1 - H_jj."),
        "H": ("false", "which space does each of the two bases span?"),
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
