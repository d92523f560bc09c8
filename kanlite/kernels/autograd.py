r"""The three operations as functions that PyTorch can differentiate, any number of times.

Each is differentiated by the three themselves, with the derivative of the basis raised by one,

.. math::
    dF_d &\to h\,X_{d+1},\; W_d,\; X_d, \\
    dX_d(\cdot v) &\to v\,X_{d+1},\; W_d(h{=}v),\; F_d(h{=}v), \\
    dW_d(\cdot V) &\to h\,X_{d+1}(V),\; F_d(V),\; X_d(V),

by x, by the parameters (or g), and by h or g. What a layer keeps for its backward pass is
therefore x and the parameters, and nothing of the size of the basis, at any order.

Glossary
    x, y            inputs (batch, in) and outputs (batch, out)
    coef, residual  W (in, num_basis, out) and R (in, out) or None
    weight          h, shape (batch, in), or None for ones
    kernel          the three operations for one basis: :class:`Spline`, :class:`SplineInGraph`
                    or :class:`Dense`
    knots           of a spline; any tensor where the kernel has none
    order           d
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from kanlite.kernels import torch_path
from kanlite.kernels.choice import choose
from kanlite.kernels.torch_path import silu

__all__ = ["Dense", "Forward", "Spline", "SplineInGraph"]


class Forward(Function):
    """F: y from x."""

    @staticmethod
    def forward(
        ctx: Any,
        kernel: Any,
        x: Tensor,
        coef: Tensor,
        residual: Tensor | None,
        weight: Tensor | None,
        knots: Tensor | None,
        order: int,
    ) -> Tensor:
        """y, shape (batch, out)."""
        ctx.save_for_backward(x, coef, residual, weight, knots)
        ctx.kernel, ctx.order = kernel, order
        y: Tensor = kernel.forward(x, coef, residual, weight, knots, order)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """By x, coef, residual and weight."""
        x, coef, residual, weight, knots = ctx.saved_tensors
        _, by_x, by_coef, by_residual, by_weight, *_ = ctx.needs_input_grad
        run = _recorded(ctx.kernel)
        if by_x and by_coef and weight is None and ctx.order == 0 and isinstance(run, Spline):
            return None, *run.gradients(x, coef, residual, grad, knots), None, None, None
        dx = dcoef = dresidual = dweight = None
        if by_x:
            dx = run.input_gradient(x, coef, residual, grad, knots, ctx.order + 1)
            dx = dx if weight is None else weight * dx
        if by_coef or by_residual:
            dcoef, dresidual = run.weight_gradient(
                x, grad, weight, knots, ctx.order, residual is not None
            )
        if by_weight:
            dweight = run.input_gradient(x, coef, residual, grad, knots, ctx.order)
        return None, dx, dcoef, dresidual, dweight, None, None


class InputGradient(Function):
    """X: u from x and g."""

    @staticmethod
    def forward(
        ctx: Any,
        kernel: Any,
        x: Tensor,
        coef: Tensor,
        residual: Tensor | None,
        grad: Tensor,
        knots: Tensor | None,
        order: int,
    ) -> Tensor:
        """u, shape (batch, in)."""
        ctx.save_for_backward(x, coef, residual, grad, knots)
        ctx.kernel, ctx.order = kernel, order
        u: Tensor = kernel.input_gradient(x, coef, residual, grad, knots, order)
        return u

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        """By x, coef, residual and g."""
        x, coef, residual, grad, knots = ctx.saved_tensors
        _, by_x, by_coef, by_residual, by_grad, *_ = ctx.needs_input_grad
        run = _recorded(ctx.kernel)
        dx = dcoef = dresidual = dgrad = None
        if by_x:
            dx = v * run.input_gradient(x, coef, residual, grad, knots, ctx.order + 1)
        if by_coef or by_residual:
            dcoef, dresidual = run.weight_gradient(
                x, grad, v, knots, ctx.order, residual is not None
            )
        if by_grad:
            dgrad = run.forward(x, coef, residual, v, knots, ctx.order)
        return None, dx, dcoef, dresidual, dgrad, None, None


class WeightGradient(Function):
    """W: gradients of coef and residual from x and g."""

    @staticmethod
    def forward(
        ctx: Any,
        kernel: Any,
        x: Tensor,
        grad: Tensor,
        weight: Tensor | None,
        knots: Tensor | None,
        order: int,
        with_residual: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """V, shape (in, num_basis, out), and Q, shape (in, out), or None."""
        ctx.save_for_backward(x, grad, weight, knots)
        ctx.kernel, ctx.order = kernel, order
        sums: tuple[Tensor, Tensor | None] = kernel.weight_gradient(
            x, grad, weight, knots, order, with_residual
        )
        return sums

    @staticmethod
    def backward(ctx: Any, coef: Tensor, residual: Tensor | None) -> tuple[Tensor | None, ...]:
        """By x, g and weight."""
        x, grad, weight, knots = ctx.saved_tensors
        _, by_x, by_grad, by_weight, *_ = ctx.needs_input_grad
        run = _recorded(ctx.kernel)
        dx = dgrad = dweight = None
        if by_x:
            dx = run.input_gradient(x, coef, residual, grad, knots, ctx.order + 1)
            dx = dx if weight is None else weight * dx
        if by_grad:
            dgrad = run.forward(x, coef, residual, weight, knots, ctx.order)
        if by_weight:
            dweight = run.input_gradient(x, coef, residual, grad, knots, ctx.order)
        return None, dx, dgrad, dweight, None, None, None


class _Recorded(NamedTuple):
    """A kernel whose operations autograd records, for gradients of gradients."""

    kernel: Any

    def forward(self, *arguments: Any) -> Any:
        """F."""
        return Forward.apply(self.kernel, *arguments)  # type: ignore[no-untyped-call]

    def input_gradient(self, *arguments: Any) -> Any:
        """X."""
        return InputGradient.apply(self.kernel, *arguments)  # type: ignore[no-untyped-call]

    def weight_gradient(self, *arguments: Any) -> Any:
        """W."""
        return WeightGradient.apply(self.kernel, *arguments)  # type: ignore[no-untyped-call]


def _recorded(kernel: Any) -> Any:
    return _Recorded(kernel) if torch.is_grad_enabled() else kernel


# Kernels: the values of the three operations ------------------------------------------------------


class Spline(NamedTuple):
    """B-splines: each operation by the path that suits it best, or that the caller has chosen."""

    path: str
    degree: int
    extrapolate: str

    def forward(
        self,
        x: Tensor,
        coef: Tensor,
        residual: Tensor | None,
        weight: Tensor | None,
        knots: Tensor,
        order: int,
    ) -> Tensor:
        """F: (batch, out)."""
        module, x, coef, residual, weight = self._prepared(order, x, coef, residual, weight)
        y: Tensor = module.forward(x, coef, residual, knots, *self[1:], order, weight)
        return y

    def input_gradient(
        self,
        x: Tensor,
        coef: Tensor,
        residual: Tensor | None,
        grad: Tensor,
        knots: Tensor,
        order: int,
    ) -> Tensor:
        """X: (batch, in)."""
        module, x, coef, residual, grad = self._prepared(order, x, coef, residual, grad)
        u: Tensor = module.input_gradient(x, coef, residual, grad, knots, *self[1:], order)
        return u

    def weight_gradient(
        self,
        x: Tensor,
        grad: Tensor,
        weight: Tensor | None,
        knots: Tensor,
        order: int,
        with_residual: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """W: (in, num_basis, out), and (in, out) or None."""
        module, x, grad, weight = self._prepared(order, x, grad, weight)
        sums: tuple[Tensor, Tensor | None] = module.weight_gradient(
            x, grad, knots, *self[1:], order, weight, with_residual
        )
        return sums

    def gradients(
        self, x: Tensor, coef: Tensor, residual: Tensor | None, grad: Tensor, knots: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """X with d = 1 and W with d = 0: in one go where the path can."""
        module, x, coef, residual, grad = self._prepared(1, x, coef, residual, grad)
        if module is torch_path:
            return torch_path.gradients(x, coef, residual, grad, knots, *self[1:])
        return (
            self.input_gradient(x, coef, residual, grad, knots, 1),
            *self.weight_gradient(x, grad, None, knots, 0, residual is not None),
        )

    def _prepared(self, order: int, x: Tensor, products: Tensor, *others: Tensor | None) -> Any:
        """The module of a path, and the tensors as it wants them."""
        module, *_ = choose(self.path, x, products, self.degree, self.extrapolate, order)
        tensors = (x, products, *others)
        if module is not torch_path:  # which takes any strides
            tensors = tuple(t if t is None else t.contiguous() for t in tensors)
        return module, *tensors


class Dense(NamedTuple):
    """Any basis: its values and derivatives as one tensor, made anew whenever they are needed."""

    basis: Any

    def forward(
        self,
        x: Tensor,
        coef: Tensor,
        residual: Tensor | None,
        weight: Tensor | None,
        knots: None,
        order: int,
    ) -> Tensor:
        """F: (batch, out)."""
        values = _weighted(self._values(x, order), weight, -1)
        y = values.to(coef.dtype).flatten(-2) @ coef.flatten(0, 1)
        if residual is None:
            return y
        return y + _weighted(silu(x, order), weight).to(coef.dtype) @ residual

    def input_gradient(
        self,
        x: Tensor,
        coef: Tensor,
        residual: Tensor | None,
        grad: Tensor,
        knots: None,
        order: int,
    ) -> Tensor:
        """X: (batch, in)."""
        values = self._values(x, order)
        u = ((grad @ coef.flatten(0, 1).T).view(values.shape) * values).sum(-1)
        return u if residual is None else u + silu(x, order) * (grad @ residual.T)

    def weight_gradient(
        self,
        x: Tensor,
        grad: Tensor,
        weight: Tensor | None,
        knots: None,
        order: int,
        with_residual: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """W: (in, num_basis, out), and (in, out) or None."""
        values = _weighted(self._values(x, order), weight, -1)
        coef = values.to(grad.dtype).flatten(-2).T @ grad  # (in * num_basis, out)
        coef = coef.view(*values.shape[1:], grad.shape[-1])
        if not with_residual:
            return coef, None
        return coef, _weighted(silu(x, order), weight).to(grad.dtype).T @ grad

    def _values(self, x: Tensor, order: int) -> Tensor:
        values: Tensor = self.basis.derivative(x, order) if order else self.basis(x)
        return values  # (batch, in, num_basis)


def _weighted(values: Tensor, weight: Tensor | None, *axis: int) -> Tensor:
    """Values times h, with a last axis more if -1 is given."""
    if weight is None:
        return values
    return values * (weight.unsqueeze(*axis) if axis else weight)


# Splines as operators of PyTorch, which torch.compile takes as they are ---------------------------


def _operator(name: str, arguments: str, result: str) -> Callable[[Callable[..., Any]], Any]:
    """Register a function as ``torch.ops.kanlite.<name>``."""
    spline = "Tensor knots, int order, str path, int degree, str extrapolate"
    schema = f"(Tensor x, {arguments}, {spline}) -> {result}"
    return torch.library.custom_op(f"kanlite::{name}", mutates_args=(), schema=schema)


@_operator("forward", "Tensor coef, Tensor? residual, Tensor? weight", "Tensor")
def _forward(
    x: Tensor,
    coef: Tensor,
    residual: Tensor | None,
    weight: Tensor | None,
    knots: Tensor,
    order: int,
    *spline: Any,
) -> Tensor:
    return Spline(*spline).forward(x, coef, residual, weight, knots, order)


@_operator("input_gradient", "Tensor coef, Tensor? residual, Tensor grad", "Tensor")
def _input_gradient(
    x: Tensor,
    coef: Tensor,
    residual: Tensor | None,
    grad: Tensor,
    knots: Tensor,
    order: int,
    *spline: Any,
) -> Tensor:
    return Spline(*spline).input_gradient(x, coef, residual, grad, knots, order).contiguous()


@_operator("weight_gradient", "Tensor grad, Tensor? weight, bool residual", "(Tensor, Tensor)")
def _weight_gradient(
    x: Tensor,
    grad: Tensor,
    weight: Tensor | None,
    residual: bool,
    knots: Tensor,
    order: int,
    *spline: Any,
) -> tuple[Tensor, Tensor]:
    coef, q = Spline(*spline).weight_gradient(x, grad, weight, knots, order, residual)
    return coef, grad.new_empty(0) if q is None else q


def _fake_forward(x: Tensor, coef: Tensor, *rest: Any) -> Tensor:
    return coef.new_empty(x.shape[0], coef.shape[-1])


def _fake_input_gradient(x: Tensor, *rest: Any) -> Tensor:
    return x.new_empty(x.shape)


def _fake_weight_gradient(
    x: Tensor, grad: Tensor, weight: Tensor | None, residual: bool, knots: Tensor, *rest: Any
) -> tuple[Tensor, Tensor]:
    _, _, degree, _ = rest
    coef = grad.new_empty(x.shape[1], knots.shape[-1] - degree - 1, grad.shape[1])
    return coef, grad.new_empty((x.shape[1], grad.shape[1]) if residual else (0,))


_forward.register_fake(_fake_forward)
_input_gradient.register_fake(_fake_input_gradient)
_weight_gradient.register_fake(_fake_weight_gradient)


class SplineInGraph(NamedTuple):
    """:class:`Spline` through these operators."""

    path: str
    degree: int
    extrapolate: str

    def forward(
        self,
        x: Tensor,
        coef: Tensor,
        residual: Tensor | None,
        weight: Tensor | None,
        knots: Tensor,
        order: int,
    ) -> Tensor:
        """F: (batch, out)."""
        y: Tensor = torch.ops.kanlite.forward(x, coef, residual, weight, knots, order, *self)
        return y

    def input_gradient(
        self,
        x: Tensor,
        coef: Tensor,
        residual: Tensor | None,
        grad: Tensor,
        knots: Tensor,
        order: int,
    ) -> Tensor:
        """X: (batch, in)."""
        u: Tensor = torch.ops.kanlite.input_gradient(x, coef, residual, grad, knots, order, *self)
        return u

    def weight_gradient(
        self,
        x: Tensor,
        grad: Tensor,
        weight: Tensor | None,
        knots: Tensor,
        order: int,
        with_residual: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """W: (in, num_basis, out), and (in, out) or None."""
        coef, residual = torch.ops.kanlite.weight_gradient(
            x, grad, weight, with_residual, knots, order, *self
        )
        return coef, residual if with_residual else None
