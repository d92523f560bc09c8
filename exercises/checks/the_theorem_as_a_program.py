"""Checks of the exercises on the theorem as a program.

Glossary
    n       number of variables
    base    gamma, the base of the digits
    k       number of digits, or level
    beta    beta(k) = 1 + n + ... + n^(k-1)
"""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from exercises.checks import Wrong, checker, choose, close
from kanlite.superposition import inner_function, superpose


def _draw(rng: torch.Generator, low: int, high: int) -> int:
    """A random integer from low to high, both included."""
    return int(torch.randint(low, high + 1, (1,), generator=rng))


def _beta(k: int, n: int) -> int:
    return sum(n**r for r in range(k))


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


@checker("the-theorem-as-a-program/predict", "the four predictions, by computing them")
def _predict(answer: Any, rng: torch.Generator) -> None:
    lost = next(k for k in range(1, 9) if Fraction(1, 10 ** _beta(k, 3)) < Fraction(1, 2**53))
    right = {
        "beta": (_beta(3, 3), "Add 1, n and n^2."),
        "lost": (lost, "Compare 10^-beta(k) with 2^-53, about 10^-16."),
        "votes": (7 - 3, "Each coordinate can lose one family."),
        "share": (6 / 7, "It is 2n / (m + 1), with m + 1 = 7."),
    }
    for name, (value, hint) in right.items():
        close(f"your {name!r}", float(_entry(answer, name)), float(value), 1e-3, hint)


@checker("the-theorem-as-a-program/by-hand", "the four values, as fractions")
def _by_hand(answer: Any, rng: torch.Generator) -> None:
    hints = {
        "0.5": "With one digit, psi(x) = x.",
        "0.58": "Eight tiny steps of 10^-beta(2) = 10^-3.",
        "0.59": "The mean of its neighbors psi(0.58) and psi(0.6).",
        "0.599": "The mean of psi(0.598) and psi(0.6); psi(0.598) is eight steps above psi(0.59).",
    }
    for name, hint in hints.items():
        mine = _exact(_entry(answer, name), f"the value at {name}")
        right = inner_function(Fraction(name), dimension=2, base=10)
        if mine != right:
            raise Wrong(
                f"The value at {name} is {float(mine):.9g}, should be {float(right):.9g}. {hint}"
            )


@checker("the-theorem-as-a-program/psi", "random digits, three dimensions, four bases")
def _psi(answer: Callable[..., Any], rng: torch.Generator) -> None:
    for kind in ("flat", "steep", "any"):
        for n, base in [(2, 6), (2, 10), (3, 8), (4, 11)]:
            for _ in range(15):
                low = base - 2 if kind == "steep" else 0
                high = base - 2 if kind == "flat" else base - 1
                digits = [_draw(rng, low, high) for _ in range(_draw(rng, 1, 4))]
                x = sum(
                    (Fraction(digit, base**r) for r, digit in enumerate(digits, start=1)),
                    Fraction(0),
                )
                right = inner_function(x, dimension=n, base=base)
                mine = _exact(answer(list(digits), base, n), "psi")
                if mine != right:
                    hint = "A last digit takes the mean of both neighbors; carry where needed."
                    raise Wrong(
                        f"For the digits {digits} in base {base} and {n} variables, psi is "
                        f"{float(mine):.9g}, should be {float(right):.9g}. "
                        + ("Each digit adds i base^-beta(k)." if kind == "flat" else hint)
                    )


@checker("the-theorem-as-a-program/steepest", "the steepest cell of each level, exactly")
def _steepest(answer: Callable[[int, int, int], Any], rng: torch.Generator) -> None:
    for n, base in [(2, 6), (2, 9), (3, 8)]:
        for k in (1, 2, 3, 5):
            low = 1 - Fraction(1, base**k)
            right = 1 - inner_function(low, dimension=n, base=base)
            mine = _exact(answer(k, base, n), "the rise")
            if mine != right:
                raise Wrong(
                    f"For level {k}, base {base} and {n} variables the rise is {float(mine):.6g}, "
                    f"should be {float(right):.6g}. From level to level: take away base - 2 tiny "
                    "steps, then halve."
                )


@checker("the-theorem-as-a-program/false-step", "the step, and the oscillation of the residual")
def _false_step(answer: Any, rng: torch.Generator) -> None:
    choose(
        _entry(answer, "step"),
        "D",
        {
            "A": "this is what the construction is made for, and it is checked in integers.",
            "B": "this is the lemma that at most one family is lost on an axis.",
            "C": "this is uniform continuity, for the right level.",
            "E": "if epsilon were as small as D says, this would be the proposition.",
        },
    )
    g = superpose(lambda t: t[..., 0] * t[..., 1], 2, digits=3, levels=[1, 2])
    hint = "Look at `iterations[1].oscillation` of the superposition in the cell above."
    close(
        "the oscillation", float(_entry(answer, "epsilon")), g.iterations[1].oscillation, 5e-3, hint
    )


@checker("the-theorem-as-a-program/one-family-more", "your point, at both families, exactly")
def _one_family_more(answer: Any, rng: torch.Generator) -> None:
    base, k = 6, 2
    x = _exact(answer, "x")
    if not 0 <= x <= 1 - Fraction(1, base):
        raise Wrong(f"x should lie in [0, 5/6], but is {float(x):.4g}.")
    unit = Fraction(1, base**k * (base - 1))
    for q in (0, 5):
        place = (x / unit + q) % (base - 1)
        if place <= base - 2:
            raise Wrong(
                f"Family {q} has a block at your x: in units of rho, x + q is {float(place):.3g} "
                f"behind a corner, and blocks are {base - 2} units long."
            )


@checker("the-theorem-as-a-program/digits", "levels, dimensions and bases")
def _digits(answer: Callable[[int, int, int], Any], rng: torch.Generator) -> None:
    for _ in range(20):
        k, n = _draw(rng, 1, 6), _draw(rng, 2, 4)
        base = 2 * n + 2 + _draw(rng, 0, 3)
        right = math.ceil(_beta(k + 1, n) * math.log2(base))
        mine = answer(k, n, base)
        if isinstance(mine, bool) or not isinstance(mine, (int, np.integer)):
            raise Wrong("Return an integer.")
        if int(mine) != right:
            raise Wrong(
                f"After level {k} with {n} variables in base {base}, {mine} digits, should be "
                f"{right}: the smallest k' with 2^-k' <= base^-beta(k + 1)."
            )


@checker("the-theorem-as-a-program/referee", "the seven verdicts")
def _referee(answer: Any, rng: torch.Generator) -> None:
    claims = {
        "A": ("false", "what did Fridman prove in 1967?"),
        "B": ("true", "which of the two layers knows f?"),
        "C": ("false", "how many digits does a second iteration need, and a double have?"),
        "D": ("true", "read the theorem of Henkin and Vitushkin, with p_m = 1."),
        "E": ("false", "insert n = 2 and n' = 2 (for addition) into the inequality."),
        "F": ("true", "count the plateaus of a level."),
        "G": ("false", "where is the residual zero, and what happens between these points?"),
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
