r"""Formulas from networks: known functions in place of splines, then exact constants.

An edge is compared with candidates f as c f(a x + b) + d (:func:`fit_affine`), the choice weighs
accuracy on held-out samples against length (:func:`suggest`), all constants of the composed
formula are then fit together to the data, and become 2, 1/3 or pi where the data allow it
(:func:`to_formula`).

Networks have a freedom that formulas do not: a hidden node may be shifted and scaled if the next
edges undo it. Each hidden node therefore gets the constant 0, and one edge that leaves it has
a = 1. Factors of a product may be scaled if another factor undoes it: all but the first have an
edge with c = 1. The same holds inside candidates: in c (a x + b)^2, the scale a can be 1.

Glossary
    a, b, c, d   constants of an affine fit, y ~ c f(a x + b) + d
    u, v         x and y, scaled: u to [-1, 1], v to mean 0 and variance 1
    A, B         a and b with respect to u
    theta        all constants of a formula: a, b, c of each edge, then one constant per node, (P,)
    e            root mean square error relative to the standard deviation of what is fit
"""

from __future__ import annotations

import copy
import functools
import itertools
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from importlib import import_module
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from kanlite.edges import edge_inputs
from kanlite.layers import KANLayer
from kanlite.variants import Multiply

__all__ = [
    "CANDIDATES",
    "AffineFit",
    "Candidate",
    "EdgeChoice",
    "Formula",
    "Suggestion",
    "fit_affine",
    "has_structure",
    "suggest",
    "to_formula",
]

Function = Callable[[Tensor], Tensor]
Redundancy = Literal["multiplies", "adds"]
Groups = tuple[tuple[int, ...], ...]
INF = math.inf


# Candidates ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Candidate:
    r"""A function that an edge may turn out to be, up to c f(a x + b) + d.

    A new one is one line: ``Candidate("sinh", torch.sinh, "sinh(x)", complexity=3)``.

    Args:
        name: What tables call it.
        function: f on tensors, entry by entry, with a derivative.
        expression: f in SymPy's language, a function of x.
        complexity: Bits that its choice costs, at least 0.
        domain: Open interval on which f may be used; fits never leave it.
        scale: If a factor s > 0 of the argument can be undone outside: "multiplies" if
            f(s x) = f(s) / f(1) f(x), "adds" if f(s x) = f(x) + f(s) - f(1); else None.
        shift: If a shift t can be undone outside: "multiplies" if f(x + t) = f(t) / f(0) f(x),
            "adds" if f(x + t) = f(x) + f(t) - f(0); else None.
        parity: "even", "odd" or None.
        period: Of f, or None.

    Raises:
        ValueError: If the complexity is negative or the domain is empty.

    Book: *Reading a network*.
    """

    name: str
    function: Function
    expression: str
    complexity: float
    domain: tuple[float, float] = (-INF, INF)
    scale: Redundancy | None = None
    shift: Redundancy | None = None
    parity: Literal["even", "odd"] | None = None
    period: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.complexity < INF:
            raise ValueError(f"complexity must be finite and at least 0, got {self.complexity}")
        if not self.domain[0] < self.domain[1]:
            raise ValueError(f"domain must be an interval low < high, got {self.domain}")

    def value(self, x: float) -> float:
        """f at one number."""
        return float(self.function(torch.tensor(x, dtype=torch.float64)))


def _identity(x: Tensor) -> Tensor:
    return x


def _gaussian(x: Tensor) -> Tensor:
    return torch.exp(-x.square())


def _power(exponent: float) -> Function:
    def power(x: Tensor) -> Tensor:
        return x**exponent

    return power


_HALF = (0.0, INF)

CANDIDATES: tuple[Candidate, ...] = (
    Candidate("x", _identity, "x", 1, scale="multiplies", shift="adds", parity="odd"),
    Candidate("x^2", torch.square, "x**2", 2, scale="multiplies", parity="even"),
    Candidate("x^3", _power(3), "x**3", 4, scale="multiplies", parity="odd"),
    Candidate("x^4", _power(4), "x**4", 5, scale="multiplies", parity="even"),
    Candidate("1/x", torch.reciprocal, "1/x", 3, _HALF, scale="multiplies"),
    Candidate("1/x^2", _power(-2), "x**(-2)", 4, _HALF, scale="multiplies"),
    Candidate("sqrt", torch.sqrt, "sqrt(x)", 3, _HALF, scale="multiplies"),
    Candidate("1/sqrt", torch.rsqrt, "1/sqrt(x)", 5, _HALF, scale="multiplies"),
    Candidate("abs", torch.abs, "Abs(x)", 4, scale="multiplies", parity="even"),
    Candidate("exp", torch.exp, "exp(x)", 3, shift="multiplies"),
    Candidate("log", torch.log, "log(x)", 3, _HALF, scale="adds"),
    Candidate("sin", torch.sin, "sin(x)", 3, parity="odd", period=2 * math.pi),
    Candidate("tan", torch.tan, "tan(x)", 5, (-math.pi / 2, math.pi / 2), parity="odd"),
    Candidate("tanh", torch.tanh, "tanh(x)", 4, parity="odd"),
    Candidate("arcsin", torch.asin, "asin(x)", 5, (-1.0, 1.0), parity="odd"),
    Candidate("arctan", torch.atan, "atan(x)", 5, parity="odd"),
    Candidate("arctanh", torch.atanh, "atanh(x)", 5, (-1.0, 1.0), parity="odd"),
    Candidate("gaussian", _gaussian, "exp(-x**2)", 5, parity="even"),
    Candidate("sigmoid", torch.sigmoid, "1/(1 + exp(-x))", 6),
)
"""The functions that are tried, each up to c f(a x + b) + d: cosines are shifted sines."""


# One edge ------------------------------------------------------------------------------------


class AffineFit(NamedTuple):
    """y ~ c f(a x + b) + d, and the share r2 of the variance of y that it explains."""

    a: float
    b: float
    c: float
    d: float
    r2: float

    def __call__(self, candidate: Candidate, x: Tensor) -> Tensor:
        """c f(a x + b) + d."""
        return self.c * candidate.function(self.a * x + self.b) + self.d


