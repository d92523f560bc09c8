"""The checks of the exercises on B-splines: right answers pass, plausible wrong ones do not.

The right answers are those of the solved notebook itself; each wrong answer must be rejected for
the reason that belongs to it.
"""

import math
from itertools import combinations
from typing import Any, ClassVar

import torch
from scipy import interpolate

import kanlite as kl
from tests.exercises.chapter_tests import ChapterTests

ANSWERS = {
    "predict": "prediction",
    "by-hand": "by_hand",
    "recursion": "my_basis",
    "reach": "reach",
    "derivative": "derivative",
    "corner": "knots_for",
    "powers": "power_coef",
    "false-step": "false_step",
    "dependent": "dependent",
    "shortest": "shortest",
    "referee": "verdicts",
    "scipy": "from_scipy",
}


# Wrong answers that are functions ------------------------------------------------------------


def recursion(
    x, knots, degree, *, closed=False, guard=True, end=True, swapped=False, extra=False, low=False
):
    """Cox-de Boor with one mistake switched on."""
    x = x[:, None]
    right = x <= knots[1:] if closed else x < knots[1:]
    B = ((knots[:-1] <= x) & right).to(x.dtype)
    if end:
        n = len(knots) - degree - 1
        last = int((knots < knots[n]).nonzero().max())
        B = torch.where(x == knots[n], torch.eye(len(knots) - 1)[last], B)
    for j in range(1, degree + 1 - int(low)):
        length = knots[j:] - knots[:-j]
        Q = B / (torch.where(length > 0, length, 1.0) if guard else length)
        rise, fall = (Q[:, 1:], Q[:, :-1]) if swapped else (Q[:, :-1], Q[:, 1:])
        B = (x - knots[: -j - 1]) * rise + (knots[j + 1 :] - x) * fall
    return torch.cat([B, B[:, -1:]], 1) if extra else B


def mistaken_recursion(**mistake):
    return lambda x, knots, degree: recursion(x, knots, degree, **mistake)


def mistaken_derivative(*, factor=True, trim=True, guard=True, padded=False):
    def answer(knots, coef, degree):
        n = len(coef)
        length = knots[degree + 1 : n + degree] - knots[1:n]
        safe = torch.where(length > 0, length, 1.0) if guard else length
        slope = (degree if factor else 1) * coef.diff() / safe
        if padded:
            slope = torch.cat([slope, slope[-1:]])
        return (knots[1:-1] if trim else knots), slope

    return answer


def mistaken_knots(*, multiplicity, end=1, order=sorted):
    def answer(degree, low, high, smoothness):
        inner = [t for t in order(smoothness) for _ in range(multiplicity(degree, smoothness[t]))]
        ends = degree + end
        return torch.tensor([low] * ends + inner + [high] * ends)

    return answer


def power_of_average(knots, degree, j):
    n = len(knots) - degree - 1
    return torch.stack([knots[i + 1 : i + degree + 1].mean() ** j for i in range(n)])


def mistaken_powers(*, divide=True, first=1):
    def answer(knots, degree, j):
        rows = []
        for i in range(len(knots) - degree - 1):
            inner = knots[i + first : i + degree + first].tolist()
            total = sum(math.prod(chosen) for chosen in combinations(inner, j))
            rows.append(total / (math.comb(degree, j) if divide else 1))
        return torch.tensor(rows)

    return answer


def mistaken_scipy(*, degree=None, extrapolate="linear"):
    def answer(spline):
        k = degree or spline.k
        basis = kl.BSpline(degree=k, knots=torch.as_tensor(spline.t), extrapolate=extrapolate)
        return lambda x: basis(x) @ torch.as_tensor(spline.c)

    return answer


