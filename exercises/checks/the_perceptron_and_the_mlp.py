"""Checks of the exercises to the chapter on the perceptron and the MLP.

Glossary
    x, y     examples, shape (m, d), and labels of +-1 or targets
    W, a     weight matrix (out, in) and bias (out,) of one layer
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

import kanlite as kl
from exercises.checks import Wrong, checker, choose, close, uniform


def _entry(answer: Any, name: str) -> Any:
    """An entry of a dictionary that the exercise asks for."""
    if not isinstance(answer, dict):
        raise Wrong(f"Give a dictionary, not {type(answer).__name__}.")
    if name not in answer:
        raise Wrong(f"The entry {name!r} is missing.")
    return answer[name]


def _parts(got: Any, number: int, what: str) -> tuple[Any, ...]:
    if not isinstance(got, (tuple, list)) or len(got) != number:
        raise Wrong(f"Return {number} things: {what}.")
    return tuple(got)


@checker("the-perceptron-and-the-mlp/predict", "the five predictions, against counts")
def _predict(answer: Any, rng: torch.Generator) -> None:
    small, large = (kl.count_parameters(kl.MLP([2, n, n, 1], generator=rng)) for n in (50, 100))
    right = {
        "parameters": (
            kl.count_parameters(kl.MLP([784, 100, 10], generator=rng)),
            0.0,
            "Each layer has in times out weights, and one bias for each output.",
        ),
        "doubled": (large / small, 0.1, "The matrix between two hidden layers grows most."),
        "lines": (sum(math.comb(5, j) for j in range(3)), 0.0, "Three lines make seven regions."),
        "teeth": (2**5, 0.0, "Each composition doubles the number of pieces; T itself has two."),
        "mistakes": (100, 1e-9, "The bound is (R / gamma) squared."),
    }
    for name, (value, share, hint) in right.items():
        got = float(_entry(answer, name))
        if not abs(got - value) <= share * value:
            raise Wrong(f"your {name!r}, {got:g}, is not right. {hint}")


def _examples(rng: torch.Generator, d: int, m: int, gamma: float) -> tuple[Tensor, Tensor]:
    """Points of a cube on both sides of a random hyperplane, with a margin, and their sides."""
    while True:
        u = torch.randn(d + 1, generator=rng, dtype=torch.float64)
        u /= u.norm()
        x = uniform(rng, -1.0, 1.0, 4000, d)
        height = x @ u[:d] + u[d]
        x, y = x[height.abs() > gamma][:m], height[height.abs() > gamma][:m].sign()
        if len(x) == m and 0.1 < float((y > 0).double().mean()) < 0.35:  # off center
            return x, y


@checker("the-perceptron-and-the-mlp/perceptron", "random separable examples, and their bound")
def _perceptron(answer: Callable[[Tensor, Tensor], Any], rng: torch.Generator) -> None:
    for d, m, gamma in ((2, 40, 0.1), (5, 60, 0.1), (30, 50, 0.1)):
        x, y = _examples(rng, d, m, gamma)
        w, a, replaced = _parts(answer(x, y), 3, "the weights, the bias, the replacements")
        w, a = torch.as_tensor(w).double(), float(a)
        if w.shape != (d,):
            raise Wrong(f"The weights should have shape ({d},), but have {tuple(w.shape)}.")
        wrong = int((y * (x @ w + a) <= 0).sum())
        if wrong:
            raise Wrong(
                f"With {m} examples in {d} dimensions, your weights are wrong on {wrong} of them. "
                "Go on until a whole pass makes no mistake; do not forget the bias."
            )
        bound = (float((x.square().sum(1) + 1).max()) / gamma**2) // 1
        if not 0 < int(replaced) <= bound:
            raise Wrong(f"{replaced} replacements are outside of the theorem's 1 to {bound:.0f}.")
        right = _rosenblatt(x, y)
        hint = "Start with zeros, keep the order of the examples, replace where the sum is <= 0."
        if int(replaced) != right[1]:
            raise Wrong(f"{replaced} replacements, where {right[1]} were expected. {hint}")
        mine = torch.cat([w, torch.tensor([a], dtype=torch.float64)])
        close("weights and bias", mine, right[0], 1e-9, hint)


def _rosenblatt(x: Tensor, y: Tensor) -> tuple[Tensor, int]:
    """The algorithm as the exercise states it: weights with the bias last, replacements."""
    lifted = np.column_stack([x.numpy(), np.ones(len(x))]) * y.numpy()[:, None]
    w, replaced, mistaken = np.zeros(lifted.shape[1]), 0, True
    while mistaken:
        mistaken = False
        for row in lifted:
            if w @ row <= 0:
                w, replaced, mistaken = w + row, replaced + 1, True
    return torch.as_tensor(w), replaced


def _layer(pair: Any, what: str) -> tuple[Tensor, Tensor]:
    W, a = (torch.as_tensor(part).double() for part in _parts(pair, 2, f"{what}, W and a"))
    if W.dim() != 2 or a.shape != W.shape[:1]:
        raise Wrong(
            f"{what}: a matrix (out, in) and a bias (out,) are needed, but the shapes are "
            f"{tuple(W.shape)} and {tuple(a.shape)}."
        )
    if not (W.isfinite().all() and a.isfinite().all()):
        raise Wrong(f"{what} has entries that are NaN or infinite.")
    return W, a


@checker("the-perceptron-and-the-mlp/parity", "all eight inputs")
def _parity(answer: Any, rng: torch.Generator) -> None:
    W1, a1 = _layer((_entry(answer, "W1"), _entry(answer, "a1")), "The first layer")
    W2, a2 = _layer((_entry(answer, "W2"), _entry(answer, "a2")), "The second layer")
    if W1.shape != (3, 3) or W2.shape != (1, 3):
        raise Wrong(
            "W1 should have 3 rows and 3 columns, W2 1 row and 3 columns, but the shapes are "
            f"{tuple(W1.shape)} and {tuple(W2.shape)}."
        )
    bits = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)), dtype=torch.float64)
    got = (torch.relu(bits @ W1.T + a1) @ W2.T + a2)[:, 0]
    wrong = (got - bits.sum(1) % 2).abs() > 1e-9
    if wrong.any():
        i = int(wrong.nonzero()[0])
        shown = "".join(str(int(bit)) for bit in bits[i])
        raise Wrong(
            f"For the bits {shown} the output is {float(got[i]):.4g}, but it should be "
            f"{int(bits[i].sum()) % 2}. ({int(wrong.sum())} of 8 inputs are wrong.)"
        )


@checker("the-perceptron-and-the-mlp/gradient", "random networks and batches, against autograd")
def _gradient(answer: Callable[..., Any], rng: torch.Generator) -> None:
    for n, m, k, b in ((1, 1, 1, 1), (3, 4, 2, 5), (2, 7, 1, 3)):
        shapes = ((m, n), (m,), (k, m), (k,))
        given = [uniform(rng, -1.0, 1.0, *shape) for shape in shapes]
        x, y = uniform(rng, -2.0, 2.0, b, n), uniform(rng, -1.0, 1.0, b, k)
        tracked = [p.clone().requires_grad_() for p in given]
        W1, a1, W2, a2 = tracked
        z = torch.sin(x @ W1.T + a1) @ W2.T + a2
        right = torch.autograd.grad((z - y).square().sum() / (2 * b), tracked)
        got = _parts(answer(*given, x, y), 4, "the gradients of W1, a1, W2 and a2")
        hints = (
            "delta_1 is delta_2 W2 times cos(z_1), with z_1 from before the bend.",
            "The bias gets the sum of delta_1 over the samples.",
            "It is delta_2 transposed times h_1; is the loss divided by the batch?",
            "The bias gets the sum of delta_2 over the samples.",
        )
        order = (2, 3, 0, 1)  # in the order in which they are found: from the end
        names = ("W1", "a1", "W2", "a2")
        for i in order:
            what = f"the gradient of {names[i]}, for {b} samples and widths [{n}, {m}, {k}],"
            close(what, got[i], right[i], 1e-9, hints[i])


@checker("the-perceptron-and-the-mlp/count", "random widths, and the network of the press")
def _count(answer: Callable[[list[int]], Any], rng: torch.Generator) -> None:
    tried = [[2, 3], [4, 1, 5], [3, 7, 2, 6]]
    tried.append([int(n) for n in torch.randint(1, 30, (6,), generator=rng)])
    tried.append([10] + [30] * 99)
    for widths in tried:
        got = _parts(answer(list(widths)), 3, "edges, parameters, paths")
        shown = str(widths) if len(widths) < 8 else "[10, 30, 30, ..., 30]"
        edges = sum(a * b for a, b in itertools.pairwise(widths))
        right = {
            "edges": (edges, "Neighboring layers of n and m units are joined by n m edges."),
            "parameters": (edges + sum(widths[1:]), "A weight per edge, a bias per later unit."),
            "paths": (math.prod(widths), "A path chooses one unit in each layer."),
        }
        for mine, (name, (value, hint)) in zip(got, right.items(), strict=True):
            if isinstance(mine, float):
                raise Wrong(f"{name} for {shown}: give an exact integer, not a float.")
            if mine != value:
                text = f"{mine}" if abs(mine) < 1e12 else f"{mine:.3e}"
                raise Wrong(f"{name} for {shown} should not be {text}. {hint}")


@checker("the-perceptron-and-the-mlp/regions", "one layer, several layers, one to five inputs")
def _regions(answer: Callable[[list[int], int], Any], rng: torch.Generator) -> None:
    for hidden, d in (([1], 1), ([5], 2), ([4], 5), ([3, 4], 1), ([6, 6, 6, 6], 2), ([50], 3)):
        right = 1
        for n in hidden:
            row = [1] * (d + 1)  # regions of 0 hyperplanes in 0..d dimensions
            for _ in range(n):
                row = [row[0], *(a + b for a, b in itertools.pairwise(row))]
                row[0] = 1
            right *= row[d]
        got = answer(list(hidden), d)
        if isinstance(got, (float, Tensor)) or got != right:
            raise Wrong(
                f"for hidden widths {hidden} on {d} inputs your answer is {got}. "
                "Check one layer first: five lines in the plane make 16 regions; then multiply."
            )


def _slopes(network: list[tuple[Tensor, Tensor]], points: int) -> Tensor:
    """Slopes of a network with one input and output, at the middles of equal steps of [0, 1]."""
    h = ((torch.arange(points, dtype=torch.float64) + 0.5) / points)[:, None]
    slope = torch.ones_like(h)
    for i, (W, a) in enumerate(network):
        h, slope = h @ W.T + a, slope @ W.T
        if i < len(network) - 1:
            h, slope = torch.relu(h), slope * (h > 0)
    return slope[:, 0]


@checker("the-perceptron-and-the-mlp/false-step", "the step, and the pieces of your network")
def _false_step(answer: Any, rng: torch.Generator) -> None:
    choose(
        _entry(answer, "step"),
        "C",
        {
            "A": "each hidden neuron has at least these two numbers of its own.",
            "B": "this only says what a network is.",
            "D": "it follows from A and C.",
            "E": "this is arithmetic.",
        },
    )
    given = _entry(answer, "network")
    if not isinstance(given, (list, tuple)) or len(given) < 2:
        raise Wrong("'network' should be a list of at least two pairs (matrix, bias).")
    network = [_layer(pair, f"layer {i}") for i, pair in enumerate(given, start=1)]
    sizes = [1, *(len(a) for _, a in network)]
    if [W.shape[1] for W, _ in network] != sizes[:-1] or sizes[-1] != 1:
        raise Wrong("The shapes do not fit together from one input to one output.")
    count = sum(W.numel() + a.numel() for W, a in network)
    if count > 500:
        raise Wrong(f"Your network has {count} parameters; a witness with 500 at most is wanted.")
    slopes = _slopes(network, 2**16)
    scale = max(1.0, float(slopes.abs().max()))
    pieces = 1 + int((slopes.diff().abs() > 1e-9 * scale).sum())
    if pieces <= count:
        raise Wrong(
            f"On [0, 1] your network shows {pieces} pieces, and it has {count} parameters: "
            "not yet more pieces than parameters. Fold once more."
        )


@checker("the-perceptron-and-the-mlp/bump", "the four inputs, and what is asked of the bend")
def _bump(answer: Any, rng: torch.Generator) -> None:
    bend = _entry(answer, "bend")
    if not callable(bend):
        raise Wrong("'bend' should be a function of a tensor.")
    w = torch.as_tensor(_entry(answer, "weights")).double()
    if w.shape != (2,):
        raise Wrong(f"'weights' should be two numbers, but has shape {tuple(w.shape)}.")
    bits = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    out = torch.as_tensor(bend(bits @ w + float(_entry(answer, "bias")))).double()
    for x, value, yes in zip(bits, out, (False, True, True, False), strict=True):
        if not (value > 0.9 if yes else value < 0.1):
            shown = tuple(int(bit) for bit in x)
            rule = "above 0.9" if yes else "below 0.1"
            raise Wrong(f"At {shown} your neuron gives {float(value):.3f}, not {rule}.")
    t = torch.linspace(-20, 20, 400_001, dtype=torch.float64)
    values = torch.as_tensor(bend(t)).double()
    if not values.isfinite().all():
        raise Wrong("Your bend has values on [-20, 20] that are NaN or infinite.")
    if values.diff().abs().max() > 0.02:
        raise Wrong("Your bend jumps: within a step of 0.0001 it changes by more than 0.02.")
    if values.abs().max() > 10:
        raise Wrong(
            f"Your bend is not bounded by 10 on [-20, 20]: {float(values.abs().max()):.3g}."
        )


@checker("the-perceptron-and-the-mlp/referee", "the six verdicts")
def _referee(answer: Any, rng: torch.Generator) -> None:
    claims = {
        "A": ("true", "how many edges does each further layer add?"),
        "B": ("false", "which space do all these networks, of any width, lie in?"),
        "C": ("true", "solve 10^6 <= (R / gamma)^2 for gamma."),
        "D": ("false", "count the matrix products of the backward sweep."),
        "E": ("true", "what is ReLU of 0, and a matrix times 0?"),
        "F": ("false", "look at the counts at the start in the chapter's experiment."),
    }
    for letter, (right, reason) in claims.items():
        other = "true" if right == "false" else "false"
        given = _entry(answer, letter)
        if isinstance(given, bool):
            given = str(given).lower()
        try:
            choose(given, right, {other: f"claim {letter}: {reason}"})
        except Wrong as wrong:
            raise Wrong(f"Claim {letter}: {wrong}") from None
