"""The checks of the exercises to the field guide: right answers pass, plausible wrong ones do not.

The right answers are those of the solved notebook itself; each wrong answer must be rejected for
the reason that belongs to it.
"""

import math
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import nn

import kanlite as kl
from tests.exercises.chapter_tests import ChapterTests

ANSWERS = {
    "predict": "prediction",
    "basis": "HalfWaves",
    "width": "nearest_width",
    "gram": "gram_condition",
    "import": "from_faster_kan",
    "backward": "switch_backward",
    "augment": "both",
    "ray": "least_error",
    "referee": "verdicts",
}


# Wrong answers -------------------------------------------------------------------------------


class HalfWaves(kl.Basis):
    """The right basis, from which each mistake is one overridden method."""

    feature_shape = ()

    def __init__(self, num_basis, low=-1.0, high=1.0):
        super().__init__()
        self.num_basis = num_basis
        self.register_buffer("ends", torch.tensor([low, high]))

    @property
    def domain(self):
        return self.ends[0], self.ends[1]

    def forward(self, x):
        return self.derivative(x, 0)

    def derivative(self, x, order=1):
        if order < 0 or not x.is_floating_point():
            raise ValueError("order must be at least 0 and x floating point")
        omega = self.omega(x)
        phase = (self.carried(x) - self.ends[0])[..., None] * omega
        return self.factor(omega, order) * torch.cos(phase + self.turn(order))

    def omega(self, x):
        return math.pi * torch.arange(self.num_basis, dtype=x.dtype) / (self.ends[1] - self.ends[0])

    def carried(self, x):
        return x + 0 * x

    def factor(self, omega, order):
        return omega**order

    def turn(self, order):
        return order * math.pi / 2

    def select(self, features):
        return type(self)(self.num_basis, *(end.item() for end in self.domain)).to(self.ends)

    def config(self):
        return {"num_basis": self.num_basis}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


class WholeWaves(HalfWaves):
    def omega(self, x):
        return 2 * super().omega(x)


class NoInnerDerivative(HalfWaves):
    def factor(self, omega, order):
        return torch.ones_like(omega)


class TurnsBack(HalfWaves):
    def turn(self, order):
        return -order * math.pi / 2


class HidesInfinity(HalfWaves):
    def derivative(self, x, order=1):
        values = super().derivative(x, order)
        return torch.cat([torch.full_like(values[..., :1], float(order == 0)), values[..., 1:]], -1)


class Clamps(HalfWaves):
    def derivative(self, x, order=1):
        return super().derivative(x.clamp(-50, 50), order)


class AcceptsAll(HalfWaves):
    def derivative(self, x, order=1):
        return super().derivative(x.double(), max(order, 0))


class ForgetsTheEnds(HalfWaves):
    def __init__(self, num_basis, low=-1.0, high=1.0):
        super().__init__(num_basis, low, high)
        del self.ends
        self.ends = torch.tensor([low, high], dtype=torch.float64)
        self.register_buffer("unused", torch.zeros(1))


class SelectsItself(HalfWaves):
    def select(self, features):
        return self


class SharesMemory(HalfWaves):
    def select(self, features):
        chosen = type(self)(self.num_basis)
        chosen.ends = self.ends
        return chosen


def mistaken_width(*, amplitude=True, cut=False, scale=1.0):
    def answer(k):
        half = (k + 1) / 2
        x = torch.linspace(-half - 4, half + 4, 4001)
        M = kl.bspline_basis(x, torch.arange(2 * k + 2.0) - half, k)[:, 0]
        if cut:
            x, M = x[M > 0], M[M > 0]

        def loss(w):
            s = torch.exp(-((x / w) ** 2))
            a = (s * M).sum() / (s * s).sum() if amplitude else M.max()
            return ((a * s - M) ** 2).sum().item()

        return scale * minimize_scalar(loss, bounds=(0.2, 3.0), method="bounded").x

    return answer


def sampled(basis, low, high, *, weighted=True, points=400):
    nodes, weights = (torch.tensor(a) for a in np.polynomial.legendre.leggauss(points))
    x = (low + high) / 2 + (high - low) / 2 * nodes
    root = (weights / 2).sqrt()[:, None] if weighted else 1.0
    return (basis(x) * root).detach()


