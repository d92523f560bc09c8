r"""The compiled path for the CPU: local support in plain C.

Of the n B-splines at a point only k + 1 are not zero, so a sample's work for one input is a
weighted sum of k + 1 adjacent rows of its coefficients: `local_support.c` does that, and says
how. Here its three functions are called on the tensors' memory (no binary interface of PyTorch
is involved) after a C compiler has made them (:mod:`kanlite.kernels.build`), once for each degree
and dtype.

.. math::
    \begin{aligned}
    y_{bo} &= \sum_i h_{bi} \Big(\sum_m B_m^{(d)}(x_{bi})\, W_{imo} + r^{(d)}(x_{bi})\, R_{io}\Big)
        && \texttt{forward} \\
    u_{bi} &= \sum_o g_{bo} \Big(\sum_m B_m^{(d)}(x_{bi})\, W_{imo} + r^{(d)}(x_{bi})\, R_{io}\Big)
        && \texttt{input\_gradient} \\
    \mathrm{d}W_{imo} &= \sum_b h_{bi} B_m^{(d)}(x_{bi})\, g_{bo}, \quad
    \mathrm{d}R_{io} = \sum_b h_{bi}\, r^{(d)}(x_{bi})\, g_{bo}
        && \texttt{weight\_gradient}
    \end{aligned}

Glossary
    x         inputs, shape (batch, in)
    W, R      coef (in, num_basis, out) and residual_weight (in, out)
    r         SiLU, the residual
    h         weight, one number per (sample, input); 1 if None
    g         grad, shape (batch, out)
    d         order of the derivative
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import threading
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kanlite.kernels.build import BuildError, find_compiler, load

__all__ = ["available", "forward", "input_gradient", "supports", "weight_gradient", "why_not"]

SOURCE = Path(__file__).with_name("local_support.c")
EXTRAPOLATE = {"linear": 0, "constant": 1, "zero": 2, "natural": 3}  # as in the C file
SINGLE = {torch.float32: 1, torch.float64: 0}


class _Library(NamedTuple):
    forward: Any
    input_gradient: Any
    weight_gradient: Any


_libraries: dict[tuple[int, torch.dtype], _Library | str] = {}  # or why there is none
_lock = threading.Lock()


def available() -> bool:
    """Whether this machine could have the compiled path (nothing is built to find out)."""
    return why_not() is None


def why_not() -> str | None:
    """Why :func:`available` says no, or None where it says yes."""
    if os.environ.get("KANLITE_KERNELS") in ("torch", "reference"):
        return f"KANLITE_KERNELS={os.environ['KANLITE_KERNELS']} is set"
    if sys.platform == "win32":
        return "the compiled path is not made for Windows"
    if find_compiler() is None:
        return "no C compiler was found (set CC, or install gcc or clang)"
    return None


def supports(x: Tensor, coef: Tensor, degree: int, extrapolate: str, order: int) -> str | None:
    """Why these kernels cannot do it, or None where they can.

    The first call for a degree and dtype finds the compiled kernel, or has it compiled.

    Args:
        x: Inputs, (batch, in).
        coef: (in, num_basis, out).
        degree: k.
        extrapolate: As in :class:`kanlite.BSpline`.
        order: Of the derivative.
    """
    if x.device.type != "cpu" or coef.device.type != "cpu":
        return "the compiled path is for the CPU"
    if x.dtype != coef.dtype or x.dtype not in SINGLE:
        return f"the compiled path is for float32 or float64, not {x.dtype} with {coef.dtype}"
    if not 1 <= degree <= 5:
        return f"the compiled path is for degrees 1 to 5, not {degree}"
    if extrapolate not in EXTRAPOLATE:
        return f"the compiled path does not know extrapolate={extrapolate!r}"
    if not 0 <= order <= 3:
        return f"the compiled path has derivatives up to order 3, not {order}"
    found = _libraries.get((degree, x.dtype)) or _make(degree, x.dtype)
    return found if isinstance(found, str) else None


def forward(
    x: Tensor,
    coef: Tensor,
    residual_weight: Tensor | None,
    knots: Tensor,
    degree: int,
    extrapolate: str,
    order: int = 0,
    weight: Tensor | None = None,
) -> Tensor:
    """y_bo = sum_i h_bi (sum_m B_m(x_bi) W_imo + silu(x_bi) R_io), of the given derivative.

    Args:
        x: Inputs, (batch, in), float32 or float64; all tensors in its dtype.
        coef: W, (in, num_basis, out).
        residual_weight: R, (in, out), or None.
        knots: (K,) or (in, K), non-decreasing, with multiplicities or without.
        degree: k, 1 to 5.
        extrapolate: As in :class:`kanlite.BSpline`.
        order: Of the derivative of B_m and SiLU, 0 to 3 (any, without a residual).
        weight: h, (batch, in), or None for ones.

    Returns:
        (batch, out).

    Raises:
        ValueError: If shapes do not fit.
        RuntimeError: If the path is not :func:`available`.
    """
    function = _library(degree, x.dtype).forward
    out = coef.shape[2]
    _check_coef(x, coef, residual_weight, knots, degree)
    _check(weight is None or weight.shape == x.shape, "weight", weight)
    y = x.new_empty(x.shape[0], out)
    tensors = (x, coef, residual_weight, weight, knots, y)
    _call(function, tensors, x, out, knots, extrapolate, order)
    return y


def input_gradient(
    x: Tensor,
    coef: Tensor,
    residual_weight: Tensor | None,
    grad: Tensor,
    knots: Tensor,
    degree: int,
    extrapolate: str,
    order: int = 1,
) -> Tensor:
    """u_bi = sum_o g_bo (sum_m B_m(x_bi) W_imo + silu(x_bi) R_io), of the given derivative.

    Args:
        x, coef, residual_weight, knots, degree, extrapolate, order: As in :func:`forward`.
        grad: g, (batch, out).

    Returns:
        (batch, in).

    Raises:
        ValueError: If shapes do not fit.
        RuntimeError: If the path is not :func:`available`.
    """
    function = _library(degree, x.dtype).input_gradient
    out = coef.shape[2]
    _check_coef(x, coef, residual_weight, knots, degree)
    _check(grad.shape == (x.shape[0], out), "grad", grad)
    u = x.new_empty(x.shape)
    tensors = (x, coef, residual_weight, grad, knots, u)
    _call(function, tensors, x, out, knots, extrapolate, order)
    return u


def weight_gradient(
    x: Tensor,
    grad: Tensor,
    knots: Tensor,
    degree: int,
    extrapolate: str,
    order: int = 0,
    weight: Tensor | None = None,
    with_residual: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """dW_imo = sum_b h_bi B_m(x_bi) g_bo and dR_io = sum_b h_bi silu(x_bi) g_bo.

    Args:
        x, knots, degree, extrapolate, order, weight: As in :func:`forward`.
        grad: g, (batch, out).
        with_residual: Whether to make dR.

    Returns:
        dW, (in, num_basis, out), and dR, (in, out), or None.

    Raises:
        ValueError: If shapes do not fit.
        RuntimeError: If the path is not :func:`available`.
    """
    function = _library(degree, x.dtype).weight_gradient
    (batch, n), out = x.shape, grad.shape[1]
    _check(grad.shape[0] == batch, "grad", grad)
    _check(weight is None or weight.shape == x.shape, "weight", weight)
    _check(knots.dim() == 1 or knots.shape[0] == n, "knots", knots)
    make = x.new_empty if batch else x.new_zeros
    coef_grad = make(n, knots.shape[-1] - degree - 1, out)
    residual_grad = make(n, out) if with_residual else None
    tensors = (x, grad, weight, knots, coef_grad, residual_grad)
    _call(function, tensors, x, out, knots, extrapolate, order)
    return coef_grad, residual_grad


def _library(degree: int, dtype: torch.dtype) -> _Library:
    found = _libraries.get((degree, dtype)) or _make(degree, dtype)
    if isinstance(found, str):
        raise RuntimeError(f"the compiled path is not available: {found}")
    return found


def _make(degree: int, dtype: torch.dtype) -> _Library | str:
    """Compile and load, once in a process; where that fails, warn once and remember why."""
    with _lock:
        if (degree, dtype) in _libraries:
            return _libraries[degree, dtype]
        reason = why_not()
        if reason is None:
            kind = "float32" if SINGLE[dtype] else "float64"
            defines = [f"-DDEGREE={degree}", f"-DSINGLE={SINGLE[dtype]}"]
            try:
                loaded = load(SOURCE, defines, f"the CPU kernel for degree {degree}, {kind},")
                loaded.use_team(ctypes.cast(_team(), ctypes.c_void_p))
                _libraries[degree, dtype] = made = _declared(loaded)
                return made
            except BuildError as error:
                reason = str(error)
                warnings.warn(
                    f"kanlite's CPU kernel could not be built, PyTorch is used instead: {reason}",
                    RuntimeWarning,
                    stacklevel=2,
                )
        _libraries[degree, dtype] = reason
        return reason


def _team() -> Any:
    """`GOMP_parallel` of the OpenMP library that PyTorch computes with; None where not found.

    Of several libraries in the process (scikit-learn brings one, too) it is PyTorch's own.
    """
    try:
        mapped = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None  # not Linux
    found = set(re.findall(r"/\S.*/lib[gi]?omp\S*\.so\S*", mapped))
    own = [name for name in found if "/torch/" in name or "/torch.libs/" in name]
    names = own or list(found)
    if len(names) != 1:
        return None
    try:
        return ctypes.CDLL(names[0]).GOMP_parallel
    except (OSError, AttributeError):
        return None


def _declared(library: ctypes.CDLL) -> _Library:
    """The three functions with their types: six addresses, four sizes, four options."""
    pointers, sizes, options = (
        [kind] * n for kind, n in ((ctypes.c_void_p, 6), (ctypes.c_ssize_t, 4), (ctypes.c_int, 4))
    )
    made = _Library(library.forward, library.input_gradient, library.weight_gradient)
    for function in made:
        function.argtypes = pointers + sizes + options
        function.restype = ctypes.c_int
    return made


def _call(
    function: Any,
    tensors: tuple[Tensor | None, ...],
    x: Tensor,
    out: int,
    knots: Tensor,
    extrapolate: str,
    order: int,
) -> None:
    """Call one of the three on the memory of six tensors, its results among them."""
    plain = [None if t is None else _plain(t, x.dtype) for t in tensors]  # held during the call
    failed = function(
        *[None if t is None else t.data_ptr() for t in plain],
        *x.shape,
        out,
        knots.shape[-1],
        knots.dim() - 1,
        EXTRAPOLATE[extrapolate],
        order,
        torch.get_num_threads(),
    )
    if failed:
        raise MemoryError("the compiled path found no memory for its work space")


def _plain(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The tensor in one stretch of memory."""
    tensor = tensor if tensor.dtype == dtype else tensor.to(dtype)
    return tensor if tensor.is_contiguous() else tensor.contiguous()


def _check_coef(x: Tensor, coef: Tensor, residual: Tensor | None, knots: Tensor, k: int) -> None:
    n, out = x.shape[1], coef.shape[2]
    _check(knots.dim() == 1 or knots.shape[0] == n, "knots", knots)
    _check(coef.shape == (n, knots.shape[-1] - k - 1, out), "coef", coef)
    _check(residual is None or residual.shape == (n, out), "residual_weight", residual)


def _check(fits: bool, name: str, tensor: Tensor | None) -> None:
    if not fits:
        shape = None if tensor is None else tuple(tensor.shape)
        raise ValueError(f"{name} must have a shape that fits the others, got {shape}")
