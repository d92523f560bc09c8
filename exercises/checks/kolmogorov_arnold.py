"""Checks of the exercises on Hilbert's thirteenth problem and the Kolmogorov-Arnold theorem.

Glossary
    N       blocks per side; town k has N streets and N + 1 intervals T_(k,i) on each axis
    M, Q, D N + 1; the lemma's integer Q; common denominator 5 M (Q + 1) of all heights
    r       heights, shape (5, N + 1)
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise, product
from typing import Any

import numpy as np
import torch

from exercises.checks import Wrong, checker, choose, close


def _draw(rng: torch.Generator, low: int, high: int) -> int:
    """A random integer from low to high, both included."""
    return int(torch.randint(low, high + 1, (1,), generator=rng))


def _fraction(rng: torch.Generator, denominator: int) -> Fraction:
    """A random multiple of 1/denominator in [0, 1]."""
    return Fraction(_draw(rng, 0, denominator), denominator)


def _entry(answer: Any, name: str) -> Any:
    """An entry of a dictionary that the exercise asks for."""
    if not isinstance(answer, dict):
        raise Wrong(f"Give a dictionary, not {type(answer).__name__}.")
    if name not in answer:
        raise Wrong(f"The entry {name!r} is missing.")
    return answer[name]


def _exact(value: Any, what: str) -> Fraction:
    """A fraction or an integer of the student's."""
    if value is None or value is ...:
        raise NotImplementedError(what)
    if isinstance(value, bool) or not isinstance(value, (int, Fraction)):
        raise Wrong(f"{what} should be a Fraction or an integer, but is a {type(value).__name__}.")
    return Fraction(value)


def _several(got: Any, count: int, what: str) -> Sequence[Any]:
    if not isinstance(got, (tuple, list)) or len(got) != count:
        raise Wrong(f"Return {what}.")
    return got


def _off_street(x: Fraction, k: int, N: int, towns: int = 5) -> bool:
    """Whether x lies in an interval of town k."""
    place = (towns * N * x - k) % towns
    return place == 0 or place >= 1


def _jumps(f: Callable[[float, float], Any], p: Sequence[Any], q: Sequence[Any]) -> bool:
    """Whether f jumps between p and q: the half where f differs more is halved, over and over."""
    low, high = 0.0, 1.0

    def value(t: float) -> float:
        return float(f(*(float(a) + t * (float(b) - float(a)) for a, b in zip(p, q, strict=True))))

    while high - low > 1e-9:
        middle = (low + high) / 2
        left, right = abs(value(middle) - value(low)), abs(value(high) - value(middle))
        low, high = (low, middle) if left > right else (middle, high)
    return abs(value(high) - value(low)) > 1e-3


@checker("kolmogorov-arnold/predict", "the five predictions, by counting")
def _predict(answer: Any, rng: torch.Generator) -> None:
    def fewest(towns: int, axes: int) -> int:
        line = {
            frozenset(k for k in range(towns) if _off_street(Fraction(j, 4 * towns), k, 2, towns))
            for j in range(4 * towns + 1)
        }
        found = line
        for _ in range(axes - 1):
            found = {a & b for a in found for b in line}
        return min(map(len, found))

    right = {
        "blocks": (5 * 4**2, "Three streets leave how many intervals on each axis?"),
        "five_towns": (fewest(5, 2), "How many towns can lose the point by x, how many by y?"),
        "four_towns": (fewest(4, 2), "The same count, with one town less."),
        "seven_towns": (fewest(7, 3), "Each of three coordinates can lose one town."),
        "six_towns_share": (0.5, "The best weight is 1 / (K - 2), here 1/4."),
    }
    for name, (value, hint) in right.items():
        close(f"your {name!r}", float(_entry(answer, name)), float(value), 1e-9, hint)


@checker("kolmogorov-arnold/votes", "random points, and points at the ends of streets")
def _votes(answer: Callable[..., Any], rng: torch.Generator) -> None:
    for _ in range(200):
        N = _draw(rng, 1, 6)
        ends = _draw(rng, 0, 1)  # also where a street ends: multiples of u
        x, y = (_fraction(rng, 5 * N if ends else 997) for _ in range(2))
        got = answer(x, y, N)
        if not isinstance(got, (set, frozenset, list, tuple)):
            raise Wrong("Return the set of the towns' numbers, such as {0, 2, 3}.")
        right = {k for k in range(5) if _off_street(x, k, N) and _off_street(y, k, N)}
        if set(got) != right:
            more, less = sorted(set(got) - right), sorted(right - set(got))
            text = f"At x = {x}, y = {y} with N = {N} your answer is {sorted(got)}."
            if ends and less:
                raise Wrong(f"{text} Streets are open: their ends belong to the blocks.")
            if more:
                raise Wrong(f"{text} Town {more[0]} has a street there, by its x or its y.")
            raise Wrong(f"{text} Town {less[0]} has a block there: draw its streets.")