def by_eigenvalues(basis, low, high):
    A = sampled(basis, low, high)
    values = torch.linalg.eigvalsh(A.T @ A)
    return (values[-1] / values[0]).item()


def by_singular_values(matrix, power):
    values = torch.linalg.svdvals(matrix)
    return (values[0] / values[-1]).item() ** power


def mistaken_import(
    *, order=(1, 2, 0), norm=True, shift=True, centers=True, residual=None, one=False, twist=False
):
    def answer(state):
        layers = []
        while f"layers.{len(layers)}.rbf.grid" in state and not (one and layers):
            here = f"layers.{len(layers)}."
            u, W = state[here + "rbf.grid"], state[here + "spline_linear.weight"]
            n, m = len(state[here + "layernorm.weight"]), len(W)
            basis = kl.ReflectionalSwitch(centers=u) if centers else kl.ReflectionalSwitch(len(u))
            layer = kl.KANLayer(
                n, m, basis, residual=residual, normalize=nn.LayerNorm if norm else None,
                generator=torch.Generator().manual_seed(0),
            )  # fmt: skip
            with torch.no_grad():
                if twist:
                    layer.coef.copy_(W.reshape(m, len(u), n).permute(2, 1, 0))
                elif order == (1, 2, 0):
                    layer.coef.copy_(W.reshape(m, n, len(u)).permute(*order))
                else:
                    layer.coef.copy_(W.T.reshape(layer.coef.shape).flip(1))
                if norm:
                    layer.normalize.weight.copy_(state[here + "layernorm.weight"])
                    if shift:
                        layer.normalize.bias.copy_(state[here + "layernorm.bias"])
            layers.append(layer)
        return kl.KAN.from_layers(layers)

    return answer


def appended(column):
    return lambda x: torch.cat([x, column(x)], dim=-1)


def zeros(x):
    return torch.zeros(len(x), 1)


def read(d):
    return -d[:, -1] * d.shape[1] / (d.shape[1] - 1)


def mean_length(n):
    return math.sqrt(2) * math.exp(math.lgamma((n + 1) / 2) - math.lgamma(n / 2))


PREDICTION = {"width": math.sqrt(1 / 2), "blind": 1 / 15, "values": 2, "far": -1, "dead": 2}
VERDICTS = {"A": "false", "B": "false", "C": "true", "D": "false", "E": "true", "F": "true"}

