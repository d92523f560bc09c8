"""Checks of the exercises to the chapter on a KAN layer.

Glossary
    n_in, n_out  inputs and outputs of a layer
    n            number of basis functions, G + k
    B            basis functions at the inputs, shape (samples, n_in, n)
    coef         c[i, g, j], shape (n_in, n, n_out)
    weight       residual weights r[i, j], shape (n_in, n_out)
    j, i         output and input of an edge
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

import kanlite as kl
from exercises.checks import Wrong, checker, choose, close, uniform

RESIDUALS: dict[str, Callable[[Tensor], Tensor]] = {
    "SiLU": nn.functional.silu,
    "tanh": torch.tanh,
    "x cubed": lambda x: x**3,
}


def _entry(answer: Any, name: str) -> Any:
    """An entry of a dictionary that the exercise asks for."""
    if not isinstance(answer, dict):
        raise Wrong(f"Give a dictionary, not {type(answer).__name__}.")
    if name not in answer:
        raise Wrong(f"The entry {name!r} is missing.")
    return answer[name]


def _parts(got: Any, what: str, number: int) -> tuple[Any, ...]:
    """As many things as the exercise asks for, in a tuple."""
    if not isinstance(got, (tuple, list)) or len(got) != number:
        raise Wrong(f"Return {number} things, {what}.")
    return tuple(got)


def _number(got: Any, what: str) -> float:
    try:
        return float(got)
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(f"{what} should be one number, not {type(got).__name__}.") from None


def _random_knots(
    rng: torch.Generator, degree: int, cells: int, low: float = -1.0, high: float = 1.0
) -> Tensor:
    """Unequally spaced simple knots with the domain [low, high]."""
    steps = uniform(rng, 0.3, 1.0, cells + 2 * degree)
    knots = torch.cat([torch.zeros(1, dtype=torch.float64), steps.cumsum(0)])
    first, last = knots[degree], knots[-degree - 1]
    return low + (knots - first) * (high - low) / (last - first)


def _layer_parts(
    rng: torch.Generator, n_in: int, n_out: int, samples: int = 7
) -> tuple[Tensor, ...]:
    """B, B', b, b' at random inputs, coef and weight, all as the exercises name them."""
    basis = kl.BSpline(degree=3, knots=_random_knots(rng, 3, 4))
    x = uniform(rng, -1.0, 1.0, samples, n_in).requires_grad_()
    b = nn.functional.silu(x)
    (slope,) = torch.autograd.grad(b.sum(), x)
    with torch.no_grad():
        values, slopes = basis(x), basis.derivative(x)
    coef = uniform(rng, -1.0, 1.0, n_in, basis.num_basis, n_out)
    weight = uniform(rng, -1.0, 1.0, n_in, n_out)
    return values, slopes, b.detach(), slope, coef, weight


@checker("a-kan-layer/predict", "the five predictions, against a network and its gradients")
def _predict(answer: Any, rng: torch.Generator) -> None:
    model = kl.KAN([3, 4, 1], kl.BSpline(5, 3), generator=rng)
    layers = kl.edge_layers(model)
    right = {
        "edges": (
            sum(layer.in_features * layer.out_features for layer in layers),
            0.0,
            "Multiply the widths on both sides of each layer, then add the layers.",
        ),
        "paths": (
            math.prod(model.widths),
            0.0,
            "A path picks one unit in every layer: that is a product, not a sum.",
        ),
        "parameters": (
            sum(p.numel() for p in model.parameters()),
            0.0,
            "Each edge has G + k coefficients and one residual weight; there is no bias.",
        ),
        "spline_gain": (
            4.0,
            1e-9,
            "The derivative of a B-spline is proportional to 1/h; the gain is about its square.",
        ),
        "off_domain": (
            math.erfc(math.sqrt(1.5)),
            0.01,
            "A hidden value is nearly normal with variance 1/3, so 1 is about 1.7 standard "
            "deviations away. Both tails count.",
        ),
    }
    for name, (value, tol, hint) in right.items():
        got = _number(_entry(answer, name), name)
        if abs(got - value) > tol:
            raise Wrong(f"{name}: you predicted {got:g}. {hint}")


@checker("a-kan-layer/count", "edges, paths, parameters and what matters, for random widths")
def _count(answer: Any, rng: torch.Generator) -> None:
    named = ("the number of edges", "the number of paths", "the number of parameters",
             "the number of parameters that matter")  # fmt: skip
    hints = (
        "Add n_before * n_after over the layers.",
        "A path picks one unit in each layer, inputs and outputs included.",
        "Each edge has G + k coefficients and one residual weight.",
        "Per layer and output: n_in * n + 1 dimensions with SiLU, where n = G + k.",
    )
    for _ in range(4):
        depth = int(torch.randint(2, 6, (), generator=rng))
        widths = torch.randint(1, 9, (depth,), generator=rng).tolist()
        intervals, degree = (int(torch.randint(1, 7, (), generator=rng)) for _ in range(2))
        pairs = list(pairwise(widths))
        n, edges = intervals + degree, sum(a * b for a, b in pairs)
        right = (edges, math.prod(widths), edges * (n + 1), sum(b * (a * n + 1) for a, b in pairs))
        got = _parts(answer(widths, intervals, degree), "edges, paths, parameters, matter", 4)
        for name, mine, value, hint in zip(named, got, right, hints, strict=True):
            if _number(mine, name) != value:
                raise Wrong(
                    f"widths {widths}, {intervals} intervals, degree {degree}: {name} should be "
                    f"{value}, but is {mine}. {hint}"
                )


@checker("a-kan-layer/forward", "outputs of random layers, with as many inputs as outputs too")
def _forward(answer: Any, rng: torch.Generator) -> None:
    for n_in, n_out in ((3, 2), (4, 4), (1, 5)):
        values, _, b, _, coef, weight = _layer_parts(rng, n_in, n_out)
        right = torch.zeros(len(b), n_out, dtype=torch.float64)
        for j in range(n_out):
            for i in range(n_in):
                right[:, j] += values[:, i] @ coef[i, :, j] + b[:, i] * weight[i, j]
        close(
            f"the output of a layer with {n_in} inputs and {n_out} outputs",
            answer(values, coef, b, weight), right,
            hint="Which letters must be summed? coef is (input, basis function, output).",
        )  # fmt: skip


@checker("a-kan-layer/edges", "entry [j, i] of the edges, and that they add up to the output")
def _edges(answer: Any, rng: torch.Generator) -> None:
    for n_in, n_out in ((3, 2), (4, 4)):
        values, _, b, _, coef, weight = _layer_parts(rng, n_in, n_out)
        got = answer(values, coef, b, weight)
        what = f"the array of edges of a layer with {n_in} inputs and {n_out} outputs"
        right = torch.empty(len(b), n_out, n_in, dtype=torch.float64)
        for j in range(n_out):
            for i in range(n_in):
                right[:, j, i] = values[:, i] @ coef[i, :, j] + b[:, i] * weight[i, j]
        if n_in == n_out and torch.is_tensor(got) and torch.allclose(got, right.transpose(1, 2)):
            raise Wrong(f"{what} is transposed: the output j comes first, then the input i.")
        close(what, got, right, hint="Nothing is summed over the inputs here; check both terms.")


@checker("a-kan-layer/gradient", "all three gradients, against autograd")
def _gradient(answer: Any, rng: torch.Generator) -> None:
    for n_in, n_out in ((2, 3), (3, 3)):
        layer = kl.KANLayer(n_in, n_out, kl.BSpline(4, 3), generator=rng).double()
        layer.basis.knots.copy_(_random_knots(rng, 3, 4))
        x = uniform(rng, -1.0, 1.0, 9, n_in).requires_grad_()
        delta = uniform(rng, -1.0, 1.0, 9, n_out)
        inputs = (layer.coef, layer.residual_weight, x)
        right = torch.autograd.grad(layer(x), inputs, grad_outputs=delta)
        b = nn.functional.silu(x)
        (slope,) = torch.autograd.grad(b.sum(), x)
        with torch.no_grad():
            got = answer(
                layer.basis(x), layer.basis.derivative(x), b.detach(), slope,
                layer.coef, layer.residual_weight, delta,
            )  # fmt: skip
        for name, mine, value, hint in zip(
            ("the gradient of coef", "the gradient of residual_weight", "the gradient of x"),
            _parts(got, "the gradients of coef, residual_weight and x", 3),
            right,
            (
                "Sum B * delta over the samples only.",
                "Sum b * delta over the samples only.",
                "Multiply delta_j by the slope of edge (j, i), residual included, and sum over j.",
            ),
            strict=True,
        ):
            close(name, mine, value, tol=1e-8, hint=hint)


@checker("a-kan-layer/multiply", "x * y on random points, for random knots of degree 2")
def _multiply(answer: Any, rng: torch.Generator) -> None:
    for cells, (low, high) in ((1, (-1.0, 1.0)), (3, (-1.0, 1.0)), (4, (-1.5, 1.2))):
        knots = _random_knots(rng, 2, cells, low, high)
        n = cells + 2
        got = _parts(answer(knots), "the coefficients of the first and of the second layer", 2)
        shapes = (2, n, 2), (2, n, 1)
        basis = kl.BSpline(degree=2, knots=knots)
        model = kl.KAN([2, 2, 1], basis, residual=None, generator=rng).double()
        for layer, mine, shape, name in zip(model, got, shapes, ("first", "second"), strict=True):
            coef = torch.as_tensor(mine)
            if coef.shape != shape:
                raise Wrong(
                    f"With {n} basis functions the {name} layer's coefficients should have shape "
                    f"{shape}, but have {tuple(coef.shape)}."
                )
            with torch.no_grad():
                layer.coef.copy_(coef)
        x = uniform(rng, -1.0, 1.0, 200, 2)
        with torch.no_grad():
            hidden, y = model[0](x), model(x)
        if float(hidden.abs().max()) > 1.0 + 1e-9:
            raise Wrong(
                f"on knots with the domain [{low:g}, {high:g}] a hidden value reaches "
                f"{float(hidden.abs().max()):.2f}. Keep hidden values in [-1, 1]: halve the lines, "
                "and take their coefficients from these knots. Off their domain the parabolas "
                "mean nothing."
            )
        close(
            f"the network's output on knots with the domain [{low:g}, {high:g}]",
            y, x.prod(-1, keepdim=True),
            hint="Are the knots used, and not only their number? Line: (t1 + t2) / 2. "
            "Parabola: t1 * t2.",
        )  # fmt: skip


@checker("a-kan-layer/center", "same outputs, mean coefficients zero on all edges but the last")
def _center(answer: Any, rng: torch.Generator) -> None:
    for n_in, n_out in ((3, 2), (4, 4)):
        values, _, _, _, coef, _ = _layer_parts(rng, n_in, n_out)
        before = coef.clone()
        new = answer(coef)
        if not torch.equal(coef, before):
            raise Wrong("Your function changed its argument: work on a copy (coef.clone()).")
        if not torch.is_tensor(new) or new.shape != coef.shape:
            raise Wrong(f"Return a tensor of the shape of coef, {tuple(coef.shape)}.")
        close(
            "the layer's output after centering",
            torch.einsum("sig,igj->sj", values, new), torch.einsum("sig,igj->sj", values, coef),
            hint="What one edge loses, another edge into the same output must gain.",
        )  # fmt: skip
        means = new.mean(1)[:-1]
        if float(means.abs().max()) > 1e-9:
            raise Wrong(
                "the outputs are unchanged, but on an edge of an input other than the last the "
                f"mean coefficient is still {float(means.abs().max()):.3g} in size."
            )


def _cells(basis: kl.BSpline) -> tuple[Tensor, Tensor]:
    """Points and weights for averages over a basis's domain, exact for its splines."""
    u = torch.tensor([-0.9061798459386640, -0.5384693101056831, 0.0,
                      0.5384693101056831, 0.9061798459386640], dtype=torch.float64)  # fmt: skip
    w = torch.tensor([0.2369268850561891, 0.4786286704993665, 0.5688888888888889,
                      0.4786286704993665, 0.2369268850561891], dtype=torch.float64)  # fmt: skip
    breaks = basis.knots[basis.degree : basis.num_basis + 1]
    eighths = torch.arange(8, dtype=torch.float64) / 8
    fine = torch.cat(
        [(breaks[:-1, None] + breaks.diff()[:, None] * eighths).flatten(), breaks[-1:]]
    )
    mid, half = (fine[1:] + fine[:-1]) / 2, fine.diff() / 2
    x = mid[:, None] + half[:, None] * u
    return x.flatten(), (half[:, None] * w / (basis.high - basis.low)).flatten()


