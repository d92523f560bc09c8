"""The checks of the exercises on the Kolmogorov-Arnold theorem: right passes, wrong does not.

The right answers are those of the solved notebook itself; each wrong answer must be rejected for
the reason that belongs to it.
"""

import math
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np

from tests.exercises.chapter_tests import ChapterTests

ANSWERS = {
    "predict": "prediction",
    "votes": "voters",
    "heights": "my_heights",
    "near-zero": "nearest",
    "finer": "next_level",
    "false-step": "false_step",
    "equal-weights": "broken",
    "promise": "promise",
    "referee": "verdicts",
}


# Wrong answers that are functions ------------------------------------------------------------


def mistaken_votes(*, closed=False, one_axis=False, either=False, period=5):
    def answer(x, y, N):
        def on_street(t, k):
            place = (period * N * t - k) % period
            return 0 <= place <= 1 if closed else 0 < place < 1

        if one_axis:
            return {k for k in range(5) if not on_street(x, k)}
        if either:
            return {k for k in range(5) if not (on_street(x, k) and on_street(y, k))}
        return {k for k in range(5) if not on_street(x, k) and not on_street(y, k)}

    return answer


def mistaken_heights(*, step=5, town=1, divide=1, whole=True):
    """The chapter's formula with a mistake."""

    def answer(values, N, Q):
        M = N + 1
        return [
            [
                (
                    (math.floor(Q * value) if whole else 0)
                    + Fraction(step * i + town * k, 5 * M)
                ) / (Q + divide)
                for i, value in enumerate(row)
            ]
            for k, row in enumerate(values)
        ]  # fmt: skip

    return answer


def mistaken_level(*, old_change=False, streets=True, square=True, extra=1):
    def answer(slope, change, distance):
        new = change / 2 if old_change else min(change / 2, distance / 16)
        N, Q = math.ceil(2 * slope / new), math.ceil(8 / new) - extra
        return {
            "change": new,
            "N": N,
            "Q": Q,
            "slope": (5 if streets else 1) * N * new,
            "distance": Fraction(2, 5 * (5 * (N + 1) * (Q + 1)) ** (2 if square else 1)),
        }

    return answer


PREDICTION = {
    "blocks": 80, "five_towns": 3, "four_towns": 2, "seven_towns": 4, "six_towns_share": 0.5,
}  # fmt: skip
BROKEN = {
    "f": lambda x, y: x - y,
    "p": (1.0, 0.0),
    "q": (0.0, 1.0),
    "collision": ((3, 0), (0, 2)),
}
VERDICTS = dict(zip("ABCDEFGH", ["false"] * 4 + ["true"] * 2 + ["false"] * 2, strict=True))

