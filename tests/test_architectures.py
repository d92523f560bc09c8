"""KANs in larger models: against slow definitions, their torch.nn siblings, and exact counts."""

import copy
import io
import math
import pickle
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as nnf
from helpers import default_dtype, largest, same_state, seeded, uniform
from torch import Tensor, nn
from torch.autograd import gradcheck

import kanlite as kl
from kanlite.architectures import KANGPT, KANAttention, KANConv2d, KANFeedForward
from kanlite.layers import RESIDUALS


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with default_dtype(torch.float64):
        yield


def _each(n: int) -> kl.BSpline:
    """A basis with other knots for each channel."""
    return kl.BSpline.from_data(uniform(50, n) ** 3, 3, 2)


def _gpt(**options: object) -> KANGPT:
    sizes = {"embed_dim": 8, "num_heads": 2, "num_layers": 2} | options
    return KANGPT(7, 6, kl.BSpline(3, 2, -3.0, 3.0), generator=seeded(), **sizes)


TOKENS = torch.randint(7, (3, 6), generator=seeded())

# Every part, with an input.
MODULES: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "convolution": lambda: (
        KANConv2d(4, 6, (3, 2), _each, stride=2, padding=1, groups=2, bias=True),
        uniform(2, 4, 7, 6, low=-1.5, high=1.5),
    ),
    "convolution of taps left out": lambda: (
        KANConv2d(2, 3, 3, kl.GaussianRBF(4), padding="same", padding_mode="none", residual=None),
        uniform(2, 2, 5, 4),
    ),
    "attention": lambda: (KANAttention(6, 2, _each), uniform(3, 5, 6)),
    "attention to all": lambda: (
        KANAttention(6, 3, kl.Chebyshev(2), causal=False, residual="gelu"),
        uniform(3, 5, 6),
    ),
    "feed-forward": lambda: (KANFeedForward(3, kl.BSpline(), bias=True), uniform(2, 5, 3)),
    "GPT of KANs": lambda: (_gpt(head="kan"), TOKENS),
    "plain GPT": lambda: (_gpt(feed_forward="mlp", attention="linear"), TOKENS),
}


@pytest.fixture(params=MODULES)
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor]:
    module, x = MODULES[request.param]()
    with torch.no_grad():
        for parameter in module.parameters():  # no term may hide behind a zero
            parameter.copy_(uniform(*parameter.shape, low=-0.5, high=0.5, seed=1))
    return module, x


# What PyTorch asks of a module -----------------------------------------------------------------


def test_gradients_reach_every_parameter_and_are_finite(case: tuple[nn.Module, Tensor]) -> None:
    module, x = case
    module(x).square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_state_dict_pickle_and_deepcopy_keep_every_bit(case: tuple[nn.Module, Tensor]) -> None:
    module, x = case
    y, buffer = module(x), io.BytesIO()
    for same in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(same(x), y)
        with torch.no_grad():
            for value in same.state_dict().values():
                value.zero_()
        torch.save(module.state_dict(), buffer)
        buffer.seek(0)
        same.load_state_dict(torch.load(buffer))
        buffer.seek(0)
        assert same_state(module, same)
        assert torch.equal(same(x), y)


def test_empty_batches(case: tuple[nn.Module, Tensor]) -> None:
    module, x = case
    y = module(x[:0])
    assert y.shape == (0, *module(x).shape[1:])
    y.sum().backward()


def test_one_sample_at_a_time_gives_the_same(case: tuple[nn.Module, Tensor]) -> None:
    module, x = case
    alone = torch.stack([module(sample) for sample in x])
    assert largest(alone - module(x)) <= 1e-12


def test_other_dtypes(case: tuple[nn.Module, Tensor]) -> None:
    module, x = case
    y = module(x)
    module.float()
    x = x.float() if x.is_floating_point() else x
    z = module(x)
    assert z.dtype == torch.float32
    assert largest(y - z) <= 1e-4 * (1 + largest(y))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = module(x)
    assert largest(y - low) <= 0.1 * (1 + largest(y))
    low.float().sum().backward()


def test_compiles_as_one_graph(case: tuple[nn.Module, Tensor]) -> None:
    module, x = case
    torch.compiler.reset()
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    assert largest(compiled(x) - module(x)) <= 1e-13


