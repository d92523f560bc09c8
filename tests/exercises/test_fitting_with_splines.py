"""The checks of the exercises on fitting with splines: right answers pass, wrong ones do not.

The right answers are those of the solved notebook itself; each wrong answer must be rejected for
the reason that belongs to it.
"""

import math
from typing import Any, ClassVar

import numpy as np
import torch

import kanlite as kl
from tests.exercises.chapter_tests import ChapterTests

ANSWERS = {
    "predict": "prediction",
    "by-hand": "by_hand",
    "interlaces": "interlaces",
    "false-step": "false_step",
    "functional": "functional",
    "pspline": "pspline",
    "far": "far",
    "jump": "knots_with_jump",
    "truncated": "truncated_coef",
    "referee": "verdicts",
}


# Wrong answers that are functions ------------------------------------------------------------


def one_point_each(x, knots, degree):
    """The claim of exercise 4: each function sees a point, and there are enough points."""
    sees = kl.bspline_basis(x, knots, degree) > 0
    return bool(sees.any(0).all()) and len(x) >= sees.shape[1]


def unsorted(x, knots, degree):
    sees = kl.bspline_basis(x, knots, degree) > 0
    i = 0
    for row in sees:
        i += int(i < sees.shape[1] and bool(row[i]))
    return i == sees.shape[1]


def used_twice(x, knots, degree):
    """A point may serve two functions."""
    sees = kl.bspline_basis(x.sort().values, knots, degree) > 0
    return bool(sees.any(0).all())


def mistaken_functional(*, cell=None, row=None, spread=1.0, outside=False, pair=True):
    def answer(knots, degree, i):
        n = len(knots) - degree - 1
        cells = range(max(i, degree), min(i + degree + 1, n))
        m = max(cells, key=lambda c: float(knots[c + 1] - knots[c]))
        if cell == "last":
            m = max(c for c in range(degree, n) if knots[c] < knots[c + 1])
        u = 0.5 + spread * ((torch.arange(degree + 1) + 0.5) / (degree + 1) - 0.5)
        points = knots[m] + u * (knots[m + 1] - knots[m])
        local = kl.bspline_basis(points, knots, degree)[:, m - degree : m + 1]
        index = i - (m - degree) if row is None else row
        weights = torch.linalg.inv(local)[index % (degree + 1)]
        return (points, weights) if pair else weights

    return answer


def greville_value(knots, degree, i):
    return knots[i + 1 : i + degree + 1].mean()[None], torch.ones(1)


def mistaken_pspline(*, squared=False, order=0, trace="hat", left_out="divided", drop=0):
    def answer(A, y, lam, d):
        D = torch.eye(A.shape[1]).diff(n=max(1, d + order), dim=0)
        solve = torch.linalg.solve(A.T @ A + (lam**2 if squared else lam) * D.T @ D, A.T)
        hat, coef = A @ solve, solve @ y
        residual = y - A @ coef
        if left_out == "divided":
            residual = residual / (1 - hat.diagonal())
        elif left_out == "average":
            residual = residual / (1 - hat.trace() / len(y))
        effective = hat.trace() if trace == "hat" else torch.tensor(float(A.shape[1]))
        return (coef, effective, residual.abs().max())[: 3 - drop]

    return answer


def knots_at(*inner_copies, extra=()):
    def answer(c):
        return torch.tensor([0.0] * 4 + [c] * inner_copies[0] + list(extra) + [1.0] * 4)

    return answer


def mistaken_truncated(*, order=1, factorial=True, spacing=True, sign=1):
    def answer(coef, degree, h):
        jumps = sign * coef.diff(n=degree + order) / (h**degree if spacing else 1)
        return jumps / (math.factorial(degree) if factorial else 1)

    return answer


PREDICTION = {
    "rank": 11,
    "smooth_factor": 16.0,
    "operator_factor": 4.0,
    "corner_factor": 2.0,
    "parabola_degree": 2,
}
BY_HAND = {"left": -0.5, "middle": 2.0, "right": -0.5, "W": 3.0, "quartic": -0.375}
VERDICTS = dict(
    zip(
        "ABCDEFGH",
        ["false", "true", "false", "true", "false", "false", "true", "false"],
        strict=True,
    )
)
PIGEONS = torch.tensor([0.1, 0.2, 0.3, 0.4, 2.5, 3.5])
FAR_KNOTS = torch.tensor([-3000.0, -2000.0, 0.0, 1.0, 2.0, 3.0, 4.0])
FAR_COEF = torch.tensor([2000.0, 0.0, 0.0, 0.0])

