r"""Levenberg-Marquardt: second-order training for networks of up to a few thousand parameters.

Least squares has a structure that gradient descent does not see. With residuals
:math:`r(\theta)` and their Jacobian J, a damped Gauss-Newton step solves

.. math:: (J^\top J + \mu D)\,\delta = -J^\top r,

and the damping :math:`\mu` grows or shrinks with how well the quadratic model predicted the
change of the loss.

A KAN layer is linear in its parameters, so its part of J needs no differentiation by them: it is
a basis function times what backpropagation brings to its output. :mod:`kanlite.gauss_newton`
sums J^T J from these factors, with the local support of the splines and without J in memory. Other
modules and residuals have their J from torch.func.

Glossary
    N, q      samples in a chunk, residuals per sample
    r, J      residuals (N, q) and Jacobian (N, q, P)
    P         number of parameters
    A, g      mean of J^T J, shape (P, P), and of J^T r, shape (P,)
    D         scaling of the damping, shape (P,)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from kanlite.edges import edge_layers, roughness
from kanlite.gauss_newton import layer_jacobians, normal_equations
from kanlite.layers import KANLayer
from kanlite.parallel import Processes

__all__ = ["LevenbergMarquardt"]

Function = Callable[[Tensor], Tensor]
Residual = Callable[..., Tensor]
Sums = tuple[Tensor, Tensor, Tensor]  # scaled residuals (N, q), J^T J (P, P), J^T r (P,)
MAX_PARAMETERS = 5_000
ROUNDING = 1e-13  # a relative change of the loss that is not worth a step


class LevenbergMarquardt:
    r"""Damped Gauss-Newton steps for sums of squares.

    Minimizes, over the parameters of the model that require gradients,

    .. math:: F(\theta) = \frac{1}{Nq} \sum_{s, a} w_s\, r_a(x_s; \theta)^2
              + \lambda \sum_{\text{edges}} \frac{1}{|I|} \int_I
                \big(|I|^2 \phi''(x)\big)^2 dx,

    where I is an edge's domain and :math:`\phi` its spline part. All is solved in float64,
    whatever the model's dtype; memory is bounded by chunks of samples.

    Args:
        model: Any module that treats samples one by one (no batch normalization in training
            mode), with at most 5,000 parameters. KANs have a fast path.
        smoothness: :math:`\lambda`, at least 0.
        damping: First :math:`\mu`, relative to the diagonal of J^T J, above 0.
        chunk_size: Samples whose derivatives are held at a time, at least 1.
        together: The processes that step together (``kanlite.parallel``), each with samples of
            its own: sums over the samples are added up. None for this one alone.

    Attributes:
        damping: The :math:`\mu` that the next step starts with.
        converged: Whether the last step found nothing that lowers the loss.

    Raises:
        ValueError: If an argument breaks its rule, or the model is too large.

    Example:
        >>> import kanlite as kl
        >>> g = torch.Generator().manual_seed(0)
        >>> x = 2 * torch.rand(200, 1, generator=g) - 1
        >>> model = kl.KAN([1, 1], kl.BSpline(num_intervals=10), generator=g)
        >>> lm = LevenbergMarquardt(model)
        >>> losses = [lm.step(x, torch.sin(3 * x)) for _ in range(5)]
        >>> losses[-1] < 1e-7
        True

    Book: *Training a KAN*. Source: Marquardt (1963);
    the damping follows Nielsen, Damping parameter in Marquardt's method, report
    IMM-REP-1999-05 (1999).
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        smoothness: float = 0.0,
        damping: float = 1e-2,
        chunk_size: int = 2048,
        together: Processes | None = None,
    ) -> None:
        if not 0.0 <= smoothness < math.inf:
            raise ValueError(f"smoothness must be finite and at least 0, got {smoothness}")
        if not 0.0 < damping < math.inf:
            raise ValueError(f"damping must be finite and above 0, got {damping}")
        if chunk_size < 1:
            raise ValueError(f"chunk_size must be at least 1, got {chunk_size}")
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        size = sum(p.numel() for _, p in named)
        if not 1 <= size <= MAX_PARAMETERS:
            raise ValueError(
                f"model must have 1 to {MAX_PARAMETERS} trainable parameters for second-order "
                f'steps, got {size}: use optimizer="lbfgs" or "adam"'
            )
        self.model = model
        self.smoothness = smoothness
        self.damping = damping
        self.chunk_size = chunk_size
        self.together = together or Processes()
        self.growth = 2.0
        self.converged = False
        self.named = dict(named)
        self.size = size
        layers = [m for m in model.modules() if isinstance(m, KANLayer)]
        inside = {p for layer in layers for p in (layer.coef, layer.residual_weight, layer.bias)}
        self.is_kan = bool(layers) and inside.issuperset(self.named.values())

    def step(self, x: Tensor, y: Tensor, *, weight: Tensor | None = None) -> float:
        r"""One step on :math:`r = f(x) - y`.

        Args:
            x: Inputs, shape (samples, ...).
            y: Targets, the shape of the predictions.
            weight: w, one number per sample, not negative, shape (samples,); ones if None.

        Returns:
            F before the step.

        Raises:
            ValueError: If shapes do not fit, or weights are negative or not finite.
            FloatingPointError: If F or its derivatives are not finite; nothing has changed.
        """
        scale = _root_weight(weight, len(x))

        def sums(rows: slice) -> Sums:
            return self._sums(x[rows], y[rows], scale[rows])

        def residual(rows: slice) -> Tensor:
            return _difference(self.model(x[rows]), y[rows])

        return self._step(_Problem(len(x), scale, residual, sums))

    def step_residual(
        self, residual: Residual, *data: Tensor, weight: Tensor | None = None
    ) -> float:
        r"""One step on any residuals, such as those of a differential equation.

        Args:
            residual: A callable (f, *sample) -> residuals of one sample, shape () or (q,), where
                f is the model on one sample, (in_features,) -> (out_features,); it may
                differentiate f with torch.func.
            data: What residual takes, each of shape (samples, ...).
            weight: w, shape (samples,); ones if None.

        Returns:
            F before the step.

        Raises:
            ValueError: If weights are negative or not finite.
            FloatingPointError: If F or its derivatives are not finite; nothing has changed.

        Example:
            ``lm.step_residual(lambda f, x: torch.func.jacrev(f)(x)[0] + f(x), x)`` drives
            f' + f to zero.
        """

        def one(parameters: dict[str, Tensor], *sample: Tensor) -> Tensor:
            def f(z: Tensor) -> Tensor:
                value: Tensor = functional_call(self.model, parameters, (z,))
                return value

            return residual(f, *sample).reshape(-1)  # (q,)

        dims = (None, *[0] * len(data))

        def values(rows: slice) -> Tensor:
            return vmap(one, dims)(self._detached(), *(part[rows] for part in data))

        def twice(parameters: dict[str, Tensor], *sample: Tensor) -> tuple[Tensor, Tensor]:
            r = one(parameters, *sample)
            return r, r  # to differentiate, and to keep

        def sums(rows: slice) -> Sums:
            derivative = vmap(jacrev(twice, has_aux=True), dims)
            blocks, r = derivative(self._detached(), *(part[rows] for part in data))
            return _dense_sums(
                r, torch.cat([b.flatten(2) for b in blocks.values()], -1), scale[rows]
            )

        count = len(data[0])
        scale = _root_weight(weight, count)
        return self._step(_Problem(count, scale, values, sums))

    def state_dict(self) -> dict[str, Any]:
        """What the next step depends on besides the model."""
        return {"damping": self.damping, "growth": self.growth}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.damping, self.growth = float(state["damping"]), float(state["growth"])

    def _step(self, problem: _Problem) -> float:
        """Solve, try, and adjust the damping until the loss falls or nothing helps."""
        rough = self._roughness()
        a, g, loss = self._normal_equations(problem, rough)
        if not (math.isfinite(loss) and bool(torch.isfinite(g).all())):
            raise FloatingPointError("the loss or its derivatives are not finite")
        start = self._vector()
        scaling = a.diagonal().clamp(min=1e-6 * float(a.diagonal().max()))
        for _ in range(30):
            factor, failed = torch.linalg.cholesky_ex(a + torch.diag(self.damping * scaling))
            if not failed:
                delta = torch.cholesky_solve(-g.unsqueeze(-1), factor).squeeze(-1)
                predicted = -float(2 * g @ delta + delta @ a @ delta)
                if predicted <= ROUNDING * loss:  # not worth a trial, nor is more damping
                    break
                self._set_vector(start + delta)
                gain = loss - self._loss(problem, rough)
                if gain > 1e-4 * predicted:  # False for NaN
                    self._relax(gain / predicted)
                    self.converged = gain <= ROUNDING * loss
                    return loss
            self.damping, self.growth = self.damping * self.growth, 2 * self.growth
            if self.damping > 1e12:
                break
        self._set_vector(start)
        self.damping, self.growth, self.converged = 1e-2, 2.0, True
        return loss

    def _relax(self, trust: float) -> None:
        """Less damping after a step whose gain was `trust` times the predicted one.

        Nielsen's rule, but down to a tenth where the quadratic model is all but exact.
        """
        least = 1 / 10 if abs(trust - 1) < 0.05 else 1 / 3
        self.damping = max(self.damping * max(least, 1 - (2 * trust - 1) ** 3), 1e-15)
        self.growth = 2.0

    def _normal_equations(self, problem: _Problem, rough: Tensor) -> tuple[Tensor, Tensor, float]:
        """A (P, P), g (P,) and F, in float64, chunk by chunk."""
        a = torch.zeros(self.size, self.size, dtype=torch.float64, device=self._device())
        g, totals = a[0].clone(), a.new_zeros(2)  # the sum of squares, and of how many
        for rows in problem.chunks(self.chunk_size):
            r, chunk_a, chunk_g = problem.sums(rows)
            a += chunk_a
            g += chunk_g
            totals += totals.new_tensor([float(r.square().sum()), r.numel()])
        self.together.sum_([a, g, totals])
        theta, (squares, count) = self._vector(), totals
        loss = float(squares / count + theta @ rough @ theta)
        return a / count + rough, g / count + rough @ theta, loss

    @torch.no_grad()
    def _loss(self, problem: _Problem, rough: Tensor) -> float:
        totals = rough.new_zeros(2)
        for rows in problem.chunks(self.chunk_size):
            r = problem.residual(rows).double() * problem.scale[rows, None].to(self._device())
            totals += totals.new_tensor([float(r.square().sum()), r.numel()])
        self.together.sum_([totals])
        theta = self._vector()
        return float(totals[0] / totals[1] + theta @ rough @ theta)

    def _sums(self, x: Tensor, y: Tensor, scale: Tensor) -> Sums:
        """Residuals of a chunk and what they add to A and g."""
        if self.is_kan:
            layers = edge_layers(self.model)
            found = layer_jacobians(
                self.model, layers, x, scale, lambda prediction: _difference(prediction, y)
            )
            if found is not None:
                return found[0], *normal_equations(*found)
        return _dense_sums(*self._by_autograd(x, y), scale)

    def _by_autograd(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Residuals (N, q) and their derivatives by all parameters (N, q, P)."""

        def one(parameters: dict[str, Tensor], z: Tensor) -> Tensor:
            value: Tensor = functional_call(self.model, parameters, (z.unsqueeze(0),))
            return value.reshape(-1)

        blocks = vmap(jacrev(one), (None, 0))(self._detached(), x)
        jacobian = torch.cat([block.flatten(2) for block in blocks.values()], -1)
        with torch.no_grad():
            return _difference(self.model(x), y), jacobian

    def _roughness(self) -> Tensor:
        """Matrix R of the smoothness penalty, theta^T R theta, shape (P, P)."""
        matrix = torch.zeros(self.size, self.size, dtype=torch.float64, device=self._device())
        if self.smoothness == 0:
            return matrix
        blocks = {layer.coef: roughness(layer) for layer in edge_layers(self.model)}
        offset = 0
        for parameter in self.named.values():
            size = parameter.numel()
            if parameter in blocks:
                n, _, m = parameter.shape
                eye_n, eye_m = (
                    torch.eye(k, dtype=torch.float64, device=self._device()) for k in (n, m)
                )
                block = torch.einsum("ij,igh,op->igojhp", eye_n, blocks[parameter], eye_m)
                rows = slice(offset, offset + size)
                matrix[rows, rows] = self.smoothness * block.reshape(size, size)
            offset += size
        return matrix

    def _vector(self) -> Tensor:
        """All parameters as one float64 vector, shape (P,)."""
        return torch.cat([p.detach().double().flatten() for p in self.named.values()])

    @torch.no_grad()
    def _set_vector(self, vector: Tensor) -> None:
        offset = 0
        for p in self.named.values():
            p.copy_(vector[offset : offset + p.numel()].reshape(p.shape))
            offset += p.numel()

    def _detached(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in self.named.items()}

    def _device(self) -> torch.device:
        return next(iter(self.named.values())).device


@dataclass
class _Problem:
    """Residuals of all samples, chunk by chunk."""

    count: int
    scale: Tensor  # square roots of the weights, float64, (count,)
    residual: Callable[[slice], Tensor]  # (N, q)
    sums: Callable[[slice], Sums]

    def chunks(self, size: int) -> Iterator[slice]:
        """Slices of at most `size` samples."""
        for start in range(0, self.count, size):
            yield slice(start, min(start + size, self.count))


def _dense_sums(r: Tensor, jacobian: Tensor, scale: Tensor) -> Sums:
    """From residuals (N, q) and their Jacobian (N, q, P)."""
    scale = scale.to(r.device)
    r = r.double() * scale[:, None]
    j = (jacobian.double() * scale[:, None, None]).flatten(0, 1)
    return r, j.T @ j, j.T @ r.flatten()


def _difference(prediction: Tensor, target: Tensor) -> Tensor:
    """r = f(x) - y, shape (N, q)."""
    if prediction.shape != target.shape:
        raise ValueError(
            f"y must have the shape of the prediction, {tuple(prediction.shape)}, "
            f"got {tuple(target.shape)}"
        )
    return (prediction.detach() - target).reshape(len(target), -1)


def _root_weight(weight: Tensor | None, count: int) -> Tensor:
    if weight is None:
        return torch.ones(count, dtype=torch.float64)
    if weight.shape != (count,) or not (torch.isfinite(weight) & (weight >= 0)).all():
        raise ValueError(
            f"weight must hold {count} finite numbers, at least 0, got shape {tuple(weight.shape)}"
        )
    return weight.detach().double().sqrt()
