"""Which path computes a layer: what is installed, what suits, what the caller has chosen."""

from __future__ import annotations

import importlib
import importlib.util
import os
from contextvars import ContextVar
from functools import cache
from types import ModuleType
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from kanlite.kernels import cpu, torch_path

__all__ = ["Path", "available", "choose", "chosen", "only_plain", "use"]

Path = Literal["auto", "reference", "torch", "cpu", "triton"]
_chosen: ContextVar[Path] = ContextVar("kanlite_path", default="auto")


class use:
    """Choose how layers are computed: from now on, or until the end of a with block.

    As :class:`torch.set_grad_enabled`, it holds for the running thread. Where a path cannot
    compute something (its device, dtype or degree), "torch" or the reference steps in, silently:
    the result is the same to rounding. A graph of ``torch.compile`` keeps the path of its tracing.

    Args:
        path: "auto" (the default) takes the fastest that suits; "torch", "cpu" or "triton" take
            that one; "reference" takes the recursion of Cox and de Boor, differentiated by
            autograd.

    Raises:
        ValueError: If there is no such path.

    Example:
        >>> import kanlite as kl
        >>> layer, x = kl.KANLayer(2, 3, kl.BSpline()), torch.linspace(-1, 1, 10).reshape(5, 2)
        >>> with kl.kernels.use("reference"):
        ...     y = layer(x)
        >>> torch.allclose(layer(x), y, atol=1e-6)
        True
    """

    def __init__(self, path: Path) -> None:
        if path not in get_args(Path):
            raise ValueError(f"path must be one of {get_args(Path)}, got {path!r}")
        self._before = _chosen.set(path)

    def __enter__(self) -> use:
        return self

    def __exit__(self, *error: object) -> None:
        _chosen.reset(self._before)


def available() -> tuple[str, ...]:
    """Names of the paths that can run on this machine.

    Example:
        >>> available()[:2]
        ('reference', 'torch')
    """
    return ("reference", "torch", *(n for n in ("cpu", "triton") if _module(n)[0] is not None))


def chosen() -> Path:
    """What :class:`use` has set for this thread."""
    return _chosen.get()


# A constant in a compiled graph: what torch.compiler.assume_constant_result does, which
# would load the whole compiler.
chosen.__dict__["_dynamo_marked_constant"] = True


def only_plain(x: Tensor) -> str | None:
    """Why nothing but the reference will do at x, or None.

    Custom functions say nothing to transforms of torch.func, forward-mode differentiation,
    exported graphs and tensors that are none: there the plain form is right.
    """
    if chosen() == "reference":
        return "chosen"
    if torch._C._are_functorch_transforms_active():
        return "inside a transform of torch.func"
    if torch.compiler.is_compiling():
        exporting = getattr(torch.compiler, "is_exporting", lambda: False)
        return "exported graphs hold PyTorch's own operations" if exporting() else None
    if forward_ad._current_level >= 0:
        return "forward-mode differentiation"
    if torch._C._len_torch_dispatch_stack() > 0:
        return "a mode that sees PyTorch's own operations is on"  # counts FLOPs, or fakes tensors
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return "traced graphs hold PyTorch's own operations"
    if type(x) not in (Tensor, nn.Parameter) or x.is_meta:
        return "no plain tensor"
    return None


def choose(
    path: str, x: Tensor, products: Tensor, degree: int, extrapolate: str, order: int
) -> tuple[ModuleType, str, str]:
    """A module with the three operations, its name, and why it is taken.

    Args:
        path: As in :class:`use`.
        x: Inputs, shape (batch, in).
        products: A tensor with the dtype of the products and `out` as its last dimension.
        degree: k.
        extrapolate: As in :class:`kanlite.BSpline`.
        order: Of the derivative.
    """
    reason = "suits any input"
    for name in ("triton" if x.is_cuda else "cpu",) if path == "auto" else (path,):
        module, missing = _module(name)
        if module is not None:
            missing = module.supports(x, products, degree, extrapolate, order)
            if missing is None:
                return module, name, "fastest here" if path == "auto" else "chosen"
        reason = "chosen" if name == "torch" else missing or reason
    return torch_path, "torch", reason


@cache
def _module(name: str) -> tuple[ModuleType | None, str | None]:
    """The module of a path that not every machine can run, or why it cannot run here."""
    if name == "cpu":
        reason = cpu.why_not()
        return (cpu, None) if reason is None else (None, reason)
    if name == "triton":
        if not (torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"):
            return None, "Triton needs a CUDA device"
        if importlib.util.find_spec("triton") is None:
            return None, "Triton is not installed"
        return importlib.import_module("kanlite.kernels.triton_path"), None
    return None, None
