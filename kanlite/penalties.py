r"""Penalties that make edge functions small, few or smooth.

All are functions of *edge scales*, the standard deviations of the edge functions over the data.
An edge function is linear in its parameters, :math:`\phi_{ji} = \theta_{ij}^\top F_i`, so its
variance is a quadratic form in the covariance of the features of input i,

.. math:: s_{ji}^2 = \theta_{ij}^\top C_i\, \theta_{ij}, \qquad C_i = \mathrm{Cov}\, F(x_i),

and no tensor of size (batch, out, in) is ever made.

Glossary
    F         features of a layer: basis values and the residual, shape (batch, in, N)
    theta     coef and residual_weight stacked, shape (in, N, out)
    C         covariance of the features, shape (in, N, N)
    s         edge scales, shape (out, in)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kanlite.edges import edge_inputs, edge_layers, roughness
from kanlite.layers import KANLayer

__all__ = ["Penalty", "entropy", "magnitude", "sampled_scales", "smoothness"]


@dataclass(frozen=True)
class Penalty:
    r"""A weighted sum of penalties, for ``kl.fit(..., penalty=...)``.

    .. math:: R = \lambda_m \sum_{\text{layers}} \sum_{ji} s_{ji}
                + \lambda_e \sum_{\text{layers}} H(s)
                + \lambda_s \sum_{\text{edges}} \text{roughness}.

    Args:
        magnitude: :math:`\lambda_m`, at least 0; weight of :func:`magnitude`.
        entropy: :math:`\lambda_e`, at least 0; weight of :func:`entropy`.
        smoothness: :math:`\lambda_s`, at least 0; weight of :func:`smoothness`.

    Raises:
        ValueError: If a weight is negative or not finite.

    Example:
        >>> import kanlite as kl
        >>> model = kl.KAN([2, 3, 1], kl.BSpline(), generator=torch.Generator().manual_seed(0))
        >>> penalty = Penalty(magnitude=1e-3, entropy=2e-3)
        >>> bool(penalty(model, torch.rand(50, 2)) > 0)
        True

    Book: its own chapter, *Reading a network*, is to come. Source: Liu et al., KAN (2024),
    arXiv:2404.19756, section 2.5.1, with standard deviations in place of mean absolute values.
    """

    magnitude: float = 0.0
    entropy: float = 0.0
    smoothness: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0.0 <= value < math.inf:
                raise ValueError(f"{name} must be finite and at least 0, got {value}")

    def __call__(self, model: nn.Module, x: Tensor) -> Tensor:
        """R of a model on inputs x of shape (samples, in_features): a scalar with a gradient."""
        total = next(model.parameters()).new_zeros(())
        if self.magnitude or self.entropy:
            for scales in sampled_scales(model, x):
                total = total + self.magnitude * magnitude(scales)
                total = total + self.entropy * entropy(scales)
        if self.smoothness:
            for layer in edge_layers(model):
                total = total + self.smoothness * smoothness(layer)
        return total


def sampled_scales(model: nn.Module, x: Tensor) -> list[Tensor]:
    """Standard deviations of all edge functions over the data, with gradients.

    The same numbers as :func:`kanlite.edge_scales`, without a (batch, out, in) tensor.

    Args:
        model: Any module with KAN layers, each of which runs once.
        x: Inputs of the model, shape (..., in_features), at least one sample.

    Returns:
        For each layer, shape (out_features, in_features), not negative.
    """
    inputs = edge_inputs(model, x)
    return [_scales(layer, z) for layer, z in zip(edge_layers(model), inputs, strict=True)]


def magnitude(scales: Tensor) -> Tensor:
    """Sum of the edge scales of a layer, (out, in) -> ()."""
    return scales.sum()


def entropy(scales: Tensor) -> Tensor:
    r"""Entropy of a layer's edge scales as a distribution, :math:`-\sum p \log p`, in nats.

    Args:
        scales: Shape (out, in), not negative.

    Returns:
        A scalar in [0, log(out * in)]: 0 if one edge has everything (or nothing varies at all),
        largest if all edges are alike.
    """
    p = scales / scales.sum().clamp(min=torch.finfo(scales.dtype).tiny)
    floor = torch.finfo(scales.dtype).tiny  # the derivative of p log p is infinite at 0
    value: Tensor = torch.special.entr(p.clamp(min=floor)).sum()
    return value


def smoothness(layer: KANLayer) -> Tensor:
    r"""Sum over a layer's edges of the mean squared curvature of their splines.

    .. math:: \sum_{ij} c_{ij}^\top R_i\, c_{ij},

    with the matrix R of :func:`kanlite.edges.roughness`: second derivatives in units of the
    domain. The residual branch is not penalized.

    Args:
        layer: The layer.

    Returns:
        A scalar, at least 0: 0 for straight lines.
    """
    gram = roughness(layer).to(layer.coef)
    return torch.einsum("igo,igh,iho->", layer.coef, gram, layer.coef)


def _scales(layer: KANLayer, z: Tensor) -> Tensor:
    features = layer.features(z.reshape(-1, layer.in_features))  # (samples, in, N)
    centered = features - features.mean(0)
    covariance = torch.einsum("sif,sih->ifh", centered, centered) / len(features)  # (in, N, N)
    theta: Tensor = layer.coef
    if layer.residual_weight is not None:
        theta = torch.cat([theta, layer.residual_weight.unsqueeze(1)], 1)  # (in, N, out)
    variance = torch.einsum("ifo,ifh,iho->oi", theta, covariance, theta)
    # The root has no derivative at 0, and rounding can leave a variance just below it.
    floor = torch.finfo(variance.dtype).tiny
    return torch.where(variance > floor, variance.clamp(min=floor).sqrt(), 0 * variance)
