"""The checks of the exercises on theorem and network: right passes, wrong does not.

The right answers are those of the solved notebook itself; each wrong answer must be rejected for
the reason that belongs to it.
"""

import itertools
import math
from typing import Any, ClassVar

import torch

from tests.exercises.chapter_tests import ChapterTests

ANSWERS = {
    "predict": "prediction",
    "product": "product_weights",
    "tolerances": "tolerances",
    "not-uniform": "far_apart",
    "bits": "bits_needed",
    "false-step": "false_step",
    "referee": "verdicts",
}


# Wrong answers that are functions ------------------------------------------------------------


def mistaken_product(*, half=2, signed=True, factorial=True, all_signs=False):
    def answer(n):
        first = [1, -1] if all_signs else [1]
        V = torch.tensor(list(itertools.product(first, *[[1, -1]] * (n - 1))), dtype=torch.float64)
        c = half * (V.prod(-1) if signed else torch.ones(len(V))) / 2**n
        return V, c / math.factorial(n) if factorial else c

    return answer


def mistaken_tolerances(*, terms=None, sums=True, room=True, share=2.0, swap=False):
    def answer(eps, n, K):
        count = terms or 2 * n + 1
        inner = eps / (share * count * K * (n if sums else 1))
        inner = min(1 / n, inner) if room else inner
        pair = inner, eps / (share * count)
        return pair[::-1] if swap else pair

    return answer


def mistaken_points(*, inside=True, far=1, shift=math.pi):
    def answer(delta):
        j = math.ceil(far / (2 * math.pi * delta)) + 1
        t = 2 * math.pi * j + math.pi / 2
        return (1 / t if inside else -1 / t), 1 / (t + shift)

    return answer


def mistaken_bits(*, strict=True, power=None, down=False, root=False, doubled=False):
    def answer(eps, n, k, M):
        eps = 2 * eps if doubled else eps
        m = 0
        while M * eps * (m + 1) ** k < 1 or (not strict and M * eps * (m + 1) ** k == 1):
            m += 1
        bits = m ** (power or n)
        return float(bits) if root else bits, bits // 32 if down else -(-bits // 32)

    return answer


PREDICTION = {"width": 7, "edges": 28, "parameters": 364, "smoothness": 5, "units": 16}
STEP = {"step": "C", "exponent": math.log(2) / math.log(6)}
VERDICTS = dict(zip("ABCDEFGH", ["true", "false", "false", "true"] * 2, strict=True))
VERDICTS |= {"E": "false", "F": "true", "G": "false"}

WRONG: dict[str, dict[str, tuple[Any, str]]] = {
    "predict": {
        "two n": ({**PREDICTION, "width": 6}, "'width' is off"),
        "forgets the outer edges": ({**PREDICTION, "edges": 21}, "'edges' is off"),
        "G coefficients": ({**PREDICTION, "parameters": 280}, "'parameters' is off"),
        "not strict": ({**PREDICTION, "smoothness": 6}, "It is strict"),
        "all signs": ({**PREDICTION, "units": 32}, "those for s and -s"),
        "a list": ([7, 28], "Give a dictionary"),
    },
    "product": {
        "forgets to double": (mistaken_product(half=1), "0.5 times the product"),
        "forgets the factorial": (mistaken_product(factorial=False), "times the product"),
        "no signs": (mistaken_product(signed=False), "the product of its signs"),
        "twice as many units": (mistaken_product(all_signs=True), "the shapes should be"),
        "one thing": (lambda n: torch.ones(n), "Return two things"),
        "nothing": (lambda n: None, "not answered yet"),
    },
    "tolerances": {
        "one term": (mistaken_tolerances(terms=1), "edges together may cause"),
        "forgets that n edges add up": (
            mistaken_tolerances(sums=False),
            "inner edges together",
        ),
        "no room": (mistaken_tolerances(room=False), "there is room for 1"),
        "all for each": (mistaken_tolerances(share=1.0), "more than eps / 2"),
        "too careful": (mistaken_tolerances(share=8.0), "may have a larger error"),
        "negative": (lambda eps, n, K: (-eps, eps), "should be positive"),
    },
    "not-uniform": {
        "outside": (mistaken_points(inside=False), "should lie in"),
        "too far apart": (mistaken_points(far=0.01), "your points are"),
        "equal values": (mistaken_points(shift=2 * math.pi), "differ by"),
        "one point": (lambda delta: delta, "Return two things"),
    },
    "bits": {
        "not strict": (mistaken_bits(strict=False), "should be below 1, not equal"),
        "two variables": (mistaken_bits(power=2), "the bits are"),
        "rounds down": (mistaken_bits(down=True), "round up"),
        "floats": (mistaken_bits(root=True), "return integers"),
        "twice the error": (mistaken_bits(doubled=True), "the bits are"),
    },
    "false-step": {
        "blames the theorem": ({**STEP, "step": "A"}, "Kolmogorov's theorem"),
        "blames splines": ({**STEP, "step": "B"}, "rate of spline"),
        "blames telescoping": ({**STEP, "step": "D"}, "Lipschitz condition"),
        "believes the order four": ({**STEP, "exponent": 4.0}, "the exponent is off"),
        "no exponent": ({"step": "C"}, "'exponent' is missing"),
    },
    "referee": {
        "doubts the corollary": ({**VERDICTS, "A": "false"}, "the corollary"),
        "no curse": ({**VERDICTS, "B": "true"}, "how many bits"),
        "Kolmogorov alone": ({**VERDICTS, "C": "true"}, "residual branch contain"),
        "not dense": ({**VERDICTS, "E": "true"}, "one shape, or of all"),
        "one unit": ({**VERDICTS, "G": "true"}, "no grid can beat"),
        "no idea": ({**VERDICTS, "D": "perhaps"}, "Claim D: .*not among"),
    },
}


class TestExercises(ChapterTests):
    source = "superposition/from-theorem-to-network.md"
    space: ClassVar = {"math": math, "itertools": itertools}
    answers = ANSWERS
    wrong = WRONG
