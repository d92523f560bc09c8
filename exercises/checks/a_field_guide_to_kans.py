"""Checks of the exercises to the field guide to KANs.

Glossary
    n, m         inputs and outputs of a layer
    N            number of basis functions, centers u
    M            a B-spline of degree k with spacing 1, centered
    w            width of a bump
    d            deviations of inputs from their mean
"""

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import kanlite as kl
from exercises.checks import Wrong, checker, choose, close, uniform


def _entry(answer: Any, name: str) -> Any:
    """An entry of a dictionary that the exercise asks for."""
    if not isinstance(answer, dict):
        raise Wrong(f"Give a dictionary, not {type(answer).__name__}.")
    if name not in answer:
        raise Wrong(f"The entry {name!r} is missing.")
    return answer[name]


def _number(got: Any, what: str) -> float:
    try:
        return float(got)
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(f"{what} should be one number, not {type(got).__name__}.") from None


def _whole(rng: torch.Generator, low: int, high: int) -> int:
    """A random whole number, low and high included."""
    return int(torch.randint(low, high + 1, (), generator=rng))


@checker("a-field-guide-to-kans/predict", "the five predictions")
def _predict(answer: Any, rng: torch.Generator) -> None:
    half = kl.BSpline(4, 2, extrapolate="natural").knots
    hints = {
        "width": (
            math.sqrt(3 / 6), 0.01,
            "The Gaussian has the variance w^2/2, a sum of k + 1 uniform numbers (k + 1)/12 h^2.",
        ),
        "blind": (2 / 30, 0.001, "It is 2 / ((n + 1)(n + 2)) for n inputs, with n = 4."),
        "values": (2.0, 0.0, "Subtract the mean of two numbers, divide by half their distance."),
        "far": (-1.0, 1e-6, "tanh goes to -1 there, and T_3 is odd."),
        "dead": (float(half[-1]), 1e-9, "The last knot lies k intervals beyond the domain."),
    }  # fmt: skip
    for name, (right, tol, hint) in hints.items():
        got = _number(_entry(answer, name), name)
        if not abs(got - right) <= tol:
            raise Wrong(f"{name}: you predicted {got:g}. {hint}")


# A basis and its laws ------------------------------------------------------------------------


def _autograd(basis: kl.Basis, x: Tensor, order: int) -> Tensor:
    """Derivatives of each basis function by reverse mode alone."""
    columns = []
    for g in range(basis.num_basis):
        z = x.clone().requires_grad_()
        value = basis(z)[..., g]
        for _ in range(order):
            if not value.requires_grad:
                break
            (value,) = torch.autograd.grad(
                value.sum(), z, create_graph=True, materialize_grads=True
            )
        depends = value.requires_grad or order == 0
        columns.append(value.detach() if depends else torch.zeros_like(x))
    return torch.stack(columns, -1)


def _refuses(call: Callable[[], object], what: str) -> None:
    try:
        call()
    except ValueError:
        return
    raise Wrong(f"your basis accepts {what}: raise a ValueError that names the argument.")


def _values_and_shapes(basis: kl.Basis, low: float, high: float, rng: torch.Generator) -> None:
    number = basis.num_basis
    x = uniform(rng, low - 1.0, high + 1.0, 20)
    omega = math.pi * torch.arange(number, dtype=torch.float64) / (high - low)
    what = f"the basis with {number} functions on [{low:.2f}, {high:.2f}]"
    close(
        f"{what}, at points in and off the domain,", basis(x),
        torch.cos((x[:, None] - low) * omega),
        hint="B_g = cos(pi g u), where u is 0 at low and 1 at high, and g starts at 0.",
    )  # fmt: skip
    for shape in ((), (0,), (3,), (2, 0, 3), (2, 3, 4)):
        got = tuple(basis(torch.zeros(shape, dtype=torch.float64)).shape)
        if got != (*shape, number):
            raise Wrong(
                f"for x of shape {shape}, {what} should give {(*shape, number)}, not {got}."
            )
    ends = torch.stack([torch.as_tensor(end) for end in basis.domain])
    close(f"the domain of {what}", ends, torch.tensor([low, high], dtype=torch.float64))