@pytest.mark.parametrize("name", MODULES)
def test_a_generator_reproduces_the_draw_and_nothing_else_is_touched(name: str) -> None:
    def made() -> nn.Module:
        if "GPT" in name:
            return _gpt(head="kan") if "KAN" in name else _gpt(attention="linear")
        if name == "feed-forward":
            return KANFeedForward(3, kl.BSpline(), generator=seeded())
        if "attention" in name:
            return KANAttention(4, 2, kl.BSpline(), generator=seeded())
        return KANConv2d(2, 2, 3, _each, groups=2, generator=seeded())

    before = torch.get_rng_state()
    assert same_state(made(), made())
    assert torch.equal(torch.get_rng_state(), before)


# Convolution -----------------------------------------------------------------------------------


CONVOLUTIONS: dict[str, tuple[tuple[int, int, int], dict[str, object]]] = {
    "plain": ((1, 2, 3), {}),
    "one tap": ((3, 2, 1), {}),
    "stride, dilation": ((2, 3, 2), {"stride": (2, 1), "dilation": (1, 3)}),
    "padding": ((2, 2, 3), {"padding": (2, 1), "bias": True}),
    "same": ((1, 2, (4, 3)), {"padding": "same", "dilation": (1, 2)}),
    "valid": ((1, 2, 3), {"padding": "valid"}),
    "groups": ((4, 6, 3), {"groups": 2, "padding": 1, "bias": True}),
    "depthwise": ((3, 6, 3), {"groups": 3, "stride": 2}),
    "reflect": ((2, 2, 3), {"padding": 2, "padding_mode": "reflect"}),
    "replicate": ((2, 2, 3), {"padding": 2, "padding_mode": "replicate"}),
    "circular": ((2, 2, 3), {"padding": 2, "padding_mode": "circular"}),
    "none": ((2, 2, 3), {"padding": (1, 2), "padding_mode": "none", "stride": 2, "bias": True}),
    "none, same": ((1, 2, (4, 3)), {"padding": "same", "padding_mode": "none"}),
    "no residual": ((2, 2, 3), {"residual": None, "padding": 1}),
    "custom residual": ((2, 2, 3), {"residual": torch.cos, "padding": 1}),
}
EACH = {"shared knots": lambda n: kl.BSpline(3, 2), "knots of each channel": _each}


def _conv(name: str, basis: Callable[[int], kl.Basis]) -> tuple[KANConv2d, Tensor]:
    (n, m, size), options = CONVOLUTIONS[name]
    conv = KANConv2d(n, m, size, basis, **options)
    with torch.no_grad():
        for parameter in conv.parameters():
            parameter.copy_(uniform(*parameter.shape, seed=2))
    return conv, uniform(2, n, 7, 6, low=-1.5, high=1.5)


def _phi(conv: KANConv2d, j: int, i: int, u: int, v: int, x: Tensor) -> Tensor:
    """phi_jiuv at numbers x: i is the channel's number in the image, not in its group."""
    n = conv.in_channels // conv.groups
    terms = conv.weight[j, i % n, :, u, v]
    every = torch.zeros(*x.shape, conv.in_channels)
    every[..., i] = x
    value = conv.basis(every)[..., i, :] @ terms[: conv.basis.num_basis]
    residual = RESIDUALS.get(conv.residual, conv.residual)
    return value if residual is None else value + terms[-1] * residual(x)