WRONG: dict[str, dict[str, tuple[Any, str]]] = {
    "predict": {
        "one interval per street": ({**PREDICTION, "blocks": 45}, "'blocks' is off"),
        "loses one town only": ({**PREDICTION, "five_towns": 4}, "'five_towns' is off"),
        "thinks four are as good": ({**PREDICTION, "four_towns": 3}, "'four_towns' is off"),
        "two coordinates in the cube": ({**PREDICTION, "seven_towns": 5}, "'seven_towns' is off"),
        "five towns' share": ({**PREDICTION, "six_towns_share": 2 / 3}, "weight is 1 / .K - 2."),
        "an entry is missing": ({"blocks": 80}, "'five_towns' is missing"),
    },
    "votes": {
        "closed streets": (mistaken_votes(closed=True), "their ends belong to the blocks"),
        "x alone": (mistaken_votes(one_axis=True), "has a street there"),
        "both must be on a street": (mistaken_votes(either=True), "has a street there"),
        "streets four units apart": (mistaken_votes(period=4), "there"),
        "a number": (lambda x, y, N: 3, "Return the set"),
    },
    "heights": {
        "does not grow with i": (mistaken_heights(step=0), "does not increase strictly"),
        "the same for all towns": (mistaken_heights(town=0), "Two towns share a height"),
        "divides by Q": (mistaken_heights(divide=0), r"leaves \[0, 1\)|more than"),
        "forgets phi": (mistaken_heights(whole=False), "away from phi, more than"),
        "floats": (lambda v, N, Q: [[float(a) for a in row] for row in v], "should be a Fraction"),
        "one row": (lambda v, N, Q: v[0], "five rows"),
    },
    "near-zero": {
        "nothing": (lambda bound: (0, 0), "not both be 0"),
        "the same for all": (lambda bound: (1, -1), "is possible"),
        "too large": (lambda bound: (2 * bound, -bound), "is too large"),
        "floats": (lambda bound: (1.0, -1.0), "should be integers"),
        "plus for minus": (lambda bound: (1, 1), "is possible"),
        "one number": (lambda bound: 1, "two integers"),
    },
    "finer": {
        "forgets the distance": (mistaken_level(old_change=True), "'change' is"),
        "slope over a whole period": (mistaken_level(streets=False), "'slope' is"),
        "denominator not squared": (mistaken_level(square=False), "'distance' is"),
        "one too many": (mistaken_level(extra=0), "'Q' is"),
        "a list": (lambda *args: [1, 2, 3, 4, 5], "Give a dictionary"),
    },
    "false-step": {
        "blames the count": ({"step": "B", "left": [1, 1, 1]}, "one by y, at most"),
        "blames the streets": ({"step": "A", "left": [1, 1, 1]}, "disjoint, as with five"),
        "streets cancel": ({"step": "D", "left": [0.0, 1, 1]}, "with 2 votes is off"),
        "votes are right": ({"step": "D", "left": [1, 0.5, 1]}, "with 3 votes is off"),
        "two numbers": ({"step": "D", "left": [1, 1]}, "three numbers"),
    },
    "equal-weights": {
        "a symmetric function": ({**BROKEN, "f": lambda x, y: x * y}, "differs by 0"),
        "too small": ({**BROKEN, "f": lambda x, y: x}, "differs by 1"),
        "too large": ({**BROKEN, "f": lambda x, y: 2 * (x - y)}, "should be at most 1"),
        "not mirror images": ({**BROKEN, "q": (0.0, 0.0)}, "For which pairs of points"),
        "jumps": ({**BROKEN, "f": lambda x, y: float(np.sign(x - y + 0.1))}, "f jumps"),
        "the same block twice": ({**BROKEN, "collision": ((3, 0), (3, 0))}, "should be different"),
        "no collision": ({**BROKEN, "collision": ((2, 0), (0, 3))}, "not equal"),
    },
    "promise": {
        "votes of all towns": (lambda n: (2 * n + 1, 1 / (n + 1), n / (n + 1), 1), "the votes"),
        "weight of Braun and Griebel": (
            lambda n: (n + 1, 1 / (2 * n + 1), n / (n + 1), (2 * n + 1) / (n + 1)), "the weight"),
        "half": (lambda n: (n + 1, 1 / (n + 1), 0.5, (2 * n + 1) / (n + 1)), "the share"),
        "omega once": (lambda n: (n + 1, 1 / (n + 1), n / (n + 1), 1.0), "the factor of omega"),
        "three numbers": (lambda n: (n + 1, 1 / (n + 1), n / (n + 1)), "four numbers"),
    },
    "referee": {
        "approximation": ({**VERDICTS, "A": "true"}, "an error left"),
        "order of choice": ({**VERDICTS, "B": "true"}, "in which order"),
        "algebra is settled": ({**VERDICTS, "C": "true"}, "version of 1957"),
        "not optimal": ({**VERDICTS, "E": "false"}, "Sternfeld"),
        "random pieces": ({**VERDICTS, "G": "true"}, "32 points"),
        "no idea": ({**VERDICTS, "H": "maybe"}, "Claim H: .*not among"),
    },
}  # fmt: skip


class TestExercises(ChapterTests):
    source = "superposition/kolmogorov-arnold.md"
    space: ClassVar = {"math": math, "Fraction": Fraction, "np": np}
    answers = ANSWERS
    wrong = WRONG
