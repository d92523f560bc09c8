"""The checks of the exercises on refining a spline: right answers pass, wrong ones do not.

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
    "insert": "insert_knot",
    "halve": "halve",
    "nests": "nests",
    "false-step": "false_step",
    "copies": "copies",
    "two-levels": "two_levels",
    "referee": "verdicts",
}


# Wrong answers that are functions ------------------------------------------------------------


def mistaken_insert(*, swapped=False, shift=0, lag=0, knots_too=True, uniform=False):
    """Boehm's rule with one mistake switched on."""

    def answer(knots, coef, degree, new):
        cell = int((knots <= new).sum()) - 1 + shift
        i = torch.arange(cell - degree + 1, cell + 1)
        w = (new - knots[i]) / (knots[i + degree + lag] - knots[i])
        w = torch.full_like(w, 0.5) if uniform else w
        w = 1 - w if swapped else w
        middle = w * coef[i.clamp(max=len(coef) - 1)] + (1 - w) * coef[i - 1]
        coef = torch.cat([coef[: cell - degree + 1], middle, coef[cell:]])
        longer = torch.cat([knots[: cell + 1], torch.tensor([new]), knots[cell + 1 :]])
        return (longer, coef) if knots_too else coef

    return answer


def unsorted_knots(knots, coef, degree, new):
    return torch.cat([knots, torch.tensor([new])]), mistaken_insert()(knots, coef, degree, new)[1]


def mistaken_halve(*, rounds=0, scale=1.0, drop=0):
    def answer(coef, degree):
        coef = coef.repeat_interleave(2)
        for _ in range(degree + rounds):
            coef = (coef[1:] + coef[:-1]) / 2
        return scale * coef[drop:]

    return answer


