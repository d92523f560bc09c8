r"""Published networks, exactly, built from the parts of kanlite; and their weights, imported.

Every constructor gives a plain :class:`~kanlite.KAN`: what the publications call different
networks are choices of a basis, a residual, a normalization and a first draw of the weights. The
draws are the published ones. Where a publication multiplies its splines by a separate scale, the
scale is multiplied into the coefficients, with which it is redundant.

An importer takes the `state_dict` of a trained model and gives a network with the same outputs,
or refuses, by name, what it cannot represent.

Glossary
    n, m      in_features, out_features of a layer
    G, k      number of intervals and degree of its B-splines
    c, r      coef (n, num_basis, m) and residual_weight (n, m)
"""

from __future__ import annotations

import functools
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kanlite.bases import Basis, BSpline
from kanlite.bspline import bspline_basis
from kanlite.edges import edge_layers
from kanlite.layers import KAN, KANLayer
from kanlite.other_bases import Chebyshev, Fourier, GaussianRBF, ReflectionalSwitch

__all__ = [
    "Multiply",
    "cheby_kan",
    "efficient_kan",
    "fast_kan",
    "faster_kan",
    "fourier_kan",
    "from_efficient_kan",
    "from_fast_kan",
    "from_pykan",
    "paper_kan",
]

State = Mapping[str, Tensor]
Function = Callable[[Tensor], Tensor]

# Keys of a layer's tensors in the state_dicts of others: the first two of FastKAN are needed.
_EFFICIENT = ("base_weight", "spline_weight", "grid")
_FAST = (
    "rbf.grid",
    "spline_linear.weight",
    "layernorm.weight",
    "layernorm.bias",
    "base_linear.weight",
    "base_linear.bias",
)
_PYKAN = ("grid", "coef", "scale_base", "scale_sp", "mask")
_PYKAN_OTHER = re.compile(
    r"(symbolic_fun\.(?P<symbolic>\d+)\.(mask|affine)|(sub)?node_(bias|scale)_(?P<node>\d+))"
)


# Constructors ----------------------------------------------------------------------------------


def paper_kan(
    widths: Sequence[int],
    num_intervals: int = 3,
    degree: int = 3,
    low: float = -1.0,
    high: float = 1.0,
    *,
    noise: float = 0.3,
    generator: torch.Generator | None = None,
) -> KAN:
    r"""The KAN paper's network with the first weights of its code, pykan.

    .. math:: \phi_{ji}(x) = r_{ij}\, \mathrm{silu}(x) + \sum_g c_{igj} B_g(x), \qquad
              r \sim U(-1, 1) / \sqrt n,

    and c is :math:`1/\sqrt n` times the smallest coefficients whose spline meets values from
    U(-s/2G, s/2G) at the G + 1 breakpoints. The splines fade to zero off their domain.

    Args:
        widths: Numbers of units, [inputs, hidden..., outputs].
        num_intervals: G, at least 1.
        degree: k, at least 0.
        low: Left end of the domain.
        high: Right end of the domain.
        noise: s, not negative.
        generator: For the draw; PyTorch's global one if None.

    Returns:
        The network.

    Raises:
        ValueError: Naming the argument, the rule and the value.

    Example:
        >>> model = paper_kan([2, 5, 1], generator=torch.Generator().manual_seed(0))
        >>> model(torch.zeros(4, 2)).shape
        torch.Size([4, 1])

    Source: Liu et al., KAN (2024), arXiv:2404.19756; github.com/KindXiaoming/pykan.
    """
    basis = BSpline(num_intervals, degree, low, high, extrapolate="natural")
    return _spline_kan(widths, basis, noise, generator, random_scale=False)


