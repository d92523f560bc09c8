"""Checks of the exercises to the chapter on training MLPs.

Glossary
    theta    parameters
    c, W     kernel of a convolution, and its matrix
    E, P     edges and parameters of a network
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

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


def _pair(got: Any, what: str) -> tuple[Any, Any]:
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        raise Wrong(f"Return two things: {what}.")
    return got[0], got[1]


@checker("training-mlps/predict", "the five predictions, against counts")
def _predict(answer: Any, rng: torch.Generator) -> None:
    model = kl.MLP([10, 20, 5], "relu", generator=rng)
    x = torch.zeros(4, 10, dtype=next(model.parameters()).dtype)
    right = {
        "factor": ((9 - 1) / (9 + 1), "With kappa = 9 it is (kappa - 1) / (kappa + 1)."),
        "signal": (0.5, "The weighted sum keeps the mean square; ReLU passes half of it."),
        "operations": (
            kl.count_flops(model, x, backward=True).matrix,
            "6 b E, less 2 b n_0 n_1 for the gradient of the inputs, which nobody asks for.",
        ),
        "state": (2 * kl.count_parameters(model), "Two averages for each weight and each bias."),
        "copies": (2**4 * math.factorial(4), "There are 4! orders, and a sign for each unit."),
    }
    for name, (value, hint) in right.items():
        got = float(_entry(answer, name))
        if not abs(got - value) <= 1e-9 * value:
            raise Wrong(f"your {name!r}, {got:g}, is not right. {hint}")


@checker("training-mlps/adam", "random quadratics and constants, against torch.optim.Adam")
def _adam(answer: Callable[..., Any], rng: torch.Generator) -> None:
    hints = {
        1: "In step 1 both averages are divided by 1 - beta: with a tiny eps its size is the rate.",
        2: "Do not overwrite the averages when you divide by 1 - beta^t.",
        30: "Check which beta belongs to which average, and where eps is added.",
    }
    for steps, hint in hints.items():
        for beta1, beta2, eps in ((0.9, 0.999, 1e-8), (0.5, 0.8, 0.1)):
            values, center = uniform(rng, 0.1, 9.0, 4), uniform(rng, -1.0, 1.0, 4)
            start = uniform(rng, 1.5, 3.0, 4)
            given = start.clone()
            got = answer(
                lambda theta, h=values, c=center: h * (theta - c),
                given, steps, 0.03, beta1, beta2, eps,
            )  # fmt: skip
            if not torch.equal(given, start):
                raise Wrong(
                    "Your function changes the tensor theta that it is given; make new ones."
                )
            right = start.clone().requires_grad_()
            optimizer = torch.optim.Adam([right], lr=0.03, betas=(beta1, beta2), eps=eps)
            for _ in range(steps):
                right.grad = (values * (right - center)).detach()
                optimizer.step()
            what = f"theta after {steps} steps with betas {beta1}, {beta2} and eps {eps:g}"
            close(what, got, right.detach(), 1e-9, hint)


@checker("training-mlps/best-rate", "random matrices, against their eigenvalues")
def _best_rate(answer: Callable[[Tensor], Any], rng: torch.Generator) -> None:
    for m, p in ((5, 2), (30, 4), (12, 12)):
        phi = uniform(rng, -1.0, 1.0, m, p)
        singular = torch.linalg.svdvals(phi)
        high, low = (float(v) ** 2 / m for v in (singular[0], singular[-1]))
        rate, factor = _pair(answer(phi.clone()), "the rate and the factor")
        where = f"for a matrix of {m} rows and {p} columns"
        value = float(torch.as_tensor(rate))
        if not 0 < value < 2 / high:
            raise Wrong(
                f"{where}: with your rate, {value:.4g}, gradient descent does not converge from "
                f"every start. It must be below 2 / L, here {2 / high:.4g}."
            )
        right = 2 / (high + low)
        if abs(value / right - 1) > 1e-6:
            worst = max(abs(1 - value * low), abs(1 - value * high))
            raise Wrong(
                f"{where}: your rate, {value:.6g}, has the worst factor {worst:.6g}, and there is "
                "a better one. At the best, the factors at both ends of the spectrum are equal."
            )
        hint = "It is (kappa - 1) / (kappa + 1), with eigenvalues and not singular values."
        close(f"{where}, the factor", float(torch.as_tensor(factor)), (high - low) / (high + low),
              1e-8, hint)  # fmt: skip


@checker("training-mlps/convolution", "random kernels, lengths and strides, against conv1d")
def _convolution(answer: Callable[[Tensor, int, int], Any], rng: torch.Generator) -> None:
    for K, n, stride in ((3, 8, 1), (1, 4, 1), (5, 5, 1), (3, 9, 2), (2, 9, 3)):
        c, x = uniform(rng, 0.5, 2.0, K), uniform(rng, -1.0, 1.0, n)
        where = f"for K = {K}, n = {n} and stride {stride}"
        W = torch.as_tensor(answer(c.clone(), n, stride))
        rows = (n - K) // stride + 1
        if W.shape != (rows, n):
            raise Wrong(
                f"{where}: the matrix should have shape ({rows}, {n}), but has {tuple(W.shape)}."
            )
        if int((W != 0).sum()) != rows * K:
            raise Wrong(
                f"{where}: {int((W != 0).sum())} entries are not 0, where {rows} rows with a "
                f"kernel of {K} have {rows * K}."
            )
        right = torch.nn.functional.conv1d(x[None, None], c[None, None], stride=stride)[0, 0]
        close(f"{where}, W x", W @ x, right, 1e-12, "Row j has c_0 in column j times the stride.")


@checker("training-mlps/cost", "random widths and batches, against counts on the model")
def _cost(answer: Callable[[list[int], int, int, int], Any], rng: torch.Generator) -> None:
    tried = [([3, 2], 1, 0, 8), ([10, 20, 5], 4, 2, 4)]
    tried.append((torch.randint(1, 30, (5,), generator=rng).tolist(), 7, 1, 2))
    for widths, b, copies, size in tried:
        got = _pair(answer(list(widths), b, copies, size), "operations and bytes")
        where = f"for widths {widths}, batch {b}, {copies} copies of {size} bytes"
        model = kl.MLP(widths, "relu", generator=rng)
        x = torch.zeros(b, widths[0], dtype=next(model.parameters()).dtype)
        operations = kl.count_flops(model, x, backward=True).matrix
        parameters = kl.count_parameters(model)
        memory = size * ((2 + copies) * parameters + b * sum(widths[:-1]))
        if any(isinstance(v, (float, Tensor)) for v in got):
            raise Wrong(f"{where}: give exact integers.")
        if got[0] != operations:
            raise Wrong(
                f"{where}: the operations should not be {got[0]}. Forward 2 b E; backward twice "
                "that, but for the first layer only once."
            )
        if got[1] != memory:
            raise Wrong(
                f"{where}: the bytes should not be {got[1]}. Parameters, gradient, copies; and "
                "the inputs of every layer, b times each, without the outputs of the last."
            )


def _turn(angle: float) -> Tensor:
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[c, -s], [s, c]], dtype=torch.float64)


@checker("training-mlps/false-step", "the step, and the first steps of your witness")
def _false_step(answer: Any, rng: torch.Generator) -> None:
    choose(
        _entry(answer, "step"),
        "C",
        {
            "A": "the chain rule, and R is orthogonal.",
            "B": "an average of R g_1, R g_2, ... is R times the average.",
            "D": "it follows from C.",
        },
    )
    g = torch.as_tensor(_entry(answer, "gradient")).double()
    if g.shape != (2,) or not g.isfinite().all():
        raise Wrong(f"'gradient' should be two numbers, but has shape {tuple(g.shape)}.")
    R = _turn(float(_entry(answer, "angle")))
    new = R @ g
    if min(float(g.abs().min()), float(new.abs().min())) < 1e-6:
        raise Wrong("An entry of the gradient, or of the turned gradient, is 0.")
    gap = float((new.sign() - R @ g.sign()).norm())
    if gap < 0.5:
        raise Wrong(
            f"The two first steps differ by {gap:.3f} rates only, and half a rate is asked for. "
            "How far apart are sign(R g) and R sign(g)?"
        )


def _orbit(rows: Tensor) -> int:
    """How many tables renumbering and signs make of a table of units, one per row."""
    n, found = len(rows), set()
    for order in itertools.permutations(range(n)):
        for signs in itertools.product((1.0, -1.0), repeat=n):
            image = torch.tensor(signs, dtype=torch.float64)[:, None] * rows[list(order)]
            found.add(tuple((image + 0.0).flatten().tolist()))
    return len(found)


@checker("training-mlps/twins", "the conditions, and the whole orbit")
def _twins(answer: Any, rng: torch.Generator) -> None:
    shapes = {"W1": (3, 2), "a1": (3,), "W2": (1, 3)}
    parts = {name: torch.as_tensor(_entry(answer, name)).double() for name in shapes}
    for name, shape in shapes.items():
        if parts[name].shape != shape:
            raise Wrong(f"{name} should have shape {shape}, but has {tuple(parts[name].shape)}.")
    if not all(part.isfinite().all() for part in parts.values()):
        raise Wrong("There are entries that are NaN or infinite.")
    if (parts["W1"] == 0).all(1).any():
        raise Wrong("A row of W1 is zero, and that is not allowed here.")
    if (parts["W2"] == 0).any():
        raise Wrong("An entry of W2 is zero, and that is not allowed here.")
    count = _orbit(torch.cat([parts["W1"], parts["a1"][:, None], parts["W2"].T], 1))
    if count == 48:
        raise Wrong(
            "Your network has all 48 different weight vectors: no renumbering or change of signs "
            "but the trivial one leaves it as it is. Are twins equal in their outgoing weights too?"
        )
    if count != 24:
        raise Wrong(f"Your network has {count} different weight vectors, not 24: too many twins.")


@checker("training-mlps/referee", "the six verdicts")
def _referee(answer: Any, rng: torch.Generator) -> None:
    claims = {
        "A": ("true", "which root of kappa stands in the theorem on momentum?"),
        "B": ("false", "what if the number of steps is fixed, or the loss has no noise?"),
        "C": ("false", "how many of the entries that remain are free?"),
        "D": ("false", "look at the relative change of the weights in the chapter's experiment."),
        "E": ("true", "what is 1 - eta lambda where lambda is 0?"),
        "F": ("false", "the sizes of weights can be changed without changing the function."),
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
