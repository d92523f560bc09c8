r"""What a fair comparison needs: a plain MLP, counts of its size and work, equal budgets.

A comparison of two kinds of network says something only at an equal budget. Two budgets are in
use: trainable parameters, and floating-point operations (FLOPs). This module counts both on the
model itself, and finds the width at which a family of models meets a budget.

What counts as a FLOP
    Matrix products count 2 for each pair that is multiplied and added, as PyTorch's own
    :class:`torch.utils.flop_counter.FlopCounterMode` counts them. Elementwise arithmetic, which
    that counter leaves out, counts 1 for each number it gives, transcendental functions
    included; comparing, selecting, copying, reshaping and reducing count nothing. The two are
    kept apart, since hardware runs the first kind far faster. For a batch of b rows,

    - a linear layer from n to m features: 2 b n m, plus nothing elementwise (its bias goes into
      the matrix product);
    - a KAN layer with N basis functions and a residual branch: 2 b n m (N + 1), plus,
      elementwise, the b n evaluations of all basis functions and of the residual function, which
      do not grow with m, and b m to add the two branches.

    What a compiled or hand-written kernel does inside is invisible: count on the plain path.

Glossary
    widths     numbers of units, [inputs, hidden..., outputs]
    n, m       in_features, out_features of a layer
    count      an increasing number of a model, its parameters or its FLOPs

Book: *A fair comparison*. Source: Yu, Yu and Wang, KAN or MLP: a fairer comparison (2024),
arXiv:2407.16674, which controls both budgets.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "Flops",
    "count_flops",
    "count_parameters",
    "match_width",
]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "silu": nn.SiLU,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
}

# Elementwise arithmetic of PyTorch's operators, each with its in-place form where there is one.
_ARITHMETIC = (
    "abs acos add addcdiv addcmul asin atan clamp cos cosh div elu elu_backward erf exp exp2 expm1 "
    "gelu gelu_backward hardtanh hardtanh_backward leaky_relu leaky_relu_backward lerp "
    "log log1p mul neg pow reciprocal relu rsqrt rsub sigmoid sigmoid_backward silu silu_backward "
    "sin sinh softplus softplus_backward sqrt square sub tan tanh tanh_backward threshold_backward"
)


class MLP(nn.Sequential):
    r"""A multilayer perceptron: linear layers with a fixed activation between them.

    .. math:: x_{l+1} = \sigma(W_l x_l + b_l), \qquad \text{without } \sigma \text{ at the end.}

    Weights and biases are drawn as PyTorch's :class:`torch.nn.Linear` draws them, uniformly from
    :math:`\pm 1/\sqrt{n}` with n the layer's in_features, so that the baseline is what everyone
    else runs.

    Args:
        widths: Numbers of units, [inputs, hidden..., outputs], each at least 1, two or more.
        activation: "silu", "relu", "gelu" or "tanh", or a callable that makes a module.
        generator: For the draw; PyTorch's global one if None. With a generator the global one
            is left alone.

    Shape:
        (..., widths[0]) -> (..., widths[-1]), with any leading dimensions.

    Attributes:
        widths: The numbers of units, a tuple.

    Raises:
        ValueError: Naming the argument, the rule and the value.

    Example:
        >>> model = MLP([2, 5, 1], generator=torch.Generator().manual_seed(0))
        >>> model(torch.zeros(4, 2)).shape, count_parameters(model)
        (torch.Size([4, 1]), 21)

    Book: *A fair comparison*. Source: the draw is the one that PyTorch documents for
    :class:`torch.nn.Linear`.
    """

    def __init__(
        self,
        widths: Sequence[int],
        activation: str | Callable[[], nn.Module] = "silu",
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        if len(widths) < 2 or min(widths) < 1:
            raise ValueError(
                f"widths must be two or more numbers of at least 1, got {list(widths)}"
            )
        if isinstance(activation, str) and activation not in ACTIVATIONS:
            raise ValueError(
                f"activation must be one of {list(ACTIVATIONS)} or a callable, got {activation!r}"
            )
        make = ACTIVATIONS[activation] if isinstance(activation, str) else activation
        layers: list[nn.Module] = []
        for n, m in itertools.pairwise(widths):
            layers += [_linear(n, m, generator), make()]
        super().__init__(*layers[:-1])
        self.widths = tuple(widths)

    def __getitem__(self, idx: slice | int) -> Any:
        """One module, or several of them as an :class:`torch.nn.Sequential`."""
        chosen: Any = list(self)[idx]
        return nn.Sequential(*chosen) if isinstance(idx, slice) else chosen


@torch.no_grad()
def _linear(n: int, m: int, generator: torch.Generator | None) -> nn.Linear:
    """A linear layer whose draw comes from the generator."""
    layer = nn.Linear(n, m, device="meta").to_empty(
        device=torch.get_default_device()
    )  # draws nothing
    bound = 1 / math.sqrt(n)
    layer.weight.uniform_(-bound, bound, generator=generator)
    layer.bias.uniform_(-bound, bound, generator=generator)
    return layer


def count_parameters(model: nn.Module) -> int:
    """The number of trainable parameters, shared ones once.

    Args:
        model: Any module.

    Returns:
        The number of numbers that training may change.

    Example:
        >>> count_parameters(nn.Linear(3, 2))
        8

    Book: *A fair comparison*. Source: Yu et al. (2024), arXiv:2407.16674.
    """
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


class Flops(NamedTuple):
    """Floating-point operations, the two kinds apart.

    Attributes:
        matrix: In matrix products, convolutions and attention, 2 for each multiply-add.
        elementwise: In elementwise arithmetic, 1 for each number computed.
    """

    matrix: int
    elementwise: int

    @property
    def total(self) -> int:
        """Both kinds together."""
        return self.matrix + self.elementwise


def count_flops(model: nn.Module, x: Tensor, *, backward: bool = False) -> Flops:
    r"""The floating-point operations of one call of a model, by running it once.

    .. math:: \text{matrix} = \sum_{\text{products}} 2\, b\, n\, m, \qquad
              \text{elementwise} = \sum_{\text{operations}} \text{numbers computed}.

    Conventions, and the formula for KAN layers, stand at the head of the module. The model's
    parameters and their gradients stay as they are.

    Args:
        model: Takes x to one tensor.
        x: Inputs, any shape that the model takes; they get no gradient.
        backward: Whether to count the gradient of the summed output with respect to all
            trainable parameters too: for a deep network about twice the forward pass again.

    Returns:
        :class:`Flops`.

    Raises:
        ValueError: If backward is asked for and the model has no trainable parameters.

    Example:
        >>> count_flops(MLP([2, 5, 1]), torch.zeros(4, 2))  # 2 * 4 * (2 * 5 + 5 * 1); 4 * 5 SiLUs
        Flops(matrix=120, elementwise=20)

    Book: *A fair comparison*. Source: Yu et al. (2024), arXiv:2407.16674.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if backward and not parameters:
        raise ValueError("model must have trainable parameters to count a backward pass, got none")
    arithmetic = _arithmetic()
    counter = FlopCounterMode(display=False, custom_mapping=arithmetic)
    with counter, torch.set_grad_enabled(backward):
        y = model(x.detach())
        if backward:
            torch.autograd.grad(y, parameters, torch.ones_like(y), allow_unused=True)
    counts = counter.get_flop_counts().get("Global", {})
    elementwise = sum(count for operator, count in counts.items() if operator in arithmetic)
    return Flops(sum(counts.values()) - elementwise, elementwise)


