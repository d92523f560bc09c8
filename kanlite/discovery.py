r"""From data to a formula in one call: networks from small to large, the first that explains.

Each shape is trained by second-order steps on coarse knots, then on finer ones, with a penalty
on curvature that fades. Of the many networks that compute one function, the simplest is the one
to read: edges are dropped or become straight lines where validation allows
(:class:`kanlite.structure.Sketch`). What explains the data is read by
:func:`kanlite.to_formula`; if that finds no formula, larger shapes and other starts follow.

Glossary
    x, y      inputs (samples, in_features) and targets (samples, out_features)
    e         root mean square error relative to the standard deviation of y
    G         number of intervals of the B-splines
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from kanlite.candidates import Candidate
from kanlite.samples import Rows, check_finite, has_structure
from kanlite.structure import Sketch
from kanlite.symbolic import Formula, to_formula

__all__ = ["Discovery", "find_formula"]


Shape = Sequence[int | tuple[int, int]]


class Discovery(NamedTuple):
    """What :func:`find_formula` gives.

    Attributes:
        formula: The formula; ``formula.found`` tells whether it explains the data.
        model: The network that it was read from, in float64: a :class:`~kanlite.KAN`, or KAN
            layers with :class:`~kanlite.Multiply` between them.
        tried: Shapes in the order of training, and the validation error of each.
    """

    formula: Formula
    model: nn.Sequential
    tried: list[tuple[tuple[int | tuple[int, int], ...], float]]


def find_formula(
    x: Tensor,
    y: Tensor,
    *,
    names: Sequence[str] | None = None,
    widths: Sequence[Shape] | None = None,
    candidates: Sequence[Candidate] | None = None,
    tolerance: float | None = None,
    num_intervals: Sequence[int] = (3, 6, 12, 24),
    restarts: int = 3,
    generator: torch.Generator | None = None,
) -> Discovery:
    r"""A formula for data, by way of networks of growing size.

    .. math:: y \approx F(x), \qquad F \text{ short}.

    Args:
        x: Inputs, shape (samples, in_features), finite, at least 40 samples.
        y: Targets, shape (samples,) or (samples, out_features), finite.
        names: Of the inputs; see :func:`kanlite.to_formula`.
        widths: Shapes to try, from small to large. A hidden layer is a number of sums, or a pair
            (sums, products of two sums). If None: no hidden layer, then one of a sum, a product,
            both, two sums.
        candidates: :data:`kanlite.CANDIDATES` if None.
        tolerance: Relative error that is good enough; see :func:`kanlite.to_formula`.
        num_intervals: G of the successive refinements; each a multiple of the one before.
        restarts: Random starts per shape until one explains the data, at least 1. If no shape
            gives a formula, all are started anew once.
        generator: Of the starts and of the validation rows; a fixed seed if None.

    Returns:
        The formula of the first shape that gives one, or the best approximation.

    Raises:
        ValueError: If x and y do not fit each other, are too few or not finite, or an option
            breaks its rule.
        ImportError: If SymPy is not installed.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> x = 1 + torch.rand(200, 2, generator=g)
        >>> find_formula(x, 3 * x[:, 0] - x[:, 1] ** 2).formula.expr
        3*x1 - x2**2

    Book: *Reading a network*. Source: Liu et al., KAN 2.0 (2024), arXiv:2408.10205, for products
    in KANs.
    """
    x, y = _checked(x, y, restarts, num_intervals)
    generator = generator or torch.Generator().manual_seed(0)
    shapes = _shapes(widths, x.shape[1], y.shape[1])
    mean, spread = y.mean(0), y.std(0, correction=0)
    rows = Rows.split(x, (y - mean) / spread, generator, most=5000)  # more would do no good
    tried: list[tuple[tuple[int | tuple[int, int], ...], float]] = []
    sketches: list[tuple[float, Sketch]] = []
    best: tuple[Formula, nn.Sequential] | None = None

    def read(sketch: Sketch) -> tuple[Formula, nn.Sequential]:
        net = sketch.model(mean, spread)
        return to_formula(net, x, y, names=names, candidates=candidates, tolerance=tolerance), net

    for shape in _twice(shapes):
        sketch, error, explains = _trained(shape, rows, num_intervals, restarts, generator)
        tried.append((tuple(shape), error))
        sketches.append((error, sketch))
        if explains:
            formula, model = read(sketch)
            if formula.found:
                return Discovery(formula, model, tried)
            if best is None or formula.is_symbolic > best[0].is_symbolic:
                best = formula, model
    best = best or read(min(sketches, key=lambda pair: pair[0])[1])
    return Discovery(*best, tried)


def _shapes(widths: Sequence[Shape] | None, d: int, q: int) -> list[Shape]:
    """The shapes to try, if they fit the data."""
    hidden: list[int | tuple[int, int]] = [1, (0, 1), (1, 1), 2]
    shapes: list[Shape] = [[d, q], *([d, h, q] for h in hidden)] if widths is None else list(widths)
    if not shapes:
        raise ValueError("widths must hold at least one shape, got none")
    for shape in shapes:
        if shape[0] != d or shape[-1] != q:
            raise ValueError(f"widths must start with {d} and end with {q}, got {list(shape)}")
    return shapes


def _twice(shapes: list[Shape]) -> Iterator[Shape]:
    """All shapes, then again those whose training depends on the start."""
    yield from shapes
    yield from (shape for shape in shapes if len(shape) > 2)


def _checked(
    x: Tensor, y: Tensor, restarts: int, num_intervals: Sequence[int]
) -> tuple[Tensor, Tensor]:
    x, y = x.detach().cpu().double(), y.detach().cpu().double()
    y = y.unsqueeze(1) if y.dim() == 1 else y
    if x.dim() != 2 or y.dim() != 2 or len(x) != len(y) or len(x) < 40:
        raise ValueError(
            "x and y must be of shapes (samples, in_features) and (samples, out_features) with at "
            f"least 40 samples, got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    check_finite(x, y)
    if not (x.std(0) > 0).all() or not (y.std(0) > 0).all():
        raise ValueError("x and y must vary: leave constant columns out")
    if restarts < 1:
        raise ValueError(f"restarts must be at least 1, got {restarts}")
    if not num_intervals or min(num_intervals) < 1:
        raise ValueError(f"num_intervals must be numbers of at least 1, got {num_intervals}")
    return x, y


@torch.no_grad()
def _trained(
    shape: Shape,
    rows: Rows,
    num_intervals: Sequence[int],
    restarts: int,
    generator: torch.Generator,
) -> tuple[Sketch, float, bool]:
    """The simplest of several starts that explain y, or the best: its error, does it explain?"""
    found: list[tuple[Sketch, float, bool]] = []
    for number in range(restarts if len(shape) > 2 else 1):  # one layer: a convex problem
        intervals = num_intervals[0]
        start = Sketch(shape, rows.x, generator, num_intervals=intervals, apart=number % 2 == 0)
        sketch, error = _descend(start, rows, num_intervals)
        explains = error < 1e-4 or not has_structure(*_residual(sketch, rows))
        found.append((sketch, error, explains))
        if explains and sketch.reads_once:
            break
    least = min(error for _, error, _ in found)
    good = [f for f in found if f[2] and f[1] < max(3 * least, 1e-4)]
    if good:
        return min(good, key=lambda f: (f[0].cost, f[1]))
    sketch, error, _ = min(found, key=lambda f: f[1])
    return sketch, error, error < 1e-3


def _residual(sketch: Sketch, rows: Rows) -> tuple[Tensor, Tensor]:
    """All inputs, and what the sketch leaves of their targets."""
    x, v = torch.cat([rows.x, rows.held_x]), torch.cat([rows.y, rows.held_y])
    return x, sketch(sketch.first(x)) - v


def _descend(start: Sketch, rows: Rows, num_intervals: Sequence[int]) -> tuple[Sketch, float]:
    """Training on finer and finer knots while that helps, with one simplification on the way."""
    best, least, simple = start, math.inf, False
    for stage, intervals in enumerate(num_intervals):
        trial = best.refined(intervals) if stage else start
        for smoothness in (1e-2, 1e-4, 1e-6, 1e-8) if stage == 0 else (10.0 ** (-10 - 2 * stage),):
            trial = trial.trained(rows.x, rows.y, smoothness=smoothness, adapt=stage == 0)
        error = trial.error(trial.first(rows.held_x), rows.held_y)
        improved = error < 0.98 * least
        if improved:
            best, least = trial, error
        last = not improved or intervals == num_intervals[-1] or error < 1e-9
        if not simple and least < 0.7 and (last or (intervals >= 12 and least < 0.02)):
            (best, least), simple = best.simplified(rows, least), True
        if last:
            break
    return best, least
