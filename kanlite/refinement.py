r"""Other knots for a trained model, and (nearly) the same function.

A change of basis replaces coefficients c on old basis functions B by coefficients c' on new
ones B', so that :math:`\sum_m c'_m B'_m \approx \sum_m c_m B_m` in the least-squares sense on
the new domain. It is linear, c' = T c, with one matrix T for all edges that leave an input.

Glossary
    z         points on the new domain, shape (P, *F)
    T         change of basis, shape (*F, num_basis, num_basis)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kanlite.bases import BSpline
from kanlite.edges import edge_inputs, edge_layers
from kanlite.layers import KANLayer

__all__ = ["adapt_knots_"]


@torch.no_grad()
def adapt_knots_(
    model: nn.Module, x: Tensor, *, margin: float = 0.1, least_share: float = 0.5
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


def _move_domain_(layer: KANLayer, basis: BSpline, new_low: Tensor, new_high: Tensor) -> None:
    """Give a layer's basis the domain [new_low, new_high], and keep its function there."""
    low, high = (end.cpu().double()[..., None] for end in basis.domain)
    relative = (basis.knots.cpu().double() - low) / (high - low)  # 0 and 1 at the ends
    knots = torch.lerp(new_low[..., None], new_high[..., None], relative).to(basis.knots.dtype)
    new = BSpline(degree=basis.degree, knots=knots, extrapolate=basis.extrapolate)
    change = _change_of_basis(basis, new).to(layer.coef)  # (*F, m, g)
    layer.coef.copy_(torch.einsum("...mg,...go->...mo", change, layer.coef))
    basis.knots.copy_(new.knots)


def _change_of_basis(old: BSpline, new: BSpline, samples_per_interval: int = 8) -> Tensor:
    """T with old(z) ~ new(z) @ T in least squares over the new domain: (*F, new, old), float64."""
    low, high = (end.double().cpu() for end in new.domain)
    count = samples_per_interval * new.num_intervals
    share = torch.linspace(0, 1, count, dtype=torch.float64)
    z = torch.lerp(low, high, share.reshape(-1, *[1] * low.dim()))  # (P, *F)
    a, b = (
        BSpline(degree=basis.degree, knots=basis.knots.double().cpu(), extrapolate="linear")(
            z
        ).movedim(0, -2)  # (*F, P, num_basis)
        for basis in (new, old)
    )
    change: Tensor = torch.linalg.pinv(a) @ b
    return change