def _derivatives(basis: kl.Basis, low: float, high: float, rng: torch.Generator) -> None:
    x = uniform(rng, low - 0.5, high + 0.5, 12)
    for order in range(4):
        close(
            f"the derivative of order {order}", basis.derivative(x, order),
            _autograd(basis, x, order), tol=1e-9,
            hint="Each derivative brings a factor omega = pi g / (high - low) and a quarter turn.",
        )  # fmt: skip
    _refuses(lambda: basis.derivative(x, -1), "the order -1")
    _refuses(lambda: basis(torch.arange(3)), "whole numbers as x")
    bad = torch.tensor([0.1, math.inf, -math.inf, math.nan], dtype=torch.float64)
    for values in (basis(bad), basis.derivative(bad, 1)):
        if not values[0].isfinite().all() or values[1:].isfinite().any():
            raise Wrong(
                "at an infinite or missing x some basis function is finite: it hides a broken "
                "network. The constant function is the one to watch: add 0 * x."
            )


def _copies(basis: kl.Basis, rng: torch.Generator) -> None:
    x = uniform(rng, -1.0, 1.0, 9)
    before = basis(x)
    rebuilt = type(basis).from_config(basis.config())
    try:
        rebuilt.load_state_dict(basis.state_dict())
    except RuntimeError as error:
        raise Wrong(f"from_config(config()) gives a basis of another shape: {error}") from None
    if not torch.equal(rebuilt(x), before):
        raise Wrong(
            "config, from_config and load_state_dict do not give the same basis again: what "
            "config does not tell must be a registered buffer (are the ends one?)."
        )
    chosen = basis.select([1, 0])
    if chosen is basis:
        raise Wrong("select must give a new basis, not the same object.")
    if not torch.equal(chosen(x), before):
        raise Wrong("select on a basis that all features share must keep its functions.")
    for buffer in chosen.buffers():
        buffer.zero_()
    if not torch.equal(basis(x), before):
        raise Wrong("the basis from select shares memory with the old one: copy the buffers.")


@checker("a-field-guide-to-kans/basis", "the laws of the package, for random sizes and domains")
def _basis(answer: Any, rng: torch.Generator) -> None:
    if not isinstance(answer, type) or not issubclass(answer, kl.Basis):
        raise Wrong("Give a class that is a subclass of kl.Basis (the class, not an object).")
    for number in (1, _whole(rng, 2, 5), _whole(rng, 6, 9)):
        low = float(uniform(rng, -3.0, 0.0, 1))
        high = low + float(uniform(rng, 0.5, 4.0, 1))
        basis = answer(number, low, high).double()
        _values_and_shapes(basis, *(float(end) for end in (low, high)), rng=rng)
        _derivatives(basis, low, high, rng)
        _copies(basis, rng)
    layer = kl.KANLayer(3, 2, answer(5, -1.0, 1.0), generator=rng).double()
    x = uniform(rng, -1.0, 1.0, 8, 3)
    close("a layer on the basis, as the sum of its edges,", layer(x), layer.edges(x).sum(-1))


# Widths and conditioning ---------------------------------------------------------------------


def _left(k: int, w: float) -> float:
    """Squared distance of the best multiple of a Gaussian from the B-spline of degree k."""
    half = (k + 1) / 2
    x = torch.linspace(-half, half, 6001, dtype=torch.float64)
    M = kl.bspline_basis(x, torch.arange(2 * k + 2, dtype=torch.float64) - half, k)[:, 0]
    step = float(x[1] - x[0])
    product = step * float((torch.exp(-((x / w) ** 2)) * M).sum())
    return step * float((M**2).sum()) - product**2 / (w * math.sqrt(math.pi / 2))


def _best_width(k: int) -> float:
    """The minimum of `_left` by golden section, between half and twice the moment's width."""
    low, high = 0.5 * math.sqrt((k + 1) / 6), 2 * math.sqrt((k + 1) / 6)
    golden = (math.sqrt(5) - 1) / 2
    while high - low > 1e-6:
        a, b = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, b) if _left(k, a) < _left(k, b) else (a, high)
    return (low + high) / 2


@checker("a-field-guide-to-kans/width", "the nearest width for random degrees, to 0.2 percent")
def _width(answer: Any, rng: torch.Generator) -> None:
    for k in (1, 3, _whole(rng, 4, 6), _whole(rng, 7, 9)):
        got, right = _number(answer(k), f"the width for degree {k}"), _best_width(k)
        if abs(got / right - 1) > 0.002:
            same_variance = math.sqrt((k + 1) / 6)
            hint = "Is the amplitude the best one for each width?"
            if abs(got / same_variance - 1) < 1e-3:
                hint = "That is the width with the same variance, which is near but not nearest."
            elif abs(got * math.sqrt(2) / right - 1) < 0.01:
                hint = "That is a standard deviation: here the exponent is -(x/w)^2, without 1/2."
            raise Wrong(f"degree {k}: {got:.4f} is not the nearest width. {hint}")