@checker("a-kan-layer/spread", "both spreads to 0.5 %, for random knots, residuals and shares")
def _spread(answer: Any, rng: torch.Generator) -> None:
    ends = ((-1.0, 1.0), (-2.0, 1.0), (0.5, 3.0))
    for (name, b), (low, high) in zip(RESIDUALS.items(), ends, strict=True):
        degree = int(torch.randint(1, 4, (), generator=rng))
        knots = _random_knots(rng, degree, 5, low, high)
        n_in, share = int(torch.randint(2, 20, (), generator=rng)), float(uniform(rng, 0.2, 0.8, 1))
        basis = kl.BSpline(degree=degree, knots=knots)
        x, w = _cells(basis)
        v = float(w @ x**2)
        right = (
            math.sqrt(share * v / (n_in * float(w @ basis(x).square().sum(-1)))),
            math.sqrt((1 - share) * v / (n_in * float(w @ b(x) ** 2))),
        )
        got = _parts(answer(knots, degree, b, n_in, share), "sigma_c and sigma_r", 2)
        for what, mine, value in zip(("sigma_c", "sigma_r"), got, right, strict=True):
            found = _number(mine, what)
            if abs(found / value - 1) > 0.005:
                variance = "" if abs(low + high) < 1e-9 else (
                    " The inputs do not have mean zero here: v is E[X^2], not the variance."
                )  # fmt: skip
                raise Wrong(
                    f"{what} for degree {degree}, domain [{low:g}, {high:g}], residual {name}, "
                    f"{n_in} inputs and share {share:.2f} should be {value:.5f}, "
                    f"but is {found:.5f}.{variance}"
                )