@checker("kolmogorov-arnold/heights", "order, distinctness, nearness and denominators")
def _heights(answer: Callable[..., Any], rng: torch.Generator) -> None:
    for flat in (False, True):
        N, Q = _draw(rng, 2, 6), _draw(rng, 3, 40)
        M = N + 1
        cap = 3 if flat else 97  # few different values: phi is constant over many intervals
        before = [sorted(_fraction(rng, cap) for _ in range(M)) for _ in range(5)]
        r = answer(before, N, Q)
        rows = [
            _several(row, M, f"five rows of {M} heights") for row in _several(r, 5, "five rows")
        ]
        r = [[_exact(value, "a height") for value in row] for row in rows]
        where = "where phi is constant over several intervals" if flat else "for a random phi"
        for k in range(5):
            if any(a >= b for a, b in pairwise(r[k])):
                raise Wrong(f"Row {k} does not increase strictly, {where}. What must grow with i?")
            far = max(abs(a - b) for a, b in zip(r[k], before[k], strict=True))
            if far > Fraction(2, Q + 1):
                raise Wrong(
                    f"A height in row {k} is {float(far):.3g} away from phi, more than "
                    f"2 / (Q + 1) = {2 / (Q + 1):.3g}, {where}."
                )
        everything = [value for row in r for value in row]
        if len(set(everything)) < len(everything):
            raise Wrong(f"Two towns share a height, {where}. Let the fraction depend on k, too.")
        if not all(0 <= value < 1 for value in everything):
            raise Wrong(f"A height leaves [0, 1), {where}. Divide by Q + 1, not by Q.")
        if any((5 * M * (Q + 1)) % value.denominator for value in everything):
            raise Wrong("5 M (Q + 1) is not a common denominator of your heights.")


@checker("kolmogorov-arnold/near-zero", "the smallest value for several bounds")
def _near_zero(answer: Callable[[int], Any], rng: torch.Generator) -> None:
    for bound in (1, 2, 5, 12, 40, 200, _draw(rng, 300, 3000)):
        a, b = _several(answer(bound), 2, "two integers, a and b")
        if any(isinstance(v, bool) or not isinstance(v, (int, np.integer)) for v in (a, b)):
            raise Wrong("a and b should be integers.")
        a, b = int(a), int(b)
        if a == 0 and b == 0:
            raise Wrong("a and b should not both be 0.")
        if max(abs(a), abs(b)) > bound:
            raise Wrong(f"For the bound {bound}, a = {a}, b = {b} is too large.")
        best = min(
            abs(m - n * math.sqrt(2))
            for n in range(bound + 1)
            for m in (math.isqrt(2 * n * n), math.isqrt(2 * n * n) + 1)
            if 0 < m <= bound
        )
        mine = abs(a + b * math.sqrt(2))
        if mine > best + 1e-9 / bound:
            raise Wrong(
                f"For the bound {bound}, a = {a}, b = {b} gives {mine:.3g}, but {best:.3g} is "
                "possible. For each b, only the two integers next to -b sqrt(2) can be best."
            )


@checker("kolmogorov-arnold/finer", "random levels, as exact fractions")
def _finer(answer: Callable[..., Any], rng: torch.Generator) -> None:
    for _ in range(20):
        slope = Fraction(_draw(rng, 1, 50))
        change = Fraction(1, _draw(rng, 2, 50))
        distance = Fraction(1, _draw(rng, 10, 5000))
        new = min(change / 2, distance / 16)
        N, Q = math.ceil(2 * slope / new), math.ceil(8 / new) - 1
        right = {
            "change": (new, "It is the smaller one of change / 2 and distance / 16."),
            "N": (Fraction(N), "phi varies by at most change / 2 on intervals of length 1 / N."),
            "Q": (Fraction(Q), "Q + 1 is at least 8 / change, with the *new* change."),
            "slope": (5 * N * new, "A street is 1 / (5 N) wide, and phi rises by `change` on it."),
            "distance": (
                Fraction(2, 5 * (5 * (N + 1) * (Q + 1)) ** 2),
                "delta = 2 / (5 D^2) with D = 5 M (Q + 1) and M = N + 1.",
            ),
        }
        got = answer(slope, change, distance)
        for name, (value, hint) in right.items():
            mine = _exact(_entry(got, name), f"{name!r}")
            if mine != value:
                raise Wrong(f"{name!r} is {float(mine):.6g}, should be {float(value):.6g}. {hint}")


