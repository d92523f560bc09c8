r"""KAN layers: sums of learned functions of one variable.

A layer maps n numbers to m numbers through n * m edge functions,

.. math:: y_j = \sum_{i=1}^{n} \phi_{ji}(x_i), \qquad
          \phi_{ji}(x) = \sum_{g} c_{igj} B_g(x) + r_{ij}\, b(x).

Since all edges that leave input i share the basis functions of x_i, the sum over i and g
is one matrix product: (batch, n * num_basis) times (n * num_basis, m).

Glossary
    x, y      inputs (..., in_features) and outputs (..., out_features)
    B         basis functions at the inputs, shape (..., in_features, num_basis)
    coef      c, shape (in_features, num_basis, out_features)
    b         residual, a fixed function of one variable (SiLU by default)
    r         residual_weight, shape (in_features, out_features)
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, get_args

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from kanlite import kernels
from kanlite.bases import Basis

__all__ = ["KAN", "RESIDUALS", "Init", "KANLayer"]

Init = Literal["variance", "paper", "power"]
Function = Callable[[Tensor], Tensor]
M = TypeVar("M", bound=nn.Module)


def _identity(x: Tensor) -> Tensor:
    return x


RESIDUALS: dict[str, Function] = {
    "silu": nnf.silu,
    "identity": _identity,
    "tanh": torch.tanh,
    "gelu": nnf.gelu,
    "relu": nnf.relu,
}


class KANLayer(nn.Module):
    r"""A layer of learned edge functions that drops in for :class:`torch.nn.Linear`.

    Each output is a sum over the inputs of functions of one variable,

    .. math:: y_j = \sum_i \Big( \sum_g c_{igj}\, B_g(\nu(x)_i) + r_{ij}\, b(x_i) \Big) + a_j,

    with basis functions B, an optional normalization :math:`\nu` before them, a fixed
    residual function b and an optional bias a.

    Args:
        in_features: n, at least 1.
        out_features: m, at least 1.
        basis: A :class:`~kanlite.Basis` (copied), or a callable in_features -> Basis.
        residual: Name of the fixed function b ("silu", "identity", "tanh", "gelu", "relu"), a
            callable on tensors, or None for no residual branch.
        bias: Whether to add a learned constant to each output (B-splines contain constants).
        normalize: A module on (..., in_features), or a callable in_features -> module, applied
            before the basis and not before the residual; None for nothing.
        init: See :meth:`reset_parameters`.
        generator: For the draw of the initial weights; PyTorch's global one if None.

    Shape:
        (..., in_features) -> (..., out_features), with any leading dimensions.

    Attributes:
        coef: c, shape (in_features, num_basis, out_features).
        residual_weight: r, shape (in_features, out_features), or None.
        bias: a, shape (out_features,), or None.

    Raises:
        ValueError: Naming the argument, the rule and the value.

    Example:
        >>> import kanlite as kl
        >>> layer = kl.KANLayer(2, 3, kl.BSpline(), generator=torch.Generator().manual_seed(0))
        >>> x = torch.zeros(4, 2)
        >>> layer(x).shape, layer.edges(x).shape
        (torch.Size([4, 3]), torch.Size([4, 3, 2]))

    Book: *A KAN layer*. Source: Liu et al., KAN (2024), arXiv:2404.19756, section 2.
    """

    bias: Tensor | None
    residual_weight: Tensor | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        basis: Basis | Callable[[int], Basis],
        *,
        residual: str | Function | None = "silu",
        bias: bool = False,
        normalize: nn.Module | Callable[[int], nn.Module] | None = None,
        init: Init = "variance",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if in_features < 1 or out_features < 1:
            raise ValueError(
                "in_features and out_features must be at least 1, "
                f"got {in_features} and {out_features}"
            )
        if not (residual is None or callable(residual) or residual in list(RESIDUALS)):
            raise ValueError(
                f"residual must be one of {list(RESIDUALS)}, a callable or None, got {residual!r}"
            )
        self.in_features = in_features
        self.out_features = out_features
        self.basis = _build(basis, Basis, in_features, "basis")  # type: ignore[type-abstract]
        if self.basis.feature_shape not in ((), (in_features,)):
            raise ValueError(
                f"basis must have feature_shape () or ({in_features},) = (in_features,), "
                f"got {self.basis.feature_shape}"
            )
        self.normalize = normalize and _build(normalize, nn.Module, in_features, "normalize")
        self.residual = residual
        n, m, empty = in_features, out_features, self.basis.low.new_empty  # in the basis's dtype
        self.coef = nn.Parameter(empty(n, self.basis.num_basis, m))
        self.residual_weight = None if residual is None else nn.Parameter(empty(n, m))
        self.bias = nn.Parameter(empty(m)) if bias else None
        self.init: Init = init
        self.reset_parameters(init, generator=generator)

    @torch.no_grad()
    def reset_parameters(
        self, init: Init = "variance", *, generator: torch.Generator | None = None
    ) -> None:
        r"""Draw new weights; the bias becomes zero.

        With n = in_features, N = num_basis + 1 terms per edge, all draws with mean zero:

        - ``"variance"``: an input that is uniform on the domain keeps its variance, on average
          over the draws: a tenth of it comes through the basis (all of it without a residual),
          the rest through the residual.
        - ``"paper"``: as the KAN paper states: coefficients N(0, 0.1^2), residual weights
          Xavier-uniform.
        - ``"power"``: standard deviations (n N)^-1.75 of coefficients and (n N)^-0.25 of residual
          weights, the power law found best by Rigas et al. (2025), arXiv:2509.03417.

        Args:
            init: The scheme.
            generator: For the draw; PyTorch's global one if None.

        Raises:
            ValueError: If there is no such scheme.
        """
        if init == "variance":
            coef_std, residual_std = self._variance_stds()
        elif init == "paper":
            coef_std = 0.1
            residual_std = math.sqrt(2 / (self.in_features + self.out_features))
        elif init == "power":
            size = self.in_features * (self.basis.num_basis + (self.residual is not None))
            coef_std, residual_std = size**-1.75, size**-0.25
        else:
            raise ValueError(f"init must be one of {get_args(Init)}, got {init!r}")
        self.coef.normal_(0.0, coef_std, generator=generator)
        if self.residual_weight is not None:
            if init == "paper":
                bound = math.sqrt(3) * residual_std
                self.residual_weight.uniform_(-bound, bound, generator=generator)
            else:
                self.residual_weight.normal_(0.0, residual_std, generator=generator)
        if self.bias is not None:
            self.bias.zero_()

    def _variance_stds(self, samples: int = 512, basis_share: float = 0.1) -> tuple[float, float]:
        """Standard deviations of coef and residual_weight that keep the variance of uniform x."""
        low, high = self.basis.domain
        middle = (torch.arange(samples, dtype=torch.float64, device=low.device) + 0.5) / samples
        x = torch.lerp(low.double(), high.double(), middle.reshape(-1, *[1] * low.dim()))
        x = x.to(low.dtype)  # (samples, *F): midpoints of equal cells of the domain
        variance = float((high - low).double().square().mean() / 12)
        through_basis = float(self.basis(x).double().square().sum(-1).mean())
        residual = torch.zeros_like(x) if self.branch is None else self.branch(x)
        through_residual = float(residual.double().square().mean())
        if not math.isfinite(through_residual):
            raise ValueError("residual must be finite on the domain of the basis, and is not")
        if through_residual == 0:  # there is none, or ReLU on negative numbers
            return math.sqrt(variance / (self.in_features * through_basis)), 0.0
        return (
            math.sqrt(basis_share * variance / (self.in_features * through_basis)),
            math.sqrt((1 - basis_share) * variance / (self.in_features * through_residual)),
        )

    @property
    def branch(self) -> Function | None:
        """The fixed function b of the residual branch as a callable, or None."""
        return RESIDUALS[self.residual] if isinstance(self.residual, str) else self.residual

    def forward(self, x: Tensor) -> Tensor:
        """Outputs: (..., in_features) -> (..., out_features)."""
        z = self._normalized(x)
        fused = self.residual_weight if z is x and self.branch is nnf.silu else None
        y = kernels.combine(self.basis, z, self.coef, fused)
        if y is None:  # the reference: basis values in memory, one matrix product
            fused, values = None, self.basis(z).flatten(-2)  # (..., in * num_basis)
            y = values @ self.coef.to(values.dtype).flatten(0, 1)  # (..., out)
        if self.branch is not None and self.residual_weight is not None and fused is None:
            y = y + self.branch(x) @ self.residual_weight
        return y if self.bias is None else y + self.bias.to(y.dtype)

    def features(self, x: Tensor) -> Tensor:
        """What the layer is linear in: basis values, and the residual b(x_i) last, if any.

        Shape (..., in_features) -> (..., in_features, num_basis + 1) or, without a residual,
        (..., in_features, num_basis).
        """
        values: Tensor = self.basis(self._normalized(x))
        if self.branch is None:
            return values
        return torch.cat([values, self.branch(x).unsqueeze(-1)], dim=-1)

    def edges(self, x: Tensor) -> Tensor:
        """Edge functions: (..., in_features) -> (..., out_features, in_features).

        Entry [j, i] is phi_ji(x_i). Their sum over i, plus the bias, is ``forward(x)``.
        """
        values = self.basis(self._normalized(x))
        phi = torch.einsum("...ig,igo->...oi", values, self.coef.to(values.dtype))
        if self.branch is not None and self.residual_weight is not None:
            phi = phi + self.branch(x).unsqueeze(-2) * self.residual_weight.T  # (..., out, in)
        return phi

    def off_domain(self, x: Tensor) -> Tensor:
        """Share of the inputs that fall off the basis's domain, per feature.

        Args:
            x: Inputs, shape (..., in_features).

        Returns:
            Shares in [0, 1], shape (in_features,); 0 for an empty batch.
        """
        outside = self.basis.outside(self._normalized(x)).reshape(-1, self.in_features)
        return outside.to(torch.get_default_dtype()).sum(0) / max(len(outside), 1)

    def _normalized(self, x: Tensor) -> Tensor:
        """What the basis sees of checked inputs, shape (..., in)."""
        if not x.is_floating_point():
            raise ValueError(f"x must be floating point, got {x.dtype}")
        if x.dim() == 0 or x.shape[-1] != self.in_features:
            raise ValueError(
                f"x must have last dimension in_features = {self.in_features}, "
                f"got shape {tuple(x.shape)}"
            )
        z: Tensor = x if self.normalize is None else self.normalize(x)
        return z

    def extra_repr(self) -> str:
        """Sizes and residual, for ``print(model)``."""
        name = self.residual if isinstance(self.residual, str | None) else "custom"
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"residual={name!r}, bias={self.bias is not None}"
        )


class KAN(nn.Sequential):
    """A Kolmogorov-Arnold network: KAN layers, one after the other.

    Args:
        widths: Numbers of units, [inputs, hidden..., outputs], at least two of them.
        basis: A :class:`~kanlite.Basis`, copied into every layer, or a callable
            in_features -> Basis.
        residual, bias, normalize, init, generator: As in :class:`KANLayer`, for every layer.

    Shape:
        (..., widths[0]) -> (..., widths[-1]), with any leading dimensions.

    Attributes:
        widths: The numbers of units, a tuple.

    Raises:
        ValueError: Naming the argument, the rule and the value.

    Example:
        >>> import kanlite as kl
        >>> model = kl.KAN([2, 5, 1], kl.BSpline(num_intervals=5, degree=3))
        >>> sum(p.numel() for p in model.parameters())  # 15 edges, (5 + 3) + 1 numbers each
        135

    Book: *A KAN layer*. Source: Liu et al., KAN (2024), arXiv:2404.19756, section 2.
    """

    def __init__(
        self,
        widths: Sequence[int],
        basis: Basis | Callable[[int], Basis],
        *,
        residual: str | Function | None = "silu",
        bias: bool = False,
        normalize: nn.Module | Callable[[int], nn.Module] | None = None,
        init: Init = "variance",
        generator: torch.Generator | None = None,
    ) -> None:
        if len(widths) < 2:
            raise ValueError(f"widths must have at least two entries, got {list(widths)}")
        super().__init__(
            *(
                KANLayer(
                    n,
                    m,
                    basis,
                    residual=residual,
                    bias=bias,
                    normalize=normalize,
                    init=init,
                    generator=generator,
                )
                for n, m in itertools.pairwise(widths)
            )
        )
        self.widths = tuple(widths)

    def __getitem__(self, idx: slice | int) -> Any:
        """One layer, or a smaller network of the same layers."""
        chosen: Any = list(self)[idx]
        return KAN.from_layers(chosen) if isinstance(idx, slice) else chosen

    @classmethod
    def from_layers(cls, layers: Sequence[KANLayer]) -> KAN:
        """A network of layers that exist already (and are not copied).

        Args:
            layers: At least one; each takes as many features as the one before gives.

        Raises:
            ValueError: If there is no layer, or if two of them do not fit together.
        """
        if not layers:
            raise ValueError("layers must hold at least one layer, got none")
        for before, after in itertools.pairwise(layers):
            if before.out_features != after.in_features:
                raise ValueError(
                    "layers must fit together, got one with out_features = "
                    f"{before.out_features} before one with in_features = {after.in_features}"
                )
        model = cls.__new__(cls)
        nn.Sequential.__init__(model, *layers)
        model.widths = (layers[0].in_features, *(layer.out_features for layer in layers))
        return model


def _build(given: M | Callable[[int], M], kind: type[M], in_features: int, name: str) -> M:
    """A copy of a given module, or the module that a given callable makes."""
    if isinstance(given, kind):
        return copy.deepcopy(given)
    made = given(in_features) if callable(given) else given
    if not isinstance(made, kind):
        raise ValueError(
            f"{name} must be a {kind.__name__} or a callable in_features -> {kind.__name__}, "
            f"got {type(made).__name__}"
        )
    return made