@checker("a-field-guide-to-kans/gram", "condition numbers of random bases on random intervals")
def _gram(answer: Any, rng: torch.Generator) -> None:
    low = float(uniform(rng, -1.5, -0.5, 1))
    high = float(uniform(rng, 0.3, 1.5, 1))
    bases = {
        "cubic B-splines": kl.BSpline(_whole(rng, 3, 6)),
        "Gaussians": kl.GaussianRBF(_whole(rng, 5, 8)),
        "wide switches": kl.ReflectionalSwitch(_whole(rng, 10, 11)),
        "Fourier functions": kl.Fourier(2, -2.0, 2.0),
    }
    nodes, weights = (torch.tensor(a) for a in np.polynomial.legendre.leggauss(600))
    for name, basis in bases.items():
        ends = {"cubic B-splines": (-1.0, 1.0), "wide switches": (-0.5, 0.3)}.get(name, (low, high))
        basis = basis.double()
        x = (ends[0] + ends[1]) / 2 + (ends[1] - ends[0]) / 2 * nodes
        values = torch.linalg.svdvals(basis(x) * (weights / 2).sqrt()[:, None])
        right = float(values[0] / values[-1]) ** 2
        got = _number(answer(basis, *ends), f"the condition number of {name}")
        if not abs(got / right - 1) <= 0.01:
            if abs(got / math.sqrt(right) - 1) < 0.01:
                hint = "That is the condition number of the sampled basis: G holds it squared."
            elif right > 1e13:
                hint = "Eigenvalues of G are lost to rounding here; use singular values."
            else:
                hint = "Are the weights those of the points, and the points on this interval?"
            raise Wrong(
                f"{name} on [{ends[0]:.2f}, {ends[1]:.2f}]: {right:.4g} was expected, "
                f"got {got:.4g}. {hint}"
            )


# Import and backward -------------------------------------------------------------------------


def _faster_state(widths: list[int], number: int, rng: torch.Generator) -> dict[str, Tensor]:
    """A trained FasterKAN: random weights, LayerNorms and centers."""
    state = {}
    for i, (n, m) in enumerate(itertools.pairwise(widths)):
        here = f"layers.{i}."
        state[here + "layernorm.weight"] = uniform(rng, 0.5, 1.5, n)
        state[here + "layernorm.bias"] = uniform(rng, -0.5, 0.5, n)
        state[here + "rbf.grid"] = uniform(rng, -1.5, 1.5, number).sort().values
        state[here + "spline_linear.weight"] = uniform(rng, -0.5, 0.5, m, n * number)
    return state


def _faster(state: Mapping[str, Tensor], x: Tensor, layers: int) -> Tensor:
    for i in range(layers):
        here = f"layers.{i}."
        z = nn.functional.layer_norm(
            x, x.shape[-1:], state[here + "layernorm.weight"], state[here + "layernorm.bias"]
        )
        bumps = 1 - torch.tanh(z[..., None] - state[here + "rbf.grid"]) ** 2
        x = bumps.flatten(1) @ state[here + "spline_linear.weight"].T
    return x


@checker("a-field-guide-to-kans/import", "outputs of random models of one to three layers")
def _import(answer: Any, rng: torch.Generator) -> None:
    for widths, number in (([5, 3], 4), ([4, 4, 4], 4), ([3, 6, 2, 3], 7)):
        state = _faster_state(widths, number, rng)
        before = {key: value.clone() for key, value in state.items()}
        model = answer(state)
        if not isinstance(model, kl.KAN):
            raise Wrong(f"Return a kl.KAN, not {type(model).__name__}.")
        if tuple(model.widths) != tuple(widths):
            raise Wrong(f"widths {widths}: your network has the widths {list(model.widths)}.")
        x = uniform(rng, -2.0, 2.0, 11, widths[0])
        with torch.no_grad():
            close(
                f"the output of the model with widths {widths} and {number} centers",
                model.double()(x), _faster(state, x, len(widths) - 1),
                hint="Are the centers, both tensors of LayerNorm and the order of coef "
                "(n, N, m) right, and is there no residual?",
            )  # fmt: skip
        if not all(torch.equal(state[key], before[key]) for key in before):
            raise Wrong("your function changed the state_dict that it was given.")


