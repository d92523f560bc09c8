"""The checks of the exercises on approximation: right answers pass, plausible wrong ones do not.

The right answers are those of the solved notebook itself; each wrong answer must be rejected for
the reason that belongs to it.
"""

import math
from typing import Any, ClassVar

import numpy as np
import torch

from tests.exercises.chapter_tests import ChapterTests

ANSWERS = {
    "predict": "prediction",
    "operator": "bernstein",
    "slope": "slope_coef",
    "by-hand": "by_hand",
    "false-step": "false_step",
    "rough": "rough",
    "powers": "to_powers",
    "fool": "fool",
    "referee": "verdicts",
}


# Wrong answers that are functions ------------------------------------------------------------


def typed(f, N, x, *, swapped=False, samples=0, binomial=True):
    """The formula as usually typed, with one mistake switched on."""
    j = torch.arange(N + 1, dtype=x.dtype)
    c = torch.tensor([float(math.comb(N, i)) if binomial else 1.0 for i in range(N + 1)])
    p, q = (1 - x, x) if swapped else (x, 1 - x)
    weights = c.to(x.dtype) * p[:, None] ** j * q[:, None] ** (N - j)
    return weights @ f(j / (N + samples))


def overflowing(f, N, x):
    """Right up to N of about a thousand, then infinity times zero."""
    j = torch.arange(N + 1, dtype=x.dtype)
    n = torch.tensor(float(N), dtype=x.dtype)
    c = torch.exp(torch.lgamma(n + 1) - torch.lgamma(j + 1) - torch.lgamma(n - j + 1))
    return (c * x[:, None] ** j * (1 - x[:, None]) ** (N - j)) @ f(j / N)


def careless_at_ends(f, N, x):
    """Logarithms without care for 0 log 0."""
    j = torch.arange(N + 1, dtype=x.dtype)
    n = torch.tensor(float(N), dtype=x.dtype)
    logs = torch.lgamma(n + 1) - torch.lgamma(j + 1) - torch.lgamma(n - j + 1)
    x = x[:, None]
    return torch.exp(logs + j * x.log() + (n - j) * (1 - x).log()) @ f(j / n)


def powers(c, *, double=True, reverse=False):
    n = len(c)
    previous, current = torch.zeros(n), torch.zeros(n)
    previous[0] = 1.0
    if n > 1:
        current[1] = 1.0
    total = c[0] * previous
    for j in range(1, n):
        total = total + c[j] * current
        shifted = torch.cat([torch.zeros(1), current[:-1]])
        previous, current = current, (2 if double else 1) * shifted - previous
    return total.flip(0) if reverse else total


def distance(x, points):
    return (x[:, None] - points).abs().amax(-1).amin(-1)


PREDICTION = {
    "smooth_factor": 4.0,
    "corner_factor": 2.0,
    "overshoot": 0.27,
    "at_the_jump": 1.5,
    "grid": 10**4,
}
BY_HAND = {"c0": math.pi**2 / 3, "c1": -2.0, "c2": 0.5, "sum": math.pi**2 / 6, "power": 2}
SQUEEZED = [0.0, 9 / 8, 0.0, -1 / 8]
VERDICTS = {"A": "false", "B": "true", "C": "false", "D": "true", "E": "false", "F": "false"}

