r"""Formulas as networks of known functions: their values, their redundant constants, their fit.

.. math:: z_j = d_j + \sum_i c_{ji}\, f_{ji}(a_{ji} x_i + b_{ji})

is a layer. Networks of such layers have a freedom that formulas do not: a hidden node may be
shifted and scaled if the next edges undo it. Each hidden node therefore gets the constant 0, and
one edge that leaves it has a = 1. Factors of a product may be scaled if another factor undoes it:
all but the first have an edge with c = 1. The same holds inside candidates: in c (a x + b)^2, the
scale a can be 1 (:func:`fixed_gauge`). The other constants are fit together (:func:`refit`).

Glossary
    a, b, c   constants of an edge's function, c f(a x + b)
    d         constant of an output
    theta     all constants of a formula: a, b, c of each edge, then one d per output, (P,)
    free      which of them are to be fit, (P,)
    e         root mean square error relative to the spread of the targets
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kanlite.candidates import Candidate
from kanlite.samples import Rows

__all__ = ["Composition", "Edge", "Groups", "fixed_gauge", "refit"]

Groups = tuple[tuple[int, ...], ...]
"""The nodes of a layer: the outputs that are multiplied into each."""


@dataclass
class Edge:
    """Edge [j, i] of a layer in a formula; its constants a, b, c are theta[at : at + 3]."""

    layer: int
    j: int
    i: int
    candidate: Candidate
    at: int


@dataclass
class Composition:
    """A formula as a network: output j of a layer = d_j + sum of c f(a z_i + b).

    The nodes of a layer, which the next one sees, are its outputs or products of some of them.

    Args:
        groups: For each layer the outputs that are multiplied into each node.
        edges: Its functions.

    Example:
        >>> from kanlite.candidates import CANDIDATES
        >>> square = next(f for f in CANDIDATES if f.name == "x^2")
        >>> net = Composition((((0,),),), [Edge(0, 0, 0, square, at=0)])
        >>> net(torch.tensor([[3.0]]), torch.tensor([1.0, -1.0, 10.0, 2.0]))  # 10 (x - 1)^2 + 2
        tensor([[42.]])
    """

    groups: tuple[Groups, ...]
    edges: list[Edge]

    def __post_init__(self) -> None:
        counts = [sum(map(len, nodes)) for nodes in self.groups]
        self.starts = [3 * len(self.edges) + sum(counts[:layer]) for layer in range(len(counts))]
        self.size = 3 * len(self.edges) + sum(counts)  # three constants per edge, one per output

    def node(self, layer: int, j: int) -> int:
        """Where theta holds the constant of output j of a layer."""
        return self.starts[layer] + j

    def evaluate(self, z: list[Any], number: Callable[[int], Any], f: Callable[..., Any]) -> Any:
        """All outputs: numbers are given by their place in theta, f gets (edge, argument)."""
        for layer, nodes in enumerate(self.groups):
            outputs = [number(self.node(layer, j)) + 0 * z[0] for j in range(sum(map(len, nodes)))]
            for e in self.edges:
                if e.layer == layer:
                    a, b, c = (number(e.at + k) for k in range(3))
                    outputs[e.j] = outputs[e.j] + c * f(e, a * z[e.i] + b)
            z = [functools.reduce(operator.mul, (outputs[j] for j in node)) for node in nodes]
        return z

    def __call__(self, x: Tensor, theta: Tensor) -> Tensor:
        """(..., inputs) and (P,) or (..., P) -> (..., outputs)."""
        constants = theta.unbind(-1)
        z = list(x.unbind(-1))
        values = self.evaluate(z, constants.__getitem__, lambda e, t: e.candidate.function(t))
        return torch.stack(values, -1)

    def error(self, theta: Tensor, rows: Rows, *, held: bool = False) -> float:
        """e on the rows to fit or on those held out; inf where the formula has no value."""
        return rows.error(lambda x: self(x, theta), held=held)

    def jacobian(self, theta: Tensor, free: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
        """Scaled residuals (N q,) and their derivatives by the free constants (N q, P')."""
        with torch.enable_grad():
            each = theta.expand(len(rows.x), -1).clone().requires_grad_()  # one theta per sample
            values = self(rows.x, each) / rows.spread
            columns = [
                torch.autograd.grad(column.sum(), each, retain_graph=True)[0][:, free]
                for column in values.unbind(-1)
            ]
        residual = values.detach() - rows.y / rows.spread
        return residual.T.flatten(), torch.cat(columns)

    def out_edges(self, layer: int, node: int) -> list[Edge]:
        """Edges that leave a node of a layer."""
        return [e for e in self.edges if e.layer == layer + 1 and e.i == node]

    def in_edges(self, layer: int, j: int) -> list[Edge]:
        """Edges that enter output j of a layer."""
        return [e for e in self.edges if e.layer == layer and e.j == j]


# Redundant constants -------------------------------------------------------------------------


def fixed_gauge(net: Composition, theta: Tensor) -> tuple[Tensor, Tensor]:
    """The same formula with its redundant constants at 0 or 1.

    Args:
        net: The formula.
        theta: Its constants, shape (P,).

    Returns:
        The new constants, and a mask of those that are free, each of shape (P,).

    Example:
        >>> from kanlite.candidates import CANDIDATES
        >>> square = next(f for f in CANDIDATES if f.name == "x^2")
        >>> net = Composition((((0,),),), [Edge(0, 0, 0, square, at=0)])
        >>> theta, free = fixed_gauge(net, torch.tensor([2.0, 6.0, 1.0, 5.0]).double())
        >>> theta.tolist(), free.tolist()  # (2 x + 6)^2 + 5 = 4 (x + 3)^2 + 5
        ([1.0, 3.0, 4.0, 5.0], [False, True, True, True])
    """
    gauge = _Gauge(net, theta.clone(), torch.ones(net.size, dtype=torch.bool))
    for layer, nodes in enumerate(net.groups):
        for e in net.edges:
            if e.layer == layer:
                gauge.tidy(e)
        if layer == len(net.groups) - 1:
            break
        for node, (first, *others) in enumerate(nodes):
            if not others:
                gauge.shift_away(layer, node, first)
            for j in others:
                gauge.scale_factor(layer, j, first)
            gauge.scale_node(layer, node, first)
    return gauge.theta, gauge.free


@dataclass
class _Gauge:
    """Constants on their way to a fixed gauge: every method leaves the formula's values alone."""

    net: Composition
    theta: Tensor
    free: Tensor

    def tidy(self, e: Edge) -> None:
        """Move what an edge's function can undo out of its argument."""
        f, theta, k = e.candidate, self.theta, self.net.node(e.layer, e.j)
        a, b, c = theta[e.at : e.at + 3].tolist()
        if f.parity and a < 0:
            a, b, c = -a, -b, (-c if f.parity == "odd" else c)
        if f.scale and a != 0:
            s = abs(a)
            a, b = math.copysign(1.0, a), b / s
            if f.scale == "multiplies":
                c *= f.value(s) / f.value(1.0)
            else:
                theta[k] += c * (f.value(s) - f.value(1.0))
            self.free[e.at] = False
        if f.shift:
            if f.shift == "multiplies":
                c *= f.value(b) / f.value(0.0)
            else:
                theta[k] += c * (f.value(b) - f.value(0.0))
            b = 0.0
            self.free[e.at + 1] = False
        if f.period:
            b = math.remainder(b, f.period)
        theta[e.at : e.at + 3] = torch.tensor([a, b, c], dtype=theta.dtype)

    def shift_away(self, layer: int, node: int, j: int) -> None:
        """Move the constant of a hidden sum into the edges that leave it."""
        k = self.net.node(layer, j)
        for e in self.net.out_edges(layer, node):
            self.theta[e.at + 1] += self.theta[e.at] * self.theta[k]
        self.theta[k], self.free[k] = 0.0, False

    def scale_factor(self, layer: int, j: int, first: int) -> None:
        """Give a factor's largest edge c = 1, and its scale to the first factor."""
        entering = self.net.in_edges(layer, j)
        if entering:
            leader = max(entering, key=lambda e: abs(float(self.theta[e.at + 2])))
            size = float(self.theta[leader.at + 2])
            self.free[leader.at + 2] = False
            self.scale(layer, j, 1 / size if size else 1.0)
            self.scale(layer, first, size or 1.0)

    def scale_node(self, layer: int, node: int, j: int) -> None:
        """Give one edge that leaves a hidden node a = 1, or one that enters it c = 1."""
        entering, leaving = self.net.in_edges(layer, j), self.net.out_edges(layer, node)
        if not entering or not leaving:
            return
        rigid = [e.at for e in leaving if e.candidate.scale is None]
        fixed = rigid[0] if rigid else entering[0].at + 2
        size = float(self.theta[fixed])
        factor = size if rigid else 1 / (size or math.inf)
        self.free[fixed] = False
        if factor != 0 and math.isfinite(factor):
            self.scale(layer, j, factor)
            for e in leaving:
                self.theta[e.at] /= factor

    def scale(self, layer: int, j: int, factor: float) -> None:
        """Multiply output j of a layer."""
        self.theta[self.net.node(layer, j)] *= factor
        for e in self.net.in_edges(layer, j):
            self.theta[e.at + 2] *= factor


# The joint fit -------------------------------------------------------------------------------


@torch.no_grad()
def refit(
    net: Composition,
    theta: Tensor,
    free: Tensor,
    rows: Rows,
    *,
    steps: int = 50,
    patience: float = 1e-6,
) -> tuple[Tensor, float]:
    """The free constants fit to the data together, by Levenberg-Marquardt.

    Args:
        net: The formula.
        theta: Constants to start from, shape (P,), float64.
        free: Which of them may move, shape (P,).
        rows: The data.
        steps: At most.
        patience: Relative gain below which a step counts as slow; four in a row end the fit.

    Returns:
        The new constants, and e on the rows to fit.

    Example:
        >>> from kanlite.candidates import CANDIDATES
        >>> exp = next(f for f in CANDIDATES if f.name == "exp")
        >>> net = Composition((((0,),),), [Edge(0, 0, 0, exp, at=0)])
        >>> x = torch.linspace(0, 1, 50, dtype=torch.float64)[:, None]
        >>> rows = Rows(x, 3 * torch.exp(2 * x) - 1, x, x)
        >>> theta, free = fixed_gauge(net, torch.ones(4, dtype=torch.float64))
        >>> [round(constant, 6) for constant in refit(net, theta, free, rows)[0].tolist()]
        [2.0, 0.0, 3.0, -1.0]

    Source: Marquardt, An algorithm for least-squares estimation of nonlinear parameters, Journal
    of the Society for Industrial and Applied Mathematics 11 (1963), 431-441,
    doi:10.1137/0111030.
    """
    theta, error, damping, slow = theta.clone(), net.error(theta, rows), 1e-3, 0
    if not free.any() or error == math.inf:
        return theta, error
    for _ in range(steps):
        r, j = net.jacobian(theta, free, rows)
        if not (torch.isfinite(j).all() and torch.isfinite(r).all()):
            break
        q, triangle = torch.linalg.qr(j)
        target = torch.cat([-(q.T @ r), r.new_zeros(j.shape[1])])
        columns = j.norm(dim=0).clamp(min=1e-12)
        before = error
        for _ in range(10):
            stacked = torch.cat([triangle, torch.diag(math.sqrt(damping) * columns)])
            trial = theta.clone()
            trial[free] += torch.linalg.lstsq(stacked, target[:, None]).solution[:, 0]
            after = net.error(trial, rows)
            if after < error:
                theta, error, damping = trial, after, max(damping / 8, 1e-14)
                break
            damping = min(damping * 6, 1e8)
        slow = slow + 1 if error >= before * (1 - patience) else 0
        if slow == 4 or error == before or error < 1e-14:
            break
    return theta, error
