r"""The matrix of a Gauss-Newton step for a network of KAN layers, without its Jacobian.

A KAN layer is linear in its parameters. With what multiplies them for sample s, basis values
:math:`B_m(x_i)`, the residual branch's b(x_i) and 1 for the bias, in one row :math:`E_s`, and with
the derivative :math:`S_s` of the residuals by the layer's outputs, which backpropagation brings,

.. math:: J_{(s,q),\,(f,o)} = E_{sf}\, S_{sqo}.

Of two layers, the block of :math:`J^\top J` is therefore

.. math:: A_{(f,o),\,(f',o')} = \sum_s E_{sf}\, \Big(\sum_q S_{sqo} S'_{sqo'}\Big) E'_{sf'},

and a row of E has no more than k + 1 numbers per input that are not zero: the sum over s, with
everything to the right of :math:`E_{sf}` as its "outputs", is the weight gradient of a layer, for
which :mod:`kanlite.kernels` has local support. With n inputs, m outputs and P parameters in a
layer, the sums over N samples take about

.. math:: N (k + 2) \sum_\ell n_\ell m_\ell
          \Big(\tfrac{1}{2} P_\ell + \sum_{\ell' > \ell} P_{\ell'}\Big)

multiply-adds, which grow like the number of intervals; with J in memory they are
:math:`N q \big(\sum_\ell P_\ell\big)^2`, which grow like its square.

Glossary
    N, q      samples in a chunk, residuals per sample
    E         features of a layer, shape (N, F)
    S         derivatives of the residuals by its outputs, shape (N, q, m)
    P         number of parameters, of a layer or of all
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

from kanlite import kernels
from kanlite.layers import KANLayer

__all__ = ["LayerJacobian", "layer_jacobians", "normal_equations"]


@dataclass
class LayerJacobian:
    """A layer's part of J as its two factors, in float64.

    Attributes:
        layer: The layer.
        x: What its basis sees, shape (N, in).
        features: E, shape (N, F), of the parameters that are trained, in the order coefficients,
            residual weights, bias.
        slopes: S, shape (N, q, out).
        has_silu: Whether the features after those of the coefficients are SiLU of x.
    """

    layer: KANLayer
    x: Tensor
    features: Tensor
    slopes: Tensor
    has_silu: bool

    @property
    def size(self) -> int:
        """Number of parameters, F * out."""
        return self.features.shape[1] * self.slopes.shape[2]

    def sums(self, g: Tensor, out: Tensor) -> None:
        """Write E^T g into out: g of shape (N, *M), out of shape (F, *M)."""
        flat, coef = g.flatten(1), self.layer.coef
        found = None
        if coef.requires_grad:
            found = kernels.sums(self.layer.basis, self.x, flat, with_silu=self.has_silu)
        if found is None:
            out.copy_((self.features.T @ flat).view_as(out))
            return
        parts = [part.flatten(end_dim=-2) for part in found if part is not None]
        start = 0
        for part in parts:
            out[start : start + len(part)] = part.view(-1, *out.shape[1:])
            start += len(part)
        if start < len(out):
            out[start:] = (self.features[:, start:].T @ flat).view_as(out[start:])

    def dense(self) -> Tensor:
        """The part itself, shape (N, q, F * out)."""
        return torch.einsum("sf,sqo->sqfo", self.features, self.slopes).flatten(2)


def layer_jacobians(
    model: nn.Module,
    layers: list[KANLayer],
    x: Tensor,
    scale: Tensor,
    difference: Callable[[Tensor], Tensor],
) -> tuple[Tensor, list[LayerJacobian]] | None:
    """Residuals at x, and the Jacobian as its factors.

    Args:
        model: Computes predictions from x, sample by sample.
        layers: Its KAN layers, which hold all parameters that are trained.
        x: Inputs, shape (N, ...).
        scale: What each sample's residuals are multiplied by, float64, shape (N,).
        difference: Residuals (N, q) from predictions, with derivative 1.

    Returns:
        Scaled residuals in float64, shape (N, q), and the factors of each layer; None if a
        layer does not run just once.
    """
    seen: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {layer: [] for layer in layers}
    handles = [
        layer.register_forward_hook(lambda layer, args, y: seen[layer].append((args[0], y)))
        for layer in layers
    ]
    try:
        prediction = model(x)
    finally:
        for handle in handles:
            handle.remove()
    if any(len(runs) != 1 for runs in seen.values()):
        return None
    outputs = [seen[layer][0][1] for layer in layers]
    columns = prediction.reshape(len(x), -1).unbind(1)
    slopes = [  # for each residual, its derivative by every layer's output (N, out)
        torch.autograd.grad(column.sum(), outputs, retain_graph=True) for column in columns
    ]
    scale = scale.to(prediction.device)
    blocks = []
    with torch.no_grad():
        for number, layer in enumerate(layers):
            slope = torch.stack([by_layer[number] for by_layer in slopes], 1).double()
            z = seen[layer][0][0].detach()
            blocks.append(_factors(layer, z, slope * scale[:, None, None]))
        return difference(prediction.detach()).double() * scale[:, None], blocks


def _factors(layer: KANLayer, z: Tensor, slopes: Tensor) -> LayerJacobian:
    x = (z if layer.normalize is None else layer.normalize(z)).double()
    values, parts = kernels.values(layer.basis, x), []
    if values is None:
        values = layer.basis(x)
    if layer.coef.requires_grad:
        parts.append(values.flatten(1))
    residual, weight = layer.branch, layer.residual_weight
    trained = residual is not None and weight is not None and weight.requires_grad
    if residual is not None and trained:
        parts.append(residual(z.double()))
    if layer.bias is not None and layer.bias.requires_grad:
        parts.append(x.new_ones(len(z), 1))
    made = torch.cat(parts, 1) if parts else x.new_empty(len(z), 0)
    silu = trained and residual is nnf.silu and layer.normalize is None
    return LayerJacobian(layer, x, made, slopes, silu)


def normal_equations(residuals: Tensor, blocks: list[LayerJacobian]) -> tuple[Tensor, Tensor]:
    """J^T J, shape (P, P), and J^T r, shape (P,).

    Args:
        residuals: r, shape (N, q).
        blocks: The layers' factors of J, in the order of the parameters.

    Returns:
        The two sums over all samples and residuals, in float64.

    Example:
        >>> import kanlite as kl
        >>> model, x = kl.KAN([1, 1], kl.BSpline()), torch.linspace(-1, 1, 20).reshape(20, 1)
        >>> found = layer_jacobians(model, list(model), x, torch.ones(20), lambda y: y - x)
        >>> a, g = normal_equations(*found)
        >>> a.shape, g.shape
        (torch.Size([9, 9]), torch.Size([9]))

    Book: *Training a KAN*.
    """
    ends = list(itertools.accumulate(block.size for block in blocks))
    places = [slice(end - block.size, end) for end, block in zip(ends, blocks, strict=True)]
    a = residuals.new_zeros(ends[-1], ends[-1])
    g = residuals.new_zeros(ends[-1])
    for number, (row, place) in enumerate(zip(blocks, places, strict=True)):
        back = torch.einsum("sqo,sq->so", row.slopes, residuals)  # what a backward pass brings
        row.sums(back, g[place].view(-1, back.shape[1]))
        _add_diagonal_block(a[place, place], row)
        for other, across in zip(blocks[number + 1 :], places[number + 1 :], strict=True):
            _add_block(a[place, across], row, other)
            a[across, place] = a[place, across].T
    return a, g


def _add_diagonal_block(a: Tensor, layer: LayerJacobian) -> None:
    """A layer with itself: every pair of outputs once."""
    f, m = layer.features.shape[1], layer.slopes.shape[2]
    view = a.view(f, m, f, m).transpose(2, 3)  # (f, o, o', f')
    pairs = torch.einsum("sqo,sqp->sop", layer.slopes, layer.slopes)
    for o in range(m):
        layer.sums(pairs[:, o, o:, None] * layer.features[:, None], view[:, o, o:])
        view[:, o + 1 :, o] = view[:, o, o + 1 :].transpose(0, 2)


def _add_block(a: Tensor, layer: LayerJacobian, other: LayerJacobian) -> None:
    """Two layers: each output of the first with all of the second."""
    (f, m), (h, p) = ((block.features.shape[1], block.slopes.shape[2]) for block in (layer, other))
    view = a.view(f, m, h, p).transpose(2, 3)  # (f, o, o', f')
    pairs = torch.einsum("sqo,sqp->sop", layer.slopes, other.slopes)
    for o in range(m):
        layer.sums(pairs[:, o, :, None] * other.features[:, None], view[:, o])