@checker("a-kan-layer/domain", "the point, the share and the domain, against the network itself")
def _domain(answer: Any, rng: torch.Generator) -> None:
    point = torch.as_tensor(_entry(answer, "point")).double().flatten()
    if point.shape != (2,) or float(point.abs().max()) > 1:
        raise Wrong("'point' should hold x and y, both in [-1, 1].")
    u, v = point[0] + point[1], point[0] - point[1]
    pieces = [w * w / 4 if abs(float(w)) <= 1 else torch.zeros(()) for w in (u, v)]
    error = abs(float(pieces[0] - pieces[1] - point[0] * point[1]))
    if error <= 0.1:
        raise Wrong(
            f"at the point ({point[0]:g}, {point[1]:g}) the network is wrong by {error:.3f} only: "
            "find one where x + y or x - y is off [-1, 1], and the parabola there is high."
        )
    share = _number(_entry(answer, "share"), "share")
    if abs(share - 0.5) > 1e-6:
        raise Wrong(
            f"share: you gave {share:g}. Both hidden values are in [-1, 1] exactly where "
            "|x| + |y| <= 1. Which part of the square is that?"
        )
    half = _number(_entry(answer, "half_width"), "half_width")
    if abs(half - 2.0) > 1e-9:
        what = "a hidden value can still leave it" if half < 2 else "a smaller one is enough"
        raise Wrong(f"half_width: with [-{half:g}, {half:g}] {what}.")


