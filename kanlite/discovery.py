r"""From data to a formula in one call: networks from small to large, the first that explains.

Each shape is trained by second-order steps on coarse knots, then on finer ones, with a penalty
on curvature that fades: of the many networks that compute one function, the one with the
straightest edges is the one to read. Restarts are chosen by validation, the winner is pruned,
trained again and read by :func:`kanlite.to_formula`.

Glossary
    x, y      inputs (samples, in_features) and targets (samples, out_features)
    e         root mean square error relative to the standard deviation of y
    G         number of intervals of the B-splines
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kanlite.bases import BSpline
from kanlite.layers import KAN, KANLayer
from kanlite.optim import LevenbergMarquardt
from kanlite.pruning import prune
from kanlite.refinement import adapt_knots_, refine
from kanlite.symbolic import Candidate, Formula, has_structure, to_formula

__all__ = ["Discovery", "find_formula"]


class Discovery(NamedTuple):
    """What :func:`find_formula` gives.

    Attributes:
        formula: The formula; ``formula.found`` tells whether it explains the data.
        model: The network that it was read from, in float64.
        tried: Widths before pruning and the validation error of each shape that was trained.
    """

    formula: Formula
    model: KAN
    tried: list[tuple[tuple[int, ...], float]]


def find_formula(
    x: Tensor,
    y: Tensor,
    *,
    names: Sequence[str] | None = None,
    widths: Sequence[Sequence[int]] | None = None,
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
        widths: Shapes to try, from small to large; no hidden layer, then one of 1, 2 and 3 nodes
            if None.
        candidates: :data:`kanlite.CANDIDATES` if None.
        tolerance: Relative error that is good enough; see :func:`kanlite.to_formula`.
        num_intervals: G of the successive refinements; each a multiple of the one before.
        restarts: Random starts per shape, at least 1; a start that explains the data is the last.
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

    Book: *Reading a network*.
    """
    x, y = _checked(x, y, restarts, num_intervals)
    generator = generator or torch.Generator().manual_seed(0)
    d, q = x.shape[1], y.shape[1]
    shapes = [[d, q], *([d, h, q] for h in (1, 2, 3))] if widths is None else widths
    order = torch.randperm(len(x), generator=generator)
    held, rows = order[: len(x) // 5], order[len(x) // 5 :]
    tried: list[tuple[tuple[int, ...], float]] = []
    best: tuple[Formula, KAN] | None = None
    for number, shape in enumerate(shapes):
        if shape[0] != d or shape[-1] != q:
            raise ValueError(f"widths must start with {d} and end with {q}, got {list(shape)}")
        model, error, explained = _trained(
            shape, x, y, rows, held, num_intervals, restarts, generator
        )
        tried.append((tuple(shape), error))
        if not explained and (number + 1 < len(shapes) or best is not None):
            continue
        formula = to_formula(model, x, y, names=names, candidates=candidates, tolerance=tolerance)
        if best is None or formula.found or formula.relative_error < best[0].relative_error:
            best = formula, model
        if formula.found:
            break
    if best is None:
        raise ValueError("widths must hold at least one shape, got none")
    return Discovery(*best, tried)


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
    if not (torch.isfinite(x).all() and torch.isfinite(y).all()):
        raise ValueError("x and y must be finite, got a NaN or an infinity")
    if not (x.std(0) > 0).all() or not (y.std(0) > 0).all():
        raise ValueError("x and y must vary: leave constant columns out")
    if restarts < 1:
        raise ValueError(f"restarts must be at least 1, got {restarts}")
    if not num_intervals or min(num_intervals) < 1:
        raise ValueError(f"num_intervals must be numbers of at least 1, got {num_intervals}")
    return x, y


def _trained(
    shape: Sequence[int],
    x: Tensor,
    y: Tensor,
    rows: Tensor,
    held: Tensor,
    num_intervals: Sequence[int],
    restarts: int,
    generator: torch.Generator,
) -> tuple[KAN, float, bool]:
    """The best of several starts, pruned: a network, its validation error, does it explain y?"""
    mean, spread = y.mean(0), y.std(0, correction=0)
    v = (y - mean) / spread
    best = _start(shape, x, generator), math.inf
    for _ in range(restarts if len(shape) > 2 else 1):  # one layer: a convex problem
        model, error = _descend(_start(shape, x, generator), x, v, rows, held, num_intervals)
        if error < best[1]:
            best = model, error
        if error < 1e-4 or not has_structure(x[held], model(x[held]).detach() - v[held]):
            break
    model, error = best
    small = prune(model, x[rows], edge_threshold=1e-3, node_threshold=1e-3)
    if small.widths != model.widths:
        small, after = _descend(small, x, v, rows, held, num_intervals[-1:])
        model, error = (small, after) if after < max(2 * error, 1e-4) else (model, error)
    gap = model(x[held]).detach() - v[held]
    explained = error < 1e-3 or not has_structure(x[held], gap)
    with torch.no_grad():  # back to the units of y
        last = model[-1]
        last.coef.mul_(spread)
        last.bias = torch.nn.Parameter(
            (0 * mean if last.bias is None else last.bias) * spread + mean
        )
    return model, error, explained


def _start(shape: Sequence[int], x: Tensor, generator: torch.Generator) -> KAN:
    """A network without residual branches, its first knots on the range of each input."""
    first = BSpline.from_data(x, 3, uniform_fraction=1.0)
    layers = []
    for number, (n, m) in enumerate(itertools.pairwise(shape)):
        basis = first if number == 0 else BSpline(3).double()
        layers.append(KANLayer(n, m, basis, residual=None, generator=generator))
    return KAN.from_layers(layers).double()


def _descend(
    model: KAN, x: Tensor, v: Tensor, rows: Tensor, held: Tensor, num_intervals: Sequence[int]
) -> tuple[KAN, float]:
    """Second-order training on finer and finer knots; the stage that validates best."""
    best, least = model, math.inf
    for stage, intervals in enumerate(num_intervals):
        trial = refine(best, intervals) if stage else refine(model, intervals)
        adapt_knots_(trial, x)
        for smoothness in (1e-2, 1e-4, 1e-6, 1e-8) if stage == 0 else (10.0 ** (-10 - 2 * stage),):
            optimizer = LevenbergMarquardt(trial, smoothness=smoothness)
            for step in range(30):
                optimizer.step(x[rows], v[rows])
                if stage == 0 and step in (1, 3, 7, 15):
                    adapt_knots_(trial, x)
                if optimizer.converged:
                    break
        error = float((trial(x[held]).detach() - v[held]).square().mean().sqrt())
        if not error < least:
            break
        best, least = trial, error
    return best, least
