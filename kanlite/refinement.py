r"""Other basis functions for a trained model, and the same function or nearly so.

A change of basis replaces coefficients c on old basis functions B by coefficients c' on new
ones B', so that :math:`\sum_m c'_m B'_m \approx \sum_m c_m B_m`. It is linear, c' = T c, with
one matrix T for all edges that leave an input. Where the new knots contain the old ones, the
spaces nest and T is exact (:func:`nested_change`, by blossoms); elsewhere it is the
least-squares fit on the new domain (:func:`fitted_change`). Both are done in float64.

Glossary
    k         degree
    z         points on the new domain, shape (P, *F)
    T         change of basis, shape (*F, new num_basis, old num_basis)
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from kanlite.bases import Basis, BSpline
from kanlite.bspline import find_cell
from kanlite.edges import edge_inputs, edge_layers
from kanlite.layers import KANLayer

__all__ = ["Changed", "adapt_knots_", "change_basis", "refine"]

M = TypeVar("M", bound=nn.Module)


class Changed(NamedTuple):
    """What :func:`change_basis` gives.

    Attributes:
        model: The new model.
        residual: For each KAN layer, the largest root mean square, over an edge's domain, of
            the difference between its old and new function, relative to the largest root mean
            square of the layer's edge functions.
    """

    model: nn.Module
    residual: list[float]


def refine(model: M, num_intervals: int) -> M:
    """The same function on finer knots.

    Each interval of a B-spline's domain is divided into equal parts. If `num_intervals` is a
    multiple of what a layer has, the new functions are exactly the old ones on the domain, and
    outside it too unless they extrapolate naturally. Otherwise the grids do not nest, the
    functions are fit by least squares, and a warning tells by how much they differ.

    Args:
        model: A module with KAN layers on B-splines; it is not changed.
        num_intervals: G, the new number of intervals of every layer, at least 1.

    Returns:
        A new model of the same kind.

    Raises:
        ValueError: If the number is below 1, or a layer's basis is not made of B-splines.

    Example:
        >>> import kanlite as kl
        >>> model = kl.KAN([2, 3, 1], kl.BSpline(num_intervals=5)).double()
        >>> x = 4 * torch.rand(100, 2, dtype=torch.float64) - 2
        >>> bool((refine(model, 20)(x) - model(x)).abs().max() < 1e-12)
        True

    Book: *Refining a spline*.
    """
    finer, misfit = refined(model, num_intervals)
    if misfit > 0:
        warnings.warn(
            f"{num_intervals} intervals do not nest with those of the model: its edge functions "
            f"were fit, with a relative error of up to {misfit:.1e}",
            stacklevel=2,
        )
    return finer


def refined(model: M, num_intervals: int) -> tuple[M, float]:
    """:func:`refine` without its warning: the new model, and the largest relative misfit."""
    if num_intervals < 1:
        raise ValueError(f"num_intervals must be at least 1, got {num_intervals}")
    finer, misfit = copy.deepcopy(model), 0.0
    for number, layer in enumerate(edge_layers(finer)):
        if not isinstance(layer.basis, BSpline):
            raise ValueError(
                f"model must have B-splines to be refined, got {type(layer.basis).__name__} in "
                f"layer {number}: use change_basis"
            )
        old, new = layer.basis, _finer(layer.basis, num_intervals)
        if num_intervals % old.num_intervals == 0:
            _replace_basis_(layer, new, nested_change(old, new))
        else:
            misfit = max(misfit, _replace_basis_(layer, new, fitted_change(old, new)))
    return finer, misfit


def change_basis(model: nn.Module, basis: Basis | Callable[[int], Basis]) -> Changed:
    """A model with other basis functions, and edge functions as near as they allow.

    Args:
        model: A module with KAN layers; it is not changed.
        basis: A basis, copied into every layer, or a callable in_features -> Basis.

    Returns:
        The new model, and how far its edge functions are from the old ones, per layer.

    Raises:
        ValueError: If the basis does not fit a layer.

    Example:
        >>> import kanlite as kl
        >>> model = kl.KAN([2, 3, 1], kl.BSpline(num_intervals=5))
        >>> changed = change_basis(model, kl.BSpline(num_intervals=8, degree=4))
        >>> max(changed.residual) < 0.1
        True
    """
    changed = copy.deepcopy(model)
    residual = []
    for layer in edge_layers(changed):
        new = copy.deepcopy(basis) if isinstance(basis, Basis) else basis(layer.in_features)
        if new.feature_shape not in ((), (layer.in_features,)):
            raise ValueError(
                f"basis must have feature_shape () or ({layer.in_features},), "
                f"got {new.feature_shape}"
            )
        new = new.to(layer.coef)
        residual.append(_replace_basis_(layer, new, fitted_change(layer.basis, new)))
    return Changed(changed, residual)


@torch.no_grad()
def adapt_knots_(
    model: nn.Module,
    x: Tensor,
    *,
    margin: float = 0.1,
    least_share: float = 0.5,
    extrema: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
) -> bool:
    """Move B-spline domains, in place, to where the activations of a model are.

    Layer by layer, a domain that the layer's inputs leave, or of which they use less than
    `least_share`, becomes their range plus a margin; its knots move affinely and its
    coefficients are fit again (in float64, on the new domain). Knots of the first layer, if it
    sees x itself, only widen: a sample's range says little about the inputs to come. Bases
    other than B-splines stay as they are.

    Args:
        model: Any module with KAN layers, each of which runs once; changed in place.
        x: Inputs of the model, shape (..., in_features), finite, at least one sample.
        margin: Room at each end, as a share of the activations' range, at least 0.
        least_share: Share of the domain that activations must use, in [0, 1].
        extrema: What makes the lowest and highest activations, each of shape F, those of all
            samples, where x is one process's share of them; None if x is all there is.

    Returns:
        Whether any knots moved.

    Raises:
        FloatingPointError: If a layer's activations are not finite, naming the layer.

    Book: *A KAN layer*. Source: Liu et al., KAN (2024), arXiv:2404.19756, section 2.2, where
    the grids follow the activations.
    """
    moved = False
    for number, layer in enumerate(edge_layers(model)):
        if not isinstance(layer.basis, BSpline):
            continue
        z = edge_inputs(model, x)[number]  # the layers before this one may just have changed
        is_input = z is x
        z = z if layer.normalize is None else layer.normalize(z)
        if not torch.isfinite(z).all():
            raise FloatingPointError(f"the input of layer {number} is not finite")
        low, high = (end.cpu().double() for end in layer.basis.domain)  # not every device has it
        samples = z.cpu().double().reshape(-1, *layer.basis.feature_shape)  # (samples, *F)
        first, last = samples.amin(0), samples.amax(0)
        if extrema is not None:
            first, last = extrema(first, last)
        change = (first < low) | (last > high)
        if is_input:
            new_low, new_high = torch.minimum(first, low), torch.maximum(last, high)
        else:
            room = margin * (last - first)
            new_low, new_high = first - room, last + room
            change = (change | (last - first < least_share * (high - low))) & (last > first)
        if change.any():
            new_low, new_high = new_low.where(change, low), new_high.where(change, high)
            _move_domain_(layer, layer.basis, new_low, new_high)
            moved = True
    return moved


def nested_change(old: BSpline, new: BSpline) -> Tensor:
    r"""T for knots whose spaces nest on a common domain: exact up to rounding.

    A coefficient of a spline of degree k is the blossom (the symmetric, multiaffine form) of one
    of its polynomial pieces at k consecutive knots,

    .. math:: c'_i = b(t'_{i+1}, \dots, t'_{i+k}),

    and de Boor's recursion evaluates the blossom of the old spline's piece on a cell if its
    steps use these k numbers in turn in place of x.

    Args:
        old: B-splines of degree k.
        new: B-splines of the same degree, domain and feature_shape, whose knots inside the
            domain include the old ones.

    Returns:
        Shape (*F, new.num_basis, old.num_basis), float64, on the CPU.

    Source: Lyche, Manni and Speleers, Foundations of Spline Theory (2018), section 1.4.
    """
    knots, finer = (basis.knots.double().cpu() for basis in (old, new))
    if knots.dim() == 2:
        rows = [_blossoms(t, s, old.degree) for t, s in zip(knots, finer, strict=True)]
        return torch.stack(rows)
    return _blossoms(knots, finer, old.degree)


def _blossoms(t: Tensor, s: Tensor, k: int) -> Tensor:
    """:func:`nested_change` for one old and one new knot vector, (K,) and (K',)."""
    n, m = len(t) - k - 1, len(s) - k - 1
    support = s.unfold(0, k + 2, 1).clamp(t[k], t[n])  # (m, k + 2): the knots of each new function
    longest = support.diff(dim=1).argmax(1, keepdim=True)
    middle = (support.gather(1, longest) + support.gather(1, longest + 1)).squeeze(1) / 2
    cell = find_cell(middle, t, k).unsqueeze(1)  # (m, 1): an old cell in each support
    values = nn.functional.one_hot(cell + torch.arange(-k, 1), n).to(t.dtype)  # (m, k + 1, n)
    for step in range(1, k + 1):
        j = cell + torch.arange(-k + step, 1)  # (m, k + 1 - step)
        w = (s[step : step + m, None] - t[j]) / (t[j + k - step + 1] - t[j])
        values = (1 - w).unsqueeze(-1) * values[:, :-1] + w.unsqueeze(-1) * values[:, 1:]
    return values.squeeze(1)


def fitted_change(old: Basis, new: Basis, samples_per_function: int = 8) -> Tensor:
    r"""T of the least-squares fit on the new domain: old(z) ~ new(z) T.

    By pseudo-inverse, so that a basis with redundant functions does no harm.

    Args:
        old: Any basis; where the new domain is wider, its extrapolation is fit too.
        new: Any basis.
        samples_per_function: Equally spaced points for each new basis function.

    Returns:
        Shape (*F, new.num_basis, old.num_basis), float64, on the CPU.
    """
    a, b = _sampled(old, new, samples_per_function * new.num_basis)
    change: Tensor = torch.linalg.pinv(b) @ a
    return change


def _sampled(old: Basis, new: Basis, count: int) -> tuple[Tensor, Tensor]:
    """Values of both bases at points of the new domain, each (*F, points, num_basis), float64."""
    old, new = (copy.deepcopy(basis).double().cpu() for basis in (old, new))
    low, high = new.domain
    if old.feature_shape and not new.feature_shape:
        low, high = (end.expand(old.feature_shape) for end in (low, high))
    share = torch.linspace(0, 1, count, dtype=torch.float64)
    z = torch.lerp(low, high, share.reshape(-1, *[1] * low.dim()))  # (points, *F)
    a, b = (basis(z).movedim(0, -2).detach() for basis in (old, new))
    return a, b


def _finer(basis: BSpline, num_intervals: int) -> BSpline:
    """B-splines on the same domain whose intervals are equal parts of the old ones."""
    k = basis.degree
    t = basis.knots.double()
    breaks = t[..., k : t.shape[-1] - k]  # (*F, G + 1)
    place = torch.linspace(0, breaks.shape[-1] - 1, num_intervals + 1, dtype=torch.float64)
    cell = place.to(t.device).long().clamp(max=breaks.shape[-1] - 2)
    share = place.to(t.device) - cell
    inside = torch.lerp(breaks[..., cell], breaks[..., cell + 1], share)  # (*F, G' + 1)
    steps = torch.arange(1, k + 1, dtype=torch.float64, device=t.device)
    left = inside[..., :1] - steps.flip(0) * (inside[..., 1:2] - inside[..., :1])
    right = inside[..., -1:] + steps * (inside[..., -1:] - inside[..., -2:-1])
    knots = torch.cat([left, inside, right], -1).to(basis.knots.dtype)
    return BSpline(degree=k, knots=knots, extrapolate=basis.extrapolate)


@torch.no_grad()
def _replace_basis_(layer: KANLayer, new: Basis, change: Tensor) -> float:
    """Put a new basis and its coefficients into a layer; returns the relative misfit."""
    old, coef = layer.basis, layer.coef.double().cpu()
    changed = _apply(change, coef).contiguous()  # PyTorch's LBFGS views gradients as vectors
    a, b = _sampled(old, new, 8 * new.num_basis)
    before, after = (
        torch.einsum("...pg,...go->...po", *pair) for pair in ((a, coef), (b, changed))
    )
    size, gap = (values.square().mean(-2).max().sqrt() for values in (before, after - before))
    layer.basis = new
    layer.coef = nn.Parameter(changed.to(layer.coef), requires_grad=layer.coef.requires_grad)
    return float(gap / size.clamp(min=torch.finfo(size.dtype).tiny))


@torch.no_grad()
def _move_domain_(layer: KANLayer, basis: BSpline, new_low: Tensor, new_high: Tensor) -> None:
    """Give a layer's basis the domain [new_low, new_high], and keep its function there."""
    low, high = (end.cpu().double()[..., None] for end in basis.domain)
    relative = (basis.knots.cpu().double() - low) / (high - low)  # 0 and 1 at the ends
    knots = torch.lerp(new_low[..., None], new_high[..., None], relative).to(basis.knots.dtype)
    # Fit straight lines beyond the old domain: a drop to zero cannot be fit.
    old, new = (BSpline(degree=basis.degree, knots=t) for t in (basis.knots, knots))
    layer.coef.copy_(_apply(fitted_change(old, new), layer.coef.double().cpu()))
    basis.knots.copy_(knots)


def _apply(change: Tensor, coef: Tensor) -> Tensor:
    """T c for every edge: (*F, m, g), (in, g, out) -> (in, m, out)."""
    return torch.einsum("...mg,...go->...mo", change, coef)