def efficient_kan(
    widths: Sequence[int],
    num_intervals: int = 5,
    degree: int = 3,
    low: float = -1.0,
    high: float = 1.0,
    *,
    noise: float = 0.1,
    generator: torch.Generator | None = None,
) -> KAN:
    r"""The network of efficient-kan, with its first weights.

    .. math:: y_j = \sum_i \Big( r_{ij}\, \mathrm{silu}(x_i)
                  + s_{ji} \sum_g w_{jig} B_g(x_i) \Big), \qquad c_{igj} = s_{ji} w_{jig},

    with r and s from :math:`U(-1, 1) / \sqrt n`, and w the smallest coefficients whose spline
    meets values from U(-a/2G, a/2G) at the G + 1 breakpoints. The splines fade to zero off their
    domain.

    Args:
        widths: Numbers of units, [inputs, hidden..., outputs].
        num_intervals: G, at least 1.
        degree: k, at least 0.
        low: Left end of the domain.
        high: Right end of the domain.
        noise: a, not negative.
        generator: For the draw; PyTorch's global one if None.

    Returns:
        The network.

    Raises:
        ValueError: Naming the argument, the rule and the value.

    Example:
        >>> efficient_kan([2, 3])[0].basis
        BSpline(num_intervals=5, degree=3, [-1, 1], extrapolate='natural')

    Source: github.com/Blealtan/efficient-kan.
    """
    basis = BSpline(num_intervals, degree, low, high, extrapolate="natural")
    return _spline_kan(widths, basis, noise, generator, random_scale=True)


@torch.no_grad()
def fast_kan(
    widths: Sequence[int],
    num_basis: int = 8,
    low: float = -2.0,
    high: float = 2.0,
    *,
    generator: torch.Generator | None = None,
) -> KAN:
    r"""FastKAN: Gaussian bumps of what LayerNorm leaves, and a linear map of silu.

    .. math:: y_j = \sum_{i, g} c_{igj} \exp\!\Big(-\Big(\frac{\nu(x)_i - u_g}{w}\Big)^2\Big)
                  + \sum_i r_{ij}\, \mathrm{silu}(x_i) + a_j,

    with :math:`\nu` LayerNorm with its own weight and bias, for the bumps alone. First weights:
    c from N(0, 0.1^2) (published as cut off at 20 standard deviations, which never happens), r and
    a from :math:`U(-1, 1) / \sqrt n`.

    LayerNorm sees no difference between inputs that differ by a constant added to all features,
    or by a factor. It leaves only -1 and 1 of two features, and nothing of one, which is refused.

    Args:
        widths: Numbers of units, [inputs, hidden..., outputs]; all but the last at least 2.
        num_basis: Number of centers, at least 2.
        low: The first center.
        high: The last center.
        generator: For the draw; PyTorch's global one if None.

    Returns:
        The network.

    Raises:
        ValueError: Naming the argument, the rule and the value.

    Example:
        >>> fast_kan([2, 3])[0].basis
        GaussianRBF(num_basis=8, [-2, 2], width=0.5714)

    Source: Li, Kolmogorov-Arnold networks are radial basis function networks (2024),
    arXiv:2405.06721; github.com/ZiyaoLi/fast-kan.
    """
    _check_normalized(widths)
    basis = GaussianRBF(num_basis, low, high)
    model = KAN(widths, basis, bias=True, normalize=nn.LayerNorm, generator=generator)
    for layer in edge_layers(model):
        bound = 1 / math.sqrt(layer.in_features)
        layer.coef.normal_(0.0, 0.1, generator=generator)
        _fill_uniform(layer.residual_weight, bound, generator)
        _fill_uniform(layer.bias, bound, generator)
    return model