WRONG: dict[str, dict[str, tuple[Any, str]]] = {
    "predict": {
        "full rank": ({**PREDICTION, "rank": 13}, "'rank'.*four intervals"),
        "one rank per empty interval": ({**PREDICTION, "rank": 8}, "'rank'"),
        "the degree as order": ({**PREDICTION, "smooth_factor": 8.0}, "'smooth_factor'"),
        "an operator that is not saturated": (
            {**PREDICTION, "operator_factor": 16.0}, "'operator_factor'"),
        "a corner that is smooth": ({**PREDICTION, "corner_factor": 16.0}, "'corner_factor'"),
        "a line": ({**PREDICTION, "parabola_degree": 1}, "'parabola_degree'.*third differences"),
        "an entry is missing": ({"rank": 11}, "'smooth_factor' is missing"),
    },
    "by-hand": {
        "values of the B-spline": ({**BY_HAND, "left": 0.5}, "'left'"),
        "the midpoint alone": ({**BY_HAND, "middle": 1.0}, "'middle'"),
        "signs lost": ({**BY_HAND, "W": 1.0}, "sizes of the weights"),
        "coefficient of the quartic": ({**BY_HAND, "quartic": 0.0}, "three values"),
        "a list": ([-0.5, 2.0, -0.5], "Give a dictionary"),
    },
    "interlaces": {
        "one point in every support": (one_point_each, "no subset interlaces"),
        "points not sorted": (unsorted, "a subset interlaces"),
        "a point serves twice": (used_twice, "no subset interlaces"),
        "always yes": (lambda x, t, k: True, "no subset interlaces"),
        "always yes, in NumPy's words": (lambda x, t, k: np.bool_(True), "no subset interlaces"),
        "always no": (lambda x, t, k: False, "a subset interlaces"),
        "a list": (lambda x, t, k: [1], "Return True or False"),
    },
    "false-step": {
        "blames independence": ({"step": "C", "x": PIGEONS}, "Curry"),
        "blames the columns": ({"step": "B", "x": PIGEONS}, "assumption"),
        "points that interlace": (
            {"step": "D", "x": torch.tensor([0.0, 1.0, 2.0, 2.5, 3.0, 4.0])}, "rank 5"),
        "a hat that nobody sees": (
            {"step": "D", "x": torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 3.5])}, "top at 2"),
        "the same point twice": (
            {"step": "D", "x": torch.tensor([0.1, 0.1, 0.3, 0.4, 2.5, 3.5])}, "all be different"),
        "outside": (
            {"step": "D", "x": torch.tensor([-0.1, 0.2, 0.3, 0.4, 2.5, 3.5])}, "in the domain"),
    },
    "functional": {
        "the value at the Greville abscissa": (greville_value, "applied to all B_l"),
        "always the first row": (mistaken_functional(row=0), "applied to all B_l"),
        "always the last cell": (mistaken_functional(cell="last"), "outside the support"),
        "points too near each other": (mistaken_functional(spread=0.1), "weights sum to"),
        "weights only": (mistaken_functional(pair=False), "Return two things"),
    },
    "pspline": {
        "lambda squared": (mistaken_pspline(squared=True), "coefficients is off"),
        "one difference too many": (mistaken_pspline(order=1), "coefficients is off"),
        "counts all coefficients": (mistaken_pspline(trace="n"), "effective number"),
        "the training error": (mistaken_pspline(left_out="none"), "left-out error"),
        "the average of H": (mistaken_pspline(left_out="average"), "left-out error"),
        "two things": (mistaken_pspline(drop=1), "Return three things"),
    },
    "far": {
        "clamped": (
            {"knots": torch.tensor([0.0, 0, 0, 1, 2, 2, 2]), "coef": FAR_COEF}, "spline is"),
        "not large": ({"knots": FAR_KNOTS, "coef": FAR_COEF / 4}, "not above 1000"),
        "another domain": ({"knots": FAR_KNOTS + 1, "coef": FAR_COEF}, "domain is"),
        "not ascending": ({"knots": FAR_KNOTS.flip(0), "coef": FAR_COEF}, "ascending"),
        "four equal knots": (
            {"knots": torch.tensor([0.0, 0, 0, 0, 2, 3, 4]), "coef": FAR_COEF}, "four equal"),
        "too few": ({"knots": FAR_KNOTS[:6], "coef": FAR_COEF}, "7 numbers"),
    },
    "jump": {
        "a simple knot": (knots_at(1), "occurs 1 times"),
        "no knot": (knots_at(0), "occurs 0 times"),
        "a corner": (knots_at(3), "fewer copies"),
        "not clamped": (lambda c: torch.tensor([0.0, 0, 0, c, c, 1, 1, 1, 1]), "Four knots"),
        "too many": (lambda c: torch.linspace(0, 1, 13), "at most 12"),
        "not sorted": (
            lambda c: torch.tensor([0.0] * 4 + [c, c, c / 2] + [1.0] * 4), "ascending order"),
    },
    "truncated": {
        "the derivative, not its jump": (mistaken_truncated(order=0), "should number"),
        "forgets k!": (mistaken_truncated(factorial=False), "degree 2, 2 cells.* is off"),
        "forgets h": (mistaken_truncated(spacing=False), "degree 1, 2 cells.* is off"),
        "jumps downwards": (mistaken_truncated(sign=-1), "degree 1, 2 cells.* is off"),
        "one too few": (mistaken_truncated(order=2), r"has? shape \(0,\)|have shape \(0,\)"),
    },
    "referee": {
        "more is better": ({**VERDICTS, "A": "true"}, "corner"),
        "constants do not matter": ({**VERDICTS, "B": "false"}, "for both degrees"),
        "forgets the noise": ({**VERDICTS, "C": "true"}, "variance"),
        "needs interlacing": ({**VERDICTS, "D": "false"}, "kernel"),
        "trusts the training error": ({**VERDICTS, "E": "true"}, "smallest"),
        "trusts cubics": ({**VERDICTS, "F": "true"}, "leading coefficient"),
        "two spaces": ({**VERDICTS, "H": "true"}, "span"),
        "no idea": ({**VERDICTS, "G": "maybe"}, "Claim G: .*not among"),
    },
}  # fmt: skip


class TestExercises(ChapterTests):
    source = "splines/fitting-with-splines.md"
    space: ClassVar = {"kl": kl, "math": math}
    answers = ANSWERS
    wrong = WRONG
