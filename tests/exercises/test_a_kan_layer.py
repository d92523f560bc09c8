"""The checks of the exercises on a KAN layer: right answers pass, plausible wrong ones do not.

The right answers are those of the solved notebook itself; each wrong answer must be rejected for
the reason that belongs to it.
"""

import math
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import nn

import kanlite as kl
from tests.exercises.chapter_tests import ChapterTests

ANSWERS = {
    "predict": "prediction",
    "forward": "forward",
    "edges": "edges",
    "count": "count",
    "gradient": "gradients",
    "multiply": "multiplier",
    "center": "center",
    "spread": "spread",
    "domain": "counterexample",
    "linear": "from_linear",
    "false-step": "false_step",
    "one-unit": "one_unit",
    "referee": "verdicts",
}


# Wrong answers that are functions ------------------------------------------------------------


def forward(values, coef, b, weight, *, letters="sig,igj->sj", residual=True, transposed=False):
    """The outputs with one mistake switched on."""
    y = torch.einsum(letters, values, coef)
    if residual:
        y = y + b @ (weight.T if transposed else weight)
    return y


def mistaken_forward(**mistake):
    return lambda values, coef, b, weight: forward(values, coef, b, weight, **mistake)


def edges(values, coef, b, weight, *, letters="sig,igj->sji", residual=True):
    phi = torch.einsum(letters, values, coef)
    return phi + b[:, None, :] * weight.T if residual else phi


def mistaken_gradient(*, mean=False, residual=True, swapped=False, delta_once=False):
    def answer(values, slopes, b, db, coef, weight, delta):
        d_coef = torch.einsum("sig,sj->igj", values, delta) / (len(delta) if mean else 1)
        d_weight = torch.einsum("si,sj->ij", b, delta)
        phi = edges(slopes, coef, db if residual else 0 * db, weight)
        d_x = phi.sum(1) if delta_once else torch.einsum("sji,sj->si", phi, delta)
        return (d_coef, d_x, d_weight) if swapped else (d_coef, d_weight, d_x)

    return answer


def mistaken_count(*, paths=math.prod, per_edge=1, matter=1, biases=False):
    def answer(widths, num_intervals, degree):
        pairs = list(pairwise(widths))
        n = num_intervals + degree
        number = sum(a * b for a, b in pairs)
        parameters = number * (n + per_edge) + (sum(widths[1:]) if biases else 0)
        return number, paths(widths), parameters, sum(b * (a * n + matter) for a, b in pairs)

    return answer


def mistaken_multiplier(*, halve=True, greville=False, sign=1.0, uniform=False, shape=True):
    def answer(knots):
        if uniform:
            knots = kl.uniform_knots(len(knots) - 5, 2)
        line = (knots[1:-2] + knots[2:-1]) / (4 if halve else 2)
        middle = (knots[1:-2] + knots[2:-1]) / 2
        parabola = (middle**2 if greville else knots[1:-2] * knots[2:-1]) / (1 if halve else 4)
        first = torch.stack([torch.stack([line, line], 1), torch.stack([line, -line], 1)])
        second = torch.stack([parabola, -sign * parabola])[:, :, None]
        return (first if shape else first.transpose(1, 2)), second

    return answer


def mistaken_center(*, clone=True, give=True, every=False, spread_evenly=False):
    def answer(coef):
        new = coef.clone() if clone else coef
        means = new[:-1].mean(1).clone()
        if every:
            return new - new.mean(1, keepdim=True)
        new[:-1] -= means[:, None, :]
        if give:
            new[-1] += means.sum(0) / (new.shape[1] if spread_evenly else 1)
        return new

    return answer


def mistaken_spread(*, variance=False, fan=True, share_of_std=False, swap=False, fixed=False):
    def answer(knots, degree, b, n_in, share):
        low, high = knots[degree], knots[-degree - 1]
        if fixed:
            low, high = torch.tensor(-1.0), torch.tensor(1.0)
        x = low + (high - low) * (torch.arange(4000) + 0.5) / 4000
        v = x.var() if variance else x.square().mean()
        beta = kl.bspline_basis(x, knots, degree).square().sum(-1).mean()
        rho, n = b(x).square().mean(), n_in if fan else 1
        p = 1 - share if swap else share
        stds = (p * v / (n * beta)).sqrt(), ((1 - p) * v / (n * rho)).sqrt()
        return tuple(s**2 for s in stds) if share_of_std else stds

    return answer


def mistaken_linear(*, residual="identity", zero=True, bias=True, transpose=True):
    def answer(linear):
        layer = kl.KANLayer(
            linear.in_features,
            linear.out_features,
            kl.BSpline(),
            residual=residual,
            bias=bias and linear.bias is not None,
            generator=torch.Generator().manual_seed(0),
        )
        with torch.no_grad():
            if zero:
                layer.coef.zero_()
            weight = (
                linear.weight.T if transpose else linear.weight.reshape(layer.residual_weight.shape)
            )
            layer.residual_weight.copy_(weight)
            if layer.bias is not None:
                layer.bias.copy_(linear.bias)
        return layer

    return answer


