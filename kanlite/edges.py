"""A model's edge functions as data: what flows into each layer, and what its edges make of it.

Works on any module that contains KAN layers, and sees them in the order in which they run.
Everything is computed from the data that the caller passes.

Glossary
    x            inputs of the model, shape (..., in_features)
    [j, i]       output j, input i, as in torch.nn.Linear
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kanlite.bases import BSpline
from kanlite.layers import KANLayer

__all__ = ["edge_inputs", "edge_layers", "edge_scales", "edge_values", "roughness"]


def edge_layers(model: nn.Module) -> list[KANLayer]:
    """The KAN layers of a model, in the order in which they are registered.

    Args:
        model: Any module.

    Returns:
        Its layers; a :class:`~kanlite.KANLayer` is its own only layer.

    Raises:
        ValueError: If there is none.
    """
    layers = [module for module in model.modules() if isinstance(module, KANLayer)]
    if not layers:
        raise ValueError(f"model must contain a KANLayer, got {type(model).__name__} without one")
    return layers


def edge_inputs(model: nn.Module, x: Tensor) -> list[Tensor]:
    """What flows into each KAN layer when the model sees x.

    Args:
        model: Any module with KAN layers, each of which runs once.
        x: Inputs of the model, shape (..., in_features).

    Returns:
        For each layer of :func:`edge_layers`, its input, shape (..., layer.in_features), with
        gradients where autograd records them.

    Raises:
        ValueError: If a layer does not run exactly once.
    """
    layers = edge_layers(model)
    seen: dict[KANLayer, list[Tensor]] = {layer: [] for layer in layers}

    def record(layer: nn.Module, args: tuple[Any, ...]) -> None:
        if isinstance(layer, KANLayer):
            seen[layer].append(args[0])

    handles = [layer.register_forward_pre_hook(record) for layer in layers]
    try:
        model(x)
    finally:
        for handle in handles:
            handle.remove()
    for number, layer in enumerate(layers):
        if len(seen[layer]) != 1:
            raise ValueError(
                f"model must run each KANLayer once, got {len(seen[layer])} runs of layer {number}"
            )
    return [seen[layer][0] for layer in layers]


@torch.no_grad()
def edge_values(model: nn.Module, x: Tensor) -> list[Tensor]:
    """The value of every edge function at every sample.

    Args:
        model: Any module with KAN layers, each of which runs once.
        x: Inputs of the model, shape (..., in_features).

    Returns:
        For each layer the values phi_ji, shape (..., out_features, in_features). This
        tensor is large: batch times the number of edges.
    """
    inputs = edge_inputs(model, x)
    return [layer.edges(z) for layer, z in zip(edge_layers(model), inputs, strict=True)]


def edge_scales(model: nn.Module, x: Tensor) -> list[Tensor]:
    """How much each edge function varies over the data: its standard deviation.

    Args:
        model: Any module with KAN layers, each of which runs once.
        x: Inputs of the model, shape (..., in_features), at least one sample.

    Returns:
        For each layer, shape (out_features, in_features), not negative (0 for one sample).

    Raises:
        ValueError: If x holds no sample.
    """
    if x.numel() == 0:
        raise ValueError(f"x must hold at least one sample, got shape {tuple(x.shape)}")
    return [
        phi.flatten(0, -3).std(0, correction=0) if phi.dim() > 2 else torch.zeros_like(phi)
        for phi in edge_values(model, x)
    ]


@torch.no_grad()
def roughness(layer: KANLayer) -> Tensor:
    r"""Gram matrix of the curvature of a layer's basis, free of units.

    .. math:: R_{igh} = \frac{1}{|I|} \int_I |I|^{2d}\, B_g^{(d)}(x)\, B_h^{(d)}(x)\, dx,

    so that c^T R_i c is the mean square of the d-th derivative of an edge's spline over its
    domain I, measured in lengths of the domain; d is 2, or the degree if that is less.

    Args:
        layer: The layer.

    Returns:
        Shape (in_features, num_basis, num_basis), float64, on the layer's device. Exact for
        B-splines; by a fine quadrature rule for other bases.

    This is the penalty of smoothing splines.
    """
    basis = copy.deepcopy(layer.basis).cpu().double()
    order = min(2, basis.degree) if isinstance(basis, BSpline) else 2
    if isinstance(basis, BSpline):
        breaks = basis.knots[..., basis.degree : basis.num_basis + 1]  # (*F, cells + 1)
    else:
        share = torch.linspace(0, 1, 65, dtype=torch.float64)
        breaks = torch.lerp(basis.low[..., None], basis.high[..., None], share)
    nodes, weights = (torch.as_tensor(a) for a in np.polynomial.legendre.leggauss(6))
    length = breaks.diff(dim=-1)[..., None]  # (*F, cells, 1)
    x = (breaks[..., :-1, None] + length * (nodes + 1) / 2).flatten(-2)  # (*F, points)
    w = (length * weights / 2).flatten(-2)
    total = (basis.high - basis.low)[..., None, None]  # (*F, 1, 1)
    values = basis.derivative(x.movedim(-1, 0), order).movedim(0, -2)  # (*F, points, num_basis)
    gram = values.mT @ (w[..., None] * values) * total ** (2 * order - 1)
    return gram.expand(layer.in_features, -1, -1).to(layer.coef.device)
