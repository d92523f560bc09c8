r"""Smaller models: how much each edge and node contributes, and a model without the idle ones.

Attribution runs from the outputs back. Every output has the score 1; a node hands its score to
the edges that feed it, each getting the share that its values vary compared with the node, and
an earlier node collects what its outgoing edges got.

Glossary
    x         inputs of the model, shape (..., in_features)
    E         edge scores of a layer, shape (out, in)
    N         node scores of a layer's inputs, shape (in,)
    s, S      standard deviations over the data of edge functions (out, in), of nodes (out,)
    [j, i]    output j, input i
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor, nn

from kanlite.edges import edge_inputs, edge_layers, edge_values
from kanlite.layers import KAN, KANLayer

__all__ = ["Pruned", "edge_scores", "input_report", "node_scores", "prune"]


class Pruned(NamedTuple):
    """What ``prune(..., drop_inputs=True)`` gives.

    Attributes:
        model: The new model, on fewer inputs.
        kept: Indices of the inputs that it takes, in order: call it on ``x[..., kept]``.
    """

    model: KAN
    kept: list[int]


@torch.no_grad()
def edge_scores(model: KAN, x: Tensor) -> list[Tensor]:
    r"""How much each edge contributes to the outputs, attributed from the outputs back.

    With the standard deviations s of edges and S of nodes over the data,

    .. math:: E_{ji} = N_j \frac{s_{ji}}{S_j}, \qquad N_i = \sum_j E_{ji},

    layer by layer, from N = 1 at the outputs. A node that does not vary has edges of score 0.
    Scores are free of units: scaling an output, or a hidden node, changes none of them.

    Args:
        model: A :class:`~kanlite.KAN`.
        x: Inputs, shape (..., in_features), finite, at least two samples.

    Returns:
        For each layer, E of shape (out_features, in_features), not negative. Those of a node's
        incoming edges sum to its own score at least.

    Raises:
        ValueError: If the model is no KAN, or x has fewer than two samples or is not finite.

    Example:
        >>> import kanlite as kl
        >>> model = kl.KAN([2, 1], kl.BSpline(), generator=torch.Generator().manual_seed(0))
        >>> with torch.no_grad():
        ...     _ = model[0].coef[1].zero_(), model[0].residual_weight[1].zero_()
        >>> [scores.round().tolist() for scores in edge_scores(model, torch.rand(50, 2))]
        [[[1.0, 0.0]]]

    Book: *Reading a network*. Source: Liu et al., KAN 2.0 (2024), arXiv:2408.10205.
    """
    return _scores(model, x)[0]


@torch.no_grad()
def node_scores(model: KAN, x: Tensor) -> list[Tensor]:
    r"""How much each node contributes to the outputs: inputs first, outputs last.

    .. math:: N_i = \sum_j E_{ji},

    with the edge scores E of :func:`edge_scores`; N = 1 for outputs.

    Args:
        model: A :class:`~kanlite.KAN`.
        x: Inputs, shape (..., in_features), finite, at least two samples.

    Returns:
        For each of ``model.widths``, scores of shape (width,). The first holds the importance
        of the inputs.

    Raises:
        ValueError: As for :func:`edge_scores`.

    Example:
        >>> import kanlite as kl
        >>> model = kl.KAN([2, 3, 1], kl.BSpline(), generator=torch.Generator().manual_seed(0))
        >>> [scores.shape for scores in node_scores(model, torch.rand(50, 2))]
        [torch.Size([2]), torch.Size([3]), torch.Size([1])]

    Book: *Reading a network*. Source: as for :func:`edge_scores`.
    """
    return _scores(model, x)[1]


def input_report(model: KAN, x: Tensor, *, names: Sequence[str] | None = None) -> str:
    """The inputs by importance, as text: one line each, the most important first.

    Args:
        model: A :class:`~kanlite.KAN`.
        x: Inputs, shape (..., in_features), finite, at least two samples.
        names: Of the inputs; x1, x2, ... if None.

    Returns:
        Lines of a name, a score of :func:`node_scores` and its share of their sum.

    Raises:
        ValueError: As for :func:`edge_scores`, or if names do not number the inputs.

    Example:
        >>> import kanlite as kl
        >>> model = kl.KAN([2, 1], kl.BSpline(), generator=torch.Generator().manual_seed(0))
        >>> with torch.no_grad():
        ...     _ = model[0].coef[1].zero_(), model[0].residual_weight[1].zero_()
        >>> print(input_report(model, torch.rand(50, 2), names=["force", "noise"]))
        force   1       100.0 %
        noise   0         0.0 %

    Book: *Reading a network*.
    """
    scores = node_scores(model, x)[0]
    names = [f"x{i + 1}" for i in range(len(scores))] if names is None else list(names)
    if len(names) != len(scores):
        raise ValueError(f"names must hold {len(scores)} names, got {len(names)}")
    total = float(scores.sum()) or 1.0
    size = max(map(len, names))
    return "\n".join(
        f"{names[i]:<{size}}   {float(scores[i]):<7.3g} {100 * float(scores[i]) / total:5.1f} %"
        for i in scores.argsort(descending=True, stable=True).tolist()
    )


@overload
def prune(
    model: KAN,
    x: Tensor,
    *,
    edge_threshold: float = ...,
    node_threshold: float = ...,
    drop_inputs: Literal[False] = ...,
) -> KAN: ...


@overload
def prune(
    model: KAN,
    x: Tensor,
    *,
    edge_threshold: float = ...,
    node_threshold: float = ...,
    drop_inputs: Literal[True],
) -> Pruned: ...


@torch.no_grad()
def prune(
    model: KAN,
    x: Tensor,
    *,
    edge_threshold: float = 0.03,
    node_threshold: float = 0.01,
    drop_inputs: bool = False,
) -> KAN | Pruned:
    r"""A new model without the edges and hidden nodes that contribute little.

    Hidden nodes of score at most `node_threshold` go, then edges of score at most
    `edge_threshold`, then hidden nodes that feed nothing any more. What goes leaves its mean
    over the data behind, as a constant in the bias of the layer that it fed,

    .. math:: \phi_{ji}(z_i) \;\to\; \frac1N \sum_s \phi_{ji}(z_i^{(s)}),

    so that removing what does not vary leaves the function unchanged. Every output, and every
    hidden node that stays, keeps its strongest incoming edge, whatever the thresholds say.

    Removed nodes are gone: widths shrink. A removed edge between nodes that stay has zero
    coefficients and a zero residual weight; training the new model further may wake it up.

    Args:
        model: A :class:`~kanlite.KAN`; it is not changed.
        x: Inputs, shape (..., in_features), finite, at least two samples.
        edge_threshold: Largest score of an edge that goes, at least 0.
        node_threshold: Largest score of a hidden node (with `drop_inputs`, of an input too)
            that goes, at least 0.
        drop_inputs: Whether inputs of which no edge is left go too.

    Returns:
        The new model; with `drop_inputs`, a pair of it and the indices of the inputs it takes.

    Raises:
        ValueError: As for :func:`edge_scores`; if a threshold is negative or not finite; or if
            inputs of a layer with `normalize` would go, which changes what it gives the others.

    Example:
        >>> import kanlite as kl
        >>> model = kl.KAN([2, 5, 1], kl.BSpline(), generator=torch.Generator().manual_seed(0))
        >>> with torch.no_grad():
        ...     _ = model[1].coef[2:].zero_(), model[1].residual_weight[2:].zero_()
        >>> prune(model, torch.rand(50, 2)).widths
        (2, 2, 1)

    Book: *Reading a network*. Source: Liu et al., KAN (2024), arXiv:2404.19756, section 2.5.1,
    with the attribution of :func:`edge_scores`, and constants kept.
    """
    for name, value in (("edge_threshold", edge_threshold), ("node_threshold", node_threshold)):
        if not 0.0 <= value < math.inf:
            raise ValueError(f"{name} must be finite and at least 0, got {value}")
    edges, nodes = _scores(model, x)
    first = node_threshold if drop_inputs else -1.0
    floors = [first, *[node_threshold] * (len(edges) - 1), -1.0]
    keep_nodes = [_at_least_one(n > floor, n) for n, floor in zip(nodes, floors, strict=True)]
    keep_edges = _kept_edges(edges, keep_nodes, edge_threshold, drop_inputs)
    means = [phi.flatten(0, -3).mean(0) for phi in edge_values(model, _batch(x))]
    layers = []
    for number, layer in enumerate(edge_layers(model)):
        small = copy.deepcopy(layer)
        _silence_(small, keep_edges[number], means[number])
        _shrink_(small, keep_nodes[number], keep_nodes[number + 1], number)
        layers.append(small)
    pruned = KAN.from_layers(layers).train(model.training)
    return Pruned(pruned, keep_nodes[0].nonzero()[:, 0].tolist()) if drop_inputs else pruned


def _scores(model: KAN, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Edge scores of each layer, node scores of each width."""
    if not isinstance(model, KAN):
        raise ValueError(f"model must be a KAN, got {type(model).__name__}")
    if x.dim() < 1 or x.numel() < 2 * model.widths[0]:
        raise ValueError(f"x must hold at least two samples, got shape {tuple(x.shape)}")
    if not torch.isfinite(x).all():
        raise ValueError("x must be finite, got a NaN or an infinity")
    inputs = edge_inputs(model, _batch(x))
    edges: list[Tensor] = []
    nodes = [inputs[0].new_ones(model.widths[-1])]
    for layer, z in zip(reversed(edge_layers(model)), reversed(inputs), strict=True):
        phi = layer.edges(z)  # (samples, out, in)
        spread, total = phi.std(0, correction=0), phi.sum(-1).std(0, correction=0)
        rounding = torch.finfo(phi.dtype).eps * phi.abs().amax((0, 2)) * phi.shape[-1]
        share = torch.where(total > rounding, nodes[0] / total, 0.0)  # (out,)
        edges.insert(0, share[:, None] * spread)
        nodes.insert(0, edges[0].sum(0))
    return edges, nodes