@torch.no_grad()
def faster_kan(
    widths: Sequence[int],
    num_basis: int = 8,
    low: float = -1.2,
    high: float = 1.2,
    *,
    generator: torch.Generator | None = None,
) -> KAN:
    r"""FasterKAN: reflectional switches of what LayerNorm leaves, and nothing else.

    .. math:: y_j = \sum_{i, g} c_{igj} \big(1 - \tanh^2(\nu(x)_i - u_g)\big),

    with :math:`\nu` LayerNorm with its own weight and bias; c is Xavier-uniform for the n
    num_basis inputs of the linear map. The gradients are those of this function, which the
    published code's are not.

    All inputs pass through LayerNorm. So the network cannot see a constant added to all features,
    nor a factor: it cannot learn x1 + x2. LayerNorm leaves only -1 and 1 of two features, and
    nothing of one, which is refused.

    Args:
        widths: Numbers of units, [inputs, hidden..., outputs]; all but the last at least 2.
        num_basis: Number of centers, at least 2.
        low: The first center.
        high: The last center (0.2 in the published layer's own defaults, 1.2 in its network).
        generator: For the draw; PyTorch's global one if None.

    Returns:
        The network.

    Raises:
        ValueError: Naming the argument, the rule and the value.

    Example:
        >>> faster_kan([2, 3])[0].basis
        ReflectionalSwitch(num_basis=8, [-1.2, 1.2], width=1)

    Source: github.com/AthanasiosDelis/faster-kan.
    """
    _check_normalized(widths)
    basis = ReflectionalSwitch(num_basis, low, high)
    model = KAN(widths, basis, residual=None, normalize=nn.LayerNorm, generator=generator)
    for layer in edge_layers(model):
        fans = layer.in_features * num_basis + layer.out_features
        _fill_uniform(layer.coef, math.sqrt(6 / fans), generator)
    return model


@torch.no_grad()
def cheby_kan(
    widths: Sequence[int], degree: int = 4, *, generator: torch.Generator | None = None
) -> KAN:
    r"""ChebyKAN: Chebyshev polynomials of the hyperbolic tangent.

    .. math:: y_j = \sum_i \sum_{d=0}^{D} c_{idj}\, T_d(\tanh x_i),

    with first weights from N(0, 1/(n (D + 1))^2).

    Args:
        widths: Numbers of units, [inputs, hidden..., outputs].
        degree: D, at least 0.
        generator: For the draw; PyTorch's global one if None.

    Returns:
        The network.

    Raises:
        ValueError: Naming the argument, the rule and the value.

    Example:
        >>> cheby_kan([2, 3], degree=4)[0].coef.shape
        torch.Size([2, 5, 3])

    Source: Sidharth et al., Chebyshev polynomial-based Kolmogorov-Arnold networks (2024),
    arXiv:2405.07200; github.com/SynodicMonth/ChebyKAN.
    """
    model = KAN(widths, Chebyshev(degree), residual=None, generator=generator)
    for layer in edge_layers(model):
        std = 1 / (layer.in_features * (degree + 1))
        layer.coef.normal_(0.0, std, generator=generator)
    return model


@torch.no_grad()
def fourier_kan(
    widths: Sequence[int],
    num_frequencies: int = 5,
    *,
    bias: bool = True,
    generator: torch.Generator | None = None,
) -> KAN:
    r"""FourierKAN: cosines and sines.

    .. math:: y_j = \sum_i \sum_{k=1}^{K} \big( c_{i,k-1,j} \cos k x_i
                  + c_{i,K+k-1,j} \sin k x_i \big) + a_j,

    with first weights from N(0, 1/(n K)) (a variance), and a = 0.

    Args:
        widths: Numbers of units, [inputs, hidden..., outputs].
        num_frequencies: K, at least 1.
        bias: Whether there is a constant a.
        generator: For the draw; PyTorch's global one if None.

    Returns:
        The network.

    Raises:
        ValueError: Naming the argument, the rule and the value.

    Example:
        >>> fourier_kan([2, 3], num_frequencies=4)[0].coef.shape
        torch.Size([2, 8, 3])

    Source: github.com/GistNoesis/FourierKAN.
    """
    basis = Fourier(num_frequencies)
    model = KAN(widths, basis, residual=None, bias=bias, generator=generator)
    for layer in edge_layers(model):
        std = 1 / math.sqrt(layer.in_features * num_frequencies)
        layer.coef.normal_(0.0, std, generator=generator)
    return model


# Multiplication nodes --------------------------------------------------------------------------