@checker("a-kan-layer/linear", "equal outputs on and far off the domain, with and without bias")
def _linear(answer: Any, rng: torch.Generator) -> None:
    for n_in, n_out, bias in ((3, 5, True), (4, 4, True), (2, 3, False)):
        linear = nn.Linear(n_in, n_out, bias=bias).double()
        with torch.no_grad():
            linear.weight.copy_(uniform(rng, -1.0, 1.0, n_out, n_in))
            if bias:
                linear.bias.copy_(uniform(rng, -1.0, 1.0, n_out))
        layer = answer(linear)
        if not isinstance(layer, kl.KANLayer):
            raise Wrong(f"Return a kl.KANLayer, not {type(layer).__name__}.")
        layer = layer.double()
        x = uniform(rng, -1.0, 1.0, 20, n_in)
        for name, inputs in (("on the domain", x), ("at inputs a hundred times larger", 100 * x)):
            with torch.no_grad():
                close(
                    f"the output {name} ({n_in} inputs, {n_out} outputs, bias={bias})",
                    layer(inputs), linear(inputs),
                    hint="Are the coefficients zero, the residual the identity, the weight "
                    "transposed, and the bias there?",
                )  # fmt: skip


@checker("a-kan-layer/false-step", "the step, and the true dimension of a small layer")
def _false_step(answer: Any, rng: torch.Generator) -> None:
    choose(
        _entry(answer, "step"), "C",
        {
            "A": "a column of the feature matrix belongs to one parameter; there are that many.",
            "B": "the B-splines are independent on their domain: that is a theorem.",
            "D": "moving a constant from one edge to another changes nothing: this step is right.",
            "E": "it only subtracts what the steps before it gave. The error comes earlier.",
        },
    )  # fmt: skip
    basis = kl.BSpline(5, 3)
    x = uniform(rng, -1.0, 1.0, 400, 3)
    with torch.no_grad():
        features = torch.cat([basis(x).double().flatten(1), x], dim=1)
    values = torch.linalg.svdvals(features)
    rank = int((values > 1e-6 * values[0]).sum())
    got = _number(_entry(answer, "dimension"), "dimension")
    if got != rank:
        raise Wrong(
            f"dimension: you gave {got:g}, but the features of 400 random samples have rank "
            f"{rank}. Count the redundant lines as well as the redundant constants."
        )