def _arithmetic() -> dict[Any, Callable[..., int]]:
    """The elementwise operators that count, with how they count."""

    def numbers(*args: object, out_shape: torch.Size, **options: object) -> int:
        return math.prod(out_shape)

    names = [name for stem in _ARITHMETIC.split() for name in (stem, stem + "_")]
    known = [getattr(torch.ops.aten, name) for name in names if hasattr(torch.ops.aten, name)]
    # The counter looks overloads up too, and takes apart those composites that it does not find.
    overloads = [getattr(operator, name) for operator in known for name in operator.overloads()]
    return dict.fromkeys([*known, *overloads], numbers)


def match_width(
    make: Callable[[int], nn.Module],
    budget: int,
    *,
    count: Literal["parameters", "flops"] | Callable[[nn.Module], int] = "parameters",
    x: Tensor | None = None,
    backward: bool = False,
    limit: int = 2**20,
) -> int:
    r"""The largest width whose model stays within a budget.

    .. math:: \max\,\{ w \ge 1 : \mathrm{count}(\mathrm{make}(w)) \le \mathrm{budget} \},

    found by doubling, then bisection: about :math:`2 \log_2 w` models are made. The count must
    not decrease with the width.

    Args:
        make: From a width, at least 1, to a model.
        budget: The largest count allowed, at least that of width 1.
        count: "parameters", "flops" (both kinds together, on x), or a callable from a model to
            its count.
        x: Inputs to count FLOPs on; only for "flops".
        backward: Whether FLOPs are those of forward and backward pass.
        limit: The largest width to try.

    Returns:
        The width.

    Raises:
        ValueError: If the budget is too small for width 1, or `limit` stays within it, or the
            count decreases on the way, or an argument does not fit the count.

    Example:
        >>> match_width(lambda width: MLP([2, width, 1]), budget=135)  # as [2, 5, 1] of cubic KANs
        33

    Book: *A fair comparison*. Source: Yu et al. (2024), arXiv:2407.16674.
    """
    measure = _measure(count, x, backward)
    tried: dict[int, int] = {}

    def fits(width: int) -> bool:
        tried[width] = measure(make(width))
        for below, above in itertools.pairwise(sorted(tried)):
            if tried[below] > tried[above]:
                raise ValueError(
                    f"count must not decrease with the width, got {tried[below]} at {below} "
                    f"and {tried[above]} at {above}"
                )
        return tried[width] <= budget

    low, high = 1, 2
    if not fits(low):
        raise ValueError(f"budget must be at least {tried[1]}, the count at width 1, got {budget}")
    while fits(high):
        if high >= limit:
            raise ValueError(f"limit must leave the budget {budget}, got {tried[high]} at {high}")
        low, high = high, min(2 * high, limit)
    while high - low > 1:  # low fits, high does not
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _measure(
    count: str | Callable[[nn.Module], int], x: Tensor | None, backward: bool
) -> Callable[[nn.Module], int]:
    """The function from a model to its count."""
    if count == "flops":
        if x is None:
            raise ValueError("x must be given to count flops, got None")
        inputs = x
        return lambda model: count_flops(model, inputs, backward=backward).total
    if x is not None or backward:
        raise ValueError(f"x and backward must be left out unless count is 'flops', got {count!r}")
    if count == "parameters":
        return count_parameters
    if not callable(count):
        raise ValueError(f"count must be 'parameters', 'flops' or a callable, got {count!r}")
    return count
