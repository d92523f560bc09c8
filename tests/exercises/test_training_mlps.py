"""The checks of the exercises on training: right answers pass, plausible wrong ones do not.

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
    "adam": "adam",
    "best-rate": "best_rate",
    "convolution": "as_matrix",
    "cost": "cost",
    "false-step": "false_step",
    "twins": "twins",
    "referee": "verdicts",
}


# Wrong answers that are functions ------------------------------------------------------------


def adam(
    gradient, theta, steps, rate, beta1, beta2, eps, *,
    correct=True, overwrite=False, swap=False, inside=False, in_place=False,
):  # fmt: skip
    """Adam with one mistake switched on."""
    if swap:
        beta1, beta2 = beta2, beta1
    m, s = torch.zeros_like(theta), torch.zeros_like(theta)
    for t in range(1, steps + 1):
        g = gradient(theta)
        m = beta1 * m + (1 - beta1) * g
        s = beta2 * s + (1 - beta2) * g**2
        mean = m / (1 - beta1**t) if correct else m
        square = s / (1 - beta2**t) if correct else s
        if overwrite:
            m, s = mean, square
        root = (square + eps).sqrt() if inside else square.sqrt() + eps
        if in_place:
            theta -= rate * mean / root
        else:
            theta = theta - rate * mean / root
    return theta


def best_rate(phi, *, mean=True, squared=True, greedy=False, numerator=2.0):
    values = torch.linalg.svdvals(phi) ** (2 if squared else 1) / (len(phi) if mean else 1)
    high, low = values[0], values[-1]
    rate = 1 / high if greedy else numerator / (high + low)
    return rate, (high - low) / (high + low)


def as_matrix(c, n, stride, *, flip=False, ignore=False, wrap=False, transpose=False):
    step = 1 if ignore else stride
    rows = -(-n // step) if wrap else (n - len(c)) // step + 1
    W = torch.zeros(rows, n)
    for j, k in itertools.product(range(rows), range(len(c))):
        W[j, (step * j + k) % n] = c[len(c) - 1 - k if flip else k]
    return W.T if transpose else W


def cost(widths, b, copies, size, *, first=True, biases=True, outputs=False, times=2):
    edges = [n * m for n, m in itertools.pairwise(widths)]
    parameters = sum(edges) + (sum(widths[1:]) if biases else 0)
    operations = 6 * b * sum(edges) - (2 * b * edges[0] if first else 0)
    kept = sum(widths) if outputs else sum(widths[:-1])
    return operations, size * ((times + copies) * parameters + b * kept)


PREDICTION = {"factor": 0.8, "signal": 0.5, "operations": 5600, "state": 650, "copies": 384}
STEP = {"step": "C", "gradient": [3.0, 1.0], "angle": math.pi / 4}
TWINS = {
    "W1": torch.tensor([[1.0, 2.0], [1.0, 2.0], [3.0, -1.0]]),
    "a1": torch.tensor([0.5, 0.5, 1.0]),
    "W2": torch.tensor([[2.0, 2.0, 1.0]]),
}
VERDICTS = {"A": "true", "B": "false", "C": "false", "D": "false", "E": "true", "F": "false"}

WRONG: dict[str, dict[str, tuple[Any, str]]] = {
    "predict": {
        "one minus one over kappa": ({**PREDICTION, "factor": 8 / 9}, "'factor'"),
        "forgets the bend": ({**PREDICTION, "signal": 1.0}, "ReLU passes half"),
        "gradient of the inputs": ({**PREDICTION, "operations": 7200}, "nobody asks for"),
        "one average only": ({**PREDICTION, "state": 325}, "Two averages"),
        "no signs": ({**PREDICTION, "copies": 24}, "a sign for each unit"),
    },
    "adam": {
        "no correction": (lambda *given: adam(*given, correct=False), "after 1 steps"),
        "overwrites": (lambda *given: adam(*given, overwrite=True), "after 2 steps.*overwrite"),
        "betas swapped": (lambda *given: adam(*given, swap=True), "after 2 steps"),
        "eps under the root": (lambda *given: adam(*given, inside=True), "after 1 steps"),
        "in place": (lambda *given: adam(*given, in_place=True), "changes the tensor theta"),
    },
    "best-rate": {
        "forgets m": (lambda phi: best_rate(phi, mean=False), "there is a better one"),
        "one over L": (lambda phi: best_rate(phi, greedy=True), "there is a better one"),
        "twice as fast": (lambda phi: best_rate(phi, numerator=4.0), "does not converge"),
        "factor of the rate": (
            lambda phi: (best_rate(phi)[0], 1 - best_rate(phi)[0]), "the factor is off"),
        "rate only": (lambda phi: best_rate(phi)[0], "Return two things"),
    },
    "convolution": {
        "flipped": (lambda c, n, s: as_matrix(c, n, s, flip=True), "W x is off"),
        "no stride": (lambda c, n, s: as_matrix(c, n, s, ignore=True), "stride 2: .*shape"),
        "around the end": (lambda c, n, s: as_matrix(c, n, s, wrap=True), r"shape \(6, 8\)"),
        "full matrix": (
            lambda c, n, s: as_matrix(c, n, s) + 1.0, "entries are not 0"),
    },
    "cost": {
        "first layer too": (lambda *given: cost(*given, first=False), "operations should not be"),
        "no biases": (lambda *given: cost(*given, biases=False), "bytes should not be"),
        "keeps the outputs": (lambda *given: cost(*given, outputs=True), "without the outputs"),
        "forgets the gradient": (lambda *given: cost(*given, times=1), "bytes should not be"),
        "floats": (lambda *given: tuple(map(float, cost(*given))), "exact integers"),
    },
    "false-step": {
        "blames the averages": ({**STEP, "step": "B"}, "an average of R"),
        "blames the chain rule": ({**STEP, "step": "A"}, "chain rule"),
        "no turn": ({**STEP, "angle": 0.0}, "0.000 rates only"),
        "a quarter turn": ({**STEP, "angle": math.pi / 2}, "0.000 rates only"),
        "on an axis": ({**STEP, "gradient": [1.0, 0.0]}, "is 0"),
        "three numbers": ({**STEP, "gradient": [1.0, 2.0, 3.0]}, "two numbers"),
    },
    "twins": {
        "different outgoing": ({**TWINS, "W2": torch.tensor([[2.0, 1.0, 1.0]])}, "all 48"),
        "a dead unit": (
            {**TWINS, "W1": torch.tensor([[0.0, 0.0], [1.0, 2.0], [3.0, -1.0]])}, "row of W1"),
        "nobody listens": ({**TWINS, "W2": torch.tensor([[0.0, 0.0, 1.0]])}, "entry of W2"),
        "triplets": (
            {"W1": torch.ones(3, 2), "a1": torch.ones(3), "W2": torch.ones(1, 3)}, "too many"),
        "a column": ({**TWINS, "W2": torch.ones(3)}, "should have shape"),
    },
    "referee": {
        "kappa itself": ({**VERDICTS, "A": "false"}, "which root"),
        "slower is better": ({**VERDICTS, "B": "true"}, "number of steps is fixed"),
        "forgets sharing": ({**VERDICTS, "C": "true"}, "are free"),
        "rebuilt": ({**VERDICTS, "D": "true"}, "relative change"),
        "flat": ({**VERDICTS, "E": "false"}, "lambda is 0"),
        "sizes mean something": ({**VERDICTS, "F": "true"}, "sizes of weights"),
        "no idea": ({**VERDICTS, "F": "maybe"}, "Claim F: .*not among"),
    },
}  # fmt: skip


class TestExercises(ChapterTests):
    source = "approximation/training-mlps.md"
    space: ClassVar = {"kl": kl, "math": math, "itertools": itertools}
    answers = ANSWERS
    wrong = WRONG
