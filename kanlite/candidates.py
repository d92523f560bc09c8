r"""Known functions, and which of them an edge may be.

An edge is compared with candidates f as c f(a x + b) + d (:func:`fit_affine`): a scan over the
shapes that f can take, then second-order polish. The choice between candidates weighs accuracy on
held-out samples against length (:func:`suggest`).

Glossary
    a, b, c, d   constants of an affine fit, y ~ c f(a x + b) + d
    u, v         x and y, scaled: u to [-1, 1], v to mean 0 and variance 1
    A, B, C, D   a, b, c, d with respect to u and v
    e            root mean square error relative to the standard deviation of what is fit
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from kanlite.samples import check_finite

__all__ = [
    "CANDIDATES",
    "AffineFit",
    "Candidate",
    "Suggestion",
    "fit_affine",
    "ranked",
    "suggest",
]

Function = Callable[[Tensor], Tensor]
Redundancy = Literal["multiplies", "adds"]
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
    _check_samples(x, y, w)
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
    r2 = max(1 - float(error), 0.0)
    return AffineFit(a, b, float(size) * c, float(mean + size * d), r2)


def _check_samples(x: Tensor, y: Tensor, w: Tensor) -> None:
    if x.dim() != 1 or x.shape != y.shape or x.shape != w.shape or len(x) < 2:
        shapes = ", ".join(str(tuple(part.shape)) for part in (x, y, w))
        raise ValueError(
            f"x, y and weight must have one shape (samples,), at least 2, got {shapes}"
        )
    check_finite(x, y)
    if not (torch.isfinite(w).all() and (w >= 0).all() and w.sum() > 0):
        raise ValueError("weight must be finite, not negative and not all zero")
    if not x.amax() > x.amin():
        raise ValueError(f"x must vary, got {x[0].item()} only")


class _Sample(NamedTuple):
    """Points to fit: u, v (S,), roots of weights that sum to 1 (S,), and what may be added.

    That is constants and functions beside them; q (S, 1 + r) is an orthonormal basis of it.
    """

    u: Tensor
    v: Tensor
    root: Tensor
    q: Tensor

    @classmethod
    def of(cls, u: Tensor, v: Tensor, w: Tensor, known: Tensor) -> _Sample:
        """Weights need not sum to 1 yet; what may be added is known, (S, 1 + r)."""
        root = (w / w.sum()).sqrt()
        return cls(u, v, root, torch.linalg.qr(root[:, None] * known)[0])

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
    return ranked(found, freedom, floor)


def ranked(found: Sequence[Suggestion], freedom: int, floor: float) -> list[Suggestion]:
    """Suggestions with their bits at another accuracy, the best first.

    Args:
        found: Suggestions for one edge.
        freedom: m of :func:`suggest`.
        floor: What accuracy is worth at most, as there.

    Returns:
        The same suggestions in their new order.
    """
    weighed = []
    for s in found:
        constants = 4 - sum(map(bool, (s.candidate.scale, s.candidate.shift)))
        bits = freedom / 2 * math.log2(s.error**2 + floor**2) + s.candidate.complexity
        weighed.append(s._replace(bits=bits + constants / 2 * math.log2(freedom)))
    return sorted(weighed, key=lambda s: s.bits)