class Multiply(nn.Module):
    r"""Multiplication nodes between KAN layers: sums pass, groups of neighbors are multiplied.

    .. math:: y = \Big( x_1, \dots, x_s,\; \prod_{i=1}^{a} x_{s+i},\;
              \prod_{i=1}^{a} x_{s+a+i},\; \dots \Big).

    With KAN layers around it in an nn.Sequential this is a MultKAN: the layer before has
    ``in_features`` outputs (the paper's subnodes), the layer after ``out_features`` inputs (its
    nodes). It has no parameters.

    Args:
        num_sum: s, the number of inputs that pass unchanged, at least 0.
        num_product: The number of products, at least 0, one node at least in all.
        arity: a, the number of factors of a product, at least 1; or one number for each product.

    Shape:
        (..., in_features) -> (..., out_features).

    Attributes:
        in_features: num_sum plus the number of all factors.
        out_features: num_sum + num_product.
        arity: The number of factors of each product, a tuple.

    Raises:
        ValueError: Naming the argument, the rule and the value.

    Example:
        >>> Multiply(num_sum=1, num_product=2)(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]))
        tensor([ 1.,  6., 20.])
        >>> from kanlite import BSpline, KANLayer
        >>> before, after = KANLayer(2, 6, BSpline()), KANLayer(4, 1, BSpline())
        >>> model = nn.Sequential(before, Multiply(num_sum=2, num_product=2), after)
        >>> model(torch.zeros(7, 2)).shape
        torch.Size([7, 1])

    Source: Liu et al., KAN 2.0 (2024), arXiv:2408.10205.
    """

    def __init__(self, num_sum: int, num_product: int, arity: int | Sequence[int] = 2) -> None:
        super().__init__()
        if num_sum < 0 or num_product < 0 or num_sum + num_product == 0:
            raise ValueError(
                "num_sum and num_product must be at least 0 and not both 0, "
                f"got {num_sum} and {num_product}"
            )
        self.arity = (arity,) * num_product if isinstance(arity, int) else tuple(arity)
        if len(self.arity) != num_product or any(factors < 1 for factors in self.arity):
            raise ValueError(
                f"arity must be at least 1, a number or one for each of {num_product} products, "
                f"got {arity}"
            )
        self.num_sum = num_sum
        self.in_features = num_sum + sum(self.arity)
        self.out_features = num_sum + num_product

    def forward(self, x: Tensor) -> Tensor:
        """Sums and products: (..., in_features) -> (..., out_features)."""
        if x.dim() == 0 or x.shape[-1] != self.in_features:
            raise ValueError(
                f"x must have last dimension in_features = {self.in_features}, "
                f"got shape {tuple(x.shape)}"
            )
        passed, *groups = torch.split(x, [self.num_sum, *self.arity], dim=-1)
        products = [functools.reduce(operator.mul, group.unbind(-1)) for group in groups]
        return torch.cat([passed, *(product.unsqueeze(-1) for product in products)], dim=-1)

    def extra_repr(self) -> str:
        """Numbers of nodes and factors, for ``print(model)``."""
        return f"num_sum={self.num_sum}, num_product={len(self.arity)}, arity={self.arity}"


# Importers -------------------------------------------------------------------------------------


def from_efficient_kan(state_dict: State, *, residual: str | Function = "silu") -> KAN:
    """A network with the outputs of a trained efficient-kan model.

    Its separate spline scales are multiplied into the coefficients; its knots are kept, one
    vector per feature.

    Args:
        state_dict: Of efficient-kan's ``KAN``: keys ``layers.0.base_weight``, ``spline_weight``,
            ``grid`` and, if the scales stand alone, ``spline_scaler``.
        residual: The name of its base activation, which a state_dict does not tell.

    Returns:
        The network, in the dtype of the weights and on their device.

    Raises:
        ValueError: Naming what is missing, unknown, or of the wrong shape.

    Example:
        ``model = from_efficient_kan(torch.load("weights.pt", weights_only=True))``

    Source: github.com/Blealtan/efficient-kan.
    """
    layers = []
    for part in _parts(state_dict, "layers", _EFFICIENT, ("spline_scaler",)):
        weight = part.get("spline_weight", "m", "n", "num_basis")
        m, n, num_basis = weight.shape
        scale = part.get("spline_scaler", m, n, default=weight.new_ones(m, n))
        layers.append(
            _layer(
                _splines(part, n, num_basis),
                (weight * scale.unsqueeze(-1)).permute(1, 2, 0),
                residual=residual,
                residual_weight=part.get("base_weight", m, n).T,
            )
        )
    return KAN.from_layers(layers)


