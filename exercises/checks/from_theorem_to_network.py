"""Checks of the exercises on the way from the theorem to the network.

Glossary
    n       number of variables
    k       degree of a spline, or number of derivatives of the functions to approximate
    M       size of the derivatives of a bump
    eps     error allowed
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from exercises.checks import Wrong, checker, choose, close, uniform


def _draw(rng: torch.Generator, low: int, high: int) -> int:
    """A random integer from low to high, both included."""
    return int(torch.randint(low, high + 1, (1,), generator=rng))


def _between(rng: torch.Generator, low: float, high: float) -> float:
    """A random number from [low, high)."""
    return float(uniform(rng, low, high, 1))


def _entry(answer: Any, name: str) -> Any:
    """An entry of a dictionary that the exercise asks for."""
    if not isinstance(answer, dict):
        raise Wrong(f"Give a dictionary, not {type(answer).__name__}.")
    if name not in answer:
        raise Wrong(f"The entry {name!r} is missing.")
    return answer[name]


def _two(answer: Any, what: str) -> Sequence[Any]:
    """A pair that a student's function returns."""
    if answer is None or answer is ...:
        raise NotImplementedError(what)
    if not isinstance(answer, Sequence) or len(answer) != 2:
        raise Wrong(f"Return two things: {what}.")
    return answer


@checker("from-theorem-to-network/predict", "the five predictions, by counting")
def _predict(answer: Any, rng: torch.Generator) -> None:
    n, degree, intervals, r = 3, 3, 10, 2
    width = 2 * n + 1
    edges = n * width + width
    right = {
        "width": (width, "The theorem has 2n + 1 terms."),
        "edges": (edges, "n edges go into each hidden unit and one goes out of it."),
        "parameters": (edges * (intervals + degree), "G + k coefficients on each edge."),
        "smoothness": (n * r - 1, "It is strict: k < n r."),
        "units": (2**4, "One term for each choice of signs, and those for s and -s are equal."),
    }
    for name, (value, hint) in right.items():
        close(f"your {name!r}", float(_entry(answer, name)), float(value), 1e-9, hint)


@checker("from-theorem-to-network/product", "products of two to six random numbers")
def _product(answer: Callable[[int], Any], rng: torch.Generator) -> None:
    for n in (2, 3, 4, 5, 6):
        V, c = (
            torch.as_tensor(part, dtype=torch.float64)
            for part in _two(answer(n), "inner weights V and outer weights c")
        )
        if V.shape != (2 ** (n - 1), n) or c.shape != (2 ** (n - 1),):
            raise Wrong(
                f"For n = {n} the shapes should be {(2 ** (n - 1), n)} and {(2 ** (n - 1),)}, "
                f"but are {tuple(V.shape)} and {tuple(c.shape)}."
            )
        x = uniform(rng, -1.5, 1.5, 40, n)
        mine, right = (x @ V.T) ** n @ c, x.prod(-1)
        ratio = float((mine @ right) / (right @ right))
        spread = float((mine - ratio * right).abs().max())
        if spread < 1e-9 < abs(ratio - 1):
            raise Wrong(
                f"For n = {n} you get {ratio:.4g} times the product: check the factor of c."
            )
        hint = "Multiply each power by the product of its signs."
        close(f"the sum of powers for n = {n}", mine, right, 1e-9, hint)


@checker("from-theorem-to-network/tolerances", "random errors, dimensions and Lipschitz constants")
def _tolerances(answer: Callable[[float, int, float], Any], rng: torch.Generator) -> None:
    for trial in range(24):
        eps = 10 ** _between(rng, -4.0, 0.0) if trial % 2 else _between(rng, 5, 80)
        n = _draw(rng, 2, 9)
        K = 10 ** _between(rng, -1.0, 3.0) if trial % 2 else _between(rng, 0.01, 0.1)
        inner, outer = (
            float(v) for v in _two(answer(eps, n, K), "the errors on inner and outer edges")
        )
        case = f"For eps = {eps:.3g}, n = {n} and K = {K:.3g}"
        if not (inner > 0 and outer > 0):
            raise Wrong(f"{case} both errors should be positive.")
        terms = 2 * n + 1
        if n * inner > 1 + 1e-9:
            raise Wrong(f"{case} an inner sum may be off by {n * inner:.3g}: there is room for 1.")
        shares = {"inner": terms * K * n * inner, "outer": terms * outer}
        for name, share in shares.items():
            if share > eps / 2 * (1 + 1e-9):
                raise Wrong(
                    f"{case} the {name} edges together may cause {share:.3g}, more than eps / 2."
                )
        if outer < eps / (2 * terms) * (1 - 1e-9):
            raise Wrong(f"{case} the outer edges may have a larger error than {outer:.3g}.")
        if inner < min(1 / n, eps / (2 * terms * K * n)) * (1 - 1e-9):
            raise Wrong(f"{case} the inner edges may have a larger error than {inner:.3g}.")


