"""Checks of the exercises to the chapter on approximating functions.

Glossary
    N        degree of a Bernstein polynomial, or highest frequency of a Fourier sum
    P, d     number of points, number of variables
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import special
from torch import Tensor

from exercises.checks import Wrong, checker, choose, close, uniform


def _entry(answer: Any, name: str) -> Any:
    """An entry of a dictionary that the exercise asks for."""
    if not isinstance(answer, dict):
        raise Wrong(f"Give a dictionary, not {type(answer).__name__}.")
    if name not in answer:
        raise Wrong(f"The entry {name!r} is missing.")
    return answer[name]


def _weights(N: int, x: np.ndarray) -> np.ndarray:
    """Probabilities of 0..N heads in N tosses, from SciPy: (points, N + 1)."""
    j = np.arange(N + 1)
    logs = special.gammaln(N + 1) - special.gammaln(j + 1) - special.gammaln(N - j + 1)
    x = x[:, None]
    weights: np.ndarray = np.exp(logs + special.xlogy(j, x) + special.xlog1py(N - j, -x))
    return weights


def _bernstein(f: Callable[[Tensor], Tensor], N: int, x: Tensor) -> Tensor:
    values = f(torch.arange(N + 1, dtype=torch.float64) / N)
    return torch.as_tensor(_weights(N, x.numpy())) @ values


@checker("approximating-functions/predict", "the five predictions, against measured values")
def _predict(answer: Any, rng: torch.Generator) -> None:
    half = torch.tensor([0.5], dtype=torch.float64)

    def factor(f: Callable[[Tensor], Tensor]) -> float:
        errors = [(_bernstein(f, N, half) - f(half)).abs().item() for N in (400, 1600)]
        return errors[0] / errors[1]

    gibbs = 2 / math.pi * float(special.sici(math.pi)[0])
    right = {
        "smooth_factor": (factor(torch.exp), "With two derivatives the error is c / N."),
        "corner_factor": (
            factor(lambda x: (x - 0.5).abs()),
            "At a corner the error is c / sqrt(N).",
        ),
        "overshoot": (3 * (gibbs - 1) / 2, "A fixed share of the jump, and the jump is 3."),
        "at_the_jump": (1.5, "Each partial sum of the square wave is 0 at its jump from -1 to 1."),
        "grid": (10.0**4, "Each axis needs 1 / (2 epsilon) values."),
    }
    for name, (value, hint) in right.items():
        got = float(_entry(answer, name))
        if not abs(got - value) <= 0.1 * value:
            raise Wrong(f"your {name!r}, {got:g}, is more than a tenth off. {hint}")


@checker("approximating-functions/operator", "random functions, both ends, and degree 3000")
def _operator(answer: Callable[..., Any], rng: torch.Generator) -> None:
    for N in (1, 2, 7, 60):
        a = uniform(rng, -1.0, 1.0, 3)

        def f(x: Tensor, a: Tensor = a) -> Tensor:
            return a[0] + a[1] * torch.sin(5 * x + a[2]) + (x - 0.3).abs()

        x = uniform(rng, 0.05, 0.95, 30)
        hint = "For N = 1 it is the straight line through the two end values."
        close(f"degree {N}", answer(f, N, x), _bernstein(f, N, x), 1e-9, hint)
        ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
        hint = "At an end one weight is 1 and all others are 0; 0 ** 0 is 1, and 0 * log(0) is 0."
        close(f"degree {N} at the ends 0 and 1", answer(f, N, ends), f(ends), 1e-9, hint)
    x = uniform(rng, 0.1, 0.9, 5)
    hint = "Binomial coefficients overflow: work with their logarithms, or with averages."
    right = _bernstein(torch.cos, 3000, x)
    close("degree 3000", answer(torch.cos, 3000, x), right, 1e-8, hint)


@checker("approximating-functions/slope", "the derivative of random Bernstein polynomials")
def _slope(answer: Callable[[Tensor], Any], rng: torch.Generator) -> None:
    for N in (1, 2, 5, 12):
        values = uniform(rng, -1.0, 1.0, N + 1)
        coef = torch.as_tensor(answer(values))
        if coef.shape != (N,):
            raise Wrong(
                f"For N = {N} there should be {N} coefficients, one less than values, "
                f"but the shape is {tuple(coef.shape)}."
            )
        x = uniform(rng, 0.1, 0.9, 20).requires_grad_()
        j = torch.arange(N + 1, dtype=torch.float64)
        binomial = torch.tensor([float(math.comb(N, i)) for i in range(N + 1)]).double()
        curve = (binomial * x[:, None] ** j * (1 - x[:, None]) ** (N - j)) @ values
        right = torch.autograd.grad(curve.sum(), x)[0]
        mine = torch.as_tensor(_weights(N - 1, x.detach().numpy())) @ coef.double()
        hint = "For N = 1 the polynomial is a line; its slope is the difference of the two values."
        close(f"the slope for N = {N}", mine, right, 1e-9, hint)


@checker("approximating-functions/by-hand", "three coefficients, the sum, and the decay")
def _by_hand(answer: Any, rng: torch.Generator) -> None:
    nodes, weights = np.polynomial.legendre.leggauss(60)
    x = math.pi * nodes
    hints = {
        0: "It is the mean of x^2 over a period.",
        1: "Integrate x^2 cos(jx) by parts twice, and divide by 2 pi, not by pi.",
        2: "The sign alternates: cos(j pi) is (-1)^j.",
    }
    for j, hint in hints.items():
        right = float(weights @ (x**2 * np.cos(j * x))) / 2
        close(f"your 'c{j}'", float(_entry(answer, f"c{j}")), right, 1e-6, hint)
    hint = "Put x = pi into the series; both j and -j contribute."
    close("your 'sum'", float(_entry(answer, "sum")), float(special.zeta(2)), 1e-6, hint)
    power = float(_entry(answer, "power"))
    if power != 2:
        raise Wrong(
            f"your 'power', {power:g}: the coefficients are 2 (-1)^j / j^2. "
            "Which power of j times this stays bounded, and is the largest such?"
        )


@checker("approximating-functions/false-step", "the step, and your witness on a fine grid")
def _false_step(answer: Any, rng: torch.Generator) -> None:
    choose(
        _entry(answer, "step"),
        "D",
        {
            "A": "this is Weierstrass' theorem for waves; it is true.",
            "B": "a sum of waves up to N is its own Fourier sum.",
            "C": "this only uses that S_N is linear, and step B.",
            "E": "if the steps before it were true, it would follow from C and D.",
        },
    )
    a = np.atleast_1d(np.asarray(_entry(answer, "cosines"), dtype=float))
    if a.ndim != 1 or not 1 <= len(a) <= 30 or not np.isfinite(a).all():
        raise Wrong("'cosines' should be a list of at most 30 finite numbers.")
    N = int(_entry(answer, "N"))
    if N < 0:
        raise Wrong("'N' should be a frequency, 0 or more.")
    x = np.linspace(0, math.pi, 20001)
    values = np.abs(np.polynomial.chebyshev.chebval(np.cos(x), a))
    if values.max() > 1 + 1e-9:
        at = float(x[values.argmax()])
        raise Wrong(f"Your g is not between -1 and 1: |g({at:.3f})| = {values.max():.4f}.")
    cut = float(a[: N + 1].sum())
    if not cut > 1.05:
        raise Wrong(
            f"(S_N g)(0) is the sum of the coefficients up to frequency N, here {cut:.4f}: "
            "not above 1.05, so your g refutes nothing yet."
        )


@checker("approximating-functions/rough", "continuity, and N times the error up to N = 6400")
def _rough(answer: Any, rng: torch.Generator) -> None:
    f, point = _entry(answer, "f"), float(_entry(answer, "x"))
    if not callable(f):
        raise Wrong("'f' should be a function of a tensor.")
    if not 0 <= point <= 1:
        raise Wrong(f"'x' should lie in [0, 1], but is {point:g}.")
    at = torch.tensor([point], dtype=torch.float64)
    grids = [torch.linspace(0, 1, size, dtype=torch.float64) for size in (100_001, 1_000_001)]
    steps = [float(torch.as_tensor(f(grid)).diff().abs().max()) for grid in grids]
    if not all(map(math.isfinite, steps)):
        raise Wrong("f has values on [0, 1] that are NaN or infinite.")
    if steps[1] > 0.9 * steps[0] and steps[1] > 1e-6:
        raise Wrong(
            f"f jumps: between neighbors of a grid of step 1e-6 it still changes by {steps[1]:.3g}."
        )
    h = torch.tensor([[1e-5, 1e-8]], dtype=torch.float64)
    beside = torch.cat([at - h, at + h]).clamp(0, 1)
    moved = (torch.as_tensor(f(beside.flatten())).reshape(2, 2) - f(at)).abs().amax(0)
    if not float(moved[1]) <= max(0.9 * float(moved[0]), 1e-6):
        raise Wrong(
            f"f jumps at x = {point:g}: at a distance of 1e-8 it differs by {float(moved[1]):.3g}."
        )
    sizes = (100, 400, 1600, 6400)
    products = [N * float((_bernstein(f, N, at) - f(at)).abs()) for N in sizes]
    if not all(b > 1.3 * a + 1e-9 for a, b in itertools.pairwise(products)):
        shown = ", ".join(f"{value:.3g}" for value in products)
        raise Wrong(
            f"For N = 100, 400, 1600, 6400, N times the error at x = {point:g} is {shown}: "
            "it does not grow by a factor of 1.3 each time. Is f smooth there, or is the error 0?"
        )


@checker("approximating-functions/powers", "random polynomials of degree 0 to 12")
def _powers(answer: Callable[[Tensor], Any], rng: torch.Generator) -> None:
    for N in (0, 1, 2, 3, 7, 12):
        c = uniform(rng, -1.0, 1.0, N + 1)
        right = torch.zeros(N + 1, dtype=torch.float64)
        exact = torch.as_tensor(np.polynomial.chebyshev.cheb2poly(c.numpy()))
        right[: len(exact)] = exact
        hint = "T_2 is 2 x^2 - 1: its powers are -1, 0, 2, lowest first."
        close(f"the powers for degree {N}", answer(c.clone()), right, 1e-9, hint)


@checker("approximating-functions/fool", "answers, steepness and height, in 1 to 4 variables")
def _fool(answer: Callable[[Tensor], Any], rng: torch.Generator) -> None:
    for P, d in ((1, 1), (5, 1), (9, 2), (20, 3), (40, 4)):
        points = uniform(rng, 0.0, 1.0, P, d)
        f = answer(points)
        if not callable(f):
            raise Wrong("Return a function of x, such as `lambda x: ...`.")
        what = f"for {P} points in {d} variables"
        hint = "The answers were 0: the function must vanish at every one of the points."
        close(f"the values at the points, {what},", f(points), torch.zeros(P).double(), 1e-9, hint)
        x, y = uniform(rng, 0.0, 1.0, 4000, d), uniform(rng, 0.0, 1.0, 4000, d)
        y = torch.cat([y[:2000], (x[2000:] + uniform(rng, -0.02, 0.02, 2000, d)).clamp(0, 1)])
        values, others = torch.as_tensor(f(x)), torch.as_tensor(f(y))
        if values.shape != (4000,):
            raise Wrong(f"{what}: values should have shape (4000,), not {tuple(values.shape)}.")
        if ((values - others).abs() > (x - y).abs().amax(-1) + 1e-9).any():
            raise Wrong(f"{what} your function is too steep: it changes by more than the distance.")
        best = (x[:, None] - points).abs().amax(-1).amin(-1).max()
        if values.abs().max() < 0.999 * best:
            raise Wrong(
                f"{what} your function reaches {float(values.abs().max()):.3f}, but "
                f"{float(best):.3f} is possible at the points tried here."
            )


@checker("approximating-functions/referee", "the six verdicts")
def _referee(answer: Any, rng: torch.Generator) -> None:
    claims = {
        "A": ("false", "is every continuous function on (0, 1) bounded?"),
        "B": ("true", "this is what Parseval's identity is about."),
        "C": ("false", "where does the overshoot go, and does its height change?"),
        "D": ("true", "try Weierstrass' test on the series, differentiated twice."),
        "E": ("false", "what does Voronovskaya's theorem say about its error?"),
        "F": ("false", "count how many functions P numbers of 32 bits can describe."),
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