def from_fast_kan(
    state_dict: State, *, width: float | None = None, residual: str | Function = "silu"
) -> KAN:
    """A network with the outputs of a trained FastKAN model.

    Layers without LayerNorm (``use_layernorm=False``) or without the base branch
    (``use_base_update=False``) are known by the keys that they lack.

    Args:
        state_dict: Of FastKAN: keys ``layers.0.rbf.grid``, ``spline_linear.weight`` and, where
            there, ``layernorm.weight`` and ``.bias``, ``base_linear.weight`` and ``.bias``.
        width: The published ``denominator``, which a state_dict does not tell; the distance
            between neighboring centers if None, as is published.
        residual: The name of its base activation, likewise.

    Returns:
        The network, in the dtype of the weights and on their device.

    Raises:
        ValueError: Naming what is missing, unknown, or of the wrong shape.

    Example:
        ``model = from_fast_kan(torch.load("weights.pt", weights_only=True))``

    Source: github.com/ZiyaoLi/fast-kan.
    """
    layers = []
    for part in _parts(state_dict, "layers", _FAST[:2], _FAST[2:]):
        centers = part.get("rbf.grid", "num_basis")
        weight = part.get("spline_linear.weight", "m", "n * num_basis")
        if weight.shape[1] % len(centers):
            raise ValueError(
                f"{part.name}spline_linear.weight must have a multiple of {len(centers)} columns, "
                f"one for each center and feature, got {weight.shape[1]}"
            )
        m, n = len(weight), weight.shape[1] // len(centers)
        scale, shift = part.pair("layernorm", (n,), (n,))
        base, bias = part.pair("base_linear", (m, n), (m,))
        norm = None
        if scale is not None and shift is not None:
            norm = nn.LayerNorm(n)
            norm.weight, norm.bias = _parameter(scale), _parameter(shift)
        layers.append(
            _layer(
                GaussianRBF(centers=centers, width=width),
                weight.reshape(m, n, -1).permute(1, 2, 0),
                residual=residual,
                residual_weight=None if base is None else base.T,
                bias=bias,
                normalize=norm,
            )
        )
    return KAN.from_layers(layers)


def from_pykan(state_dict: State, *, residual: str | Function | None = "silu") -> KAN:
    """A network with the outputs of a trained pykan model (``MultKAN``, version 0.2).

    Scales, masks and the affine maps of nodes and subnodes are multiplied into the weights; what
    they add becomes the bias of a layer. Knots are kept, one vector per feature.

    Args:
        state_dict: Of pykan's ``MultKAN``: keys ``act_fun.0.grid``, ``coef``, ``scale_base``,
            ``scale_sp``, ``mask``, and those of ``symbolic_fun``, ``node_scale_0``,
            ``node_bias_0``, ``subnode_scale_0``, ``subnode_bias_0``, where there.
        residual: The name of its ``base_fun``, which a state_dict does not tell; None for its
            "zero". (Nor does it tell ``input_id``, the features that pruned inputs left: pass
            those to the network.)

    Returns:
        The network, in the dtype of the weights and on their device.

    Raises:
        ValueError: Naming what is missing, unknown, or of the wrong shape, and what a KAN of
            splines does not represent: symbolic edges that are switched on, and multiplication
            nodes (for which :class:`Multiply` composes with layers).

    Example:
        ``model = from_pykan(torch.load("0.1_state", weights_only=True))``

    Source: github.com/KindXiaoming/pykan.
    """
    splines = {key: value for key, value in state_dict.items() if key.startswith("act_fun.")}
    layers: list[KANLayer] = []
    for number, part in enumerate(_parts(splines, "act_fun", _PYKAN, ())):
        coef = part.get("coef", "n", "m", "num_basis")
        n, m, num_basis = coef.shape
        mask, spline_scale, base_scale = (
            part.get(key, n, m) for key in ("mask", "scale_sp", "scale_base")
        )
        scale, shift = _affine(state_dict, number, coef, m)
        _refuse_symbolic(state_dict, number)
        layers.append(
            _layer(
                _splines(part, n, num_basis),
                (coef * (mask * spline_scale * scale).unsqueeze(-1)).permute(0, 2, 1),
                residual=residual,
                residual_weight=None if residual is None else mask * base_scale * scale,
                bias=shift if shift.any() else None,
            )
        )
    for key in sorted(state_dict.keys() - splines.keys()):
        found = _PYKAN_OTHER.fullmatch(key)
        if not found or int(found["symbolic"] or found["node"]) >= len(layers):
            raise ValueError(f"state_dict must be that of a pykan MultKAN, got the key {key!r}")
    return KAN.from_layers(layers)