@checker("a-field-guide-to-kans/backward", "gradients of random switches, against autograd")
def _backward(answer: Any, rng: torch.Generator) -> None:
    for n, number in ((3, 5), (4, 4), (2, 1)):
        w = float(uniform(rng, 0.3, 2.0, 1))
        u = uniform(rng, -1.0, 1.0, number)
        x = uniform(rng, -1.0, 1.0, 6, n).requires_grad_()
        grad = uniform(rng, -1.0, 1.0, 6, n, number)
        t = torch.tanh((x[..., None] - u) / w)
        (right,) = torch.autograd.grad(1 - t**2, x, grad)
        got = answer(t.detach(), w, grad)
        with torch.no_grad():
            if torch.is_tensor(got) and got.shape == right.shape:
                if torch.allclose(got, right * w):
                    raise Wrong(f"off by the factor w = {w:.2f}: where is the inner derivative?")
                if number > 1 and torch.allclose(got * number, right):
                    raise Wrong("it is off by the number of functions: they are summed.")
                if torch.allclose(got, -right):
                    raise Wrong("it has the wrong sign: a bump falls to the right of its center.")
            close(
                f"the gradient of x for {number} functions and w = {w:.2f}", got, right,
                hint="The derivative of 1 - t^2 is -2 t t', and t' = (1 - t^2) / w.",
            )  # fmt: skip


# Blind spots ---------------------------------------------------------------------------------


@checker("a-field-guide-to-kans/augment", "means read from deviations, for random inputs")
def _augment(answer: Any, rng: torch.Generator) -> None:
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        raise Wrong("Give two functions, augment and read.")
    augment, read = answer
    for n in (2, 3, _whole(rng, 4, 9)):
        x = uniform(rng, -1.0, 1.0, 30, n) + uniform(rng, -3.0, 3.0, 30, 1)
        a = torch.as_tensor(augment(x))
        if a.shape != (30, n + 1):
            raise Wrong(f"augment should give shape {(30, n + 1)} here, not {tuple(a.shape)}.")
        if not torch.equal(a[:, :n], x):
            raise Wrong("the first columns should be the old inputs, unchanged.")
        d = a - a.mean(-1, keepdim=True)
        moved = augment(x + 1.0)
        if torch.allclose(moved - moved.mean(-1, keepdim=True), d, atol=1e-9):
            raise Wrong(
                "adding 1 to all inputs does not change the deviations: what you append moves "
                "along with them, so LayerNorm is as blind as before."
            )
        close(
            f"the mean of {n} inputs, read from the deviations,", read(d), x.mean(-1),
            hint="The last deviation is what you appended minus the mean of n + 1 numbers.",
        )  # fmt: skip


@checker("a-field-guide-to-kans/ray", "the least error, for random n")
def _ray(answer: Any, rng: torch.Generator) -> None:
    for n in (1, 2, _whole(rng, 3, 20), _whole(rng, 100, 900)):
        mean = math.sqrt(2) * math.exp(math.lgamma((n + 1) / 2) - math.lgamma(n / 2))
        right, got = n - mean**2, _number(answer(n), f"the least error for n = {n}")
        if not abs(got - right) <= 1e-6 * max(1.0, right):
            hint = "A variance is the mean of the square minus the square of the mean."
            if abs(got - n) < 1e-6 * n:
                hint = "That is the mean of the square: a constant does better than zero."
            elif abs(got - math.sqrt(right)) < 1e-6:
                hint = "That is a standard deviation: the error asked for is squared."
            raise Wrong(f"n = {n}: {got:.6g} is not the least mean squared error. {hint}")


@checker("a-field-guide-to-kans/referee", "the six verdicts")
def _referee(answer: Any, rng: torch.Generator) -> None:
    widths = ", ".join(f"{math.sqrt((k + 1) / 6):.2f} for degree {k}" for k in (1, 3, 5))
    why = {
        "A": f"the widths with the same variance, divided by h, are {widths}.",
        "B": "a ratio of times compares two programs; the same functions may have others.",
        "C": "what happens in the backward pass was not part of the measurement.",
        "D": "a sum of two inputs is what LayerNorm removes first.",
        "E": "brightness adds a constant to all pixels, contrast multiplies them.",
        "F": "the residual sees the inputs before the normalization.",
    }
    right = {"A": "false", "B": "false", "C": "true", "D": "false", "E": "true", "F": "true"}
    for letter, verdict in right.items():
        wrong = "true" if verdict == "false" else "false"
        try:
            choose(_entry(answer, letter), verdict, {wrong: why[letter]})
        except Wrong as error:
            raise Wrong(f"{letter}: {error}") from None
