r"""Fast paths behind :class:`~kanlite.KANLayer`: one function, computed in several ways.

What a layer computes is written here as three operations on inputs x of shape (batch, in), with
d-th derivatives of the basis functions B and of SiLU r:

.. math::
    F_d: \quad & y_{bo} = \sum_i h_{bi}\, s_{bio}, \qquad
        s_{bio} = \sum_m B_m^{(d)}(x_{bi})\, W_{imo} + r^{(d)}(x_{bi})\, R_{io}, \\
    X_d: \quad & u_{bi} = \sum_o g_{bo}\, s_{bio}, \\
    W_d: \quad & V_{imo} = \sum_b h_{bi}\, B_m^{(d)}(x_{bi})\, g_{bo}, \qquad
        Q_{io} = \sum_b h_{bi}\, r^{(d)}(x_{bi})\, g_{bo}.

The layer is :math:`F_0` with h = 1, and the three are closed under differentiation
(:mod:`kanlite.kernels.autograd`). A *path* is a module that has them: ``torch_path`` in plain
PyTorch, ``cpu`` in C, ``triton_path`` for GPUs. The *reference* is the recursion of Cox and de
Boor with one matrix product, differentiated by autograd: what every path must equal.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kanlite.kernels.autograd import Dense, Forward, Spline, SplineInGraph
from kanlite.kernels.choice import Path, available, choose, chosen, only_plain, use

__all__ = ["Path", "available", "combine", "path", "sums", "use", "values"]


def combine(
    basis: Any, x: Tensor, coef: Tensor, residual_weight: Tensor | None = None
) -> Tensor | None:
    r"""What a layer computes, by the path that suits best, keeping nothing but x for gradients.

    .. math:: y_o = \sum_i \Big( \sum_m B_m(x_i) W_{imo} + r(x_i) R_{io} \Big).

    B-splines have all paths. Of other bases the values are made anew for the gradients.

    Args:
        basis: A :class:`kanlite.Basis`.
        x: Inputs, shape (..., in).
        coef: W, shape (in, num_basis, out).
        residual_weight: R of a SiLU branch, shape (in, out), or None for no such branch.

    Returns:
        y, shape (..., out), or None where only the reference will do; :func:`path` tells why.

    Example:
        >>> import kanlite as kl
        >>> basis = kl.BSpline(num_intervals=2, degree=1, low=0.0, high=1.0)
        >>> coef = torch.tensor([[[0.0], [1.0], [4.0]]])
        >>> combine(basis, torch.tensor([[0.25], [0.75]]), coef)
        tensor([[0.5000],
                [2.5000]])
    """
    spline = basis.as_spline
    if _only_reference(basis, spline, x) is not None:
        return None
    dtype = _product_dtype(x, coef if spline is None else spline[0])
    coef = coef.to(dtype)
    if residual_weight is not None:
        residual_weight = residual_weight.to(dtype)
    kernel: Any = Dense(basis)
    knots = None
    if spline is not None:
        knots, *rest = spline
        kernel = (SplineInGraph if torch.compiler.is_compiling() else Spline)(chosen(), *rest)
    rows = x if x.dim() == 2 else x.reshape(-1, x.shape[-1])
    y: Tensor = Forward.apply(  # type: ignore[no-untyped-call]
        kernel, rows, coef, residual_weight, None, knots, 0
    )
    return y if x.dim() == 2 else y.reshape(*x.shape[:-1], y.shape[-1])


def path(layer: nn.Module, x: Tensor) -> str:
    """Which path computes a layer at x, and why, in a few words.

    Args:
        layer: A :class:`~kanlite.KANLayer`.
        x: Its inputs, shape (..., in_features).

    Example:
        >>> import kanlite as kl
        >>> layer = kl.KANLayer(2, 3, kl.BSpline())
        >>> with kl.kernels.use("reference"):
        ...     path(layer, torch.zeros(5, 2))
        'reference (chosen)'
    """
    basis: Any = layer.basis
    spline = basis.as_spline
    reason = _only_reference(basis, spline, x)
    if reason is not None:
        return f"reference ({reason})"
    if spline is None:
        return "torch (values of the basis are made anew for gradients)"
    knots, degree, extrapolate = spline
    rows = x.reshape(-1, x.shape[-1])
    coef = torch.empty(1, basis.num_basis, 1, dtype=_product_dtype(x, knots), device=x.device)
    _, name, why = choose(chosen(), rows, coef, degree, extrapolate, 0)
    return f"{name} ({why})"


def sums(
    basis: Any, x: Tensor, g: Tensor, *, with_silu: bool = False
) -> tuple[Tensor, Tensor | None] | None:
    r"""What a layer's parameters receive from g, the operation :math:`W_0` by itself.

    Only with local support, at a cost that does not depend on the number of intervals; without a
    record for autograd.

    Args:
        basis: A :class:`kanlite.Basis`.
        x: Inputs, shape (batch, in).
        g: Any numbers, shape (batch, out), in the dtype of x.
        with_silu: Whether to make Q, the sums with SiLU, too.

    Returns:
        V, shape (in, num_basis, out), and Q, shape (in, out), or None; None alone where no path
        with local support runs.

    Example:
        >>> import kanlite as kl
        >>> basis = kl.BSpline(num_intervals=2, degree=1, low=0.0, high=1.0)
        >>> found = sums(basis, torch.tensor([[0.25]]), torch.tensor([[6.0]]))
        >>> found is None or found[0].tolist() == [[[3.0], [3.0], [0.0]]]
        True
    """
    module = _with_local_support(basis, x, g)
    if module is None:
        return None
    knots, degree, extrapolate = basis.as_spline
    knots, g = knots.detach().to(x.dtype), g.contiguous()
    made: tuple[Tensor, Tensor | None] = module.weight_gradient(
        x.contiguous(), g, knots, degree, extrapolate, with_residual=with_silu
    )
    return made


def values(basis: Any, x: Tensor) -> Tensor | None:
    """Values of all basis functions, written where they are not zero; no record for autograd.

    Args:
        basis: A :class:`kanlite.Basis`.
        x: Inputs, shape (batch, in).

    Returns:
        Shape (batch, in, num_basis), or None where no path with local support runs.

    Example:
        >>> import kanlite as kl
        >>> basis = kl.BSpline(num_intervals=2, degree=1, low=0.0, high=1.0)
        >>> found = values(basis, torch.tensor([[0.25]]))
        >>> found is None or found.tolist() == [[[0.5, 0.5, 0.0]]]
        True
    """
    unit = torch.eye(basis.num_basis, dtype=x.dtype, device=x.device).unsqueeze(0)
    module = _with_local_support(basis, x, unit)
    if module is None:
        return None
    knots, degree, extrapolate = basis.as_spline
    knots = knots.detach().to(x.dtype)
    made = x.new_empty(*x.shape, basis.num_basis)
    for i, column in enumerate(x.t().contiguous()):
        own = knots if knots.dim() == 1 else knots[i]
        made[:, i] = module.forward(column.unsqueeze(1), unit, None, own, degree, extrapolate)
    return made


def _with_local_support(basis: Any, x: Tensor, products: Tensor) -> Any:
    """The module of the path that computes a basis at x, if it has local support, or None."""
    spline = basis.as_spline
    if spline is None or _only_reference(basis, spline, x) is not None:
        return None
    _, degree, extrapolate = spline
    module, name, _ = choose(chosen(), x, products, degree, extrapolate, 0)
    return None if name == "torch" else module


def _only_reference(basis: Any, spline: Any, x: Tensor) -> str | None:
    """Why nothing but the reference will do, or None."""
    if spline is not None:
        trained = spline[0].requires_grad
    elif torch.compiler.is_compiling():
        return "PyTorch compiles the basis"
    else:
        trained = any(t.requires_grad for t in (*basis.parameters(), *basis.buffers()))
    return "the basis is trained too" if trained else only_plain(x)


def _product_dtype(x: Tensor, like: Tensor) -> torch.dtype:
    """In what products are made: what autocast says, except of float64."""
    dtype = torch.promote_types(x.dtype, like.dtype)
    if torch.is_autocast_enabled(x.device.type) and dtype != torch.float64:
        return torch.get_autocast_dtype(x.device.type)
    return dtype
