"""The checks of the exercises on MLPs: right answers pass, plausible wrong ones do not.

The right answers are those of the solved notebook itself; each wrong answer must be rejected for
the reason that belongs to it.
"""

import itertools
import math
from typing import Any, ClassVar

import torch

import kanlite as kl
from tests.exercises.chapter_tests import ChapterTests

ANSWERS = {
    "predict": "prediction",
    "perceptron": "perceptron",
    "parity": "parity",
    "gradient": "gradient",
    "count": "count",
    "regions": "most_regions",
    "false-step": "false_step",
    "bump": "bump",
    "referee": "verdicts",
}


# Wrong answers that are functions ------------------------------------------------------------


def perceptron(x, y, *, bias=True, strict=False, passes=None, rate=1.0, reverse=False):
    """Rosenblatt's algorithm with one mistake switched on."""
    w, a, replaced = torch.zeros(x.shape[1], dtype=x.dtype), 0.0, 0
    order = range(len(x))[:: -1 if reverse else 1]
    for _ in range(passes or 200):
        before = replaced
        for i in order:
            score = y[i] * (x[i] @ w + a)
            if score < 0 or (score == 0 and not strict):
                w, a, replaced = w + rate * y[i] * x[i], a + rate * bias * float(y[i]), replaced + 1
        if replaced == before:
            break
    return w, a, replaced


def gradient(W1, a1, W2, a2, x, y, *, batch=True, bend=torch.cos, after=False, mean=False, part=4):
    """Backpropagation with one mistake switched on."""
    z1 = x @ W1.T + a1
    h1 = torch.sin(z1)
    delta2 = (h1 @ W2.T + a2 - y) / (len(x) if batch else 1)
    delta1 = (delta2 @ W2) * bend(h1 if after else z1)
    biases = [d.mean(0) if mean else d.sum(0) for d in (delta1, delta2)]
    return (delta1.T @ x, biases[0], delta2.T @ h1, biases[1])[:part]


def count(widths, *, biases=True, paths=math.prod):
    edges = sum(n * m for n, m in itertools.pairwise(widths))
    return edges, edges + (sum(widths[1:]) if biases else 0), paths(widths)


def regions(hidden, d, *, combine=math.prod, top=1):
    return combine(sum(math.comb(n, j) for j in range(d + top)) for n in hidden)


def sawtooth(k):
    fold, into = torch.tensor([[2.0, -4.0]]), torch.ones(2, 1)
    shift = torch.tensor([0.0, -0.5])
    inner = [(into @ fold, shift) for _ in range(k - 1)]
    return [(into, shift), *inner, (fold, torch.zeros(1))]


PREDICTION = {"parameters": 79510, "doubled": 3.9, "lines": 16, "teeth": 32, "mistakes": 100}
PARITY = {
    "W1": torch.ones(3, 3),
    "a1": torch.tensor([0.0, -1.0, -2.0]),
    "W2": torch.tensor([[1.0, -2.0, 2.0]]),
    "a2": torch.zeros(1),
}
BUMP = {"bend": lambda t: torch.exp(-8 * (t - 1) ** 2), "weights": [1.0, 1.0], "bias": 0.0}
VERDICTS = {"A": "true", "B": "false", "C": "true", "D": "false", "E": "true", "F": "false"}