PREDICTION = {"edges": 16, "paths": 12, "parameters": 144, "spline_gain": 4, "off_domain": 0.083}
POINT = {"point": torch.tensor([1.0, 1.0]), "share": 0.5, "half_width": 2.0}
VERDICTS = {"A": "false", "B": "false", "C": "true", "D": "true", "E": "false", "F": "true"}

WRONG: dict[str, dict[str, tuple[Any, str]]] = {
    "predict": {
        "edges multiplied": ({**PREDICTION, "edges": 12}, "edges: .* then add the layers"),
        "paths added": ({**PREDICTION, "paths": 16}, "a product, not a sum"),
        "no residual weights": ({**PREDICTION, "parameters": 128}, "one residual weight"),
        "gain linear in G": ({**PREDICTION, "spline_gain": 2}, "its square"),
        "one tail only": ({**PREDICTION, "off_domain": 0.042}, "Both tails"),
        "the rule of three sigma": ({**PREDICTION, "off_domain": 0.003}, "1.7 standard"),
        "an entry is missing": ({"edges": 16}, "'paths' is missing"),
    },
    "forward": {
        "forgets the residual": (mistaken_forward(residual=False), "output .* is off"),
        "coef read as (out, basis, in)": (
            mistaken_forward(letters="sig,jgi->sj"), "your code stopped with RuntimeError"),
        "weight transposed": (mistaken_forward(transposed=True), "stopped with RuntimeError"),
        "edges, not their sum": (
            mistaken_forward(letters="sig,igj->sji", residual=False), "should have shape"),
        "mean over inputs": (
            lambda values, coef, b, weight: forward(values, coef, b, weight) / values.shape[1],
            "3 inputs and 2 outputs is off",
        ),
        "not written": (lambda values, coef, b, weight: None, "not answered yet"),
    },
    "edges": {
        "input first": (
            lambda values, coef, b, weight: edges(values, coef, b, weight).transpose(1, 2),
            r"should have shape \(7, 2, 3\)",
        ),
        "forgets the residual": (
            lambda values, coef, b, weight: edges(values, coef, b, weight, residual=False),
            "is off in",
        ),
        "sums over the inputs": (
            lambda values, coef, b, weight: forward(values, coef, b, weight),
            r"should have shape .*has \(7, 2\)",
        ),
        "residual not transposed": (
            lambda values, coef, b, weight: edges(values, coef, b, weight, residual=False)
            + b[:, None, :] * weight,
            "stopped with RuntimeError",
        ),
        "transposed where it does not show": (
            lambda values, coef, b, weight: edges(values, coef, b, weight)
            if values.shape[1] != coef.shape[2]
            else edges(values, coef, b, weight).transpose(1, 2),
            "is transposed",
        ),
    },
    "count": {
        "paths added": (mistaken_count(paths=lambda w: sum(w)), "number of paths"),
        "paths without the inputs": (
            mistaken_count(paths=lambda w: math.prod(w[1:])), "inputs and outputs included"),
        "no residual weights": (mistaken_count(per_edge=0), "the number of parameters should"),
        "separate scales": (mistaken_count(per_edge=2), "the number of parameters should"),
        "biases": (mistaken_count(biases=True), "one residual weight"),
        "no constant left": (mistaken_count(matter=0), "that matter should be"),
        "three numbers": (lambda w, g, k: (1, 2, 3), "Return 4 things"),
    },
    "gradient": {
        "mean over samples": (mistaken_gradient(mean=True), "gradient of coef is off"),
        "slope without the residual": (
            mistaken_gradient(residual=False), "gradient of x is off.*residual included"),
        "order of the three": (mistaken_gradient(swapped=True), "weight should have shape"),
        "forgets delta in x": (mistaken_gradient(delta_once=True), "gradient of x is off"),
        "two things": (lambda *args: args[:2], "Return 3 things"),
    },
    "multiply": {
        "lines not halved": (mistaken_multiplier(halve=False), "halve the lines"),
        "squares of Greville points": (mistaken_multiplier(greville=True), r"Parabola: t1 \* t2"),
        "both parabolas open upward": (mistaken_multiplier(sign=-1.0), "output on knots .* is off"),
        "uniform knots in mind": (
            mistaken_multiplier(uniform=True), "coefficients from these knots"),
        "axes swapped": (mistaken_multiplier(shape=False), "should have shape"),
        "one layer": (lambda knots: knots, "Return 2 things"),
    },
    "center": {
        "takes and does not give": (mistaken_center(give=False), "must gain"),
        "all edges centered": (mistaken_center(every=True), "must gain"),
        "in place": (mistaken_center(clone=False), "changed its argument"),
        "gives too little": (mistaken_center(spread_evenly=True), "must gain"),
        "nothing moved": (lambda coef: coef.clone(), "mean coefficient is still"),
        "only the means": (lambda coef: coef.mean(1), "Return a tensor of the shape"),
    },
    "spread": {
        "forgets the inputs' number": (mistaken_spread(fan=False), "sigma_c for degree"),
        "variances, not spreads": (mistaken_spread(share_of_std=True), "sigma_c for degree"),
        "shares swapped": (mistaken_spread(swap=True), "share .* should be"),
        "variance for mean square": (mistaken_spread(variance=True), "not the variance"),
        "always on [-1, 1]": (mistaken_spread(fixed=True), r"domain \[-2, 1\]"),
        "one number": (lambda *args: 0.1, "Return 2 things"),
    },
    "domain": {
        "a harmless point": ({**POINT, "point": torch.tensor([0.5, 0.5])}, "wrong by 0.000 only"),
        "a point outside": ({**POINT, "point": torch.tensor([2.0, 0.0])}, r"both in \[-1, 1\]"),
        "share of the inside cut wrong": ({**POINT, "share": 0.25}, r"\|x\| \+ \|y\| <= 1"),
        "domain too small": ({**POINT, "half_width": 1.5}, "can still leave it"),
        "domain too large": ({**POINT, "half_width": 4.0}, "a smaller one is enough"),
    },
    "linear": {
        "SiLU kept": (mistaken_linear(residual="silu"), "on the domain .* is off"),
        "splines kept": (mistaken_linear(zero=False), "on the domain .* is off"),
        "bias forgotten": (mistaken_linear(bias=False), "bias=True.* is off"),
        "weight not transposed": (mistaken_linear(transpose=False), "weight transposed"),
        "right on the domain only": (
            lambda linear: _by_splines(linear), "a hundred times larger .* is off"),
        "the linear layer itself": (lambda linear: linear, "Return a kl.KANLayer, not Linear"),
    },
    "false-step": {
        "blames the count": ({"step": "A", "dimension": 22}, "one parameter"),
        "blames independence": ({"step": "B", "dimension": 22}, "that is a theorem"),
        "blames the constants": ({"step": "D", "dimension": 22}, "changes nothing"),
        "the claim's number": ({"step": "C", "dimension": 25}, "rank 22"),
        "forgets the constants": ({"step": "C", "dimension": 24}, "redundant lines as well"),
        "a letter": ("C", "Give a dictionary"),
    },
    "one-unit": {
        "sum instead of product": ((lambda x: x, lambda x: x, lambda z: z), "products into sums"),
        "logarithm outside as well": ((torch.log, torch.log, torch.log), "is off"),
        "two functions": ((torch.log, torch.exp), "Return 3 things"),
        "powers of two, not undone": (
            (torch.log2, torch.log2, torch.exp), "is off"),
        "numbers": ((lambda x: x.sum(), lambda x: x.sum(), torch.exp), "same shape"),
    },
    "referee": {
        "fewer parameters": ({**VERDICTS, "A": "true"}, "A: .*a cubic KAN on five intervals"),
        "paths for connections": ({**VERDICTS, "B": "true"}, "B: .*What is the other"),
        "constants matter": ({**VERDICTS, "D": "false"}, "D: .*same sum"),
        "residual cures all": ({**VERDICTS, "E": "true"}, "E: .*two terms"),
        "everything moves": ({**VERDICTS, "F": "false"}, "F: .*factor B_g"),
        "no idea": ({**VERDICTS, "C": "maybe"}, "C: .*not among"),
    },
}  # fmt: skip


def _by_splines(linear: nn.Linear) -> kl.KANLayer:
    """Splines that equal the linear layer on the domain, and stay constant off it."""
    layer = kl.KANLayer(
        linear.in_features,
        linear.out_features,
        kl.BSpline(extrapolate="constant"),
        residual=None,
        bias=linear.bias is not None,
        generator=torch.Generator().manual_seed(0),
    )
    knots = layer.basis.knots
    middle = (knots[1:-3] + knots[2:-2] + knots[3:-1]) / 3
    with torch.no_grad():
        layer.coef.copy_(middle[None, :, None] * linear.weight.T[:, None, :])
        if linear.bias is not None:
            layer.bias.copy_(linear.bias)
    return layer


class TestExercises(ChapterTests):
    source = "kans/a-kan-layer.md"
    space: ClassVar = {"kl": kl, "math": math}
    answers = ANSWERS
    wrong = WRONG
    draws = frozenset({"linear"})  # it makes layers, as the student's answer does
