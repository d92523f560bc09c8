"""The checks of the exercises on universal approximation: right answers pass, wrong ones do not.

The right answers are those of the solved notebook itself; each wrong answer must be rejected for
the reason that belongs to it.
"""

import math
from typing import Any, ClassVar

import torch

from tests.exercises.chapter_tests import ChapterTests

ANSWERS = {
    "predict": "prediction",
    "bump": "bump",
    "broken-line": "broken_line",
    "multiply": "product",
    "no-bias": "exp_weights",
    "false-step": "false_step",
    "bounded": "lazy_bend",
    "greedy": "greedy_step",
    "width": "fewest",
    "referee": "verdicts",
}


# Wrong answers that are functions ------------------------------------------------------------


def bump(alpha, beta, delta, *, signs=(1.0, -1.0, -1.0, 1.0), scaled=True, inner=False):
    outer = [alpha, alpha + delta, beta - delta, beta]
    knots = torch.tensor(outer if inner else [alpha - delta, alpha, beta, beta + delta])
    weights = torch.tensor(signs)
    return knots, weights / delta if scaled else weights


def broken_line(f, alpha, beta, N, *, unit=False, differences=True, bias=True):
    """The right answer, with one mistake switched on."""
    h = (beta - alpha) / N
    nodes = alpha + h * torch.arange(N + 1)
    slopes = f(nodes).diff() / (1 / N if unit else h)
    weights = slopes.diff(prepend=torch.zeros(1)) if differences else slopes
    return f(nodes)[0] if bias else torch.zeros(()), nodes[:-1], weights


def product(*, eta=1e-3, at=1.0, quarter=4.0, sign=1.0):
    s = 1 / (1 + math.exp(-at))
    second = s * (1 - s) * (1 - 2 * s) + (1e-30 if at == 0 else 0)
    square = sign * torch.tensor([1.0, -2.0, 1.0]) / (second * eta**2)
    steps = eta * torch.arange(3)
    return {
        "W": torch.cat([steps[:, None] * torch.tensor([1.0, flip]) for flip in (1.0, -1.0)]),
        "a": torch.full((6,), at),
        "c": torch.cat([square / quarter, -square / quarter]),
    }


def exp_weights(k, eta, *, alternate=True, last=True, binomial=True, power=True):
    c = [
        ((-1) ** ((k - i) if last else i) if alternate else 1)
        * (math.comb(k, i) if binomial else 1)
        for i in range(k + 1)
    ]
    return torch.tensor(c, dtype=torch.float64) / (eta**k if power else 1)


def greedy_step(columns, f, current, N, b, *, both=True, step=None, angles=False):
    step = 1 / N if step is None else step
    signed = (torch.cat([columns, -columns], dim=1) if both else columns) * b
    candidates = (1 - step) * current[:, None] + signed * step
    errors = (f[:, None] - candidates).square().mean(0)
    if angles:
        errors = -(signed / signed.norm(dim=0)).T @ (f - current)
    return candidates[:, errors.argmin()]


def by_logarithms(k, layers):
    return round(2 ** ((k - 1) / layers)) + 1


def ruled_out(k, layers):
    n = 0
    while n < 50 and (n + 1) ** layers < 2 ** (k - 1):
        n += 1
    return n