def _slow(conv: KANConv2d, x: Tensor, size: torch.Size) -> Tensor:
    """The definition, tap by tap and pixel by pixel, with the border as the modes say."""
    n, m = conv.in_channels // conv.groups, conv.out_channels // conv.groups
    (sh, sw), (dh, dw), (kh, kw) = conv.stride, conv.dilation, conv.kernel_size
    if isinstance(conv.padding, str):
        same = conv.padding == "same"
        top, left = (dh * (kh - 1) // 2, dw * (kw - 1) // 2) if same else (0, 0)
    else:
        top, left = conv.padding
    height, width = x.shape[-2:]
    y = torch.zeros(size)
    for j in range(conv.out_channels):
        for i in range(j // m * n, (j // m + 1) * n):
            for u, v in ((u, v) for u in range(kh) for v in range(kw)):
                for p, q in ((p, q) for p in range(size[2]) for q in range(size[3])):
                    r, c = p * sh + u * dh - top, q * sw + v * dw - left
                    inside = 0 <= r < height and 0 <= c < width
                    if conv.padding_mode == "none" and not inside:
                        continue
                    if conv.padding_mode == "zeros" and not inside:
                        pixel = torch.zeros(len(x))
                    else:
                        r, c = (_place(conv.padding_mode, *a) for a in ((r, height), (c, width)))
                        pixel = x[:, i, r, c]
                    y[:, j, p, q] += _phi(conv, j, i, u, v, pixel)
    return y if conv.bias is None else y + conv.bias[:, None, None]


def _place(mode: str, at: int, size: int) -> int:
    """Which pixel of a line stands at a place beyond its ends."""
    if mode == "reflect":
        at = abs(at)
        return at if at < size else 2 * (size - 1) - at
    return min(max(at, 0), size - 1) if mode == "replicate" else at % size


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_convolution_is_its_definition(name: str) -> None:
    conv, x = _conv(name, _each)
    with torch.no_grad():
        y = conv(x)
        assert largest(y - _slow(conv, x, y.shape)) <= 1e-12
        assert largest(conv(x[0]) - y[0]) <= 1e-13


@pytest.mark.parametrize("basis", EACH)
@pytest.mark.parametrize("name", ["stride, dilation", "groups", "depthwise", "no residual"])
def test_a_convolution_is_a_layer_on_patches(name: str, basis: str) -> None:
    conv, x = _conv(name, EACH[basis])
    y, layers = conv(x), conv.patch_layers()
    padding = conv.padding if isinstance(conv.padding, tuple) else 0
    options = {"dilation": conv.dilation, "padding": padding, "stride": conv.stride}
    groups = nnf.unfold(x, conv.kernel_size, **options).mT.chunk(conv.groups, dim=-1)
    parts = [layer(patches) for layer, patches in zip(layers, groups, strict=True)]
    assert largest(torch.cat(parts, dim=-1).mT.reshape(y.shape) - y) <= 1e-12
    with torch.no_grad():
        layers[0].coef.zero_()
    assert torch.equal(conv(x), y), "the layers are copies"


@pytest.mark.parametrize("name", [name for name in CONVOLUTIONS if "none" not in name])
def test_shapes_are_those_of_conv2d(name: str) -> None:
    (n, m, size), options = CONVOLUTIONS[name]
    conv, x = _conv(name, EACH["shared knots"])
    known = {key: value for key, value in options.items() if key != "residual"}
    sibling = nn.Conv2d(n, m, size, **known)
    assert conv(x).shape == sibling(x).shape
    terms = conv.basis.num_basis + (conv.residual is not None)
    of_kernels = sum(p.numel() for name, p in sibling.named_parameters() if name == "weight")
    of_bias = m if options.get("bias") else 0
    assert sum(p.numel() for p in conv.parameters()) == terms * of_kernels + of_bias


def test_an_edge_function_that_is_x_makes_a_plain_convolution() -> None:
    """Padded with zeros or with nothing: x vanishes at 0."""
    sibling = nn.Conv2d(2, 3, 3, padding=1, stride=2)
    x = uniform(2, 2, 7, 6)
    for mode in ("zeros", "none"):
        conv = KANConv2d(
            2,
            3,
            3,
            kl.BSpline(),
            padding=1,
            stride=2,
            padding_mode=mode,
            residual="identity",
            bias=True,
        )
        with torch.no_grad():
            conv.weight.zero_()
            conv.weight[:, :, -1] = sibling.weight
            conv.bias.copy_(sibling.bias)
        assert largest(conv(x) - sibling(x)) <= 1e-13


def test_first_weights_are_those_of_layers_on_patches() -> None:
    """So that the variance of pixels that are uniform on the domain is kept, on average."""
    conv = KANConv2d(2, 64, 3, kl.BSpline(), residual=None, bias=True, generator=seeded())
    y = conv(uniform(64, 2, 3, 3)).detach()
    assert y.var() == pytest.approx(1 / 3, rel=0.25)
    assert not conv.bias.any()
    before = conv.weight.detach().clone()
    conv.reset_parameters(generator=seeded(1))
    assert not torch.equal(conv.weight, before)


def test_gradients_of_a_convolution() -> None:
    conv = KANConv2d(2, 2, 2, kl.BSpline(2, 3), padding=1, generator=seeded())
    x = uniform(1, 2, 3, 3, low=-1.3, high=1.3).requires_grad_()
    assert gradcheck(conv, (x,), atol=1e-6)


def test_a_convolution_learns() -> None:
    """To tell horizontal from vertical stripes, behind a mean over the image."""
    g = seeded()
    x = torch.rand(64, 1, 6, 6, generator=g) * 0.2 - 0.1
    y = torch.arange(64) % 2
    x[y == 0, :, ::2] += 0.8
    x[y == 1, :, :, ::2] += 0.8
    model = nn.Sequential(
        KANConv2d(1, 4, 2, kl.BSpline(), generator=g),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        kl.KANLayer(4, 2, kl.BSpline(), generator=g),
    )
    kl.fit(model, (x, y), loss="cross_entropy", steps=60, generator=g)
    assert (model(x).argmax(1) == y).all()


# Attention -------------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [True, False])
def test_linear_projections_make_multihead_attention(causal: bool) -> None:
    sibling = nn.MultiheadAttention(8, 2, batch_first=True)
    attention = KANAttention(8, 2, None, causal=causal)
    with torch.no_grad():
        attention.qkv.weight.copy_(sibling.in_proj_weight)
        attention.qkv.bias.copy_(uniform(24))
        sibling.in_proj_bias.copy_(attention.qkv.bias)
        attention.out.load_state_dict(sibling.out_proj.state_dict())
    x = uniform(3, 5, 8)
    mask = nn.Transformer.generate_square_subsequent_mask(5) if causal else None
    expected, _ = sibling(x, x, x, attn_mask=mask, need_weights=False)
    assert largest(attention(x) - expected) <= 1e-13


def test_attention_is_its_formula() -> None:
    attention = KANAttention(6, 2, _each, generator=seeded())
    x = uniform(4, 6)
    q, k, v = attention.qkv(x).split(6, dim=-1)
    gathered = torch.zeros(4, 6)
    for head in (slice(0, 3), slice(3, 6)):
        for t in range(4):
            scores = q[t, head] @ k[: t + 1, head].T / math.sqrt(3)
            gathered[t, head] = scores.softmax(0) @ v[: t + 1, head]
    assert largest(attention(x) - attention.out(gathered)) <= 1e-13


@pytest.mark.parametrize("name", ["attention", "GPT of KANs", "plain GPT"])
def test_no_position_sees_a_later_one(name: str) -> None:
    module, x = MODULES[name]()
    for t in range(1, x.shape[1]):
        changed = x.clone()
        changed[:, t:] = (x[:, t:] + 1) % 7 if x.dtype == torch.long else 3.0
        before, after = module(x), module(changed)
        assert largest(before[:, :t] - after[:, :t]) <= 1e-14
        assert (before[:, t:] - after[:, t:]).abs().amin(-1).amax() > 0


def test_attention_to_all_sees_later_positions() -> None:
    attention = KANAttention(4, 1, kl.BSpline(), causal=False, generator=seeded())
    x = uniform(1, 3, 4)
    changed = x.clone()
    changed[:, -1] = 0.9
    assert largest(attention(x)[:, 0] - attention(changed)[:, 0]) > 1e-6


def test_a_feed_forward_block_is_a_network() -> None:
    block = KANFeedForward(3, kl.BSpline(), generator=seeded())
    assert block.widths == (3, 12, 3)
    network = kl.KAN([3, 12, 3], kl.BSpline(), generator=seeded())
    assert same_state(block, network)
    assert KANFeedForward(3, kl.BSpline(), hidden_dim=5).widths == (3, 5, 3)


# GPT -------------------------------------------------------------------------------------------

CHOICES = [
    (feed_forward, attention, head)
    for feed_forward in ("kan", "mlp")
    for attention in ("kan", "linear")
    for head in ("kan", "linear")
]


@pytest.mark.parametrize("choice", CHOICES)
def test_weights_are_counted_exactly(choice: tuple[str, str, str]) -> None:
    vocab, context, c, layers, per_edge = 11, 5, 12, 3, (4 + 2) + 1
    feed_forward, attention, head = choice
    model = KANGPT(
        vocab,
        context,
        kl.BSpline(num_intervals=4, degree=2),
        embed_dim=c,
        num_heads=3,
        num_layers=layers,
        feed_forward=feed_forward,
        attention=attention,
        head=head,
    )
    projections = 4 * c**2 * per_edge if attention == "kan" else 4 * c**2 + 4 * c
    hidden = 8 * c**2 * per_edge if feed_forward == "kan" else 8 * c**2 + 5 * c
    on_top = c * vocab * (per_edge if head == "kan" else 1)
    expected = (vocab + context) * c + layers * (projections + hidden + 4 * c) + 2 * c + on_top
    assert sum(p.numel() for p in model.parameters()) == expected


def test_kansformers_is_one_setting() -> None:
    """Its definition written out with efficient-kan's layers, and the model's weights in them."""
    basis = kl.BSpline(num_intervals=5, degree=3, extrapolate="natural")
    model = KANGPT(
        9, 6, basis, embed_dim=8, num_heads=2, num_layers=2, head="kan", generator=seeded()
    )
    parts = iter(kl.edge_layers(model))

    def published(h: Tensor) -> Tensor:
        """The next layer by the formula of efficient-kan."""
        layer = next(parts)
        features = kl.bspline_basis(h, kl.uniform_knots(5, 3), 3)
        y = torch.einsum("...ig,igo->...o", features, layer.coef)
        return y + nnf.silu(h) @ layer.residual_weight

    tokens = torch.randint(9, (2, 6), generator=seeded())
    h = model.tokens.weight[tokens] + model.positions.weight[:6]
    for _ in range(2):
        z = nnf.layer_norm(h, (8,))
        q, k, v = (a.unflatten(-1, (2, 4)).transpose(1, 2) for a in published(z).split(8, dim=-1))
        scores = q @ k.mT / 2 + torch.full((6, 6), -math.inf).triu(1)
        h = h + published((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
        h = h + published(published(nnf.layer_norm(h, (8,))))
    assert largest(model(tokens) - published(nnf.layer_norm(h, (8,)))) <= 1e-12


SENTENCE = "a kan is a sum of functions of one variable, and of functions of sums of them. "


@pytest.mark.parametrize("choice", [("kan", "kan"), ("mlp", "linear")])
def test_training_beats_the_frequencies_of_the_letters(choice: tuple[str, str]) -> None:
    """Cross-entropy below the entropy of single letters: the model uses what comes before."""
    letters = sorted(set(SENTENCE))
    text = torch.tensor([letters.index(letter) for letter in SENTENCE * 8])
    share = text.bincount() / len(text)
    entropy = -(share * share.log()).sum().item()
    windows = text.unfold(0, 9, 1)  # (samples, 9): eight letters, and the ones after them
    data = (windows[:, :8], windows[:, 1:])
    with default_dtype(torch.float32):
        model = KANGPT(
            len(letters),
            8,
            embed_dim=16,
            num_heads=2,
            num_layers=1,
            feed_forward=choice[0],
            attention=choice[1],
            generator=seeded(),
        )
    history = kl.fit(
        model,
        data,
        steps=50,
        batch_size=16,
        loss=lambda y, target: nnf.cross_entropy(y.mT, target),
        generator=seeded(),
    )
    assert history.train_loss[0] > entropy
    assert max(history.train_loss[-5:]) < 0.8 * entropy


def test_generation_draws_from_the_model() -> None:
    model = _gpt()
    start = TOKENS[:, :2]
    text = model.generate(start, 9, generator=seeded())  # longer than the context
    assert text.shape == (3, 11)
    assert torch.equal(text[:, :2], start)
    assert torch.equal(text, model.generate(start, 9, generator=seeded()))
    assert not torch.equal(text, model.generate(start, 9, generator=seeded(1)))
    assert model.generate(start[0], 0).shape == (2,)
    many = model.generate(start[:1].expand(5000, 2), 1, temperature=0.5, generator=seeded())
    frequency = many[:, -1].bincount(minlength=7) / 5000
    assert largest(frequency - (model(start[0])[-1] / 0.5).softmax(-1)) < 0.03


def test_at_temperature_zero_the_likeliest_token_follows() -> None:
    model, text = _gpt(), TOKENS[:1, :3]
    for _ in range(6):
        text = torch.cat([text, model(text[:, -6:])[:, -1:].argmax(-1)], dim=1)
    before = torch.get_rng_state()
    assert torch.equal(model.generate(TOKENS[:1, :3], 6, temperature=0.0), text)
    assert torch.equal(torch.get_rng_state(), before)


# Refusals --------------------------------------------------------------------------------------


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "no channels": (
        lambda: KANConv2d(0, 1, 3, kl.BSpline()),
        "in_channels must be at least 1, got 0",
    ),
    "channels beside the groups": (
        lambda: KANConv2d(4, 3, 3, kl.BSpline(), groups=2),
        "must be multiples of groups = 2, got 4 and 3",
    ),
    "no kernel": (
        lambda: KANConv2d(1, 1, (3, 0), kl.BSpline()),
        r"kernel_size must be at least 1, a number or two, got \(3, 0\)",
    ),
    "three strides": (
        lambda: KANConv2d(1, 1, 3, kl.BSpline(), stride=(1, 1, 1)),
        "stride must be at least 1, a number or two",
    ),
    "negative padding": (
        lambda: KANConv2d(1, 1, 3, kl.BSpline(), padding=-1),
        "padding must be at least 0, a number or two, got -1",
    ),
    "padding by a wrong name": (
        lambda: KANConv2d(1, 1, 3, kl.BSpline(), padding="full"),
        r"padding must be one of \('same', 'valid'\), got 'full'",
    ),
    "same with a stride": (
        lambda: KANConv2d(1, 1, 3, kl.BSpline(), padding="same", stride=2),
        r"stride must be 1 where padding is 'same', got \(2, 2\)",
    ),
    "unknown border": (
        lambda: KANConv2d(1, 1, 3, kl.BSpline(), padding_mode="mirror"),
        "padding_mode must be one of .*, got 'mirror'",
    ),
    "unknown residual": (
        lambda: KANConv2d(1, 1, 3, kl.BSpline(), residual="sin"),
        "residual must be one of",
    ),
    "basis of other channels": (
        lambda: KANConv2d(2, 1, 3, _each(3)),
        "basis must have feature_shape",
    ),
    "image of other channels": (
        lambda: KANConv2d(2, 1, 3, kl.BSpline())(uniform(1, 3, 5, 5)),
        r"x must have shape \(N, 2, H, W\) .*, got \(1, 3, 5, 5\)",
    ),
    "image without channels": (
        lambda: KANConv2d(2, 1, 3, kl.BSpline())(uniform(5, 5)),
        r"got \(5, 5\)",
    ),
    "image of integers": (
        lambda: KANConv2d(1, 1, 3, kl.BSpline())(torch.zeros(1, 1, 5, 5, dtype=torch.long)),
        "x must be floating point",
    ),
    "heads that do not divide": (
        lambda: KANAttention(6, 4, kl.BSpline()),
        "embed_dim must be a positive multiple of num_heads = 4, got 6",
    ),
    "no heads": (lambda: KANAttention(6, 0, kl.BSpline()), "num_heads = 0"),
    "sequence of another width": (
        lambda: KANAttention(6, 2, kl.BSpline())(uniform(2, 5, 4)),
        r"embed_dim = 6, got \(2, 5, 4\)",
    ),
    "no sequence": (lambda: KANAttention(6, 2, kl.BSpline())(uniform(6)), r"got \(6,\)"),
    "no tokens": (lambda: KANGPT(0, 4), "vocab_size must be at least 1, got 0"),
    "no blocks": (lambda: KANGPT(3, 4, num_layers=0), "num_layers must be at least 1, got 0"),
    "unknown block": (
        lambda: KANGPT(3, 4, feed_forward="linear"),
        r"feed_forward must be one of \('kan', 'mlp'\), got 'linear'",
    ),
    "unknown attention": (lambda: KANGPT(3, 4, attention="none"), "attention must be one of"),
    "unknown head": (lambda: KANGPT(3, 4, head="mlp"), "head must be one of"),
    "tokens that are floating point": (
        lambda: _gpt()(uniform(2, 3)),
        r"tokens must be torch.int64 .*, got torch.float64 of shape \(2, 3\)",
    ),
    "a text beyond the context": (
        lambda: _gpt()(torch.zeros(1, 7, dtype=torch.long)),
        r"T <= context = 6, got torch.int64 of shape \(1, 7\)",
    ),
    "nothing to continue": (
        lambda: _gpt().generate(TOKENS[:, :0], 3),
        r"tokens must hold at least one, got shape \(3, 0\)",
    ),
    "negative count": (lambda: _gpt().generate(TOKENS, -1), "got -1 and 1.0"),
    "negative temperature": (
        lambda: _gpt().generate(TOKENS, 1, temperature=-0.5),
        "got 1 and -0.5",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_by_name(name: str) -> None:
    act, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        act()


def test_representations() -> None:
    assert repr(KANConv2d(1, 2, 3, kl.BSpline(), padding=1, residual=torch.sin)) == (
        "KANConv2d(\n"
        "  in_channels=1, out_channels=2, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), "
        "dilation=(1, 1), groups=1, padding_mode='zeros', residual='custom', bias=False\n"
        "  (basis): BSpline(num_intervals=5, degree=3, [-1, 1], extrapolate='linear')\n"
        ")"
    )
    assert repr(KANAttention(4, 2, None)).startswith("KANAttention(\n  num_heads=2, causal=True\n")