def _batch(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])


def _at_least_one(keep: Tensor, scores: Tensor) -> Tensor:
    """The same choice, or the strongest where nothing is kept."""
    if not keep.any():
        keep = keep.clone()
        keep[scores.argmax()] = True
    return keep


def _kept_edges(
    edges: list[Tensor], keep_nodes: list[Tensor], threshold: float, drop_inputs: bool
) -> list[Tensor]:
    """Masks (out, in) of the edges that stay; nodes that feed nothing any more leave keep_nodes."""
    kept: list[Tensor] = []
    for number in reversed(range(len(edges))):
        between = keep_nodes[number + 1][:, None] & keep_nodes[number]  # (out, in)
        stay = between & (edges[number] > threshold)
        strongest = edges[number].where(between, -1.0).argmax(1)  # (out,)
        lonely = keep_nodes[number + 1] & ~stay.any(1)
        stay[lonely.nonzero()[:, 0], strongest[lonely]] = True
        if number > 0 or drop_inputs:
            keep_nodes[number] = stay.any(0)
        kept.insert(0, stay)
    return kept


def _silence_(layer: KANLayer, keep: Tensor, means: Tensor) -> None:
    """Zero the edges that go, and put their means (out, in) into the bias."""
    if keep.all():
        return
    left = torch.where(keep, 0.0, means).sum(1)  # (out,)
    if layer.bias is None:
        layer.bias = nn.Parameter(torch.zeros_like(layer.coef[0, 0]))
    layer.bias.add_(left.to(layer.bias.dtype))
    layer.coef.mul_(keep.T[:, None])  # (in, 1, out)
    if layer.residual_weight is not None:
        layer.residual_weight.mul_(keep.T)


def _shrink_(layer: KANLayer, keep_in: Tensor, keep_out: Tensor, number: int) -> None:
    """Cut the inputs and outputs that go out of a layer."""
    rows, columns = (keep.nonzero()[:, 0] for keep in (keep_in, keep_out))
    if not keep_in.all():
        if layer.normalize is not None:
            raise ValueError(
                f"model must not normalize the inputs of layer {number} where some of them go: "
                "use node_threshold=0.0 and edge_threshold=0.0"
            )
        layer.basis = layer.basis.select(rows)
    trained = layer.coef.requires_grad
    layer.coef = nn.Parameter(layer.coef[rows][:, :, columns].clone(), requires_grad=trained)
    if layer.residual_weight is not None:
        layer.residual_weight = nn.Parameter(layer.residual_weight[rows][:, columns].clone())
    if layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias[columns].clone())
    layer.in_features, layer.out_features = len(rows), len(columns)