WRONG: dict[str, dict[str, tuple[Any, str]]] = {
    "predict": {
        "squares the rate": ({**PREDICTION, "smooth_factor": 16}, "smooth_factor.* c / N"),
        "corners are smooth": ({**PREDICTION, "corner_factor": 4}, "corner_factor"),
        "for a jump of 2": ({**PREDICTION, "overshoot": 0.18}, "the jump is 3"),
        "the right limit": ({**PREDICTION, "at_the_jump": 3}, "at_the_jump"),
        "no half": ({**PREDICTION, "grid": 20**4}, "Each axis"),
        "an entry is missing": ({"smooth_factor": 4}, "'corner_factor' is missing"),
    },
    "operator": {
        "x and 1 - x swapped": (
            lambda f, N, x: typed(f, N, x, swapped=True), "degree 1 is off.*straight line"),
        "no binomial": (lambda f, N, x: typed(f, N, x, binomial=False), "degree 2 is off"),
        "samples at j / (N + 1)": (lambda f, N, x: typed(f, N, x, samples=1), "degree 1 is off"),
        "careless at the ends": (careless_at_ends, "at the ends .* NaN"),
        "overflows": (overflowing, "degree 3000 .*logarithms"),
        "one value": (lambda f, N, x: typed(f, N, x).sum(), "should have shape"),
    },
    "slope": {
        "forgets the factor N": (lambda v: v.diff(), "the slope for N = 2 is off"),
        "factor N + 1": (lambda v: len(v) * v.diff(), "the slope for N = 1 is off"),
        "wrong sign": (lambda v: -(len(v) - 1) * v.diff(), "the slope for N = 1 is off"),
        "one too many": (lambda v: (len(v) - 1) * torch.cat([v.diff(), v[-1:]]), "one less"),
    },
    "by-hand": {
        "divides by pi": ({**BY_HAND, "c1": -4.0}, "'c1' is off.*2 pi"),
        "forgets the sign": ({**BY_HAND, "c1": 2.0}, "'c1' is off"),
        "mean of x squared over half": ({**BY_HAND, "c0": 2 * math.pi**2 / 3}, "'c0' is off"),
        "does not alternate": ({**BY_HAND, "c2": -0.5}, "sign alternates"),
        "half of the sum": ({**BY_HAND, "sum": math.pi**2 / 3}, "'sum' is off"),
        "too smooth": ({**BY_HAND, "power": 3}, "your 'power', 3"),
        "too rough": ({**BY_HAND, "power": 1}, "your 'power', 1"),
    },
    "false-step": {
        "blames Weierstrass": ({"step": "A", "cosines": SQUEEZED, "N": 1}, "theorem for waves"),
        "blames linearity": ({"step": "C", "cosines": SQUEEZED, "N": 1}, "linear"),
        "too large": (
            {"step": "D", "cosines": [0.0, 1.2, 0.0, -0.1], "N": 1}, "not between -1 and 1"),
        "nothing cut off": ({"step": "D", "cosines": SQUEEZED, "N": 3}, "refutes nothing"),
        "not enough": ({"step": "D", "cosines": [0.0, 1.0], "N": 1}, "not above 1.05"),
        "too many": ({"step": "D", "cosines": [0.1] * 31, "N": 1}, "at most 30"),
    },
    "rough": {
        "a smooth function": ({"f": torch.exp, "x": 0.5}, "does not grow"),
        "a step": ({"f": lambda x: (x > 0.5).double(), "x": 0.5}, "f jumps"),
        "wrong at one point": (
            {"f": lambda x: ((x - 1 / 3).abs() < 1e-12).double(), "x": 1 / 3}, "f jumps at"),
        "at the wrong place": ({"f": lambda x: (x - 0.5).abs(), "x": 0.1}, "does not grow"),
        "at an end": ({"f": lambda x: x.sqrt(), "x": 0.0}, "does not grow"),
        "outside": ({"f": torch.exp, "x": 2.0}, r"lie in \[0, 1\]"),
        "has a pole": ({"f": lambda x: 1 / x, "x": 0.5}, "NaN or infinite"),
    },
    "powers": {
        "forgets the factor 2": (lambda c: powers(c, double=False), "degree 2 is off"),
        "highest first": (lambda c: powers(c, reverse=True), "degree 1 is off"),
        "not converted": (lambda c: c, "degree 2 is off.*T_2 is"),
        "trailing zeros cut": (lambda c: powers(c)[:-1], "should have shape"),
    },
    "fool": {
        "zero": (lambda points: lambda x: 0 * x[:, 0], "but .* is possible"),
        "the largest distance": (
            lambda points: lambda x: (x[:, None] - points).abs().amax(-1).amax(-1),
            "must vanish",
        ),
        "Euclid is too steep": (
            lambda points: lambda x: (x[:, None] - points).norm(dim=-1).amin(-1), "too steep"),
        "twice": (lambda points: lambda x: 2 * distance(x, points), "too steep"),
        "a constant": (lambda points: lambda x: 0 * x[:, 0] + 1.0, "must vanish"),
        "half": (lambda points: lambda x: distance(x, points) / 2, "reaches"),
        "values, not a function": (lambda points: points[:, 0], "Return a function"),
    },
    "referee": {
        "forgets the open ends": ({**VERDICTS, "A": "true"}, "bounded"),
        "mixes the modes": ({**VERDICTS, "B": "false"}, "Parseval"),
        "Gibbs goes away": ({**VERDICTS, "C": "true"}, "overshoot"),
        "does not differentiate": ({**VERDICTS, "D": "false"}, "twice"),
        "Bernstein is fast": ({**VERDICTS, "E": "true"}, "Voronovskaya"),
        "magic": ({**VERDICTS, "F": "true"}, "32 bits"),
        "no idea": ({**VERDICTS, "F": "maybe"}, "Claim F: .*not among"),
    },
}  # fmt: skip


class TestExercises(ChapterTests):
    source = "approximation/approximating-functions.md"
    space: ClassVar = {"math": math, "np": np}
    answers = ANSWERS
    wrong = WRONG