@torch.no_grad()
def fit_affine(
    x: Tensor,
    y: Tensor,
    candidate: Candidate,
    *,
    weight: Tensor | None = None,
    beside: Tensor | None = None,
) -> AffineFit:
    r"""The best affine disguise of a function: a scan, then second-order polish.

    .. math:: \min_{a,b,c,d} \sum_s w_s \big(c\, f(a x_s + b) + d - y_s\big)^2.

    A grid over (a, b), with c and d from linear regression, covers all shapes that f takes on
    the range of x; the best of it are starts of Levenberg-Marquardt in float64.

    Args:
        x: Points, shape (samples,), finite, not all alike.
        y: Values, shape (samples,), finite.
        candidate: f; a x + b stays inside its domain.
        weight: w, shape (samples,), not negative; ones if None.
        beside: Other functions at x, shape (samples, r): y is fit up to multiples of them.

    Returns:
        The constants and r2 (with what is beside counted as explained); c = 0 and r2 = 1 if y is
        constant, r2 = 0 if nothing fits.

    Raises:
        ValueError: If shapes do not fit, a number is not finite, or all x are alike.

    Example:
        >>> x = torch.linspace(-1, 1, 100)
        >>> sine = next(f for f in CANDIDATES if f.name == "sin")
        >>> fit = fit_affine(x, 2 * torch.sin(3 * x + 1) - 5, sine)
        >>> bool(1 - fit.r2 < 1e-10), round(abs(fit.a), 3), round(fit.d, 3)
        (True, 3.0, -5.0)

    Book: *Reading a network*. Source: Liu et al., KAN (2024), arXiv:2404.19756, section 2.5.1,
    whose fit stops at a grid.
    """
    x, y = x.detach().double(), y.detach().double()
    w = torch.ones_like(x) if weight is None else weight.detach().double()
    if x.dim() != 1 or x.shape != y.shape or x.shape != w.shape or len(x) < 2:
        shapes = ", ".join(str(tuple(part.shape)) for part in (x, y, w))
        raise ValueError(
            f"x, y and weight must have one shape (samples,), at least 2, got {shapes}"
        )
    if not (torch.isfinite(x).all() and torch.isfinite(y).all()):
        raise ValueError("x and y must be finite, got a NaN or an infinity")
    if not (torch.isfinite(w).all() and (w >= 0).all() and w.sum() > 0):
        raise ValueError("weight must be finite, not negative and not all zero")
    if not x.amax() > x.amin():
        raise ValueError(f"x must vary, got {x[0].item()} only")
    w = w / w.sum()
    middle, half = (x.amax() + x.amin()) / 2, (x.amax() - x.amin()) / 2
    mean = w @ y
    size = (w @ (y - mean).square()).sqrt()
    if size <= 1e-14 * y.abs().amax():
        return AffineFit(1.0, 0.0, 0.0, float(y.mean()), 1.0)
    u, v = (x - middle) / half, (y - mean) / size
    known = torch.ones(len(x), 1, dtype=x.dtype)
    if beside is not None:
        known = torch.cat([known, beside.detach().double()], 1)
    some = u.argsort()[torch.linspace(0, len(u) - 1, min(len(u), 200)).long()]
    some = some if w[some].sum() > 0 else w.argsort(descending=True)[:200]
    few = _Sample.of(u[some], v[some], w[some], known[some])
    best = _polish(few, candidate, _scan(few, candidate), 20)[0]
    best, error = _polish(_Sample.of(u, v, w, known), candidate, best[None, :2], 15)
    a, b, c, d = best.tolist()
    a, b = a / float(half), b - a * float(middle / half)
    r2 = 1 - float(error) if math.isfinite(float(error)) else 0.0
    return AffineFit(a, b, float(size) * c, float(mean + size * d), max(r2, 0.0))


class _Sample(NamedTuple):
    """Points to fit: u, v (S,), roots of weights that sum to 1 (S,), and what may be added.

    That is constants and functions beside them, (S, 1 + r); q is an orthonormal basis of it.
    """

    u: Tensor
    v: Tensor
    root: Tensor
    known: Tensor
    q: Tensor

    @classmethod
    def of(cls, u: Tensor, v: Tensor, w: Tensor, known: Tensor) -> _Sample:
        """Weights need not sum to 1 yet."""
        root = (w / w.sum()).sqrt()
        return cls(u, v, root, known, torch.linalg.qr(root[:, None] * known)[0])

    def rest(self, f: Tensor) -> Tensor:
        """What is left of functions (..., S), times the roots, by regression on what is known."""
        f = self.root * f
        return f - (f @ self.q) @ self.q.T


def _scan(sample: _Sample, candidate: Candidate, starts: int = 6) -> Tensor:
    """Pairs (A, B) of a grid, shape (starts, 2): the best ones of different shapes."""
    grid = _grid(candidate)
    f = sample.rest(candidate.function(grid[:, :1] * sample.u + grid[:, 1:]))  # (K, S)
    f = f / f.norm(dim=1, keepdim=True).clamp(min=1e-150)
    r2 = torch.nan_to_num((f @ sample.rest(sample.v)).square(), -1.0, -1.0, -1.0)
    chosen: list[int] = []
    for _ in range(min(starts, len(grid))):
        chosen.append(int(r2.argmax()))
        alike = (f @ f[chosen[-1]]).square() > 0.99
        r2 = torch.where(alike, -1.0, r2)
        r2[chosen[-1]] = -2.0
    return grid[chosen]


def _grid(candidate: Candidate) -> Tensor:
    """Pairs (A, B) that cover the shapes of f on [-1, 1], shape (K, 2)."""
    low, high = candidate.domain
    one = torch.ones(1, dtype=torch.float64)
    sizes = torch.logspace(-1.3, 1.5, 48, dtype=torch.float64)
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64)
    if math.isfinite(low) and math.isfinite(high):
        near = torch.logspace(-4, -1, 8, dtype=torch.float64)
        inside = torch.linspace(0.15, 0.85, 15, dtype=torch.float64)
        ends = low + (high - low) * torch.cat([near, inside, 1 - near])
        left, right = torch.meshgrid(ends, ends, indexing="ij")
        pairs = torch.stack([(right - left) / 2, (right + left) / 2], -1).reshape(-1, 2)
        return pairs[pairs[:, 0] > 0 if candidate.parity else pairs[:, 0] != 0]
    if math.isfinite(low) or math.isfinite(high):
        gap = 1 + torch.logspace(-5, 2.5, 120, dtype=torch.float64)
        end, side = (low, 1.0) if math.isfinite(low) else (high, -1.0)
        a, sign, gap = torch.meshgrid(one if candidate.scale else sizes, signs, gap, indexing="ij")
        return torch.stack([a * sign, end + side * a * gap], -1).reshape(-1, 2)
    if candidate.shift:
        a = one if candidate.scale else (sizes[:, None] * signs).flatten()
        return torch.stack([a, torch.zeros_like(a)], -1)
    if candidate.period:
        share = torch.linspace(0, 1, 17, dtype=torch.float64)[:-1]
        a, b = torch.meshgrid(sizes, candidate.period * share, indexing="ij")
        return torch.stack([a, b], -1).reshape(-1, 2)
    far = torch.logspace(0.2, 1.5, 8, dtype=torch.float64)
    centers = torch.cat([-far, torch.linspace(-1.5, 1.5, 41, dtype=torch.float64), far])
    a = one if candidate.scale else sizes
    a = a if candidate.parity else (a[:, None] * signs).flatten()
    a, center = torch.meshgrid(a, centers, indexing="ij")
    return torch.stack([a, a * center], -1).reshape(-1, 2)