VERDICTS = {"A": "false", "B": "true", "C": "false", "D": "true", "E": "false", "F": "true"}
RIGHT = {
    "smooth_factor": 4.0,
    "corner_factor": 2.0,
    "wall": 1.0,
    "neurons": 7,
    "barron": 400,
    "layers": 10,
}
WRONG: dict[str, dict[str, tuple[Any, str]]] = {
    "predict": {
        "h instead of h squared": ({**RIGHT, "smooth_factor": 2.0}, "two derivatives"),
        "corner as smooth": ({**RIGHT, "corner_factor": 4.0}, "no second derivative"),
        "wall of the whole": ({**RIGHT, "wall": 2.0}, "no odd function has"),
        "one too few": ({**RIGHT, "neurons": 6}, r"k \+ 1 terms"),
        "forgot the square": ({**RIGHT, "barron": 67}, "mind the square"),
        "layers as pieces": ({**RIGHT, "layers": 512}, "doubles"),
        "one layer too few": ({**RIGHT, "layers": 9}, "exact count"),
        "not a dictionary": ([4, 2, 1, 7, 400, 10], "Give a dictionary"),
    },
    "bump": {
        "a ramp that never ends": (lambda a, b, d: bump(a, b, d, signs=(1.0, -1.0, 0.0, 0.0)),
                                   "to the right is off"),
        "not scaled": (lambda a, b, d: bump(a, b, d, scaled=False), "the top is off"),
        "mirrored": (lambda a, b, d: bump(a, b, d, signs=(-1.0, 1.0, 1.0, -1.0)), "the top"),
        "slopes inside": (lambda a, b, d: bump(a, b, d, inner=True), "the top is off"),
        "three knots": (lambda a, b, d: (torch.zeros(3),) * 2, "knots should have shape"),
        "weights only": (lambda a, b, d: torch.zeros(4), "two things"),
    },
    "broken-line": {
        "spacing of the unit interval": (lambda *a: broken_line(*a, unit=True), "mind the spacing"),
        "slopes, not changes": (lambda *a: broken_line(*a, differences=False), "change of slope"),
        "no bias": (lambda *a: broken_line(*a, bias=False), "only the bias counts"),
        "one knot too many": (
            lambda f, a, b, N: (f(torch.tensor([a]))[0], torch.zeros(N + 1), torch.zeros(N)),
            "knots for N = 1 should have shape",
        ),
        "a list of two": (lambda f, a, b, N: (torch.zeros(N), torch.zeros(N)), "three things"),
    },
    "multiply": {
        "forgot the quarter": (product(quarter=1.0), "mind the quarter"),
        "sign": (product(sign=-1.0), "mind the sign"),
        "bias zero": (product(at=0.0), "above 0.01"),
        "eta too small": (product(eta=1e-9), "Try other eta"),
        "eta too large": (product(eta=0.5), "Try other eta"),
        "transposed": ({**product(), "W": product()["W"].T}, r"shape \(6, 2\)"),
        "infinite": ({**product(), "c": torch.full((6,), math.inf)}, "infinite or NaN"),
    },
    "no-bias": {
        "no signs": (lambda k, eta: exp_weights(k, eta, alternate=False), "for k = 1 and eta"),
        "sign from the first": (lambda k, eta: exp_weights(k, eta, last=False), "last one"),
        "no binomials": (lambda k, eta: exp_weights(k, eta, binomial=False), "for k = 2 and eta"),
        "no power of eta": (lambda k, eta: exp_weights(k, eta, power=False), "a power of eta"),
        "one weight too few": (lambda k, eta: exp_weights(k, eta)[1:], "for k = 0 should"),
        "a fixed eta": (lambda k, eta: exp_weights(k, 0.01), "for k = 1 and eta = 0.02"),
    },
    "false-step": {
        "the two ReLUs": ({"step": "A", "witness": lambda n: 0.5}, "two slopes"),
        "the limit": ({"step": "C", "witness": lambda n: 0.5}, "for a fixed x"),
        "the end": ({"step": "E", "witness": lambda n: 0.5}, "would follow"),
        "a fixed point": ({"step": "D", "witness": lambda n: 0.49}, "moves with n"),
        "at the jump": ({"step": "D", "witness": lambda n: 0.5}, "the error is 0, below"),
        "outside": ({"step": "D", "witness": lambda n: 2.0}, "outside"),
        "a number": ({"step": "D", "witness": 0.4999}, "a function of n"),
    },
    "bounded": {
        "a polynomial": (lambda t: t**3 - t, "looks like a polynomial"),
        "a jump": (lambda t: (t >= 5).double() + t, "jumps"),
        "a jump far out": (lambda t: (t >= 20).double() + t, "jumps"),
        "ReLU": (torch.relu, "300 neurons"),
        "tanh": (torch.tanh, "300 neurons"),
        "one number": (lambda t: t.sum(), "for each entry"),
    },
    "greedy": {
        "one sign": (lambda *a: greedy_step(*a, both=False), "Both signs"),
        "by angle": (lambda *a: greedy_step(*a, angles=True), "is possible"),
        "other weights": (lambda *a: greedy_step(*a, step=1 / (a[3] + 1)), "signed"),
        "keeps the current": (lambda *a: a[2], "signed"),
        "only a number": (lambda *a: 0, r"should have shape \(40,\)"),
    },
    "width": {
        "rounded logarithms": (by_logarithms, "not the smallest"),
        "strict the wrong way": (ruled_out, "ruled out by the theorem"),
        "a float": (lambda k, layers: 2.0 ** ((k - 1) / layers), "return an int"),
        "all the neurons": (lambda k, layers: 2**k, "not the smallest"),
    },
    "referee": {
        "equal, not near": ({**VERDICTS, "A": "true"}, "which of the two is bounded"),
        "afraid of waves": ({**VERDICTS, "B": "false"}, "is sin continuous"),
        "ReLU is sigmoidal": ({**VERDICTS, "C": "true"}, "what limits"),
        "more is different": ({**VERDICTS, "D": "false"}, "the other 100"),
        "existence is finding": ({**VERDICTS, "E": "true"}, "existence is one thing"),
        "the curse everywhere": ({**VERDICTS, "F": "false"}, "look for d"),
        "no idea": ({**VERDICTS, "F": "maybe"}, "Claim F: .*not among"),
    },
}  # fmt: skip


class TestExercises(ChapterTests):
    source = "approximation/the-universal-approximation-theorem.md"
    space: ClassVar = {"math": math}
    answers = ANSWERS
    wrong = WRONG