WRONG: dict[str, dict[str, tuple[Any, str]]] = {
    "predict": {
        "forgets the biases": ({**PREDICTION, "parameters": 79400}, "'parameters'.*bias"),
        "linear in the width": ({**PREDICTION, "doubled": 2}, "'doubled'.*grows most"),
        "two to the power": ({**PREDICTION, "lines": 32}, "'lines'.*seven"),
        "adds the teeth": ({**PREDICTION, "teeth": 10}, "'teeth'.*doubles"),
        "forgets the square": ({**PREDICTION, "mistakes": 10}, "'mistakes'.*squared"),
        "an entry is missing": ({"parameters": 79510}, "'doubled' is missing"),
    },
    "perceptron": {
        "no bias": (lambda x, y: perceptron(x, y, bias=False), "do not forget the bias"),
        "ignores zero": (lambda x, y: perceptron(x, y, strict=True), "wrong on"),
        "one pass": (lambda x, y: perceptron(x, y, passes=1), "whole pass makes no mistake"),
        "half steps": (
            lambda x, y: perceptron(x, y, rate=0.5), "weights and bias is off"),
        "another order": (
            lambda x, y: perceptron(x, y, reverse=True), "keep the order|weights and bias is off"),
        "weights only": (lambda x, y: perceptron(x, y)[0], "Return 3 things"),
        "counts passes": (lambda x, y: (*perceptron(x, y)[:2], 0), "outside of the theorem"),
    },
    "parity": {
        "XOR of two": ({**PARITY, "W2": torch.tensor([[1.0, -2.0, 0.0]])}, "bits 111"),
        "wrong thresholds": (
            {**PARITY, "a1": torch.tensor([0.0, -0.5, -1.0])}, "bits 001 the output is"),
        "even, not odd": (
            {**PARITY, "W2": -PARITY["W2"], "a2": torch.ones(1)}, "bits 000.*8 of 8"),
        "four neurons": ({**PARITY, "W1": torch.ones(4, 3), "a1": torch.zeros(4)}, "3 rows"),
        "bias of the wrong length": ({**PARITY, "a1": torch.zeros(2)}, r"a bias \(out,\)"),
    },
    "gradient": {
        "not divided by the batch": (
            lambda *given: gradient(*given, batch=False), "divided by the batch"),
        "derivative after the bend": (
            lambda *given: gradient(*given, after=True), "W1.*before the bend"),
        "sine for cosine": (lambda *given: gradient(*given, bend=torch.sin), "W1.* is off"),
        "mean for the bias": (lambda *given: gradient(*given, mean=True), "a2.*sum of delta_2"),
        "three of four": (lambda *given: gradient(*given, part=3), "Return 4 things"),
        "transposed": (
            lambda *given: tuple(g.T if g.dim() == 2 else g for g in gradient(*given)),
            "should have shape"),
    },
    "count": {
        "no biases": (lambda widths: count(widths, biases=False), "parameters for .*bias"),
        "sums of units": (lambda widths: (sum(widths), 0, 0), "edges for .*n m edges"),
        "adds the paths": (lambda widths: count(widths, paths=sum), "paths for .*one unit"),
        "paths without inputs": (
            lambda widths: count(widths, paths=lambda w: math.prod(w[1:])), "paths for"),
        "floating point": (
            lambda widths: count(widths, paths=lambda w: float(math.prod(w))), "exact integer"),
        "two numbers": (lambda widths: count(widths)[:2], "Return 3 things"),
    },
    "regions": {
        "all subsets": (lambda hidden, d: math.prod(2**n for n in hidden), r"\[5\] on 2.* is 32"),
        "sum stops early": (lambda hidden, d: regions(hidden, d, top=0), r"\[1\] on 1.* is 1\."),
        "adds the layers": (lambda hidden, d: regions(hidden, d, combine=sum), r"\[3, 4\] on 1"),
        "one input only": (
            lambda hidden, d: math.prod(n + 1 for n in hidden), r"\[5\] on 2.* is 6"),
        "a float": (lambda hidden, d: float(regions(hidden, d)), "your answer is 2.0"),
    },
    "false-step": {
        "blames the count of neurons": ({"step": "A", "network": sawtooth(6)}, "of its own"),
        "blames the conclusion": ({"step": "D", "network": sawtooth(6)}, "follows from A and C"),
        "not folded enough": ({"step": "C", "network": sawtooth(4)}, "16 pieces, and it has 25"),
        "one hidden layer": ({"step": "C", "network": sawtooth(1)}, "2 pieces, and it has 7"),
        "shapes do not fit": (
            {"step": "C", "network": [sawtooth(2)[0], sawtooth(2)[0]]}, "do not fit together"),
        "no network": ({"step": "C", "network": 6}, "list of at least two pairs"),
    },
    "bump": {
        "monotone": ({**BUMP, "bend": torch.sigmoid}, r"At \(0, 0\)"),
        "bump at the wrong place": ({**BUMP, "bias": 1.0}, r"At \(0, 0\)"),
        "a polynomial": ({**BUMP, "bend": lambda t: t * (2 - t)}, "not bounded"),
        "jumps": (
            {**BUMP, "bend": lambda t: ((t - 1).abs() < 0.5).double()}, "Your bend jumps"),
        "one weight": ({**BUMP, "weights": [1.0]}, "two numbers"),
        "weights cancel": ({**BUMP, "weights": [1.0, -1.0]}, r"At \(0, 1\)"),
    },
    "referee": {
        "paths for edges": ({**VERDICTS, "A": "false"}, "edges"),
        "any bend will do": ({**VERDICTS, "B": "true"}, "which space"),
        "does not solve": ({**VERDICTS, "C": "false"}, "gamma"),
        "one difference per parameter": ({**VERDICTS, "D": "true"}, "backward sweep"),
        "forgets the bias": ({**VERDICTS, "E": "false"}, "ReLU of 0"),
        "can means does": ({**VERDICTS, "F": "true"}, "experiment"),
        "no idea": ({**VERDICTS, "F": "maybe"}, "Claim F: .*not among"),
    },
}  # fmt: skip


class TestExercises(ChapterTests):
    source = "approximation/the-perceptron-and-the-mlp.md"
    space: ClassVar = {"kl": kl, "math": math, "itertools": itertools}
    answers = ANSWERS
    wrong = WRONG
