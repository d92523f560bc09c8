"""Pictures of bases, edges and networks.

Each function returns Matplotlib objects and saves nothing.

Colors are those of Okabe and Ito, which readers with any color vision can tell apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from kanlite.bases import Basis
from kanlite.edges import edge_inputs, edge_layers, edge_scales
from kanlite.layers import KANLayer

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_basis", "plot_edge", "plot_kan"]

COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")


@torch.no_grad()
def plot_basis(
    basis: Basis, *, ax: Axes | None = None, derivative: int = 0, feature: int = 0
) -> Axes:
    """Draw every basis function over the domain and a little beyond.

    Args:
        basis: What to draw.
        ax: Where to; a new figure if None.
        derivative: Order of the derivative to draw, at least 0.
        feature: Which feature, where each has its own basis.

    Returns:
        The axes, with the domain's ends as dotted lines.
    """
    ax = ax or _new_axes()
    one = basis.select([feature]) if basis.feature_shape else basis
    low, high = one.low.min().item(), one.high.max().item()
    x = _around(low, high, one.low)
    points = x.reshape(-1, *[1] * len(one.feature_shape))
    values = one.derivative(points, derivative) if derivative else one(points)
    for number, line in enumerate(values.reshape(len(x), -1).T):
        ax.plot(_numbers(x), _numbers(line), color=COLORS[number % len(COLORS)])
    _mark_domain(ax, low, high)
    ax.set_xlabel("x")
    ax.set_ylabel("B(x)" if derivative == 0 else f"derivative {derivative} of B(x)")
    return ax


@torch.no_grad()
def plot_edge(
    layer: KANLayer,
    out_index: int,
    in_index: int,
    x: Tensor | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw one edge function phi_ji.

    Args:
        layer: The layer; with a normalization, the curve varies input i alone, the others at 0.
        out_index: j, in [0, out_features).
        in_index: i, in [0, in_features).
        x: Inputs of the layer, shape (..., in_features); drawn as ticks along the axis.
        ax: Where to; a new figure if None.

    Returns:
        The axes.

    Raises:
        ValueError: If an index is out of its range.
    """
    for name, index, size in (
        ("out_index", out_index, layer.out_features),
        ("in_index", in_index, layer.in_features),
    ):
        if not 0 <= index < size:
            raise ValueError(f"{name} must be in [0, {size}), got {index}")
    ax = ax or _new_axes()
    low, high = _domain(layer, in_index)
    t = _around(low, high, layer.coef)
    inputs = t.new_zeros(len(t), layer.in_features)
    inputs[:, in_index] = t
    ax.plot(_numbers(t), _numbers(layer.edges(inputs)[:, out_index, in_index]), color=COLORS[0])
    if x is not None:
        ticks = _numbers(x.reshape(-1, layer.in_features)[:, in_index])
        ax.plot(
            ticks, torch.zeros_like(ticks), "|", color=COLORS[5], transform=ax.get_xaxis_transform()
        )
    _mark_domain(ax, low, high)
    ax.set_xlabel(f"$x_{{{in_index}}}$")
    ax.set_ylabel(rf"$\phi_{{{out_index}{in_index}}}$")
    return ax


@torch.no_grad()
def plot_kan(model: nn.Module, x: Tensor, *, names: list[str] | None = None) -> Figure:
    """Draw a network as a graph: inputs at the bottom, a small plot of its function on each edge.

    Edges are the darker the more they vary over the data, relative to the strongest of
    their layer.

    Args:
        model: A stack of KAN layers, narrow enough to read: at most 64 edges per layer.
        x: Inputs of the model, shape (..., in_features), at least one sample.
        names: Names of the inputs; x_0, x_1, ... if None.

    Returns:
        A new figure.

    Raises:
        ValueError: If a layer has more than 64 edges, or the names do not fit.
    """
    from matplotlib import pyplot as plt

    layers = edge_layers(model)
    widths = [layers[0].in_features, *(layer.out_features for layer in layers)]
    edges = [layer.in_features * layer.out_features for layer in layers]
    if max(edges) > 64:
        raise ValueError(f"model must have at most 64 edges per layer to be drawn, got {edges}")
    names = names or [f"$x_{{{i}}}$" for i in range(widths[0])]
    if len(names) != widths[0]:
        raise ValueError(f"names must have {widths[0]} entries, one per input, got {names}")
    columns = max(*edges, 2)
    size = (max(4.0, min(14.0, 0.75 * columns)), 0.5 + 2.1 * len(layers))
    figure = plt.figure(figsize=size, layout="none")  # axes are placed by hand
    canvas = figure.add_axes((0.02, 0.02, 0.96, 0.96))
    canvas.set(xlim=(0, 1), ylim=(-0.15, len(layers) + 0.15))
    canvas.axis("off")
    inputs, scales = edge_inputs(model, x), edge_scales(model, x)
    for level, (layer, z, scale) in enumerate(zip(layers, inputs, scales, strict=True)):
        strength = (scale / scale.max().clamp(min=torch.finfo(scale.dtype).tiny)).tolist()
        _draw_layer(canvas, level, layer, z, strength)
    for level, width in enumerate(widths):
        canvas.plot([(i + 0.5) / width for i in range(width)], [level] * width, "o", color="black")
    for i, name in enumerate(names):
        canvas.text((i + 0.5) / widths[0], -0.06, name, ha="center", va="top")
    return figure


def _draw_layer(
    canvas: Axes, level: int, layer: KANLayer, z: Tensor, strength: list[list[float]]
) -> None:
    """Lines from the inputs to small plots and on to the outputs of one layer."""
    n, m = layer.in_features, layer.out_features
    z = z.reshape(-1, n)
    size = min(0.8 / (n * m), 0.16)
    for i in range(n):
        for j in range(m):
            place = (i * m + j + 0.5) / (n * m)  # edges that leave one input lie side by side
            alpha = 0.08 + 0.92 * strength[j][i]
            for xs, ys in (
                (((i + 0.5) / n, place), (level, level + 0.36)),
                ((place, (j + 0.5) / m), (level + 0.64, level + 1)),
            ):
                canvas.plot(xs, ys, color="black", alpha=alpha, linewidth=1)
            inset = canvas.inset_axes(
                (place - size / 2, level + 0.36, size, 0.28), transform=canvas.transData
            )
            low, high = z[:, i].min(), z[:, i].max()
            inputs = z.new_zeros(100, n)
            inputs[:, i] = torch.lerp(low, high, torch.linspace(0, 1, 100, device=z.device).to(z))
            phi = layer.edges(inputs)[:, j, i]
            inset.plot(_numbers(inputs[:, i]), _numbers(phi), color=COLORS[0], alpha=alpha)
            inset.set(xticks=[], yticks=[])
            for spine in inset.spines.values():
                spine.set_alpha(alpha)


def _numbers(values: Tensor) -> Tensor:
    return values.cpu().double()  # NumPy knows no bfloat16


def _new_axes() -> Axes:
    from matplotlib import pyplot as plt

    return plt.subplots(figsize=(6, 3.2), layout="constrained")[1]


def _domain(layer: KANLayer, i: int) -> tuple[float, float]:
    low, high = layer.basis.domain
    return (low[i].item(), high[i].item()) if low.dim() else (low.item(), high.item())


def _around(low: float, high: float, like: Tensor) -> Tensor:
    room = 0.15 * (high - low)
    return torch.linspace(low - room, high + room, 601, dtype=like.dtype, device=like.device)


def _mark_domain(ax: Axes, low: float, high: float) -> None:
    for end in (low, high):
        ax.axvline(end, color="0.5", linestyle=":", linewidth=1)