PREDICTION = {"num_basis": 9, "touched": 4, "cells": 4, "sum_at_knot": 5 / 6}
BY_HAND = {"value at 1": 1 / 3, "value at 2": 2 / 3, "slope at 1": 2 / 3, "slope at 2": 0.0}
VERDICTS = {"A": "false", "B": "true", "C": "false", "D": "true", "E": "false", "F": "true"}
POSITIVE = torch.ones(8)
ONE_NEGATIVE = torch.where(torch.arange(8) == 3, -0.2, POSITIVE)
SIMPLE = torch.arange(9.0)
CROWDED = torch.tensor([-2.0, -1.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
FIRST = torch.eye(6)[0]
DOUBLE = torch.tensor([-2.0, -1.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 4.0, 5.0])
FOURTH = torch.eye(7)[3]

WRONG: dict[str, dict[str, tuple[Any, str]]] = {
    "predict": {
        "one basis function per knot interval": ({**PREDICTION, "num_basis": 12}, "num_basis"),
        "forgets the padding": ({**PREDICTION, "num_basis": 6}, "num_basis"),
        "degree instead of degree + 1": ({**PREDICTION, "touched": 3}, "touched"),
        "support one cell short": ({**PREDICTION, "cells": 3}, "cells"),
        "sums to one everywhere": ({**PREDICTION, "sum_at_knot": 1.0}, "outside the domain"),
        "an entry is missing": ({"num_basis": 9}, "'touched' is missing"),
    },
    "by-hand": {
        "value of equal spacing": ({**BY_HAND, "value at 1": 0.5}, "value at 1"),
        "forgets the factor 2": ({**BY_HAND, "slope at 1": 1 / 3}, "slope at 1"),
        "top is at the middle of the values": ({**BY_HAND, "value at 2": 0.75}, "value at 2"),
        "not flat at the top": ({**BY_HAND, "slope at 2": 1 / 3}, "slope at 2"),
        "a list": ([1 / 3, 2 / 3, 2 / 3, 0.0], "Give a dictionary"),
    },
    "recursion": {
        "closed cells": (mistaken_recursion(closed=True, end=False), "at the knots themselves"),
        "divides by zero": (mistaken_recursion(guard=False), "repeated knots has .* NaN"),
        "loses the right end": (mistaken_recursion(end=False), "at the right end"),
        "factors swapped": (mistaken_recursion(swapped=True), "degree 1 on simple knots is off"),
        "one column too many": (mistaken_recursion(extra=True), "should have shape"),
        "one degree too low": (mistaken_recursion(low=True), "should have shape"),
        "not written": (lambda x, knots, degree: None, "not answered yet"),
    },
    "reach": {
        "union of the supports": (
            lambda t, k, j: (t[j - k - 1], t[j + k + 1]), "low end .* is off"),
        "support of one function": (lambda t, k, j: (t[j], t[j + k + 1]), "low end .* is off"),
        "asymmetric": (lambda t, k, j: (t[j - k], t[j + k + 1]), "high end .* is off"),
        "only the neighbors": (lambda t, k, j: (t[j - 1], t[j + 1]), "degree 2"),
        "one number": (lambda t, k, j: t[j + k], "Return two things"),
    },
    "derivative": {
        "forgets the factor k": (mistaken_derivative(factor=False), "degree 2, simple .* off"),
        "knots not trimmed": (mistaken_derivative(trim=False), "the knots of the derivative"),
        "wrong knot differences": (
            lambda t, c, k: (t[1:-1], k * c.diff() / (t[k + 2 : len(c) + k + 1] - t[1 : len(c)])),
            "degree 1, simple knots, is off",
        ),
        "as many coefficients as before": (mistaken_derivative(padded=True), "should number"),
        "divides by zero": (mistaken_derivative(guard=False), "repeated knots.* NaN"),
    },
    "corner": {
        "multiplicity is r": (mistaken_knots(multiplicity=lambda k, r: r), "solve k - m = r"),
        "as if C^(k-1) were C^k": (
            mistaken_knots(multiplicity=lambda k, r: k - r + 1), "solve k - m = r"),
        "ends not clamped": (
            mistaken_knots(multiplicity=lambda k, r: k - r, end=0), r"\(clamped\)"),
        "breakpoints not sorted": (
            mistaken_knots(multiplicity=lambda k, r: k - r, order=lambda s: sorted(s)[::-1]),
            "ascending",
        ),
        "a breakpoint too many": (
            lambda k, low, high, s: torch.cat(
                [mistaken_knots(multiplicity=lambda k, r: k - r)(k, low, high, s),
                 torch.tensor([(low + high) / 2])]).sort().values,
            "places where none was asked for",
        ),
    },
    "powers": {
        "powers of averages": (power_of_average, r"x\*\*2 is off"),
        "not divided": (mistaken_powers(divide=False), r"x\*\*1 is off"),
        "knots shifted by one": (mistaken_powers(first=0), r"degree 1 for x\*\*1 is off"),
        "one coefficient per knot": (lambda t, k, j: t**j, "there should be"),
    },
    "false-step": {
        "blames the convex hull": ({"step": "C", "coef": ONE_NEGATIVE}, "convex hull"),
        "blames the assumption": ({"step": "A", "coef": ONE_NEGATIVE}, "the opposite"),
        "no negative coefficient": ({"step": "D", "coef": POSITIVE}, "None of your coefficients"),
        "too negative": (
            {"step": "D", "coef": torch.where(torch.arange(8) == 3, -1.0, POSITIVE)},
            "not positive everywhere",
        ),
        "negative at the end": (
            {"step": "D", "coef": torch.where(torch.arange(8) == 0, -1.5, POSITIVE)},
            "at x = -1.000",
        ),
        "too few": ({"step": "D", "coef": torch.tensor([1.0, -0.1, 1.0])}, "8 numbers"),
    },
    "dependent": {
        "simple knots": ({"knots": SIMPLE, "coef": FIRST}, "inside the domain"),
        "nothing but zeros": ({"knots": CROWDED, "coef": 0 * FIRST}, "All coefficients are zero"),
        "four equal knots": (
            {"knots": torch.tensor([0.0, 0, 0, 0, 1, 2, 3, 4, 5]), "coef": FIRST}, "forbids"),
        "the wrong function": ({"knots": CROWDED, "coef": torch.eye(6)[1]}, "inside the domain"),
        "not ascending": ({"knots": SIMPLE.flip(0), "coef": FIRST}, "ascending"),
        "a domain without length": (
            {"knots": torch.tensor([0.0, 0, 1, 1, 1, 1, 1, 2, 2]), "coef": FIRST}, "forbids"),
    },
    "shortest": {
        "simple knots": ({"knots": torch.arange(10.0), "coef": FOURTH}, "lives on 3 cells"),
        "one double knot": (
            {"knots": torch.tensor([-2.0, -1, 0, 1, 1, 2, 3, 4, 5, 6]), "coef": FOURTH},
            "lives on 2 cells"),
        "a jump": (
            {"knots": torch.tensor([-2.0, -1, 0, 1, 1, 1, 2, 3, 4, 5]), "coef": FOURTH},
            "may jump"),
        "at the end": (
            {"knots": torch.tensor([0.0, 0, 0, 1, 2, 3, 4, 5, 6, 7]), "coef": torch.eye(7)[0]},
            "at an end"),
        "nothing": ({"knots": DOUBLE, "coef": 0 * FOURTH}, "zero on the whole domain"),
        "too few cells": (
            {"knots": torch.tensor([-1.0, -1, 0, 1, 1, 2, 2]), "coef": torch.eye(4)[0]},
            "one with neighbors needs three"),
        "coefficients do not fit": ({"knots": DOUBLE, "coef": FIRST}, "7 numbers"),
    },
    "referee": {
        "k times differentiable": ({**VERDICTS, "A": "true"}, "polyline"),
        "twice as accurate": ({**VERDICTS, "C": "true"}, "factors"),
        "coefficients are values": ({**VERDICTS, "E": "true"}, "mixes three"),
        "all coefficients change": ({**VERDICTS, "D": "false"}, "multiple of B_i"),
        "counts intervals only": ({**VERDICTS, "B": "false"}, "count"),
        "no idea": ({**VERDICTS, "F": "maybe"}, "Claim F: .*not among"),
    },
    "scipy": {
        "always cubic": (mistaken_scipy(degree=3), "stopped with RuntimeError: size mismatch"),
        "constant outside": (mistaken_scipy(extrapolate="constant"), "left of its domain is off"),
        "natural outside": (mistaken_scipy(extrapolate="natural"), "left of its domain is off"),
        "continues the polynomials": (
            lambda spline: lambda x: torch.as_tensor(spline(x.numpy())),
            "degree 2 left of its domain is off",
        ),
        "values, not a function": (lambda spline: torch.as_tensor(spline.c), "Return a function"),
    },
}  # fmt: skip


class TestExercises(ChapterTests):
    source = "splines/b-splines.md"
    space: ClassVar = {
        "kl": kl,
        "math": math,
        "combinations": combinations,
        "interpolate": interpolate,
    }
    answers = ANSWERS
    wrong = WRONG