def interpolated(coef, degree):
    """Puts averages between the coefficients, right for degree 1 only."""
    between = torch.stack([coef[:-1], (coef[1:] + coef[:-1]) / 2], 1).flatten()
    longer = torch.cat([between, coef[-1:]])
    extra = len(longer) - (2 * len(coef) - degree)
    return longer[extra // 2 : len(longer) - (extra - extra // 2)]


def values_only(old, new, degree):
    low, high = old[degree], old[len(old) - degree - 1]
    inside = old[(old > low) & (old < high)]
    return bool(torch.isin(inside, new).all())


def padding_too(old, new, degree):
    return all(int((new == t).sum()) >= int((old == t).sum()) for t in old.unique())


def counts(old, new, degree):
    return len(new) >= len(old)


PREDICTION = {"nests": ["4-8", "5-15"], "averages": 3, "size": 23, "middle": 0.75}
BY_HAND = {"coef": [4.0, 4 / 3, 8 / 3, 8.0], "value": 2.0}
VERDICTS = dict(
    zip(
        "ABCDEFGH", ["true", "false", "false", "true", "false", "true", "true", "true"], strict=True
    )
)
ZIGZAG = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
FALSE_STEP = {"step": "B", "G": 4, "new": 5, "coef": ZIGZAG}
OLD = torch.tensor([0.0, 0.0, 0.0, 0.5, 0.5, 1.0, 1.0, 1.0])
NEW = torch.tensor([0.0, 0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0])
CORNER = torch.tensor([1.0, 1.0, -1.0, 1.0, 1.0])
COPIES = {"old": OLD, "new": NEW, "coef": CORNER}

WRONG: dict[str, dict[str, tuple[Any, str]]] = {
    "predict": {
        "more intervals are enough": (
            {**PREDICTION, "nests": ["3-5", "4-8", "6-9", "5-15", "2-7"]}, "3-5 is not exact"),
        "doubling only": ({**PREDICTION, "nests": ["4-8"]}, "5-15 is exact"),
        "a common factor": ({**PREDICTION, "nests": ["4-8", "6-9", "5-15"]}, "6-9 is not exact"),
        "one average too many": ({**PREDICTION, "averages": 4}, "'averages'"),
        "counts intervals only": ({**PREDICTION, "size": 20}, "'size'"),
        "half": ({**PREDICTION, "middle": 0.5}, "'middle'.*Pascal"),
        "one string": ({**PREDICTION, "nests": "4-8"}, "list of strings"),
    },
    "by-hand": {
        "weights swapped": ({**BY_HAND, "coef": [4.0, 8 / 3, 16 / 3, 8.0]}, "coefficient 1"),
        "equal spacing": ({**BY_HAND, "coef": [4.0, 4 / 3, 2.0, 8.0]}, "coefficient 2.*w_2"),
        "first one lost": ({**BY_HAND, "coef": [0.0, 4 / 3, 8 / 3, 8.0]}, "coefficient 0"),
        "the middle coefficient": ({**BY_HAND, "value": 0.0}, "'value'"),
        "three coefficients": ({**BY_HAND, "coef": [4.0, 4 / 3, 8.0]}, "4 numbers"),
    },
    "insert": {
        "weights swapped": (mistaken_insert(swapped=True), "inside a cell: the coefficients"),
        "the cell to the left": (mistaken_insert(shift=-1), "the knots is off"),
        "one knot too far": (mistaken_insert(lag=1), "inside a cell: the coefficients"),
        "always the middle": (mistaken_insert(uniform=True), "inside a cell: the coefficients"),
        "knots not sorted": (unsorted_knots, "the knots is off"),
        "coefficients only": (mistaken_insert(knots_too=False), "Return two things"),
    },
    "halve": {
        "one average too few": (mistaken_halve(rounds=-1), "should have shape"),
        "not averaged": (mistaken_halve(scale=2.0), "degree 1, 1 to 2 .* is off"),
        "one entry lost": (mistaken_halve(drop=1), "should have shape"),
        "interpolates": (interpolated, "degree 2.* is off"),
        "doubles only": (lambda c, k: c.repeat_interleave(2), "should have shape"),
    },
    "nests": {
        "values without copies": (values_only, "You say True"),
        "the padding counts": (padding_too, "You say False"),
        "counts knots": (counts, "You say True"),
        "always": (lambda old, new, degree: True, "You say True"),
        "always, in NumPy's words": (lambda old, new, degree: np.bool_(True), "You say True"),
        "a list": (lambda old, new, degree: [True], "Return True or False"),
    },
    "false-step": {
        "blames the count": ({**FALSE_STEP, "step": "A"}, "G \\+ k"),
        "blames least squares": ({**FALSE_STEP, "step": "D"}, "follow from C"),
        "grids that nest": ({**FALSE_STEP, "new": 8}, "4 divides 8"),
        "a parabola": ({**FALSE_STEP, "coef": torch.linspace(-1, 1, 6) ** 2}, "jump more"),
        "fewer intervals": ({**FALSE_STEP, "new": 3}, "G < G'"),
        "too large": ({**FALSE_STEP, "coef": 5 * ZIGZAG}, "at most 1"),
        "too few coefficients": ({**FALSE_STEP, "coef": ZIGZAG[:4]}, "6 numbers"),
    },
    "copies": {
        "both copies kept": (
            {**COPIES, "new": torch.tensor([0.0, 0, 0, 0.5, 0.5, 0.75, 1, 1, 1])}, "copies are"),
        "a spline without a corner": ({**COPIES, "coef": torch.ones(5)}, "copies are"),
        "not longer": ({**COPIES, "new": torch.tensor([0.0, 0, 0, 0.5, 1, 1, 1])}, "longer"),
        "the value is missing": (
            {**COPIES, "new": torch.tensor([0.0, 0, 0, 0.2, 0.4, 0.6, 1, 1, 1])}, "0.5 does not"),
        "not clamped": ({**COPIES, "old": torch.arange(8.0) / 7}, "three zeros"),
        "four copies": (
            {**COPIES, "old": torch.tensor([0.0, 0, 0, 0.5, 0.5, 0.5, 0.5, 1, 1, 1])},
            "more than three"),
        "too large": ({**COPIES, "coef": 3 * CORNER}, "at most 1"),
    },
    "two-levels": {
        "fine level only": (lambda g, T, alpha: -alpha * g, "is off"),
        "coarse level only": (lambda g, T, alpha: -alpha * T @ (T.T @ g), "z_0 moves too"),
        "uphill": (lambda g, T, alpha: alpha * (g + T @ (T.T @ g)), "is off"),
        "coarse gradient": (lambda g, T, alpha: -alpha * (T.T @ g), "should have shape"),
        "the new c of another step size": (
            lambda g, T, alpha: -(g + T @ (T.T @ g)), "is off"),
    },
    "referee": {
        "insertion moves the curve": ({**VERDICTS, "A": "false"}, "Boehm"),
        "knots as a cure": ({**VERDICTS, "B": "true"}, "residuals"),
        "more is more": ({**VERDICTS, "C": "true"}, "cell above"),
        "needs samples": ({**VERDICTS, "D": "false"}, "which data"),
        "forgets the padding": ({**VERDICTS, "E": "true"}, "padding"),
        "coefficients grow": ({**VERDICTS, "F": "false"}, "averages"),
        "equal is fair": ({**VERDICTS, "H": "false"}, "local refinement"),
        "no idea": ({**VERDICTS, "G": "maybe"}, "Claim G: .*not among"),
    },
}  # fmt: skip


class TestExercises(ChapterTests):
    source = "splines/refining-a-spline.md"
    space: ClassVar = {"kl": kl, "math": math}
    answers = ANSWERS
    wrong = WRONG