# What the importers share ----------------------------------------------------------------------


@dataclass(frozen=True)
class _Part:
    """Tensors of a state_dict, and the prefix that their keys have lost."""

    name: str
    tensors: State

    def get(self, key: str, *shape: int | str, default: Tensor | None = None) -> Tensor:
        """A tensor, if it has this shape; a string stands for any size."""
        values = self.tensors[key] if default is None else self.tensors.get(key, default)
        fits = len(shape) == values.dim() and all(
            isinstance(wanted, str) or wanted == size
            for wanted, size in zip(shape, values.shape, strict=True)
        )
        if not fits:
            wanted = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
            raise ValueError(
                f"{self.name}{key} must have shape ({wanted}), got {tuple(values.shape)}"
            )
        return values

    def pair(
        self, key: str, weight: tuple[int, ...], bias: tuple[int, ...]
    ) -> tuple[Tensor, Tensor] | tuple[None, None]:
        """Weight and bias of these shapes, or twice None where there are none."""
        shapes = {f"{key}.weight": weight, f"{key}.bias": bias}
        there = [self.get(name, *shape) for name, shape in shapes.items() if name in self.tensors]
        if len(there) == 1:
            names = " and ".join(self.name + name for name in shapes)
            raise ValueError(f"state_dict must hold both {names}")
        return (there[0], there[1]) if there else (None, None)


def _parts(
    state: State, prefix: str, needed: Sequence[str], optional: Sequence[str]
) -> list[_Part]:
    """The tensors of each layer: all of the needed ones, and no others but the optional ones."""
    parts: dict[int, dict[str, Tensor]] = {}
    for key, value in state.items():
        found = re.fullmatch(rf"{prefix}\.(\d+)\.(.+)", key)
        if not found or found[2] not in {*needed, *optional}:
            known = ", ".join(f"{prefix}.*.{name}" for name in (*needed, *optional))
            raise ValueError(f"state_dict must hold the keys {known} only, got {key!r}")
        parts.setdefault(int(found[1]), {})[found[2]] = value
    for number in range(max(parts, default=0) + 1):
        for name in needed:
            if name not in parts.get(number, {}):
                raise ValueError(f"state_dict must hold the key '{prefix}.{number}.{name}'")
    return [_Part(f"{prefix}.{number}.", parts[number]) for number in sorted(parts)]


def _splines(part: _Part, n: int, num_basis: int) -> BSpline:
    """B-splines on the knots of a published layer, one vector per feature."""
    knots = part.get("grid", n, "G + 2 k + 1")
    degree = knots.shape[1] - num_basis - 1
    if degree < 0:
        raise ValueError(
            f"{part.name}grid must have more columns than there are coefficients to an edge, "
            f"got {knots.shape[1]} and {num_basis}"
        )
    return BSpline(degree=degree, knots=knots, extrapolate="natural")