def _polish(
    sample: _Sample, candidate: Candidate, grid: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """Levenberg-Marquardt from several (A, B) at once: the best (A, B, C, D) and its error."""
    p, error = _regressed(sample, candidate, grid)
    damping, stalled = torch.full_like(error, 1e-3), 0
    for _ in range(steps):
        r, j = _slopes(sample, candidate, p)
        normal = j.mT @ j
        scaling = torch.diag_embed(normal.diagonal(dim1=1, dim2=2) * damping[:, None] + 1e-15)
        delta = torch.linalg.solve(normal + scaling, -(j.mT @ r[..., None]))[..., 0]
        trial, after = _regressed(sample, candidate, p[:, :2] + delta[:, :2])
        better = after < error
        stalled = 0 if (after < (1 - 1e-4) * error).any() else stalled + 1
        p, error = trial.where(better[:, None], p), after.where(better, error)
        damping = torch.where(better, damping / 5, damping * 5).clamp(1e-12, 1e8)
        if stalled == 4 or error.min() < 1e-28:
            break
    best = int(torch.nan_to_num(error, INF, INF).argmin())
    return p[best], error[best]


def _regressed(sample: _Sample, candidate: Candidate, ab: Tensor) -> tuple[Tensor, Tensor]:
    """(A, B, C, D) with C and D by linear regression, and the mean square error (inf if off)."""
    argument = ab[:, :1] * sample.u + ab[:, 1:]
    low, high = candidate.domain
    inside = ((argument > low) & (argument < high)).all(1)
    f = candidate.function(argument)
    rest, v = sample.rest(f), sample.rest(sample.v)
    c = rest @ v / rest.square().sum(1).clamp(min=1e-300)
    error = (v - c[:, None] * rest).square().sum(1)
    d = (sample.v - c[:, None] * f) @ sample.root.square()
    valid = inside & torch.isfinite(error) & torch.isfinite(ab).all(1)
    return torch.cat([ab, c[:, None], d[:, None]], 1), torch.where(valid, error, INF)


def _slopes(sample: _Sample, candidate: Candidate, p: Tensor) -> tuple[Tensor, Tensor]:
    """Residuals (starts, S) and their derivatives by A, B, C (starts, S, 3), once D is best."""
    a, b, c, _ = (column[:, None] for column in p.unbind(1))
    with torch.enable_grad():
        argument = (a * sample.u + b).requires_grad_()
        f = candidate.function(argument)
        (slope,) = torch.autograd.grad(f.sum(), argument, materialize_grads=True)
    f = f.detach()
    columns = (c * slope * sample.u, c * slope, f)
    j = torch.stack([sample.rest(torch.nan_to_num(part, 0.0, 0.0, 0.0)) for part in columns], -1)
    return torch.nan_to_num(sample.rest(c * f - sample.v), 0.0, 0.0, 0.0), j


class Suggestion(NamedTuple):
    """A candidate for an edge.

    Attributes:
        candidate: The function.
        fit: Its constants, from three quarters of the samples.
        error: Held-out root mean square error, relative to the standard deviation of y.
        bits: What it costs to describe the edge this way; the least is the best.
    """

    candidate: Candidate
    fit: AffineFit
    error: float
    bits: float


def suggest(
    x: Tensor,
    y: Tensor,
    *,
    candidates: Sequence[Candidate] | None = None,
    freedom: int = 10,
    floor: float = 1e-6,
    beside: Tensor | None = None,
) -> list[Suggestion]:
    r"""What function could this be? Candidates for the values of one edge, the best first.

    The choice is by description length, in bits: of the residuals, of the function, and of its
    constants,

    .. math:: \frac m2 \log_2(e^2 + \epsilon^2) + \text{complexity} + \frac p2 \log_2 m,

    with the held-out relative error e, what accuracy is worth at most
    (:math:`\epsilon`), the number m of independent numbers that the values hold, and the number
    p of constants that the function cannot do without. The values of a spline are no
    independent samples: m is its number of basis functions, not the number of points. Zero is
    not a candidate: an edge that varies is never called a constant.

    Args:
        x: Points, shape (samples,), at least 8 of them, finite, not all alike.
        y: Values of the edge, shape (samples,), finite, not all alike.
        candidates: :data:`CANDIDATES` if None.
        freedom: m, at least 1; the number of basis functions of a spline.
        floor: :math:`\epsilon`, the expected relative error of the values, above 0.
        beside: See :func:`fit_affine`: what the values are known up to.

    Returns:
        One suggestion for each candidate that can be fit at all.

    Raises:
        ValueError: As for :func:`fit_affine`; if there are fewer than 8 samples, y does not
            vary, or an option breaks its rule.

    Example:
        >>> x = torch.linspace(0.1, 2, 200, dtype=torch.float64)
        >>> [s.candidate.name for s in suggest(x, 3 * torch.log(x) - 1)[:1]]
        ['log']

    Book: *Reading a network*. Source: Schwarz, Estimating the dimension of a model (1978),
    doi:10.1214/aos/1176344136.
    """
    if freedom < 1 or not 0 < floor < INF:
        raise ValueError(f"freedom and floor must be above 0, got {freedom} and {floor}")
    if x.dim() != 1 or x.shape != y.shape or len(x) < 8:
        raise ValueError(
            "x and y must have one shape (samples,), at least 8, "
            f"got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    order = x.argsort()
    x, y = x.detach().double()[order], y.detach().double()[order]
    held = torch.arange(len(x)) % 4 == 2  # neither end
    spread = y.std(correction=0)
    if not spread > 0:
        raise ValueError("y must vary and be finite: a constant needs no candidate")
    known = None
    if beside is not None:
        known = torch.cat([torch.ones(len(x), 1), beside.detach()], 1).double()[order]
    found = []
    for candidate in CANDIDATES if candidates is None else candidates:
        fit = fit_affine(
            x[~held], y[~held], candidate, beside=None if known is None else known[~held]
        )
        gap = fit(candidate, x[held]) - y[held]
        if known is not None:
            gap = gap - known[held] @ torch.linalg.pinv(known[held]) @ gap
        error = float(gap.square().mean().sqrt() / spread)
        if fit.r2 > 0 and math.isfinite(error):
            found.append(Suggestion(candidate, fit, error, INF))
    return _ranked(found, freedom, floor)


def _ranked(found: list[Suggestion], freedom: int, floor: float) -> list[Suggestion]:
    """Suggestions with their bits at an accuracy, the best first."""
    ranked = []
    for s in found:
        constants = 4 - sum(map(bool, (s.candidate.scale, s.candidate.shift)))
        bits = freedom / 2 * math.log2(s.error**2 + floor**2) + s.candidate.complexity
        ranked.append(s._replace(bits=bits + constants / 2 * math.log2(freedom)))
    return sorted(ranked, key=lambda s: s.bits)


# Networks of known functions -----------------------------------------------------------------


@dataclass
class _Edge:
    """Edge [j, i] of a layer in a formula; its constants a, b, c are theta[at : at + 3]."""

    layer: int
    j: int
    i: int
    candidate: Candidate
    at: int


@dataclass
class _Network:
    """A formula as a network: output j of a layer = constant + sum of c f(a z_i + b).

    The nodes of a layer, which the next one sees, are its outputs or products of some of them.
    """

    groups: tuple[Groups, ...]  # per layer: the outputs that are multiplied into each node
    edges: list[_Edge]

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

    def out_edges(self, layer: int, node: int) -> list[_Edge]:
        """Edges that leave a node of a layer."""
        return [e for e in self.edges if e.layer == layer + 1 and e.i == node]

    def in_edges(self, layer: int, j: int) -> list[_Edge]:
        """Edges that enter output j of a layer."""
        return [e for e in self.edges if e.layer == layer and e.j == j]


def _fixed_gauge(net: _Network, theta: Tensor) -> tuple[Tensor, Tensor]:
    """The same formula with its redundant constants at 0 or 1, and a mask of the others."""
    theta, free = theta.clone(), torch.ones(net.size, dtype=torch.bool)
    for layer, nodes in enumerate(net.groups):
        for e in net.edges:
            if e.layer == layer:
                _tidy_(net, e, theta, free)
        if layer == len(net.groups) - 1:
            break
        for number, (first, *others) in enumerate(nodes):
            if not others:
                _shift_away_(net, layer, number, first, theta, free)
            for j in others:
                _scale_factor_(net, layer, j, first, theta, free)
            _scale_node_(net, layer, number, first, theta, free)
    return theta, free


def _shift_away_(net: _Network, layer: int, node: int, j: int, theta: Tensor, free: Tensor) -> None:
    """Move the constant of a hidden sum into the edges that leave it."""
    k = net.node(layer, j)
    for e in net.out_edges(layer, node):
        theta[e.at + 1] += theta[e.at] * theta[k]
    theta[k], free[k] = 0.0, False


def _scale_factor_(
    net: _Network, layer: int, j: int, first: int, theta: Tensor, free: Tensor
) -> None:
    """Give a factor's largest edge c = 1, and its scale to the first factor."""
    entering = net.in_edges(layer, j)
    if entering:
        leader = max(entering, key=lambda e: abs(float(theta[e.at + 2])))
        size = float(theta[leader.at + 2])
        free[leader.at + 2] = False
        _scale_(net, layer, j, 1 / size if size else 1.0, theta)
        _scale_(net, layer, first, size or 1.0, theta)


def _scale_node_(net: _Network, layer: int, node: int, j: int, theta: Tensor, free: Tensor) -> None:
    """Give one edge that leaves a hidden node a = 1, or one that enters it c = 1."""
    entering, leaving = net.in_edges(layer, j), net.out_edges(layer, node)
    if not entering or not leaving:
        return
    rigid = [e.at for e in leaving if e.candidate.scale is None]
    fixed = rigid[0] if rigid else entering[0].at + 2
    factor = float(theta[fixed]) if rigid else 1 / (float(theta[fixed]) or INF)
    free[fixed] = False
    if factor != 0 and math.isfinite(factor):
        _scale_(net, layer, j, factor, theta)
        for e in leaving:
            theta[e.at] /= factor


def _scale_(net: _Network, layer: int, j: int, factor: float, theta: Tensor) -> None:
    """Multiply output j of a layer."""
    theta[net.node(layer, j)] *= factor
    for e in net.in_edges(layer, j):
        theta[e.at + 2] *= factor


def _tidy_(net: _Network, e: _Edge, theta: Tensor, free: Tensor) -> None:
    """Move what an edge's function can undo out of its argument."""
    f, k = e.candidate, net.node(e.layer, e.j)
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
        free[e.at] = False
    if f.shift:
        if f.shift == "multiplies":
            c *= f.value(b) / f.value(0.0)
        else:
            theta[k] += c * (f.value(b) - f.value(0.0))
        b = 0.0
        free[e.at + 1] = False
    if f.period:
        b = math.remainder(b, f.period)
    theta[e.at : e.at + 3] = torch.tensor([a, b, c], dtype=theta.dtype)


@dataclass
class _Data:
    """Rows to fit and held-out rows, targets scaled to variance 1 per output."""

    x: Tensor
    y: Tensor
    held_x: Tensor
    held_y: Tensor
    spread: Tensor

    @property
    def count(self) -> int:
        """Number of all rows."""
        return len(self.x) + len(self.held_x)

    def error(self, net: _Network, theta: Tensor, held: bool) -> float:
        """Root mean square error relative to the spread; inf where the formula has no value."""
        x, y = (self.held_x, self.held_y) if held else (self.x, self.y)
        gap = (net(x, theta) - y) / self.spread
        value = float(gap.square().mean().sqrt())
        return value if math.isfinite(value) else INF


@torch.no_grad()
def _refit(
    net: _Network, theta: Tensor, free: Tensor, data: _Data, steps: int = 50, patience: float = 1e-6
) -> tuple[Tensor, float]:
    """Levenberg-Marquardt on the free constants: the new theta and its error on the fit rows."""
    theta, error, damping, slow = theta.clone(), data.error(net, theta, False), 1e-3, 0
    if not free.any() or error == INF:
        return theta, error
    for _ in range(steps):
        r, j = _jacobian(net, theta, free, data)
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
            after = data.error(net, trial, False)
            if after < error:
                theta, error, damping = trial, after, max(damping / 8, 1e-14)
                break
            damping = min(damping * 6, 1e8)
        slow = slow + 1 if error >= before * (1 - patience) else 0
        if slow == 4 or error == before or error < 1e-14:
            break
    return theta, error


def _jacobian(net: _Network, theta: Tensor, free: Tensor, data: _Data) -> tuple[Tensor, Tensor]:
    """Scaled residuals (N q,) and their derivatives by the free constants (N q, P')."""
    with torch.enable_grad():
        each = theta.expand(len(data.x), -1).clone().requires_grad_()  # one theta per sample
        values = net(data.x, each) / data.spread
        rows = [
            torch.autograd.grad(column.sum(), each, retain_graph=True)[0][:, free]
            for column in values.unbind(-1)
        ]
    residual = values.detach() - data.y / data.spread
    return residual.T.flatten(), torch.cat(rows)


def _uncertainty(
    net: _Network, theta: Tensor, free: Tensor, data: _Data, error: float
) -> tuple[Tensor, Tensor]:
    """Standard deviation of each free constant: large where the data do not determine it.

    And its square over what it would be if the noise were alike everywhere: the estimate is
    White's, from the residuals themselves.
    """
    unit = theta[free].abs().clamp(min=1.0)
    r, j = _jacobian(net, theta, free, data)
    left, size, right = torch.linalg.svd(j * unit, full_matrices=False)
    size = torch.where(size > 1e-10 * size[0], size, 1e-13 * size[0]).clamp(min=1e-300)
    inverse = right.T / size  # (P', P')
    alike = max(error, 1e-8) * inverse.norm(dim=1)
    own = (inverse @ (left * r[:, None]).T).norm(dim=1)
    return unit * torch.maximum(alike, own), (own / alike).square().clamp(min=1.0)


# Constants that are nice ---------------------------------------------------------------------


class _Nice(NamedTuple):
    """A number with a short name: its value, what the name costs, and the name for SymPy."""

    value: float
    bits: float
    name: str


@functools.cache
def _nice_numbers() -> list[_Nice]:
    """Integers, small fractions, and multiples of pi and of roots, by increasing cost."""
    units = (("1", 1.0, 0.0), ("pi", math.pi, 2.0), ("E", math.e, 4.0), ("1/pi", 1 / math.pi, 5.0))
    roots = [(f"sqrt({n})", math.sqrt(n), 2.0 + math.log2(n)) for n in (2, 3, 5, 6, 7, 10)]
    more = [("sqrt(pi)", math.sqrt(math.pi), 5.0), ("exp(1/2)", math.exp(0.5), 6.0)]
    found = {0.0: _Nice(0.0, 0.0, "0")}
    for name, size, extra in (*units, *roots, *more):
        for q in (1, 2, 3, 4, 5, 6, 8, 10):
            for p in range(1, 101 if name == "1" and q == 1 else 13):
                share = Fraction(p, q)
                bits = math.log2(1 + share.numerator) + 2 * math.log2(share.denominator) + extra
                for sign in (1, -1):
                    value = sign * float(share) * size
                    text = f"{'-' if sign < 0 else ''}{share}*{name}"
                    found.setdefault(round(value, 12), _Nice(value, bits, text))
    return sorted(found.values(), key=lambda nice: (nice.bits, nice.value < 0))


def _names_for(value: float, deviation: float, limit: int = 3) -> list[_Nice]:
    """The simplest numbers near a value that its precision pays for."""
    near = max(4 * deviation, 2e-3 * max(abs(value), 0.05))
    worth = math.log2(1 + max(abs(value), 1.0) / max(deviation, 1e-6 * max(abs(value), 1.0))) + 2
    return [n for n in _nice_numbers() if abs(n.value - value) <= near and n.bits <= worth][:limit]


def _snapped(
    net: _Network, theta: Tensor, free: Tensor, data: _Data
) -> tuple[Tensor, dict[int, _Nice]]:
    """Give constants nice values, one at a time, while the errors allow it."""
    free, names, refused = free.clone(), dict[int, _Nice](), set[tuple[int, float]]()
    theta, error = _refit(net, theta, free, data)
    least, held, count = error, data.error(net, theta, True), len(data.x)
    slopes = {e.at + k for e in net.edges for k in (0, 2)}  # a and c: no edge becomes zero
    while free.any():
        deviation, excess = torch.zeros_like(theta), torch.ones_like(theta)
        deviation[free], excess[free] = _uncertainty(net, theta, free, data, error)
        options = [
            (nice.bits, abs(nice.value - float(theta[k])), k, nice)
            for k in free.nonzero()[:, 0].tolist()
            for nice in _names_for(float(theta[k]), float(deviation[k]))
            if (k, nice.value) not in refused and (nice.value != 0 or k not in slopes)
        ]
        for _, _, k, nice in sorted(options, key=lambda option: option[:3]):
            trial, others = theta.clone(), free.clone()
            trial[k], others[k] = nice.value, False
            trial, after = _refit(net, trial, others, data)
            # What chance adds to the squared error: three standard deviations for this one, four
            # where the formula gets shorter, and one for each of those before it.
            chance = (16 if nice.value == 0 else 9) * float(excess[k]) + 2 * len(names)
            fit_limit = max(least * (1 + chance / 2 / count), 1e-9)
            held_limit = max(held * (1.02 + 2 * len(names) / count), 1e-9)
            if after <= fit_limit and data.error(net, trial, True) <= held_limit:
                theta, free, error, names[k] = trial, others, after, nice
                break
            refused.add((k, nice.value))
        else:
            break
    return theta, names


# Whole formulas ------------------------------------------------------------------------------


@dataclass(frozen=True)
class EdgeChoice:
    """What became of one edge of the network.

    Attributes:
        layer, out_index, in_index: Which edge it is.
        chosen: Name of the candidate; "numeric" for a spline that stays, "constant" for an edge
            that does not vary.
        error: Held-out error of the edge's own fit by what was chosen, relative to its spread.
        runner_up: Name of the best other candidate, or "".
        runner_up_error: Its error.
    """

    layer: int
    out_index: int
    in_index: int
    chosen: str
    error: float
    runner_up: str
    runner_up_error: float

    @property
    def numeric(self) -> bool:
        """Whether no candidate fits, so that the formula holds a spline here."""
        return self.chosen == "numeric"


@dataclass(frozen=True)
class Formula:
    """What :func:`to_formula` gives.

    Attributes:
        expr: SymPy expression in plain symbols; a list of them for several outputs. Edges left
            numeric appear as undefined functions phi_layer_out_in.
        rmse: Root mean square error of the expression, with its constants as they are shown,
            on held-out rows.
        relative_error: The same, relative to the standard deviation of the targets.
        model_error: That of the network on the same rows (which it may have been trained on).
        found: Whether all edges are symbolic and the formula, before its constants were rounded,
            meets the tolerance, or is as good as the network and leaves residuals that look like
            noise (those of neighbors are not correlated) and less than half of the variance.
        table: One row per edge.
        names: Of the inputs.
    """

    expr: Any
    rmse: float
    relative_error: float
    model_error: float
    found: bool
    table: tuple[EdgeChoice, ...]
    names: tuple[str, ...]
    _network: _Network = field(repr=False)
    _theta: Tensor = field(repr=False)

    @property
    def is_symbolic(self) -> bool:
        """Whether no edge is left numeric."""
        return not any(row.numeric for row in self.table)

    def __call__(self, x: Tensor) -> Tensor:
        """The formula on tensors, (..., in_features) -> (..., out_features), in the dtype of x.

        Numeric edges are evaluated as the splines that they are. NaN where it has no value.
        """
        if x.dim() == 0 or x.shape[-1] != len(self.names):
            raise ValueError(f"x must have last dimension {len(self.names)}, got {tuple(x.shape)}")
        return self._network(x.double(), self._theta.to(x.device)).to(x.dtype)

    def latex(self) -> str:
        """The expression in LaTeX; one line for each of several outputs."""
        sympy = import_module("sympy")  # optional: loaded where it is used
        exprs = self.expr if isinstance(self.expr, list) else [self.expr]
        return "\n".join(sympy.latex(expr) for expr in exprs)

    def report(self) -> str:
        """The formula, its error and the table, as text."""
        verdict = "found" if self.found else "no short formula found: the best approximation"
        lines = [
            f"{self.expr}",
            f"{verdict}; relative error {self.relative_error:.1e} on held-out rows "
            f"(the network: {self.model_error:.1e})",
            f"{'edge':<12}{'chosen':<10}{'error':>9}   {'runner-up':<10}{'error':>9}",
        ]
        for row in self.table:
            edge = f"[{row.layer}] {row.in_index} -> {row.out_index}"
            lines.append(
                f"{edge:<12}{row.chosen:<10}{row.error:>9.1e}   "
                f"{row.runner_up or '-':<10}{row.runner_up_error:>9.1e}"
            )
        return "\n".join(lines)


@torch.no_grad()
def to_formula(
    model: nn.Sequential | KANLayer,
    x: Tensor,
    y: Tensor | None = None,
    *,
    names: Sequence[str] | None = None,
    candidates: Sequence[Candidate] | None = None,
    tolerance: float | None = None,
    digits: int = 4,
    generator: torch.Generator | None = None,
) -> Formula:
    r"""The formula that a network has found, if there is one.

    Each edge gets its best candidate (:func:`suggest`); the composed formula

    .. math:: z_j = d_j + \sum_i c_{ji}\, f_{ji}(a_{ji} x_i + b_{ji}), \qquad \dots

    is fit to the data with all its constants at once, by second-order steps in float64, and
    runners-up are tried where it does not reach the goal. Edges that no candidate serves stay
    numeric and are marked. Then constants become integers, fractions, or multiples of pi and
    of roots, one at a time and only while errors on fit and held-out rows allow; the others are
    rounded to significant digits, and SymPy simplifies.

    Args:
        model: A :class:`~kanlite.KAN` (prune it first), a layer, or an nn.Sequential of KAN
            layers with :class:`~kanlite.Multiply` after some of them.
        x: Inputs, shape (..., in_features), finite, at least 20 samples; not the test set.
        y: Targets, shape (..., out_features), or (...) for one output; what the model gives if
            None. Formulas are more exact than networks if they can see the targets.
        names: Of the inputs; x1, x2, ... if None (x for one input).
        candidates: :data:`CANDIDATES` if None.
        tolerance: Relative error that is good enough, above 0; 1e-9 with y and 1e-3 without, if
            None. So is that of the model and what its overfitting may hide.
        digits: Significant digits of constants that are not nice, 1 to 15; more are kept where
            rounding would cost more accuracy than they promise.
        generator: Chooses the held-out fifth of the rows; a fixed seed if None.

    Returns:
        The formula, with what was chosen for each edge and errors on held-out rows.

    Raises:
        ValueError: If the model holds anything else or normalizes its inputs, or an argument
            breaks its rule.
        ImportError: If SymPy is not installed.

    Example:
        >>> import kanlite as kl
        >>> x = 2 * torch.rand(200, 1, generator=torch.Generator().manual_seed(0)) - 1
        >>> model = kl.KAN([1, 1], kl.BSpline(20), generator=torch.Generator().manual_seed(0))
        >>> _ = kl.fit(model, (x, x**2 / 2 + 3), optimizer="lbfgs", steps=50)
        >>> to_formula(model, x, x**2 / 2 + 3).expr
        x**2/2 + 3

    Book: *Reading a network*. Source: Liu et al., KAN (2024), arXiv:2404.19756, section 2.5;
    trying constants and structures against data follows Udrescu and Tegmark, AI Feynman (2020),
    doi:10.1126/sciadv.aay2631.
    """
    net, layers, groups, x, y, names, tolerance = _checked(model, x, y, names, tolerance, digits)
    data = _split(x, y, generator)
    goal, floor, model_error = _goals(net, data, tolerance)
    slots, constants = _slots(net, layers, x, candidates or CANDIDATES, floor)
    search = _Search(slots, constants, groups, data, goal, floor)
    network, theta = search.run()
    theta, free = _fixed_gauge(network, theta)
    theta, nice = _snapped(network, theta, free, data)
    found = search.reached and not any(slot.numeric for slot in slots)
    if found and (error := data.error(network, theta, True)) > tolerance:
        found = error < 0.7 and not has_structure(x, (network(x, theta) - y) / data.spread)
    theta, digits = _rounded(network, theta, nice, digits, data)
    error = data.error(network, theta, True)
    return Formula(
        expr=_expression(network, theta, nice, names, x, digits),
        rmse=float((network(data.held_x, theta) - data.held_y).square().mean().sqrt()),
        relative_error=error,
        model_error=model_error,
        found=found,
        table=tuple(slot.row() for slot in slots),
        names=names,
        _network=network,
        _theta=theta,
    )


@dataclass
class _Slot:
    """An edge of the network, what it may be, and what it is for now."""

    layer: int
    j: int
    i: int
    suggestions: list[Suggestion]
    spline: Candidate
    score: float
    freedom: int
    shared: Callable[[], list[Suggestion]]  # what it may be, up to others on the same input
    choice: int = 0  # of the suggestions; -1 for the spline, -2 for a constant

    @property
    def numeric(self) -> bool:
        return self.choice == -1

    @property
    def misfit(self) -> float:
        """How much of the outputs' spread the choice may get wrong."""
        return self.score * self.suggestions[self.choice].error if self.choice >= 0 else 0.0

    def row(self) -> EdgeChoice:
        """The edge's line in the table."""
        where, others = (self.layer, self.j, self.i), list(self.suggestions)
        if self.choice == -2:
            return EdgeChoice(*where, "constant", 0.0, "", 0.0)
        chosen, error = "numeric", 0.0
        if self.choice >= 0:
            best = others.pop(self.choice)
            chosen, error = best.candidate.name, best.error
        if not others:
            return EdgeChoice(*where, chosen, error, "", INF)
        return EdgeChoice(*where, chosen, error, others[0].candidate.name, others[0].error)


@dataclass
class _Search:
    """Which candidate for which edge: the best of each, then runners-up, then splines."""

    slots: list[_Slot]
    constants: list[Tensor]
    groups: tuple[Groups, ...]
    rows: _Data
    goal: float
    floor: float
    reached: bool = False

    def run(self) -> tuple[_Network, Tensor]:
        """Choose; leaves its choices in the slots."""
        net, theta, error = self.by_accuracy()
        for _ in range(2):
            if self.reached:
                return net, theta
            before = error
            if len(self.culprits()) > 3:
                break
            for slot in self.culprits():
                net, theta, error = self.try_others(slot, net, theta, error)
                if self.reached:
                    return net, theta
            if error > 0.9 * before:
                break
        for slot in self.culprits()[:3]:
            net, theta, error = self.try_shared(slot, net, theta, error)
            if self.reached:
                return net, theta
        while not self.reached and (symbolic := [s for s in self.active() if s.choice >= 0]):
            worst = max(symbolic, key=lambda s: s.misfit)
            worst.choice = -1
            net, theta, error = self.fit()
        return net, theta

    def by_accuracy(self) -> tuple[_Network, Tensor, float]:
        """The best suggestions at coarse and then at fine accuracy, until the data agree.

        Many networks may compute one function, and edges of the one that was found are then
        near to something simple only: the joint fit is the judge.
        """
        best: tuple[_Network, Tensor, float] | None = None
        seen: dict[tuple[str, ...], float] = {}
        for floor in (*(f for f in (1e-2, 1e-3, 1e-4, 1e-5) if f > self.floor), self.floor):
            for slot in self.active():
                slot.suggestions = _ranked(slot.suggestions, slot.freedom, floor)
            key = tuple(s.suggestions[0].candidate.name for s in self.active() if s.suggestions)
            if key not in seen:
                trial = self.fit()
                seen[key] = trial[2]
                if best is None or trial[2] < best[2]:
                    best = trial
            if self.reached or best is None:
                break
        return self.fit() if best is None or not self.reached else best

    def culprits(self) -> list[_Slot]:
        """Edges that their functions do not fit well enough, the worst first.

        Where there are many of them, no exchange of one function helps.
        """
        bad = [s for s in self.active() if s.choice >= 0 and s.misfit > self.goal]
        return sorted(bad, key=lambda s: -s.misfit)

    def active(self) -> list[_Slot]:
        """Edges that vary."""
        return [slot for slot in self.slots if slot.choice > -2]

    def fit(self) -> tuple[_Network, Tensor, float]:
        """The formula of the present choices, fit to the data, and its held-out error."""
        edges: list[_Edge] = []
        numbers: list[float] = []
        constants = [values.clone() for values in self.constants]
        for slot in self.active():
            if slot.choice >= 0:
                candidate, (a, b, c, d, _) = slot.suggestions[slot.choice][:2]
            else:
                candidate, (a, b, c, d) = slot.spline, (1.0, 0.0, 1.0, 0.0)
            edges.append(_Edge(slot.layer, slot.j, slot.i, candidate, len(numbers)))
            numbers += [a, b, c]
            constants[slot.layer][slot.j] += d
        net = _Network(self.groups, edges)
        theta = torch.cat([torch.tensor(numbers, dtype=torch.float64), *constants])
        theta, free = _fixed_gauge(net, theta)
        theta, error = _refit(net, theta, free, self.rows, steps=150, patience=1e-2)
        held, share = self.rows.error(net, theta, True), len(self.rows.held_x) / self.rows.count
        error = math.sqrt((1 - share) * error**2 + share * held**2)
        self.reached = error <= self.goal
        return net, theta, error

    def try_others(
        self, slot: _Slot, net: _Network, theta: Tensor, error: float, most: int = 5
    ) -> tuple[_Network, Tensor, float]:
        """Give one edge the candidate that serves the whole formula best."""
        best, least = slot.choice, min((s.error for s in slot.suggestions), default=0.0)
        for choice, suggestion in enumerate(slot.suggestions[:most]):
            if choice == best or suggestion.error > 30 * least:
                continue
            kept, slot.choice = slot.choice, choice
            trial = self.fit()
            if trial[2] < 0.9 * error:
                (net, theta, error), best = trial, choice
                if self.reached:
                    break
            slot.choice = kept
        slot.choice = best
        return net, theta, error

    def try_shared(
        self, slot: _Slot, net: _Network, theta: Tensor, error: float
    ) -> tuple[_Network, Tensor, float]:
        """Give one edge a candidate that is right up to functions that other edges can take.

        In g(x) + (y + k) f(x), any k f(x) may move from one edge to the other.
        """
        kept = slot.suggestions, slot.choice
        slot.suggestions, slot.choice = [kept[0][kept[1]], *slot.shared()], 0
        net, theta, after = self.try_others(slot, net, theta, error)
        if slot.choice == 0:
            slot.suggestions, slot.choice = kept
        return net, theta, after


def _parts(model: nn.Sequential | KANLayer) -> tuple[nn.Sequential, list[KANLayer], list[Groups]]:
    """A copy in float64 on the CPU, its layers, and which outputs of each make up a node."""
    modules = [model] if isinstance(model, KANLayer) else model
    if not isinstance(modules, list | nn.Sequential):
        raise ValueError(f"model must be a KAN or a KANLayer, got {type(model).__name__}")
    net = nn.Sequential(*copy.deepcopy(list(modules))).double().cpu().eval()
    layers: list[KANLayer] = []
    groups: list[Groups] = []
    for before, part in itertools.pairwise([None, *net]):
        if isinstance(part, KANLayer):
            layers.append(part)
            groups.append(tuple((j,) for j in range(part.out_features)))
        elif isinstance(part, Multiply) and isinstance(before, KANLayer):
            ends = list(itertools.accumulate((*[1] * part.num_sum, *part.arity), initial=0))
            groups[-1] = tuple(tuple(range(*pair)) for pair in itertools.pairwise(ends))
        else:
            raise ValueError(
                "model must hold KAN layers, with products after some, got "
                f"{type(part).__name__} after {type(before).__name__}"
            )
    if any(layer.normalize is not None for layer in layers):
        raise ValueError("model must not normalize its inputs: its edges then see more than one")
    return net, layers, groups


class _Request(NamedTuple):
    """What :func:`to_formula` is asked, checked: in float64 and on the CPU."""

    net: nn.Sequential
    layers: list[KANLayer]
    groups: tuple[Groups, ...]
    x: Tensor
    y: Tensor
    names: tuple[str, ...]
    tolerance: float


def _checked(
    model: nn.Sequential | KANLayer,
    x: Tensor,
    y: Tensor | None,
    names: Sequence[str] | None,
    tolerance: float | None,
    digits: int,
) -> _Request:
    """Arguments of :func:`to_formula`, if they keep their rules."""
    net, layers, groups = _parts(model)
    width, outputs = layers[0].in_features, len(groups[-1])
    x = x.detach().cpu().double().reshape(-1, x.shape[-1])
    if len(x) < 20 or x.shape[-1] != width:
        raise ValueError(
            f"x must hold at least 20 samples of {width} features, got {tuple(x.shape)}"
        )
    default = 1e-3 if y is None else 1e-9
    y = net(x) if y is None else y.detach().cpu().double().reshape(-1, outputs)
    if len(x) != len(y):
        raise ValueError(f"x and y must hold as many samples, got {len(x)} and {len(y)}")
    if not (torch.isfinite(x).all() and torch.isfinite(y).all()):
        raise ValueError("x and y must be finite, got a NaN or an infinity")
    if names is None:
        names = ["x"] if width == 1 else [f"x{i + 1}" for i in range(width)]
    if len(set(names)) != width:
        raise ValueError(f"names must be {width} different names, got {list(names)}")
    tolerance = default if tolerance is None else tolerance
    if not 0 < tolerance < INF:
        raise ValueError(f"tolerance must be finite and above 0, got {tolerance}")
    if not 1 <= digits <= 15:
        raise ValueError(f"digits must be in [1, 15], got {digits}")
    return _Request(net, layers, tuple(groups), x, y, tuple(names), tolerance)


def _split(x: Tensor, y: Tensor, generator: torch.Generator | None) -> _Data:
    """A random fifth of the rows is held out."""
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(x), generator=generator)
    held, rows = order[: len(x) // 5], order[len(x) // 5 :]
    spread = y.std(0, correction=0)
    spread = torch.where(spread > 0, spread, y.abs().amax(0).clamp(min=1e-300))
    return _Data(x[rows], y[rows], x[held], y[held], spread)


def _goals(net: nn.Sequential, data: _Data, tolerance: float) -> tuple[float, float, float]:
    """The error to reach, what accuracy is worth at most, and the network's held-out error."""
    gaps = [(net(x) - y) / data.spread for x, y in ((data.x, data.y), (data.held_x, data.held_y))]
    fit, held = (float(gap.square().mean().sqrt()) for gap in gaps)
    every = float(torch.cat(gaps).square().mean().sqrt())
    size = sum(int(p.count_nonzero()) for p in net.parameters())
    share = min(size / data.count, 0.75)
    goal = max(tolerance, 1.15 * every / math.sqrt(1 - share))  # the network fits noise, too
    return goal, max(1e-6, fit * math.sqrt(share)), held


def has_structure(x: Tensor, residual: Tensor, most: int = 2000) -> bool:
    """Whether residuals of nearest neighbors are alike, which those of noise are not.

    Args:
        x: Inputs, shape (samples, in_features).
        residual: Shape (samples, q).
        most: Samples to look at; the distances of all pairs are computed.

    Returns:
        Whether the mean product of a residual and that of the nearest neighbor is more than a
        fifth of the mean square, and more than chance would make it.
    """
    x, residual = x[:most] / x.std(0).clamp(min=1e-300), residual[:most]
    distance = torch.cdist(x, x).fill_diagonal_(INF)
    product = (residual * residual[distance.argmin(1)]).mean()
    likeness = float(product / residual.square().mean().clamp(min=1e-300))
    return likeness > max(0.2, 4 / math.sqrt(residual.numel()))


def _slots(
    net: nn.Sequential,
    layers: list[KANLayer],
    x: Tensor,
    candidates: Sequence[Candidate],
    floor: float,
) -> tuple[list[_Slot], list[Tensor]]:
    """All edges with suggestions for those that vary, and what the others add to each node."""
    slots: list[_Slot] = []
    constants: list[Tensor] = []
    for number, (layer, z) in enumerate(zip(layers, edge_inputs(net, x), strict=True)):
        phi = layer.edges(z)  # (samples, out, in)
        spread = phi.std(0, correction=0)
        still = spread <= 1e-10 * phi.abs().amax((0, 2))[:, None]
        constants.append(torch.where(still, phi.mean(0), 0.0).sum(1))
        if layer.bias is not None:
            constants[-1] = constants[-1] + layer.bias
        share = spread / spread.sum(1, keepdim=True).clamp(min=1e-300)
        for j, i in itertools.product(range(layer.out_features), range(layer.in_features)):
            spline = Candidate(f"phi_{number}_{j}_{i}", _spline(layer, j, i), "", 0)
            request = functools.partial(
                suggest,
                z[:, i],
                phi[:, j, i],
                candidates=candidates,
                freedom=layer.basis.num_basis,
                floor=floor,
            )
            others = [k for k in range(layer.out_features) if k != j and not still[k, i]]
            shared = functools.partial(request, beside=phi[:, others, i]) if others else list
            freedom, score = layer.basis.num_basis, float(share[j, i])
            slot = _Slot(number, j, i, [], spline, score, freedom, shared, -2)
            if not still[j, i]:
                slot.suggestions = request()
                slot.choice = 0 if slot.suggestions else -1
            slots.append(slot)
    return slots, constants


def _spline(layer: KANLayer, j: int, i: int) -> Function:
    """Edge [j, i] as a function of one variable."""
    theta = layer.coef[i, :, j]
    if layer.residual_weight is not None:
        theta = torch.cat([theta, layer.residual_weight[i, j, None]])

    def phi(z: Tensor) -> Tensor:
        columns = z.unsqueeze(-1).expand(*z.shape, layer.in_features)
        value: Tensor = layer.features(columns)[..., i, :] @ theta
        return value

    return phi


def _rounded(
    net: _Network, theta: Tensor, nice: dict[int, _Nice], digits: int, data: _Data
) -> tuple[Tensor, int]:
    """Constants as they are shown, with more digits where they would cancel."""
    limit = max(2 * data.error(net, theta, True), 10.0 ** (1 - digits))
    rounded = theta
    for count in range(digits, 17):
        digits = count
        values = [
            v if k in nice else float(f"{v:.{count - 1}e}") for k, v in enumerate(theta.tolist())
        ]
        rounded = torch.tensor(values, dtype=torch.float64)
        if data.error(net, rounded, True) <= limit:
            break
    return rounded, digits


def _expression(
    net: _Network,
    theta: Tensor,
    nice: dict[int, _Nice],
    names: tuple[str, ...],
    x: Tensor,
    digits: int,
) -> Any:
    """The formula in SymPy, simplified."""
    sympy = import_module("sympy")

    def number(k: int) -> Any:
        if k in nice:
            return sympy.sympify(nice[k].name)
        value = float(theta[k])
        return sympy.Integer(int(value)) if value.is_integer() else sympy.Float(value)

    positive = (x > 0).all(0).tolist()
    z: list[Any] = [
        sympy.Symbol(name, positive=True) if above else sympy.Symbol(name, real=True)
        for name, above in zip(names, positive, strict=True)
    ]
    plain = {symbol: sympy.Symbol(name) for symbol, name in zip(z, names, strict=True)}
    argument = sympy.Symbol("x")

    def function(e: _Edge, z: Any) -> Any:
        known = e.candidate.expression
        return (
            sympy.sympify(known).subs(argument, z) if known else sympy.Function(e.candidate.name)(z)
        )

    z = net.evaluate(z, number, function)
    exprs = [_chopped(_simplified(expr), digits).subs(plain) for expr in z]
    return exprs[0] if len(exprs) == 1 else exprs


def _simplified(expr: Any, most_operations: int = 150) -> Any:
    """The shortest of several ways to write an expression; long ones stay as they are.

    The guard is a size, not a clock, so that results do not depend on the machine.
    """
    sympy = import_module("sympy")
    if sympy.count_ops(expr) > most_operations:
        return expr
    forms = [expr, sympy.expand(expr), sympy.expand(expr, trig=True)]
    forms += [sympy.powsimp(form) for form in forms]
    if sympy.count_ops(expr) <= most_operations / 3 and len(expr.atoms(sympy.Float)) < 3:
        logs = sympy.expand(expr.rewrite(sympy.log))  # atanh is two logarithms
        forms += [sympy.simplify(form) for form in (expr, forms[2], logs)]
    return min(forms, key=lambda form: (sympy.count_ops(form), len(str(form))))


def _chopped(expr: Any, digits: int) -> Any:
    """Numbers of so many digits, and no terms of a sum below 1e-13 of its largest coefficient."""
    sympy = import_module("sympy")
    terms = sympy.Add.make_args(expr)
    sizes = [abs(float(term.as_coeff_Mul()[0])) for term in terms]
    kept = [t for t, size in zip(terms, sizes, strict=True) if size > 1e-13 * max(sizes)]
    total = sympy.Add(*kept)
    return total.xreplace({f: sympy.Float(f, digits) for f in total.atoms(sympy.Float)})