WRONG: dict[str, dict[str, tuple[Any, str]]] = {
    "predict": {
        "a standard deviation": ({**PREDICTION, "width": 0.5}, "width: .* variance w"),
        "k for k + 1": ({**PREDICTION, "width": math.sqrt(1 / 3)}, "k \\+ 1 uniform"),
        "the variance of the mean": ({**PREDICTION, "blind": 1 / 12}, "blind: .* n = 4"),
        "infinitely many values": ({**PREDICTION, "values": math.inf}, "half their distance"),
        "the wrong side": ({**PREDICTION, "far": 1}, "T_3 is odd"),
        "the end of the domain": ({**PREDICTION, "dead": 1}, "beyond the domain"),
        "an entry is missing": ({"width": math.sqrt(1 / 2)}, "'blind' is missing"),
    },
    "basis": {
        "an object": (HalfWaves(3), "the class, not an object"),
        "whole waves": (WholeWaves, "B_g = cos"),
        "no inner derivative": (NoInnerDerivative, "derivative of order 2 .*factor omega"),
        "turns the wrong way": (TurnsBack, "derivative of order 1"),
        "a constant at infinity": (HidesInfinity, "is finite: it hides"),
        "clamped inputs": (Clamps, "is finite: it hides"),
        "accepts everything": (AcceptsAll, "accepts the order -1"),
        "ends that are not saved": (ForgetsTheEnds, "are the ends one"),
        "selects itself": (SelectsItself, "not the same object"),
        "shares memory": (SharesMemory, "shares memory"),
    },
    "width": {
        "the same variance": (lambda k: math.sqrt((k + 1) / 6), "same variance"),
        "a standard deviation": (mistaken_width(scale=1 / math.sqrt(2)), "a standard deviation"),
        "the B-spline's height": (mistaken_width(amplitude=False), "amplitude"),
        "always h": (lambda k: 1.0, "degree 1: 1.0000"),
        "cut off at the support": (mistaken_width(cut=True), "is not the nearest"),
    },
    "gram": {
        "not squared": (
            lambda basis, low, high: by_singular_values(sampled(basis, low, high), 1),
            "G holds it squared",
        ),
        "by eigenvalues": (by_eigenvalues, "lost to rounding"),
        "without weights": (
            lambda basis, low, high: by_singular_values(
                sampled(basis, low, high, weighted=False), 2
            ),
            "weights those of the points",
        ),
        "on [-1, 1] always": (
            lambda basis, low, high: by_singular_values(sampled(basis, -1.0, 1.0), 2),
            "Gaussians on .*points on this interval",
        ),
        "on the basis's domain": (
            lambda basis, low, high: by_singular_values(
                sampled(basis, basis.low.item(), basis.high.item()), 2
            ),
            "Gaussians on",
        ),
    },
    "import": {
        "one layer only": (mistaken_import(one=True), "your network has the widths"),
        "centers of the constructor": (mistaken_import(centers=False), "is off .*centers"),
        "a residual left in": (mistaken_import(residual="silu"), "no residual"),
        "no normalization": (mistaken_import(norm=False), r"widths \[5, 3\] .* is off"),
        "LayerNorm without its shift": (mistaken_import(shift=False), "both tensors"),
        "functions before features": (mistaken_import(twist=True), "order of coef"),
        "another order of functions": (mistaken_import(order=(0, 1, 2)), "is off"),
        "a plain list": (lambda state: list(state), "Return a kl.KAN, not list"),
    },
    "backward": {
        "no inner derivative": (
            lambda t, w, grad: (-2 * t * (1 - t**2) * grad).sum(-1), "off by the factor w"),
        "averaged": (
            lambda t, w, grad: (-2 * t * (1 - t**2) / w * grad).mean(-1),
            "off by the number of functions",
        ),
        "sign": (lambda t, w, grad: (2 * t * (1 - t**2) / w * grad).sum(-1), "wrong sign"),
        "the square in the wrong place": (
            lambda t, w, grad: (-2 * t * (1 - t) ** 2 / w * grad).sum(-1), "t' = "),
        "not summed": (lambda t, w, grad: -2 * t * (1 - t**2) / w * grad, "should have shape"),
    },
    "augment": {
        "the mean itself": (
            (appended(lambda x: x.mean(-1, keepdim=True)), read), "as blind as before"),
        "a copy of an input": ((appended(lambda x: x[:, :1]), read), "as blind as before"),
        "the factor forgotten": (
            (appended(zeros), lambda d: -d[:, -1]), "read from the deviations"),
        "the sign forgotten": ((appended(zeros), lambda d: -read(d)), "read from the deviations"),
        "nothing appended": ((lambda x: x, read), "augment should give shape"),
        "inputs centered": (
            (lambda x: torch.cat([x - x.mean(-1, keepdim=True), zeros(x)], -1), read),
            "unchanged",
        ),
        "one function only": (read, "Give two functions"),
    },
    "ray": {
        "the mean square": (lambda n: float(n), "a constant does better"),
        "a standard deviation": (
            lambda n: math.sqrt(n - mean_length(n) ** 2), "standard deviation"),
        "the limit for large n": (lambda n: 0.5, "n = 1: 0.5"),
        "one per input": (lambda n: 1 / n, "n = 1: 1 is not"),
    },
    "referee": {
        "A": ({**VERDICTS, "A": "true"}, "A: .*1.00 for degree 5"),
        "B": ({**VERDICTS, "B": "true"}, "B: .*two programs"),
        "C": ({**VERDICTS, "C": "false"}, "C: .*backward pass"),
        "D": ({**VERDICTS, "D": "true"}, "D: .*removes first"),
        "E": ({**VERDICTS, "E": "false"}, "E: .*contrast multiplies"),
        "F": ({**VERDICTS, "F": "false"}, "F: .*before the normalization"),
    },
}  # fmt: skip


class TestExercises(ChapterTests):
    source = "kans/a-field-guide-to-kans.md"
    space: ClassVar = {
        "kl": kl,
        "math": math,
        "np": np,
        "minimize_scalar": minimize_scalar,
    }
    answers = ANSWERS
    wrong = WRONG
    draws = frozenset({"import"})  # it makes layers, as the student's answer does