@checker("a-kan-layer/one-unit", "x * y on random points of [1, 2] x [1, 2]")
def _one_unit(answer: Any, rng: torch.Generator) -> None:
    first, second, outer = _parts(answer, "the functions s, t and psi", 3)
    x, y = uniform(rng, 1.0, 2.0, 2, 100)
    hidden = first(x) + second(y)
    if not torch.is_tensor(hidden) or hidden.shape != x.shape:
        raise Wrong("s and t should map a tensor to a tensor of the same shape.")
    close("psi(s(x) + t(y))", outer(hidden), x * y, hint="What turns products into sums?")
    if float((first(x) - first(x[:1])).abs().max()) < 1e-12:
        raise Wrong("s is constant: then psi(s + t(y)) cannot know x.")


@checker("a-kan-layer/referee", "the six verdicts")
def _referee(answer: Any, rng: torch.Generator) -> None:
    widths = [int(a) for a in torch.randint(2, 9, (4,), generator=rng)]
    pairs = list(pairwise(widths))
    mlp = sum(a * b + b for a, b in pairs)
    model = kl.KAN(widths, kl.BSpline(5, 3), generator=rng)
    kan = sum(p.numel() for p in model.parameters())
    why = {
        "A": f"with widths {widths} an MLP with biases has {mlp} parameters and a cubic KAN on "
        f"five intervals {kan}.",
        "B": f"count the edges layer by layer: {10 * 30} + 98 * {30 * 30}. What is the other "
        "number a count of?",
        "C": "write down the layer for one output.",
        "D": "both edges end in the same sum.",
        "E": "look at the gain q(p): which of its two terms has no grid in it?",
        "F": "the gradient of a coefficient has the factor B_g(x_i).",
    }
    right = {"A": "false", "B": "false", "C": "true", "D": "true", "E": "false", "F": "true"}
    for letter, verdict in right.items():
        wrong = "true" if verdict == "false" else "false"
        try:
            choose(_entry(answer, letter), verdict, {wrong: why[letter]})
        except Wrong as error:
            raise Wrong(f"{letter}: {error}") from None