@checker("from-theorem-to-network/not-uniform", "distances down to a millionth")
def _not_uniform(answer: Callable[[float], Any], rng: torch.Generator) -> None:
    for exponent in (0.4, 1.0, 2.0, 3.0, 4.5, 6.0):
        delta = 10 ** -(exponent + _between(rng, 0.0, 0.3))
        s, t = (float(v) for v in _two(answer(delta), "two points"))
        if not (0 < s <= 1 and 0 < t <= 1):
            raise Wrong(f"Both points should lie in (0, 1], but are {s:.4g} and {t:.4g}.")
        if abs(s - t) > delta:
            raise Wrong(f"For delta = {delta:.3g} your points are {abs(s - t):.3g} apart.")
        change = abs(math.sin(1 / s) - math.sin(1 / t))
        if change < 1.9:
            raise Wrong(f"For delta = {delta:.3g} the values differ by {change:.3g} only.")


@checker("from-theorem-to-network/bits", "errors, dimensions and smoothness, as integers")
def _bits(answer: Callable[[float, int, int, float], Any], rng: torch.Generator) -> None:
    cases = [(1 / 64, 2, 1, 1.0), (1 / 16, 3, 2, 1.0), (0.5, 4, 1, 3.0)]  # two are just not allowed
    for _ in range(20):
        eps = 10 ** _between(rng, -5.0, -2.0)
        cases.append((eps, _draw(rng, 2, 6), _draw(rng, 1, 3), _between(rng, 1.0, 30.0)))
    for eps, n, k, M in cases:
        m = 0
        while M * eps * (m + 1) ** k < 1:
            m += 1
        bits, weights = _two(answer(eps, n, k, M), "the bits and the number of weights")
        case = f"For eps = {eps:.4g}, n = {n}, k = {k} and M = {M:.3g}"
        for value in (bits, weights):
            if isinstance(value, bool) or not isinstance(value, int):
                raise Wrong(f"{case} return integers, not {type(value).__name__}.")
        if bits != m**n:
            hint = "M eps m^k should be below 1, not equal to it." if bits == (m + 1) ** n else ""
            raise Wrong(f"{case} the bits are {bits}, should be {m**n}. {hint}".rstrip())
        if weights != -(-(m**n) // 32):
            raise Wrong(
                f"{case} the number of weights is {weights}, should be {-(-(m**n) // 32)}: "
                "the functions of the network are the centers of balls of radius eps; round up."
            )


@checker("from-theorem-to-network/false-step", "the step, and the exponent")
def _false_step(answer: Any, rng: torch.Generator) -> None:
    choose(
        _entry(answer, "step"),
        "C",
        {
            "A": "this is Kolmogorov's theorem; count the inner and the outer functions.",
            "B": "this is the rate of spline approximation.",
            "D": "inner errors add up to n delta; the Lipschitz condition does the rest.",
            "E": "the number of edges does not depend on h.",
        },
    )
    hint = "It is the exponent of Hoelder continuity in base 6; the degree does not help."
    close("the exponent", float(_entry(answer, "exponent")), math.log(2) / math.log(6), 5e-3, hint)


@checker("from-theorem-to-network/referee", "the eight verdicts")
def _referee(answer: Any, rng: torch.Generator) -> None:
    claims = {
        "A": ("true", "this is the corollary."),
        "B": (
            "false",
            "how many bits do these functions need, how many has the network?",
        ),
        "C": ("false", "which networks does a KAN with a suitable residual branch contain?"),
        "D": ("true", "is 1 smaller than 2 times 1?"),
        "E": ("false", "does it speak of one shape, or of all of them together?"),
        "F": ("true", "write the polynomial as a sum of powers of linear forms."),
        "G": ("false", "there is a distance that no grid can beat."),
        "H": ("true", "look at the ancestors, in 2003."),
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
