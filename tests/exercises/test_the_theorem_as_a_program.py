"""The checks of the exercises on the theorem as a program: right passes, wrong does not.

The right answers are those of the solved notebook itself; each wrong answer must be rejected for
the reason that belongs to it.
"""

import math
from fractions import Fraction
from typing import Any, ClassVar

from kanlite.superposition import superpose
from tests.exercises.chapter_tests import ChapterTests

ANSWERS = {
    "predict": "prediction",
    "by-hand": "by_hand",
    "psi": "my_psi",
    "steepest": "steepest",
    "false-step": "false_step",
    "one-family-more": "lost_twice",
    "digits": "digits_needed",
    "referee": "verdicts",
}


# Wrong answers that are functions ------------------------------------------------------------


def mistaken_psi(*, halves=True, dimension=None, geometric=False, exact=True):
    def answer(digits, base, n):
        low, high, exponent = Fraction(0), Fraction(1), 0
        for k, digit in enumerate(digits):
            exponent = k + 1 if geometric else 1 + (dimension or n) * exponent
            unit = Fraction(1, base**exponent)
            ends = [low + i * unit for i in range(base - 1)]
            if k == 0 or not halves:
                ends.append(low + (base - 1) * unit)
            else:
                ends.append((ends[-1] + high) / 2)
            ends.append(high)
            low, high = ends[digit], ends[digit + 1]
        return low if exact else float(low)

    return answer


def mistaken_rise(*, steps=2, halve=2, first=1):
    def answer(k, base, n):
        rise, exponent = Fraction(first, base), 1
        for _ in range(k - 1):
            exponent = 1 + n * exponent
            rise = (rise - (base - steps) * Fraction(1, base**exponent)) / halve
        return rise

    return answer


def mistaken_digits(*, level=1, extra=0, natural=False):
    def answer(k, n, base):
        exponent = sum(n**r for r in range(k + level))
        if natural:
            return math.ceil(exponent * math.log(base))
        return (base**exponent - 1).bit_length() + extra

    return answer


PREDICTION = {"beta": 13, "lost": 4, "votes": 4, "share": 6 / 7}
BY_HAND = {
    "0.5": Fraction("0.5"),
    "0.58": Fraction("0.508"),
    "0.59": Fraction("0.554"),
    "0.599": Fraction("0.5770004"),
}
VERDICTS = dict(zip("ABCDEFG", ["false", "true"] * 2 + ["false", "true", "false"], strict=True))
UNIT = Fraction(1, 36 * 5)

WRONG: dict[str, dict[str, tuple[Any, str]]] = {
    "predict": {
        "doubles": ({**PREDICTION, "beta": 15}, "'beta' is off"),
        "the fifth, as for two variables": ({**PREDICTION, "lost": 5}, "'lost' is off"),
        "two coordinates": ({**PREDICTION, "votes": 5}, "'votes' is off"),
        "weight one quarter": ({**PREDICTION, "share": 3 / 4}, "'share' is off"),
        "a list": ([13, 4, 4, 6 / 7], "Give a dictionary"),
    },
    "by-hand": {
        "one digit": ({**BY_HAND, "0.5": Fraction("0.55")}, "at 0.5 is .*With one digit"),
        "steps too large": ({**BY_HAND, "0.58": Fraction("0.58")}, "tiny steps"),
        "Sprecher's original": ({**BY_HAND, "0.59": Fraction("0.55")}, "mean of its neighbors"),
        "forgets eight steps": ({**BY_HAND, "0.599": Fraction("0.577")}, "eight steps above"),
        "floats": ({**BY_HAND, "0.59": 0.554}, "should be a Fraction"),
    },
    "psi": {
        "no halves": (mistaken_psi(halves=False), "mean of both neighbors"),
        "always two variables": (mistaken_psi(dimension=2), r"base\^-beta"),
        "k in place of beta(k)": (mistaken_psi(geometric=True), r"Each digit adds"),
        "floats": (mistaken_psi(exact=False), "should be a Fraction"),
        "nothing": (lambda digits, base, n: None, "not answered yet"),
    },
    "steepest": {
        "one step too few": (mistaken_rise(steps=3), "level 2"),
        "does not halve": (mistaken_rise(halve=1), "level 2, base 6"),
        "starts at one": (mistaken_rise(first=6), "level 1"),
        "floats": (lambda k, base, n: 0.1, "should be a Fraction"),
    },
    "false-step": {
        "blames the images": ({"step": "A", "epsilon": 1.0}, "checked in integers"),
        "blames the votes": ({"step": "B", "epsilon": 1.0}, "at most one family"),
        "believes one sixth": ({"step": "D", "epsilon": 1 / 6}, "the oscillation is off"),
        "forgets to measure": ({"step": "D"}, "'epsilon' is missing"),
        "no letter": ({"step": 4, "epsilon": 1.0}, "as a string"),
    },
    "one-family-more": {
        "in a block of both": (Fraction(2) * UNIT, "Family 0 has a block"),
        "in a street of family 4": (Fraction(1, 2) * UNIT, "Family 0 has a block"),
        "outside": (Fraction(11, 12), "should lie in"),
        "a float": (0.025, "should be a Fraction"),
    },
    "digits": {
        "a level too low": (mistaken_digits(level=0), "digits, should be"),
        "one too many": (mistaken_digits(extra=1), "digits, should be"),
        "natural logarithm": (mistaken_digits(natural=True), "digits, should be"),
        "a float": (lambda k, n, base: 12.0, "Return an integer"),
    },
    "referee": {
        "fractal": ({**VERDICTS, "A": "true"}, "Fridman"),
        "both layers know f": ({**VERDICTS, "B": "false"}, "which of the two"),
        "doubles suffice": ({**VERDICTS, "C": "true"}, "a double have"),
        "two variables": ({**VERDICTS, "E": "true"}, "into the inequality"),
        "converged": ({**VERDICTS, "G": "true"}, "between these points"),
        "no idea": ({**VERDICTS, "D": "perhaps"}, "Claim D: .*not among"),
    },
}


class TestExercises(ChapterTests):
    source = "superposition/the-theorem-as-a-program.md"
    space: ClassVar = {
        "math": math,
        "Fraction": Fraction,
        "g": superpose(lambda t: t[..., 0] * t[..., 1], 2, digits=3, levels=[1, 2]),
    }
    answers = ANSWERS
    wrong = WRONG
