r"""KANs inside larger models: convolution, attention, feed-forward, and a small GPT.

Everything here is made of learned functions of one variable, the layer's edge functions, and of
PyTorch. Each part takes and gives what its sibling in :mod:`torch.nn` does.

Glossary
    x, y      inputs and outputs; images (..., channels, height, width), sequences (..., T, C)
    C, T, V   embed_dim, number of positions, size of the vocabulary
    g         groups of channels, each convolved by itself
    kh, kw    height and width of a kernel; a tap is one of its kh * kw positions
    terms     num_basis functions and, last, the residual, if there is one
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from kanlite.bases import Basis, BSpline
from kanlite.layers import KAN, RESIDUALS, KANLayer

__all__ = ["KANGPT", "KANAttention", "KANConv2d", "KANFeedForward"]

Pair = tuple[int, int]
Function = Callable[[Tensor], Tensor]
AnyBasis = Basis | Callable[[int], Basis]
PaddingMode = Literal["zeros", "none", "reflect", "replicate", "circular"]


# Convolution -----------------------------------------------------------------------------------


class KANConv2d(nn.Module):
    r"""A convolution with a learned function, not a number, at each tap of its kernels.

    .. math:: y_j(p) = \sum_{i} \sum_{\tau} \phi_{ji\tau}\big(x_i(s\,p + d\,\tau)\big) + a_j,

    with channels i of the group of j, taps :math:`\tau`, stride s and dilation d. On each patch
    it is a :class:`~kanlite.KANLayer` (:meth:`patch_layers`). It is computed from the basis
    values of the image, which all patches share, by one convolution: num_basis + 1 times the
    work of :class:`torch.nn.Conv2d`.

    What lies beyond the border is a stated choice. An edge function need not vanish at 0, so that
    padding with zeros and leaving taps out, one and the same for numbers, differ here:

    - ``"zeros"``: pixels beyond are 0, and taps there give :math:`\phi(0)` (the default);
    - ``"none"``: taps there give nothing;
    - ``"reflect"``, ``"replicate"``, ``"circular"``: pixels beyond repeat those inside.

    Args:
        in_channels: A positive multiple of `groups`.
        out_channels: Likewise.
        kernel_size: (kh, kw), or one number for both, at least 1.
        basis: A :class:`~kanlite.Basis` (copied), shared or one per channel, or a callable
            in_channels -> Basis.
        stride: s, at least 1, a number or two.
        padding: Pixels added on each side, at least 0, a number or two; "same" for an output of
            the size of the input (stride 1 only), "valid" for none.
        dilation: d, at least 1, a number or two.
        groups: g, at least 1.
        padding_mode: What lies beyond the border, as above.
        residual: As in :class:`~kanlite.KANLayer`.
        bias: Whether to add a learned constant to each output channel.
        generator: For the draw of the initial weights; PyTorch's global one if None.

    Shape:
        (N, in_channels, H, W) or (in_channels, H, W) -> the same with out_channels and the height
        and width of :class:`torch.nn.Conv2d`.

    Attributes:
        weight: c, shape (out_channels, in_channels / g, terms, kh, kw): num_basis coefficients
            and, last, the weight of the residual, if there is one.
        bias: a, shape (out_channels,), or None.

    Raises:
        ValueError: Naming the argument, the rule and the value.

    Example:
        >>> conv = KANConv2d(3, 8, 3, BSpline(), padding=1, stride=2)
        >>> conv(torch.zeros(4, 3, 28, 28)).shape
        torch.Size([4, 8, 14, 14])

    Source: Bodner et al., Convolutional Kolmogorov-Arnold networks (2024), arXiv:2406.13155.
    """

    bias: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        basis: AnyBasis,
        *,
        stride: int | Pair = 1,
        padding: int | Pair | Literal["same", "valid"] = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        padding_mode: PaddingMode = "zeros",
        residual: str | Function | None = "silu",
        bias: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        _check_choice("padding_mode", padding_mode, get_args(PaddingMode))
        _check_counts(in_channels=in_channels, out_channels=out_channels, groups=groups)
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"in_channels and out_channels must be multiples of groups = {groups}, "
                f"got {in_channels} and {out_channels}"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = _pair("kernel_size", kernel_size, 1)
        self.stride, self.dilation = _pair("stride", stride, 1), _pair("dilation", dilation, 1)
        self.padding = padding if isinstance(padding, str) else _pair("padding", padding, 0)
        self.padding_mode: PaddingMode = padding_mode
        self._pads = self._sides()
        # A layer knows what bases and residuals may be.
        layer = KANLayer(in_channels, 1, basis, residual=residual, generator=generator)
        self.basis, self.residual = layer.basis, residual
        self.num_terms = layer.basis.num_basis + (residual is not None)
        empty = layer.coef.new_empty
        shape = (out_channels, in_channels // groups, self.num_terms, *self.kernel_size)
        self.weight = nn.Parameter(empty(shape))
        self.bias = nn.Parameter(empty(out_channels)) if bias else None
        self.reset_parameters(generator=generator)

    @torch.no_grad()
    def reset_parameters(self, *, generator: torch.Generator | None = None) -> None:
        """Draw new weights as a :class:`~kanlite.KANLayer` on the patches does; the bias is zero.

        Args:
            generator: For the draw; PyTorch's global one if None.
        """
        n, (kh, kw) = self.in_channels // self.groups, self.kernel_size
        for group, weight in enumerate(self.weight.chunk(self.groups)):
            layer = self._patch_layer(group, generator)
            parts: list[Tensor] = [layer.coef]  # (n * kh * kw, num_basis, m)
            if layer.residual_weight is not None:
                parts.append(layer.residual_weight.unsqueeze(1))
            terms = torch.cat(parts, dim=1)
            weight.copy_(terms.reshape(n, kh, kw, self.num_terms, -1).permute(4, 0, 3, 1, 2))
        if self.bias is not None:
            self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Outputs: (..., in_channels, H, W) -> (..., out_channels, H', W')."""
        self._check_input(x)
        if self.padding_mode != "none":
            x = self._padded(x, "constant" if self.padding_mode == "zeros" else self.padding_mode)
        terms = self._terms(x.movedim(-3, -1))  # (..., H, W, in_channels, num_terms)
        terms = terms.flatten(-2).movedim(-1, -3)  # (..., in_channels * num_terms, H, W)
        if self.padding_mode == "none":
            terms = self._padded(terms, "constant")
        bias = None if self.bias is None else self.bias.to(terms.dtype)
        weight = self.weight.to(terms.dtype).flatten(1, 2)  # (out, in / g * num_terms, kh, kw)
        return nnf.conv2d(
            terms, weight, bias, self.stride, dilation=self.dilation, groups=self.groups
        )

    @torch.no_grad()
    def patch_layers(self) -> list[KANLayer]:
        """The layer that each group applies to its patches: a definition, slow, and copies.

        Returns:
            One :class:`~kanlite.KANLayer` for each group; its inputs are the in_channels / g * kh
            * kw numbers of a patch, in the order of :func:`torch.nn.functional.unfold`.

        Example:
            >>> conv = KANConv2d(1, 4, 3, BSpline())
            >>> x = torch.zeros(2, 1, 8, 8)
            >>> patches = nnf.unfold(x, 3).mT  # (2, 6 * 6, 9)
            >>> y = conv.patch_layers()[0](patches)  # (2, 6 * 6, 4)
            >>> torch.allclose(y.mT.reshape(2, 4, 6, 6), conv(x), atol=1e-6)
            True
        """
        layers = []
        for group, weight in enumerate(self.weight.chunk(self.groups)):
            layer = self._patch_layer(group, torch.Generator(weight.device))
            terms = weight.permute(1, 3, 4, 2, 0).flatten(0, 2)  # (n * kh * kw, num_terms, m)
            layer.coef = nn.Parameter(terms[:, : self.basis.num_basis].clone())
            if layer.residual_weight is not None:
                layer.residual_weight = nn.Parameter(terms[:, -1].clone())
            if self.bias is not None:
                layer.bias = nn.Parameter(self.bias.chunk(self.groups)[group].clone())
            layers.append(layer)
        return layers

    def _patch_layer(self, group: int, generator: torch.Generator | None) -> KANLayer:
        n, (kh, kw) = self.in_channels // self.groups, self.kernel_size
        channels = torch.arange(group * n, (group + 1) * n).repeat_interleave(kh * kw)
        return KANLayer(
            n * kh * kw,
            self.out_channels // self.groups,
            self.basis.select(channels),
            residual=self.residual,
            bias=self.bias is not None,
            generator=generator,
        )

    def _terms(self, x: Tensor) -> Tensor:
        """Basis values, and the residual last, if any: (..., C) -> (..., C, num_terms)."""
        values: Tensor = self.basis(x)
        if self.residual is None:
            return values
        function = RESIDUALS[self.residual] if isinstance(self.residual, str) else self.residual
        return torch.cat([values, function(x).unsqueeze(-1)], dim=-1)

    def _sides(self) -> list[int]:
        """Pixels to add at the left, the right, the top and the bottom."""
        if isinstance(self.padding, tuple):
            return [side for p in reversed(self.padding) for side in (p, p)]
        _check_choice("padding", self.padding, ("same", "valid"))
        if self.padding == "valid":
            return [0] * 4
        if self.stride != (1, 1):
            raise ValueError(f"stride must be 1 where padding is 'same', got {self.stride}")
        pairs = zip(reversed(self.dilation), reversed(self.kernel_size), strict=True)
        totals = [d * (k - 1) for d, k in pairs]
        return [side for total in totals for side in (total // 2, total - total // 2)]

    def _padded(self, x: Tensor, mode: str) -> Tensor:
        return nnf.pad(x, self._pads, mode=mode) if any(self._pads) else x

    def _check_input(self, x: Tensor) -> None:
        if x.dim() not in (3, 4) or x.shape[-3] != self.in_channels:
            raise ValueError(
                f"x must have shape (N, {self.in_channels}, H, W) or ({self.in_channels}, H, W) "
                f"with in_channels = {self.in_channels}, got {tuple(x.shape)}"
            )

    def config(self) -> dict[str, Any]:
        """Plain arguments that rebuild a convolution of the same shape on its basis."""
        names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation")
        options = {name: getattr(self, name) for name in (*names, "groups", "padding_mode")}
        return options | {"residual": self.residual, "bias": self.bias is not None}

    def extra_repr(self) -> str:
        """The arguments, for ``print(model)``."""
        residual = self.residual if isinstance(self.residual, str | None) else "custom"
        options = self.config() | {"residual": residual}
        return ", ".join(f"{name}={value!r}" for name, value in options.items())


# Transformers ----------------------------------------------------------------------------------


class KANAttention(nn.Module):
    r"""Multi-head self-attention whose projections are KAN layers.

    .. math:: (q, k, v) = \Phi(x), \qquad
              y_t = \Psi\Big(\sum_{s \le t} \mathrm{softmax}_s\big(q_t^T k_s / \sqrt{d}\big)\,
              v_s\Big),

    for each head of size :math:`d = C / \mathrm{num\_heads}`, with KAN layers :math:`\Phi` from C
    to 3 C and :math:`\Psi` from C to C, which act on each position by itself. A position attends
    to itself and to those before it, or to all.

    Args:
        embed_dim: C, a positive multiple of `num_heads`.
        num_heads: At least 1.
        basis: As in :class:`~kanlite.KANLayer`; None for projections by nn.Linear, which make it
            plain attention.
        causal: Whether a position sees none after it.
        residual: As in :class:`~kanlite.KANLayer`.
        generator: For the draw of the initial weights; PyTorch's global one if None.

    Shape:
        (..., T, C) -> (..., T, C), as :class:`torch.nn.MultiheadAttention` with ``batch_first``
        for one and the same query, key and value.

    Attributes:
        qkv: The projection to queries, keys and values, C -> 3 C.
        out: The projection behind the heads, C -> C.

    Raises:
        ValueError: Naming the argument, the rule and the value.

    Example:
        >>> attention = KANAttention(8, 2, BSpline())
        >>> attention(torch.zeros(4, 10, 8)).shape
        torch.Size([4, 10, 8])

    Source: Vaswani et al., Attention is all you need (2017), arXiv:1706.03762, section 3.2; KAN
    projections as in github.com/akaashdash/kansformers.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        basis: AnyBasis | None,
        *,
        causal: bool = True,
        residual: str | Function | None = "silu",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if num_heads < 1 or embed_dim < 1 or embed_dim % num_heads:
            raise ValueError(
                f"embed_dim must be a positive multiple of num_heads = {num_heads}, got {embed_dim}"
            )
        self.embed_dim, self.num_heads, self.causal = embed_dim, num_heads, causal
        self.qkv = _map(embed_dim, 3 * embed_dim, basis, residual, generator)
        self.out = _map(embed_dim, embed_dim, basis, residual, generator)

    def forward(self, x: Tensor) -> Tensor:
        """What each position gathers: (..., T, C) -> (..., T, C)."""
        if x.dim() < 2 or x.shape[-1] != self.embed_dim:
            raise ValueError(
                f"x must have shape (..., T, embed_dim) with embed_dim = {self.embed_dim}, "
                f"got {tuple(x.shape)}"
            )
        q, k, v = (
            part.unflatten(-1, (self.num_heads, -1)).transpose(-3, -2)  # (..., heads, T, d)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        heads = nnf.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        gathered: Tensor = self.out(heads.transpose(-3, -2).flatten(-2))
        return gathered

    def config(self) -> dict[str, Any]:
        """Plain arguments that rebuild a module of the same shape, but for its KAN layers."""
        return {
            "embed_dim": self.embed_dim,
            "num_heads": self.num_heads,
            "causal": self.causal,
        }

    def extra_repr(self) -> str:
        """Number of heads and mask, for ``print(model)``."""
        return f"num_heads={self.num_heads}, causal={self.causal}"


class KANFeedForward(KAN):
    r"""The feed-forward block of a transformer as a KAN: C -> hidden_dim -> C.

    Args:
        embed_dim: C, at least 1.
        basis: As in :class:`~kanlite.KANLayer`.
        hidden_dim: At least 1; 4 C if None.
        residual, bias, normalize, generator: As in :class:`~kanlite.KANLayer`.

    Shape:
        (..., C) -> (..., C).

    Raises:
        ValueError: Naming the argument, the rule and the value.

    Example:
        >>> KANFeedForward(8, BSpline()).widths
        (8, 32, 8)

    Source: the block of github.com/akaashdash/kansformers.
    """

    def __init__(
        self,
        embed_dim: int,
        basis: AnyBasis,
        *,
        hidden_dim: int | None = None,
        residual: str | Function | None = "silu",
        bias: bool = False,
        normalize: nn.Module | Callable[[int], nn.Module] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        hidden_dim = 4 * embed_dim if hidden_dim is None else hidden_dim
        super().__init__(
            [embed_dim, hidden_dim, embed_dim],
            basis,
            residual=residual,
            bias=bias,
            normalize=normalize,
            generator=generator,
        )


class KANGPT(nn.Module):
    r"""A small GPT whose blocks are KANs, or not: each part is a choice.

    .. math:: h &= E_{\mathrm{token}} + E_{\mathrm{position}}, \\
              h &\leftarrow h + A(\mathrm{LN}(h)), \quad
              h \leftarrow h + F(\mathrm{LN}(h)) \quad \text{in each block}, \\
              y &= H(\mathrm{LN}(h)).

    With ``feed_forward="mlp", attention="linear", head="linear"`` it is a plain pre-LayerNorm
    GPT; with "kan" three times and ``BSpline(extrapolate="natural")`` it is the architecture of
    kansformers.

    Args:
        vocab_size: V, the number of tokens, at least 1.
        context: The largest T, at least 1.
        basis: Of all KAN layers, as in :class:`~kanlite.KANLayer`; None for B-splines on [-3, 3],
            which holds what LayerNorm gives.
        embed_dim: C, a positive multiple of `num_heads`.
        num_heads: At least 1.
        num_layers: Number of blocks, at least 1.
        feed_forward: F, "kan" (:class:`KANFeedForward`) or "mlp" (two nn.Linear around GELU),
            both with 4 C hidden units.
        attention: The projections of A, "kan" or "linear" (:class:`KANAttention`).
        head: H, "kan" or "linear" (without bias).
        residual: Of all KAN layers.
        generator: For the draw of the initial weights; PyTorch's global one if None.

    Shape:
        Tokens, int64, (..., T) with T <= context -> logits (..., T, V) of the next token.

    Raises:
        ValueError: Naming the argument, the rule and the value.

    Example:
        >>> model = KANGPT(vocab_size=10, context=8, embed_dim=16, num_heads=2, num_layers=1)
        >>> tokens = torch.tensor([[1, 2, 3]])
        >>> model(tokens).shape, model.generate(tokens, 4).shape
        (torch.Size([1, 3, 10]), torch.Size([1, 7]))

    Source: github.com/karpathy/minGPT and github.com/akaashdash/kansformers.
    """

    def __init__(
        self,
        vocab_size: int,
        context: int,
        basis: AnyBasis | None = None,
        *,
        embed_dim: int = 64,
        num_heads: int = 4,
        num_layers: int = 2,
        feed_forward: Literal["kan", "mlp"] = "kan",
        attention: Literal["kan", "linear"] = "kan",
        head: Literal["kan", "linear"] = "linear",
        residual: str | Function | None = "silu",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        _check_counts(vocab_size=vocab_size, context=context, num_layers=num_layers)
        _check_choice("feed_forward", feed_forward, ("kan", "mlp"))
        _check_choice("attention", attention, ("kan", "linear"))
        _check_choice("head", head, ("kan", "linear"))
        basis = BSpline(low=-3.0, high=3.0) if basis is None else basis
        self.vocab_size, self.context, self.embed_dim = vocab_size, context, embed_dim
        self.num_heads, self.num_layers, self.residual = num_heads, num_layers, residual
        self.feed_forward, self.attention, self.head = feed_forward, attention, head
        self.tokens = _embedding(vocab_size, embed_dim, generator)
        self.positions = _embedding(context, embed_dim, generator)
        projections, hidden = (
            basis if choice == "kan" else None for choice in (attention, feed_forward)
        )
        sizes = (embed_dim, num_heads)
        self.blocks = nn.Sequential(
            *(_Block(*sizes, projections, hidden, residual, generator) for _ in range(num_layers))
        )
        self.norm = nn.LayerNorm(embed_dim)
        on_top = basis if head == "kan" else None
        self.to_logits = _map(embed_dim, vocab_size, on_top, residual, generator, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the next token at each position: (..., T) -> (..., T, vocab_size)."""
        if tokens.dtype != torch.long or tokens.dim() == 0 or tokens.shape[-1] > self.context:
            raise ValueError(
                f"tokens must be torch.int64 of shape (..., T) with T <= context = {self.context}, "
                f"got {tokens.dtype} of shape {tuple(tokens.shape)}"
            )
        h = self.tokens(tokens) + self.positions.weight[: tokens.shape[-1]]  # (..., T, C)
        logits: Tensor = self.to_logits(self.norm(self.blocks(h)))
        return logits

    @torch.no_grad()
    def generate(
        self,
        tokens: Tensor,
        count: int,
        *,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Continue a text, one drawn token at a time, each seeing the last `context` ones.

        Args:
            tokens: The beginning, int64, shape (..., T), T at least 1.
            count: Number of tokens to add, at least 0.
            temperature: Divides the logits, not negative; at 0 the likeliest token is taken.
            generator: For the draw; PyTorch's global one if None.

        Returns:
            Shape (..., T + count).

        Raises:
            ValueError: Naming the argument, the rule and the value.
        """
        if tokens.dim() == 0 or tokens.shape[-1] == 0:
            raise ValueError(f"tokens must hold at least one, got shape {tuple(tokens.shape)}")
        if count < 0 or not 0 <= temperature < float("inf"):
            raise ValueError(
                "count and temperature must be at least 0 and finite, "
                f"got {count} and {temperature}"
            )
        for _ in range(count):
            logits = self(tokens[..., -self.context :])[..., -1, :]  # (..., V)
            if temperature == 0:
                drawn = logits.argmax(-1, keepdim=True)
            else:
                p = (logits / temperature).softmax(-1)
                drawn = p.reshape(-1, self.vocab_size).multinomial(1, generator=generator)
            tokens = torch.cat([tokens, drawn.reshape(*tokens.shape[:-1], 1)], dim=-1)
        return tokens

    def config(self) -> dict[str, Any]:
        """Plain arguments that rebuild a model of the same shape, but for its KAN layers."""
        names = ("vocab_size", "context", "embed_dim", "num_heads", "num_layers")
        choices = ("feed_forward", "attention", "head", "residual")
        return {name: getattr(self, name) for name in (*names, *choices)}


class _Block(nn.Module):
    """Attention, then a feed-forward block, each behind a LayerNorm and beside an identity."""

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        projections: AnyBasis | None,
        hidden: AnyBasis | None,
        residual: str | Function | None,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dim)
        self.attention = KANAttention(
            embed_dim, num_heads, projections, residual=residual, generator=generator
        )
        self.norm2 = nn.LayerNorm(embed_dim)
        self.feed_forward: nn.Module
        if hidden is None:
            up = _map(embed_dim, 4 * embed_dim, None, None, generator)
            down = _map(4 * embed_dim, embed_dim, None, None, generator)
            self.feed_forward = nn.Sequential(up, nn.GELU(), down)
        else:
            self.feed_forward = KANFeedForward(
                embed_dim, hidden, residual=residual, generator=generator
            )

    def forward(self, h: Tensor) -> Tensor:
        h = h + self.attention(self.norm1(h))
        grown: Tensor = h + self.feed_forward(self.norm2(h))
        return grown


# What they share -------------------------------------------------------------------------------


def _map(
    n: int,
    m: int,
    basis: AnyBasis | None,
    residual: str | Function | None,
    generator: torch.Generator | None,
    *,
    bias: bool = True,
) -> nn.Module:
    """A KAN layer, or, without a basis, a linear one that keeps the variance on average."""
    if basis is not None:
        return KANLayer(n, m, basis, residual=residual, generator=generator)
    layer = nn.Linear(n, m, bias=bias, device="meta")  # draws nothing, as it knows no generator
    layer = layer.to_empty(device=torch.get_default_device())
    nn.init.normal_(layer.weight, std=n**-0.5, generator=generator)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def _embedding(count: int, size: int, generator: torch.Generator | None) -> nn.Embedding:
    table = nn.Embedding(count, size, device="meta").to_empty(device=torch.get_default_device())
    nn.init.normal_(table.weight, std=0.5**0.5, generator=generator)  # two of them add up to 1
    return table


def _pair(name: str, value: int | Pair, least: int) -> Pair:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or min(pair) < least:
        raise ValueError(f"{name} must be at least {least}, a number or two, got {value}")
    return pair


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {choices}, got {value!r}")
