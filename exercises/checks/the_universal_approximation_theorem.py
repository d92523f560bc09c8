"""Checks of the exercises to the chapter on the universal approximation theorem.

Glossary
    N, P, M   number of neurons, of points, of columns of a dictionary
    k         power of t, or level of the sawtooth with 2^k pieces
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from exercises.checks import Wrong, checker, choose, close, uniform


def _entry(answer: Any, name: str) -> Any:
    """An entry of a dictionary that the exercise asks for."""
    if not isinstance(answer, dict):
        raise Wrong(f"Give a dictionary, not {type(answer).__name__}.")
    if name not in answer:
        raise Wrong(f"The entry {name!r} is missing.")
    return answer[name]


def _ramps(x: Tensor, knots: Tensor, weights: Tensor) -> Tensor:
    """Sum of ReLUs: the network of one hidden layer, without bias."""
    return torch.relu(x[:, None] - knots) @ weights


def _vector(what: str, got: Any, size: int) -> Tensor:
    """A float64 vector of the given size, or a kind message."""
    try:
        values = torch.as_tensor(got).detach().double()
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(f"{what} should be a tensor, not {type(got).__name__}.") from None
    if values.shape != (size,):
        raise Wrong(f"{what} should have shape ({size},), but have {tuple(values.shape)}.")
    return values


def _line_error(f: Callable[[Tensor], Tensor], N: int) -> float:
    """Largest error of the broken line with N pieces on [0, 1]."""
    x = torch.linspace(0, 1, 96 * N + 1, dtype=torch.float64)
    left = (x * N).floor().clamp(max=N - 1)
    share = x * N - left
    line = (1 - share) * f(left / N) + share * f((left + 1) / N)
    return float((line - f(x)).abs().max())


@checker("the-universal-approximation-theorem/predict", "the six predictions, two of them measured")
def _predict(answer: Any, rng: torch.Generator) -> None:
    def corner(x: Tensor) -> Tensor:
        return (x - 1 / 3).abs()

    x = torch.linspace(-1, 1, 2001, dtype=torch.float64)
    even = ((x**2 + x) + (x**2 - x)) / 2
    right = {
        "smooth_factor": (
            _line_error(torch.exp, 50) / _line_error(torch.exp, 100),
            "With two derivatives the error is of the order of h^2.",
        ),
        "corner_factor": (
            _line_error(corner, 64) / _line_error(corner, 128),
            "At a corner there is no second derivative; the error is of the order of h.",
        ),
        "wall": (float(even.abs().max()), "How large is the part of f that no odd function has?"),
        "neurons": (6 + 1, "A k-th difference quotient has k + 1 terms."),
        "barron": ((2 * 3) ** 2 / 0.09, "Solve (2 r C)^2 / N = 0.09; mind the square."),
        "layers": (math.log2(1024), "Every layer of two ReLUs doubles the number of pieces."),
    }
    for name, (value, hint) in right.items():
        got = float(_entry(answer, name))
        if name in ("neurons", "layers"):
            if got != value:
                raise Wrong(f"your {name!r}, {got:g}, is not the exact count. {hint}")
        elif not abs(got - value) <= 0.1 * value:
            raise Wrong(f"your {name!r}, {got:g}, is more than a tenth off. {hint}")


@checker("the-universal-approximation-theorem/bump", "random bumps, on and beside their slopes")
def _bump(answer: Callable[..., Any], rng: torch.Generator) -> None:
    for _ in range(5):
        alpha = float(uniform(rng, -1.0, 0.0, 1))
        beta = alpha + float(uniform(rng, 0.1, 1.0, 1))
        delta = float(uniform(rng, 0.05, 0.4, 1))
        given = answer(alpha, beta, delta)
        if not isinstance(given, (tuple, list)) or len(given) != 2:
            raise Wrong("Return two things: knots and weights.")
        knots, weights = _vector("knots", given[0], 4), _vector("weights", given[1], 4)
        inside = alpha + (beta - alpha) * uniform(rng, 0.0, 1.0, 20)
        hint = "Between alpha and beta the slope must be 0 and the height 1."
        close("the top", _ramps(inside, knots, weights), torch.ones(20).double(), 1e-9, hint)
        far = beta + delta + uniform(rng, 0.0, 2.0, 20)
        hint = "After the last knot the slopes must have added up to 0, and the height to 0."
        close("to the right", _ramps(far, knots, weights), torch.zeros(20).double(), 1e-9, hint)
        before = alpha - delta - uniform(rng, 0.0, 2.0, 20)
        hint = "No knot may lie before alpha - delta."
        close("to the left", _ramps(before, knots, weights), torch.zeros(20).double(), 1e-9, hint)
        share = uniform(rng, 0.0, 1.0, 20)
        up = _ramps(alpha - delta + delta * share, knots, weights)
        close("the slope on the left", up, share, 1e-9, "It rises from 0 to 1 over a width delta.")
        down = _ramps(beta + delta * share, knots, weights)
        close("the slope on the right", down, 1 - share, 1e-9, "It falls from 1 to 0 over delta.")


@checker("the-universal-approximation-theorem/broken-line", "random functions on random intervals")
def _broken_line(answer: Callable[..., Any], rng: torch.Generator) -> None:
    for N in (1, 2, 5, 12):
        p = uniform(rng, -1.0, 1.0, 3)

        def f(x: Tensor, p: Tensor = p) -> Tensor:
            return 1 + p[0] + torch.sin(3 * x + p[1]) + p[2] * x**2

        alpha = float(uniform(rng, -2.0, -0.5, 1))
        beta = alpha + float(uniform(rng, 0.5, 3.0, 1))
        given = answer(f, alpha, beta, N)
        if not isinstance(given, (tuple, list)) or len(given) != 3:
            raise Wrong("Return three things: bias, knots and weights.")
        bias = torch.as_tensor(given[0]).detach().double().reshape(())
        knots = _vector(f"knots for N = {N}", given[1], N)
        weights = _vector(f"weights for N = {N}", given[2], N)
        nodes = torch.linspace(alpha, beta, N + 1, dtype=torch.float64)
        what = f"for N = {N} the network"
        hint = "At the left end only the bias counts: no ReLU is on."
        start = bias + _ramps(nodes[:1], knots, weights)
        close(f"{what} at the left end", start, f(nodes[:1]), 1e-9, hint)
        hint = "A weight is the change of slope at its knot; mind the spacing (beta - alpha) / N."
        got = bias + _ramps(nodes, knots, weights)
        close(f"{what} at the N + 1 points", got, f(nodes), 1e-9, hint)
        share = uniform(rng, 0.05, 0.95, N)
        between = nodes[:-1] + share * nodes.diff()
        right = (1 - share) * f(nodes[:-1]) + share * f(nodes[1:])
        got = bias + _ramps(between, knots, weights)
        close(f"{what} between the points", got, right, 1e-9, "It must bend at the points only.")


@checker("the-universal-approximation-theorem/multiply", "x1 x2 at 2000 random points")
def _multiply(answer: Any, rng: torch.Generator) -> None:
    W = torch.as_tensor(_entry(answer, "W")).detach().double()
    if W.ndim != 2 or W.shape[1] != 2 or not 1 <= len(W) <= 6:
        raise Wrong(f"'W' should have shape (6, 2), but has {tuple(W.shape)}.")
    a, c = (_vector(f"'{name}'", _entry(answer, name), len(W)) for name in ("a", "c"))
    if not all(bool(v.isfinite().all()) for v in (W, a, c)):
        raise Wrong("Some weights are infinite or NaN: is the second derivative at 'a' zero?")
    x = uniform(rng, -1.0, 1.0, 2000, 2)
    got = torch.sigmoid(x @ W.T + a) @ c
    product = x[:, 0] * x[:, 1]
    error = float((got - product).abs().max())
    if error > 0.01:
        flipped = float((got + product).abs().max())
        hint = "Try other eta: truncation is of the order of eta, rounding of 1e-16 / eta^2."
        if flipped <= 0.01:
            hint = "You have built - x1 x2: mind the sign of the second derivative."
        elif float((got / 4 - product).abs().max()) <= 0.01:
            hint = "You have built 4 x1 x2: mind the quarter."
        raise Wrong(f"the largest error is {error:.3g}, above 0.01. {hint}")


@checker("the-universal-approximation-theorem/no-bias", "t^0 to t^4, and how the error falls")
def _no_bias(answer: Callable[..., Any], rng: torch.Generator) -> None:
    t = uniform(rng, -1.0, 1.0, 200)
    for k in range(5):
        errors = []
        for eta in (0.02, 0.01):
            c = _vector(f"weights for k = {k}", answer(k, eta), k + 1)
            i = torch.arange(k + 1, dtype=torch.float64)
            errors.append(float((torch.exp(eta * t[:, None] * i) @ c - t**k).abs().max()))
        if max(errors) > 0.2:
            eta, error = (0.02, errors[0]) if errors[0] > 0.2 else (0.01, errors[1])
            raise Wrong(
                f"for k = {k} and eta = {eta} the sum is {error:.3g} away from t^{k}. "
                "Use a k-th difference: signs that alternate, the last one positive, binomial "
                "coefficients, and a power of eta."
            )
        if k and errors[1] > 0.6 * errors[0]:
            raise Wrong(f"for k = {k} the error should halve with eta, but it does not.")


@checker(
    "the-universal-approximation-theorem/false-step", "the step, and the witness up to n = 1e6"
)
def _false_step(answer: Any, rng: torch.Generator) -> None:
    choose(
        _entry(answer, "step"),
        "D",
        {
            "A": "add up the two slopes in each of the three parts.",
            "B": "both ReLUs are on there, and their difference is n times 1/n.",
            "C": "for a fixed x this is so; it says nothing about all x at once.",
            "E": "it would follow, if the step before it were true.",
        },
    )
    witness = _entry(answer, "witness")
    if not callable(witness):
        raise Wrong("'witness' should be a function of n.")
    for n in (2, 10, 1000, 10**6):
        x = float(witness(n))
        if not 0 <= x <= 1:
            raise Wrong(f"for n = {n} your point, {x:g}, is outside of [0, 1].")
        value = n * max(x - 0.5 + 1 / n, 0.0) - n * max(x - 0.5, 0.0)
        gap = abs(value - (1.0 if x >= 0.5 else 0.0))
        if gap < 0.9:
            raise Wrong(
                f"for n = {n}, at your point {x:.9g}, the error is {gap:.3g}, below 0.9. "
                "Where is the ramp nearly 1 and the step still 0? This place moves with n."
            )


@checker("the-universal-approximation-theorem/bounded", "continuity, degree, and 300 neurons")
def _bounded(answer: Callable[[Tensor], Any], rng: torch.Generator) -> None:
    def bend(t: Tensor) -> Tensor:
        values = torch.as_tensor(answer(t.clone())).double()
        if values.shape != t.shape or not bool(values.isfinite().all()):
            raise Wrong("the bend should return a finite value for each entry of its tensor.")
        return values

    steps = [
        float(bend(torch.linspace(-40, 40, size, dtype=torch.float64)).diff().abs().max())
        for size in (80_001, 800_001)
    ]
    if steps[1] > 0.9 * steps[0] and steps[1] > 1e-6:
        raise Wrong("your bend jumps somewhere between -40 and 40; it should be continuous.")
    t = torch.linspace(-40, 40, 161, dtype=torch.float64)
    values = bend(t)
    basis = torch.linalg.qr((t / 40)[:, None] ** torch.arange(11))[0]
    rest = values - basis @ (basis.T @ values)
    if float(rest.abs().max()) < 1e-6 * max(1.0, float(values.abs().max())):
        raise Wrong(
            "your bend looks like a polynomial on [-40, 40]; the exercise asks for one that is not."
        )
    x = torch.linspace(-1, 1, 401, dtype=torch.float64)
    w, a = uniform(rng, -1.0, 1.0, 300), uniform(rng, -1.0, 1.0, 300)
    columns = torch.cat([bend(x[:, None] * w + a), torch.ones(401, 1).double()], 1)
    U, S, _ = torch.linalg.svd(columns, full_matrices=False)
    U = U[:, S / S[0] > 1e-10]
    error = float((x**2 - U @ (U.T @ x**2)).square().mean().sqrt())
    if error < 0.05:
        raise Wrong(
            f"300 neurons with weights and biases up to 1 reach an error of {error:.2g} for x^2. "
            "Which arguments does the bend see? What must it be like there?"
        )


@checker("the-universal-approximation-theorem/greedy", "random dictionaries, first and later steps")
def _greedy(answer: Callable[..., Any], rng: torch.Generator) -> None:
    for N, M in itertools.product((1, 2, 7), (1, 3, 30)):
        columns, f = uniform(rng, -1.0, 1.0, 40, M), uniform(rng, -1.0, 1.0, 40)
        current, b = uniform(rng, -1.0, 1.0, 40), float(uniform(rng, 0.5, 3.0, 1))
        got = _vector("the next approximation", answer(columns, f, current, N, b), 40)
        best, best_error = current, math.inf
        for i, sign in itertools.product(range(M), (1, -1)):
            trial = (1 - 1 / N) * current + sign * b * columns[:, i] / N
            error = float((f - trial).square().mean())
            if error < best_error:
                best, best_error = trial, error
        mine = float((f - got).square().mean())
        if mine > best_error + 1e-9:
            raise Wrong(
                f"for N = {N} and {M} columns your mean squared error is {mine:.5g}, but "
                f"{best_error:.5g} is possible. Both signs? All columns? Compare the errors of "
                "f_N, not the angles."
            )
        hint = "f_N is (1 - 1/N) times the current one plus 1/N times one element, signed."
        close(f"the choice for N = {N} and {M} columns", got, best, 1e-9, hint)


@checker("the-universal-approximation-theorem/width", "k up to 200, one to nine layers, exactly")
def _width(answer: Callable[[int, int], Any], rng: torch.Generator) -> None:
    for k, layers in itertools.product((1, 2, 9, 10, 31, 64, 121, 200), (1, 2, 3, 5, 9)):
        n = answer(k, layers)
        if isinstance(n, bool) or not isinstance(n, int):
            raise Wrong(f"return an int, not {type(n).__name__}: floating point is not exact.")
        where = f"for k = {k} and {layers} layers n = {n}"
        if n < 0 or (n + 1) ** layers <= 2 ** (k - 1):
            raise Wrong(f"{where} is ruled out by the theorem: (n + 1)^{layers} <= 2^{k - 1}.")
        if n > 0 and n**layers > 2 ** (k - 1):
            raise Wrong(f"{where} is not the smallest: n - 1 is not ruled out either.")


@checker("the-universal-approximation-theorem/referee", "the six verdicts")
def _referee(answer: Any, rng: torch.Generator) -> None:
    claims = {
        "A": ("false", "then they would agree on all of the line; which of the two is bounded?"),
        "B": ("true", "is sin continuous? Is it a polynomial?"),
        "C": ("false", "what limits must a sigmoidal function have?"),
        "D": ("true", "what may the other 100 output weights be?"),
        "E": ("false", "existence is one thing; what did Adam do with the sawtooth?"),
        "F": ("true", "compute (2 r C)^2 / N, and look for d in it."),
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
