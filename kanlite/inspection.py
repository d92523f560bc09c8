"""What a model is, in words and numbers."""

from __future__ import annotations

from torch import Tensor, nn

from kanlite import kernels
from kanlite.edges import edge_inputs, edge_layers
from kanlite.layers import KANLayer

__all__ = ["explain"]


def explain(model: nn.Module, x: Tensor | None = None) -> str:
    """Describe a model: its formula, shapes, parameters, and the path that computes it.

    Args:
        model: Any module with KAN layers.
        x: Inputs of the model, shape (..., in_features); with them, the text also tells
            which share of each layer's inputs falls off its basis's domain.

    Returns:
        A text of a few lines.

    Raises:
        ValueError: If the model has no KAN layer, or one of them does not run exactly once on x.

    Example:
        >>> import kanlite as kl
        >>> with kl.kernels.use("torch"):
        ...     print(explain(kl.KAN([2, 1], kl.BSpline())))
        KAN with 1 KAN layer, 2 edges and 18 parameters (float32, cpu)
        y_j = sum_i phi_ji(x_i),  phi(x) = sum_g c_g B_g(x) + r b(x)
        layer 0: 2 -> 1, 2 edges, 18 parameters
          basis: BSpline(num_intervals=5, degree=3, [-1, 1], extrapolate='linear')
          residual b: silu
          path: torch (chosen)
    """
    layers = edge_layers(model)
    weight = next(model.parameters())
    edges = sum(layer.in_features * layer.out_features for layer in layers)
    plural = "layer" if len(layers) == 1 else "layers"
    lines = [
        f"{type(model).__name__} with {len(layers)} KAN {plural}, {edges} edges and "
        f"{_count(model)} parameters ({str(weight.dtype).removeprefix('torch.')}, {weight.device})",
        "y_j = sum_i phi_ji(x_i),  phi(x) = sum_g c_g B_g(x) + r b(x)",
    ]
    inputs = [None] * len(layers) if x is None else edge_inputs(model, x)
    for number, (layer, z) in enumerate(zip(layers, inputs, strict=True)):
        lines += [f"layer {number}: {_sizes(layer)}", *(f"  {line}" for line in _parts(layer))]
        sample = layer.basis.low.new_zeros(1, layer.in_features) if z is None else z
        lines.append(f"  path: {kernels.path(layer, sample)}")
        if z is not None:
            share = layer.off_domain(z)
            lines.append(
                f"  off the domain: {share.mean():.2%} of its inputs "
                f"(at most {share.max():.2%}, input {int(share.argmax())})"
            )
    return "\n".join(lines)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _sizes(layer: KANLayer) -> str:
    n, m = layer.in_features, layer.out_features
    return f"{n} -> {m}, {n * m} edges, {_count(layer)} parameters"


def _parts(layer: KANLayer) -> list[str]:
    residual = layer.residual if isinstance(layer.residual, str | None) else "custom"
    parts = [f"basis: {layer.basis}", f"residual b: {residual or 'none'}"]
    if layer.normalize is not None:
        parts.append(f"normalization before the basis: {layer.normalize}")
    return parts