@checker("kolmogorov-arnold/false-step", "the step, and what is left for two, three and four votes")
def _false_step(answer: Any, rng: torch.Generator) -> None:
    choose(
        _entry(answer, "step"),
        "D",
        {
            "A": "the four open streets between multiples of u are disjoint, as with five towns.",
            "B": "one town is lost by x and one by y, at most.",
            "C": "with two votes of weight 1/2, f(p) is met up to omega.",
            "E": "if D were true, this would follow: a geometric series.",
        },
    )
    left = _entry(answer, "left")
    if not isinstance(left, (list, tuple)) or len(left) != 3:
        raise Wrong("'left' should hold three numbers, for two, three and four votes.")
    for votes, mine in zip((2, 3, 4), left, strict=True):
        value = abs(1 - votes / 2) + (4 - votes) / 2
        hint = "It is |1 - m / 2| + (4 - m) / 2 for m votes."
        close(f"what is left with {votes} votes", float(mine), value, 1e-9, hint)


@checker("kolmogorov-arnold/equal-weights", "your function, its two points, and the collision")
def _equal_weights(answer: Any, rng: torch.Generator) -> None:
    f, p, q = (_entry(answer, name) for name in ("f", "p", "q"))
    if not callable(f):
        raise Wrong("'f' should be a function of x and y.")
    p, q = (_several(point, 2, "'p' and 'q' as pairs of numbers") for point in (p, q))
    if not all(0 <= float(v) <= 1 for v in (*p, *q)):
        raise Wrong("The points should lie in the unit square.")
    if not (math.isclose(p[0], q[1]) and math.isclose(p[1], q[0])):
        raise Wrong(
            "At your two points phi(x) + phi(y) need not agree. For which pairs of points must it, "
            "whatever phi is?"
        )
    t = np.linspace(0, 1, 33)
    largest = max(abs(float(f(x, y))) for x, y in (*product(t, t), p, q))
    if largest > 1 + 1e-9:
        raise Wrong(f"|f| should be at most 1 on the square, but reaches {largest:.3g}.")
    apart = abs(float(f(*p)) - float(f(*q)))
    if apart < 2 - 1e-9:
        raise Wrong(
            f"f differs by {apart:.3g} at your points; for the error 1 it must differ by 2."
        )
    if _jumps(f, p, q):
        raise Wrong("f jumps on the way from p to q; it should be continuous.")
    first, second = _several(_entry(answer, "collision"), 2, "the collision as two pairs (i, l)")
    (i, el), (j, em) = (_several(pair, 2, "pairs (i, l)") for pair in (first, second))
    if (i, el) == (j, em):
        raise Wrong("The two blocks of the collision should be different.")
    if not all(isinstance(v, (int, np.integer)) and 0 <= v <= 8 for v in (i, el, j, em)):
        raise Wrong("The indices of the collision should be integers from 0 to 8.")
    if 2 * i + 3 * el != 2 * j + 3 * em:
        raise Wrong(
            f"The images are {(2 * i + 3 * el) / 16} and {(2 * j + 3 * em) / 16}: not equal."
        )


@checker("kolmogorov-arnold/promise", "votes, weight and share for n from 1 to 6")
def _promise(answer: Callable[[int], Any], rng: torch.Generator) -> None:
    for n in range(1, 7):
        votes, weight, share, omega = _several(
            answer(n), 4, "four numbers: votes, weight, share of the error, factor of omega"
        )
        weights = np.linspace(0, 1, 20001)
        m = np.arange(n + 1, 2 * n + 2)[:, None]
        best = (np.abs(1 - m * weights) + (2 * n + 1 - m) * weights).max(0).min()
        where = f"for {n} variables"
        hint = f"{2 * n + 1} towns, and each of {n} coordinates loses one at most."
        close(f"the votes {where}", float(votes), float(n + 1), 1e-9, hint)
        hint = "With it, all numbers of votes should leave the same share."
        close(f"the weight {where}", float(weight), 1 / (n + 1), 1e-9, hint)
        close(f"the share {where}", float(share), float(best), 1e-3, "Insert the weight.")
        hint = "Every vote misses f(p) by omega at most, times the weight; count the votes."
        close(f"the factor of omega {where}", float(omega), (2 * n + 1) / (n + 1), 1e-9, hint)


@checker("kolmogorov-arnold/referee", "the eight verdicts")
def _referee(answer: Any, rng: torch.Generator) -> None:
    claims = {
        "A": ("false", "is there an error left in the theorem's equation?"),
        "B": ("false", "in which order are the inner functions and f chosen?"),
        "C": ("false", "which functions of two variables may be used in the version of 1957?"),
        "D": ("false", "what does the statement promise about h beside continuity?"),
        "E": ("true", "put Kolmogorov's theorem and Sternfeld's side by side."),
        "F": ("true", "is multiplication continuous on the closed unit square?"),
        "G": ("false", "look at the 32 points, on a small square where all five are straight."),
        "H": ("false", "how many dense open sets does Baire's theorem allow?"),
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