def _layer(
    basis: Basis,
    coef: Tensor,
    *,
    residual: str | Function | None,
    residual_weight: Tensor | None,
    bias: Tensor | None = None,
    normalize: nn.Module | None = None,
) -> KANLayer:
    """A layer with given weights, whose draw leaves the caller's random numbers alone."""
    if residual is None and residual_weight is not None:
        raise ValueError("residual must name the base activation of the weights, got None")
    layer = KANLayer(
        coef.shape[0],
        coef.shape[2],
        basis,
        residual=None if residual_weight is None else residual,
        bias=bias is not None,
        normalize=normalize,
        generator=torch.Generator(coef.device),
    )
    for name, values in (("coef", coef), ("residual_weight", residual_weight), ("bias", bias)):
        if values is not None:
            setattr(layer, name, _parameter(values))
    return layer


def _parameter(values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach().clone(memory_format=torch.contiguous_format))


def _affine(state: State, layer: int, like: Tensor, m: int) -> tuple[Tensor, Tensor]:
    """Scale and shift, each (m,), of what pykan does to the sums of a layer."""
    whole, ones, zeros = _Part("", state), like.new_ones(m), like.new_zeros(m)
    scale = whole.get(f"subnode_scale_{layer}", m, default=ones)
    shift = whole.get(f"subnode_bias_{layer}", m, default=zeros)
    nodes = state.get(f"node_scale_{layer}", ones)
    if len(nodes) != m:
        raise ValueError(
            f"node_scale_{layer} has {len(nodes)} entries for {m} sums: the model has "
            "multiplication nodes, which a KAN cannot represent; compose kanlite's Multiply "
            "with layers"
        )
    return nodes * scale, nodes * shift + whole.get(f"node_bias_{layer}", m, default=zeros)


def _refuse_symbolic(state: State, layer: int) -> None:
    mask = state.get(f"symbolic_fun.{layer}.mask")
    if mask is not None and mask.any():
        j, i = mask.nonzero()[0].tolist()
        raise ValueError(
            f"symbolic_fun.{layer}.mask[{j}, {i}] is on: that edge is a formula, which a KAN of "
            "splines cannot represent"
        )


# Draws -----------------------------------------------------------------------------------------


@torch.no_grad()
def _spline_kan(
    widths: Sequence[int],
    basis: BSpline,
    noise: float,
    generator: torch.Generator | None,
    *,
    random_scale: bool,
) -> KAN:
    """A network of splines through noise, times 1 / sqrt(n), or times a number up to that."""
    if not 0 <= noise < math.inf:
        raise ValueError(f"noise must be at least 0 and finite, got {noise}")
    model = KAN(widths, basis, generator=generator)
    for layer in edge_layers(model):
        bound = 1 / math.sqrt(layer.in_features)
        _fill_uniform(layer.residual_weight, bound, generator)
        scale = torch.full_like(layer.coef[:, :1], bound)  # (n, 1, m)
        if random_scale:
            _fill_uniform(scale, bound, generator)
        layer.coef.copy_(scale * _noise_coef(layer, basis, noise, generator))
    return model


def _fill_uniform(values: Tensor | None, bound: float, generator: torch.Generator | None) -> None:
    if values is not None:
        values.uniform_(-bound, bound, generator=generator)


def _noise_coef(
    layer: KANLayer, basis: BSpline, noise: float, generator: torch.Generator | None
) -> Tensor:
    """The smallest coefficients (n, num_basis, m) of splines through noise at the breakpoints."""
    n, m, k = layer.in_features, layer.out_features, basis.degree
    knots = basis.knots.double()
    breaks = knots[k : len(knots) - k]  # (G + 1,)
    values = torch.empty(len(breaks), n * m, dtype=torch.float64)
    _fill_uniform(values, noise / (2 * basis.num_intervals), generator)
    coef: Tensor = torch.linalg.pinv(bspline_basis(breaks, knots, k)) @ values
    return coef.reshape(basis.num_basis, n, m).transpose(0, 1).to(layer.coef)


def _check_normalized(widths: Sequence[int]) -> None:
    if any(width < 2 for width in widths[:-1]):
        raise ValueError(
            "widths must be at least 2 before each LayerNorm, which leaves nothing of one feature, "
            f"got {list(widths)}"
        )
