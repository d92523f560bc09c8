"""Published networks: each definition written out plainly here, and compared with ours.

The definitions are functions of a state_dict with the published keys and shapes, in the dtype of
its tensors, so that one definition serves the comparison in float64, the comparison of rounding
errors in float32, and the importers.
"""

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from helpers import default_dtype, largest, same_state, seeded, uniform
from torch import Tensor, nn
from torch.func import jacrev, vmap

import kanlite as kl
from kanlite import variants
from kanlite.variants import Multiply

State = dict[str, Tensor]
WIDTHS = [3, 4, 2]


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with default_dtype(torch.float64):
        yield


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=seeded(seed))


# The definitions, from their formulas ---------------------------------------------------------


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    centered = x - x.mean(-1, keepdim=True)
    variance = (centered**2).mean(-1, keepdim=True)
    return centered / torch.sqrt(variance + 1e-5) * weight + bias


def splines(x: Tensor, grid: Tensor, degree: int) -> Tensor:
    """Half-open Cox-de Boor on a row of knots per feature: (N, n) -> (N, n, K - k - 1)."""
    x, t = x.unsqueeze(-1), grid.unsqueeze(0)
    b = ((t[..., :-1] <= x) & (x < t[..., 1:])).to(x.dtype)
    for k in range(1, degree + 1):
        rising = (x - t[..., : -k - 1]) / (t[..., k:-1] - t[..., : -k - 1])
        falling = (t[..., k + 1 :] - x) / (t[..., k + 1 :] - t[..., 1:-k])
        b = rising * b[..., :-1] + falling * b[..., 1:]
    return b


def efficient(state: State, x: Tensor, layer: str) -> Tensor:
    w, s = state[f"{layer}.spline_weight"], state[f"{layer}.spline_scaler"]
    grid = state[f"{layer}.grid"]
    b = splines(x, grid, grid.shape[1] - w.shape[2] - 1)
    spline = torch.einsum("nig,oig->no", b, w * s.unsqueeze(-1))
    return silu(x) @ state[f"{layer}.base_weight"].T + spline


def fast(state: State, x: Tensor, layer: str) -> Tensor:
    u = state[f"{layer}.rbf.grid"]
    h = (u[-1] - u[0]) / (len(u) - 1)
    z = layer_norm(x, state[f"{layer}.layernorm.weight"], state[f"{layer}.layernorm.bias"])
    bumps = torch.exp(-(((z.unsqueeze(-1) - u) / h) ** 2))
    base = silu(x) @ state[f"{layer}.base_linear.weight"].T + state[f"{layer}.base_linear.bias"]
    return bumps.flatten(1) @ state[f"{layer}.spline_linear.weight"].T + base


def faster(state: State, x: Tensor, layer: str) -> Tensor:
    z = layer_norm(x, state[f"{layer}.layernorm.weight"], state[f"{layer}.layernorm.bias"])
    switches = 1 - torch.tanh(z.unsqueeze(-1) - state[f"{layer}.rbf.grid"]) ** 2
    return switches.flatten(1) @ state[f"{layer}.spline_linear.weight"].T


def cheby(state: State, x: Tensor, layer: str) -> Tensor:
    c = state[f"{layer}.cheby_coeffs"]  # (n, m, degree + 1)
    t = torch.tanh(x)
    terms = [torch.ones_like(t), t]
    for _ in range(c.shape[2] - 2):
        terms.append(2 * t * terms[-1] - terms[-2])
    return torch.einsum("nid,iod->no", torch.stack(terms, -1), c)


def fourier(state: State, x: Tensor, layer: str) -> Tensor:
    c = state[f"{layer}.fouriercoeffs"]  # (2, m, n, K)
    phase = x[:, None, :, None] * torch.arange(1, c.shape[3] + 1)
    y = (torch.cos(phase) * c[0]).sum((-2, -1)) + (torch.sin(phase) * c[1]).sum((-2, -1))
    return y + state[f"{layer}.bias"]


def pykan(state: State, x: Tensor, number: str) -> Tensor:
    """phi = mask (scale_base silu + scale_sp sum c B), then the affine maps of (sub)nodes."""
    layer, number = f"act_fun.{number}", number
    coef, grid = state[f"{layer}.coef"], state[f"{layer}.grid"]
    b = splines(x, grid, grid.shape[1] - coef.shape[2] - 1)
    spline = torch.einsum("nig,iog->nio", b, coef)
    phi = state[f"{layer}.scale_base"] * silu(x)[..., None] + state[f"{layer}.scale_sp"] * spline
    y = (state[f"{layer}.mask"] * phi).sum(1)
    y = state[f"subnode_scale_{number}"] * y + state[f"subnode_bias_{number}"]
    return state[f"node_scale_{number}"] * y + state[f"node_bias_{number}"]


Definition = Callable[[State, Tensor, str], Tensor]
DEFINITIONS: dict[str, tuple[Definition, tuple[str, str]]] = {
    "efficient_kan": (efficient, ("layers.0", "layers.1")),
    "fast_kan": (fast, ("layers.0", "layers.1")),
    "faster_kan": (faster, ("layers.0", "layers.1")),
    "cheby_kan": (cheby, ("0", "1")),
    "fourier_kan": (fourier, ("0", "1")),
    "paper_kan": (pykan, ("0", "1")),
}


def define(name: str, state: State, x: Tensor) -> Tensor:
    definition, layers = DEFINITIONS[name]
    for layer in layers:
        x = definition(state, x, layer)
    return x


# Random weights with the published keys and shapes --------------------------------------------


def shapes(name: str, n: int, m: int) -> dict[str, tuple[int, ...]]:
    """Of one layer's weights, and the state_dict's names for them, {} being its number."""
    norm = {"layers.{}.layernorm.weight": (n,), "layers.{}.layernorm.bias": (n,)}
    return {
        "efficient_kan": {
            "layers.{}.base_weight": (m, n),
            "layers.{}.spline_weight": (m, n, 8),
            "layers.{}.spline_scaler": (m, n),
        },
        "fast_kan": {
            **norm,
            "layers.{}.spline_linear.weight": (m, 8 * n),
            "layers.{}.base_linear.weight": (m, n),
            "layers.{}.base_linear.bias": (m,),
        },
        "faster_kan": {**norm, "layers.{}.spline_linear.weight": (m, 8 * n)},
        "cheby_kan": {"{}.cheby_coeffs": (n, m, 5)},
        "fourier_kan": {"{}.fouriercoeffs": (2, m, n, 5), "{}.bias": (m,)},
        "paper_kan": {
            "act_fun.{}.coef": (n, m, 6),
            "act_fun.{}.scale_base": (n, m),
            "act_fun.{}.scale_sp": (n, m),
            "subnode_scale_{}": (m,),
            "subnode_bias_{}": (m,),
            "node_scale_{}": (m,),
            "node_bias_{}": (m,),
        },
    }[name]


def random_state(name: str, grids: str = "uniform") -> State:
    """Weights of the whole network, far from symmetric; knots irregular on demand."""
    state: State = {}
    for number, (n, m) in enumerate(itertools.pairwise(WIDTHS)):
        for key, shape in shapes(name, n, m).items():
            state[key.format(number)] = normal(*shape, seed=len(state) + 1)
        if name in ("fast_kan", "faster_kan"):
            end = 2.0 if name == "fast_kan" else 1.2
            state[f"layers.{number}.rbf.grid"] = torch.linspace(-end, end, 8)
        if name in ("efficient_kan", "paper_kan"):
            intervals = 5 if name == "efficient_kan" else 3
            h = 2 / intervals
            row = -1 + (torch.arange(intervals + 7) - 3) * h
            grid = row.expand(n, -1) + 0.0
            if grids == "irregular":
                grid = grid + 0.4 * h * (torch.rand(grid.shape, generator=seeded(number)) - 0.5)
            key = f"layers.{number}.grid" if name == "efficient_kan" else f"act_fun.{number}.grid"
            state[key] = grid
        if name == "paper_kan":
            mask = (torch.rand(n, m, generator=seeded(number)) > 0.3).double()
            state[f"act_fun.{number}.mask"] = mask
            state[f"symbolic_fun.{number}.mask"] = torch.zeros(m, n)
            state[f"symbolic_fun.{number}.affine"] = torch.zeros(m, n, 4)
    return state


def copied(name: str, state: State) -> kl.KAN:
    """Our constructor's network with these weights, put where they belong by hand."""
    model: kl.KAN = getattr(variants, name)(WIDTHS, generator=seeded())
    with torch.no_grad():
        for number, layer in enumerate(model):
            n, g, m = layer.coef.shape
            part = {k.replace(f"layers.{number}.", ""): v for k, v in state.items()}
            if name == "efficient_kan":
                c = part["spline_weight"] * part["spline_scaler"].unsqueeze(-1)
                layer.coef.copy_(torch.einsum("oig->igo", c))
                layer.residual_weight.copy_(part["base_weight"].T)
            elif name in ("fast_kan", "faster_kan"):
                layer.normalize.weight.copy_(part["layernorm.weight"])
                layer.normalize.bias.copy_(part["layernorm.bias"])
                w = part["spline_linear.weight"].reshape(m, n, g)
                layer.coef.copy_(torch.einsum("oig->igo", w))
                if name == "fast_kan":
                    layer.residual_weight.copy_(part["base_linear.weight"].T)
                    layer.bias.copy_(part["base_linear.bias"])
            elif name == "cheby_kan":
                layer.coef.copy_(torch.einsum("iod->ido", state[f"{number}.cheby_coeffs"]))
            elif name == "fourier_kan":
                c = torch.cat(list(state[f"{number}.fouriercoeffs"]), -1)  # (m, n, 2 K)
                layer.coef.copy_(torch.einsum("oik->iko", c))
                layer.bias.copy_(state[f"{number}.bias"])
            else:
                scale = state[f"act_fun.{number}.scale_sp"].unsqueeze(-1)
                layer.coef.copy_(torch.einsum("iog->igo", scale * state[f"act_fun.{number}.coef"]))
                layer.residual_weight.copy_(state[f"act_fun.{number}.scale_base"])
    return model


def plain(name: str, state: State) -> State:
    """For the paper's layer: without masks and affine maps, which the importer's tests have."""
    if name != "paper_kan":
        return state
    return {
        key: torch.ones_like(value)
        if "mask" in key or "node_scale" in key
        else torch.zeros_like(value)
        if "node_bias" in key
        else value
        for key, value in state.items()
    }


@pytest.fixture(params=DEFINITIONS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def points() -> Tensor:
    """In the domain, beyond it, and at knots."""
    inside, around = uniform(100, 3), uniform(100, 3, low=-3.0, high=3.0)
    knots = torch.tensor([-1.0, -0.6, 0.2, 1.0, 1.4])
    return torch.cat([inside, around, knots.unsqueeze(-1).expand(-1, 3)])


def test_copied_weights_give_the_published_outputs(name: str) -> None:
    state = plain(name, random_state(name))
    model, x = copied(name, state), points()
    expected = define(name, state, x)
    assert largest(model(x) - expected) <= 1e-12 * max(1.0, largest(expected))
    assert largest(expected) > 1e-2


def test_float32_errors_are_at_most_four_times_those_of_the_definition(name: str) -> None:
    state = plain(name, random_state(name))
    rounded = {key: value.float() for key, value in state.items()}
    x = points().float()
    exact = define(name, {key: value.double() for key, value in rounded.items()}, x.double())
    theirs = largest(define(name, rounded, x) - exact)
    with default_dtype(torch.float32):
        ours = largest(copied(name, rounded)(x) - exact)
    assert 0 < theirs < 1e-3 * largest(exact)
    assert ours <= 4 * theirs


def test_gradients_are_those_of_the_definition(name: str) -> None:
    state = plain(name, random_state(name))
    model, x = copied(name, state), uniform(20, 3).requires_grad_()
    ours, theirs = (
        torch.autograd.grad(y.square().sum(), x)[0] for y in (model(x), define(name, state, x))
    )
    assert largest(ours - theirs) <= 1e-11 * largest(theirs)


def test_a_variant_is_a_plain_network_that_can_be_saved(name: str, tmp_path: Path) -> None:
    model = getattr(variants, name)(WIDTHS, generator=seeded())
    assert type(model) is kl.KAN
    assert model.widths == tuple(WIDTHS)
    kl.save(model, tmp_path / "model.pt")
    loaded = kl.load(tmp_path / "model.pt")
    assert torch.equal(loaded(points()), model(points()))


def test_the_generator_decides_and_the_global_one_stands_in(name: str) -> None:
    make = getattr(variants, name)
    before = torch.get_rng_state()
    one, two, other = (make(WIDTHS, generator=seeded(seed)) for seed in (1, 1, 2))
    assert same_state(one, two)
    assert not same_state(one, other)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng():
        assert not same_state(make(WIDTHS), make(WIDTHS))


def test_parameters_are_numbers_to_train(name: str) -> None:
    """Gradients reach all of them, and they are in the default dtype."""
    with default_dtype(torch.float32):
        model = getattr(variants, name)(WIDTHS, generator=seeded())
        model(points().float()).square().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.dtype == torch.float32
        assert parameter.requires_grad
        assert parameter.grad is not None
        assert parameter.grad.any(), key


# First weights, by their moments --------------------------------------------------------------


def is_uniform(values: Tensor, bound: float) -> None:
    """Mean, variance and fourth moment of U(-bound, bound), within five standard errors."""
    v = values.flatten() / bound
    n = v.numel()
    assert v.abs().max() <= 1
    assert v.abs().max() >= 1 - 20 / n
    assert v.mean().abs() <= 5 * math.sqrt(1 / 3 / n)
    assert (v.square().mean() - 1 / 3).abs() <= 5 * math.sqrt((1 / 5 - 1 / 9) / n)
    assert ((v**4).mean() - 1 / 5).abs() <= 5 * math.sqrt((1 / 9 - 1 / 25) / n)


def is_normal(values: Tensor, std: float) -> None:
    v = values.flatten() / std
    n = v.numel()
    assert v.mean().abs() <= 5 / math.sqrt(n)
    assert (v.square().mean() - 1).abs() <= 5 * math.sqrt(2 / n)
    assert ((v**4).mean() - 3).abs() <= 5 * math.sqrt(96 / n)


def layer_of(name: str, n: int, m: int) -> kl.KANLayer:
    return getattr(variants, name)([n, m], generator=seeded(3))[0]


def noise_at_breakpoints(layer: kl.KANLayer) -> tuple[Tensor, Tensor]:
    """Values (n, G + 1, m) of the splines there, and the part of coef that does not show."""
    basis = layer.basis
    assert isinstance(basis, kl.BSpline)
    at = basis(basis.knots[basis.degree : basis.num_basis + 1])  # (G + 1, num_basis)
    values = at @ layer.coef.detach()
    return values, layer.coef.detach() - torch.linalg.pinv(at) @ values


def test_first_weights_of_the_paper() -> None:
    layer = layer_of("paper_kan", 25, 400)
    is_uniform(layer.residual_weight, 1 / 5)
    values, hidden = noise_at_breakpoints(layer)
    is_uniform(values, 0.3 / (2 * 3) / 5)
    assert largest(hidden) <= 1e-15, "the smallest coefficients with these values"


def test_first_weights_of_efficient_kan() -> None:
    layer = layer_of("efficient_kan", 25, 400)
    is_uniform(layer.residual_weight, 1 / 5)
    values, hidden = noise_at_breakpoints(layer)
    bound = 0.1 / (2 * 5) / 5  # a product of two independent uniform numbers
    v = values / bound
    assert v.abs().max() <= 1
    assert (v.square().mean() - 1 / 9).abs() <= 0.01 / 9 * 5
    assert ((v**4).mean() - 1 / 25).abs() <= 0.02 / 25 * 5
    same_scale = (v[:, 0].square() * v[:, 1].square()).mean()  # E s^4 (E w^2)^2
    assert (same_scale - 1 / 45).abs() <= 0.02 / 45 * 5
    assert largest(hidden) <= 1e-15


def test_first_weights_of_fast_kan() -> None:
    layer = layer_of("fast_kan", 25, 400)
    is_normal(layer.coef, 0.1)
    is_uniform(layer.residual_weight, 1 / 5)
    is_uniform(layer.bias, 1 / 5)
    assert torch.equal(layer.normalize.weight, torch.ones(25))
    assert layer.normalize.eps == 1e-5


def test_first_weights_of_faster_kan() -> None:
    layer = layer_of("faster_kan", 25, 40)
    is_uniform(layer.coef, math.sqrt(6 / (25 * 8 + 40)))
    assert layer.residual_weight is None
    assert layer.bias is None


def test_first_weights_of_cheby_and_fourier_kan() -> None:
    is_normal(layer_of("cheby_kan", 25, 100).coef, 1 / (25 * 5))
    layer = layer_of("fourier_kan", 25, 100)
    is_normal(layer.coef, 1 / math.sqrt(25 * 5))
    assert not layer.bias.any()
    assert variants.fourier_kan([2, 2], bias=False)[0].bias is None


def test_no_noise_leaves_the_residual() -> None:
    for make in (variants.paper_kan, variants.efficient_kan):
        model = make([2, 3], noise=0.0, generator=seeded())
        assert not model[0].coef.any()
        assert model[0].residual_weight.all()


def test_arguments_reach_the_basis() -> None:
    basis = variants.paper_kan([2, 1], 7, 2, 0.0, 3.0)[0].basis
    assert (basis.num_intervals, basis.degree, basis.high.item()) == (7, 2, 3.0)
    assert variants.efficient_kan([2, 1], degree=0)[0].basis.num_basis == 5
    assert variants.faster_kan([2, 1], 5, high=0.2)[0].basis.high.item() == 0.2
    assert variants.cheby_kan([2, 1], 6)[0].coef.shape[1] == 7


# What LayerNorm cannot see --------------------------------------------------------------------


def test_faster_kan_cannot_see_a_common_shift_or_factor() -> None:
    model, x = variants.faster_kan([5, 4, 1], generator=seeded()), 3 * normal(20, 5, seed=1)
    assert largest(model(x + 7.0) - model(x)) <= 1e-9
    assert largest(model(10 * x) - model(x)) <= 1e-5 * largest(model(x)), "up to eps"
    assert largest(model(x[:, [1, 0, 2, 3, 4]]) - model(x)) > 1e-3, "but it sees the features"


def test_fast_kan_sees_a_common_shift_through_its_residual_alone() -> None:
    model, x = variants.fast_kan([5, 3], generator=seeded()), normal(20, 5, seed=1)
    assert largest(model(x + 7.0) - model(x)) > 0.1
    with torch.no_grad():
        model[0].residual_weight.zero_()
    assert largest(model(x + 7.0) - model(x)) <= 1e-9


def test_layer_norm_leaves_only_signs_of_two_features() -> None:
    model = variants.faster_kan([2, 1], generator=seeded())
    x = 10 * normal(50, 2, seed=1)
    x = x[(x[:, 0] - x[:, 1]).abs() > 1]
    left = model[0].normalize(x)
    assert largest(left.abs() - 1) <= 1e-4
    y = model(x)
    for side in (x[:, 0] > x[:, 1], x[:, 0] < x[:, 1]):
        assert largest(y[side] - y[side][:1]) <= 1e-4, "one value on each side of the diagonal"


# Multiplication nodes -------------------------------------------------------------------------


def test_products_are_of_neighbors() -> None:
    x = normal(6, 11, seed=0)
    y = Multiply(2, 3, 3)(x)
    expected = [x[:, 0], x[:, 1], *(x[:, j] * x[:, j + 1] * x[:, j + 2] for j in (2, 5, 8))]
    assert largest(y - torch.stack(expected, -1)) <= 1e-15
    mixed = Multiply(0, 3, [1, 2, 4])
    assert (mixed.in_features, mixed.out_features) == (7, 3)
    z = x[:, :7]
    expected = [z[:, 0], z[:, 1] * z[:, 2], z[:, 3:].prod(-1)]
    assert largest(mixed(z) - torch.stack(expected, -1)) <= 1e-15
    assert torch.equal(Multiply(7, 0)(z), z)
    assert Multiply(1, 1)(torch.zeros(2, 0, 3)).shape == (2, 0, 2)
    assert repr(mixed) == "Multiply(num_sum=0, num_product=3, arity=(1, 2, 4))"


def test_products_have_gradients_where_a_factor_is_zero() -> None:
    x = torch.tensor([[2.0, 0.0, 3.0], [0.0, 0.0, 1.0]], requires_grad=True)
    nodes = Multiply(0, 1, 3)
    (gradient,) = torch.autograd.grad(nodes(x).sum(), x)
    assert gradient.tolist() == [[0.0, 6.0, 0.0], [0.0, 0.0, 0.0]]
    assert torch.autograd.gradcheck(nodes, (x,))
    assert torch.autograd.gradgradcheck(nodes, (x,))


def test_a_network_with_products_is_exact_where_it_should_be() -> None:
    """x * y on [2, 2, 1]: straight edges, one product, one straight edge."""
    line = kl.BSpline(1, 1)
    first, last = (kl.KANLayer(2, 2, line, residual=None), kl.KANLayer(1, 1, line, residual=None))
    with torch.no_grad():
        first.coef.zero_()
        first.coef[0, :, 0] = first.coef[1, :, 1] = torch.tensor([-1.0, 1.0])  # x to 0, y to 1
        last.coef[0, :, 0] = torch.tensor([-1.0, 1.0])
    model = nn.Sequential(first, Multiply(0, 1), last)
    x = uniform(50, 2)
    assert largest(model(x) - x[:, :1] * x[:, 1:]) <= 1e-15


def test_products_compose_with_the_rest() -> None:
    model = nn.Sequential(
        kl.KANLayer(2, 6, kl.BSpline(), generator=seeded(1)),
        Multiply(num_sum=2, num_product=2, arity=2),
        kl.KANLayer(4, 1, kl.BSpline(), generator=seeded(2)),
    )
    x = uniform(7, 2)
    by_hand = model[0](x)
    by_hand = torch.stack(
        [
            by_hand[:, 0],
            by_hand[:, 1],
            by_hand[:, 2] * by_hand[:, 3],
            by_hand[:, 4] * by_hand[:, 5],
        ],
        -1,
    )
    assert largest(model(x) - model[2](by_hand)) <= 1e-14
    assert [tuple(v.shape) for v in kl.edge_values(model, x)] == [(7, 6, 2), (7, 1, 4)]
    assert vmap(jacrev(model))(x).shape == (7, 1, 2)
    compiled, sums = torch.compile(model[1], fullgraph=True, backend="aot_eager"), model[0](x)
    assert torch.equal(compiled(sums), model[1](sums))
    y = x[:, :1] * x[:, 1:]
    history = kl.fit(copy.deepcopy(model), (x, y), steps=20, optimizer="adam", generator=seeded())
    assert history.train_loss[-1] < history.train_loss[0]


# Importers ------------------------------------------------------------------------------------

IMPORTERS: dict[str, Callable[..., kl.KAN]] = {
    "efficient_kan": variants.from_efficient_kan,
    "fast_kan": variants.from_fast_kan,
    "paper_kan": variants.from_pykan,
}


@pytest.fixture(params=IMPORTERS)
def imported(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("grids", ["uniform", "irregular"])
def test_imported_models_give_their_outputs(imported: str, grids: str) -> None:
    state, x = random_state(imported, grids), points()
    model = IMPORTERS[imported](state)
    expected = define(imported, state, x)
    assert largest(model(x) - expected) <= 1e-12 * max(1.0, largest(expected))
    assert model.widths == tuple(WIDTHS)


def test_imported_float32_errors_are_at_most_four_times_their_own(imported: str) -> None:
    state = {key: value.float() for key, value in random_state(imported, "irregular").items()}
    x = points().float()
    exact = define(imported, {key: value.double() for key, value in state.items()}, x.double())
    theirs = largest(define(imported, state, x) - exact)
    model = IMPORTERS[imported](state)
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    assert 0 < theirs < 1e-3 * largest(exact)
    assert largest(model(x) - exact) <= 4 * theirs


def test_importing_copies_and_draws_nothing(imported: str) -> None:
    state, x = random_state(imported), points()
    before = torch.get_rng_state()
    model = IMPORTERS[imported](state)
    assert torch.equal(torch.get_rng_state(), before)
    y = model(x)
    for value in state.values():
        value.zero_()
    assert torch.equal(model(x), y)
    assert all(p.requires_grad and p.is_contiguous() for p in model.parameters())


def test_what_a_variant_constructs_comes_back_through_its_own_state() -> None:
    """FastKAN's keys filled from our network, and imported again: the same function."""
    model, state = variants.fast_kan(WIDTHS, generator=seeded()), random_state("fast_kan")
    for number, layer in enumerate(model):
        rows = layer.coef.permute(2, 0, 1).flatten(1)
        state[f"layers.{number}.spline_linear.weight"] = rows
        state[f"layers.{number}.base_linear.weight"] = layer.residual_weight.T
        state[f"layers.{number}.base_linear.bias"] = layer.bias
        for kind in ("weight", "bias"):
            state[f"layers.{number}.layernorm.{kind}"] = getattr(layer.normalize, kind)
    assert largest(variants.from_fast_kan(state)(points()) - model(points())) <= 1e-13


def test_efficient_kan_without_standing_scales() -> None:
    state = random_state("efficient_kan")
    for number in (0, 1):
        state[f"layers.{number}.spline_scaler"].fill_(1.0)
    model = variants.from_efficient_kan(state)
    for number in (0, 1):
        del state[f"layers.{number}.spline_scaler"]
    assert same_state(variants.from_efficient_kan(state), model)


def test_fast_kan_without_norm_or_base_and_with_another_width() -> None:
    state, x = random_state("fast_kan"), points()
    bare = {key: v for key, v in state.items() if "rbf" in key or "spline" in key}
    model = variants.from_fast_kan(bare, width=0.9)
    expected = x
    for number in (0, 1):
        u = state[f"layers.{number}.rbf.grid"]
        bumps = torch.exp(-(((expected.unsqueeze(-1) - u) / 0.9) ** 2)).flatten(1)
        expected = bumps @ state[f"layers.{number}.spline_linear.weight"].T
    assert largest(model(x) - expected) <= 1e-12 * largest(expected)
    assert model[0].normalize is None
    assert model[0].residual_weight is None


def test_other_base_activations_are_told_by_name() -> None:
    state, x = random_state("efficient_kan"), points()
    ours, theirs = (variants.from_efficient_kan(state, residual=r)[0] for r in ("relu", torch.relu))
    assert torch.equal(ours(x), theirs(x))
    assert largest(ours(x) - variants.from_efficient_kan(state)[0](x)) > 0.1
    silent = variants.from_pykan(random_state("paper_kan"), residual=None)
    assert silent[0].residual_weight is None


def test_pykan_masks_and_affine_maps_are_folded() -> None:
    state = random_state("paper_kan")
    model = variants.from_pykan(state)
    off = state["act_fun.0.mask"] == 0
    assert off.any()
    assert not off.all()
    assert not model[0].coef.transpose(1, 2)[off].any()
    assert not model[0].residual_weight[off].any()
    assert model[0].bias is not None
    for key in list(state):
        if "node" in key or "symbolic" in key:
            del state[key]
    assert variants.from_pykan(state)[0].bias is None


def test_knots_stay_one_vector_for_each_feature() -> None:
    state = random_state("efficient_kan", "irregular")
    model = variants.from_efficient_kan(state)
    assert model[0].basis.feature_shape == (3,)
    assert torch.equal(model[0].basis.knots, state["layers.0.grid"])
    assert model[0].basis.extrapolate == "natural"


# What is refused ------------------------------------------------------------------------------


def changed(name: str, **replaced: Tensor | None) -> Callable[[], object]:
    """An import of a state in which some keys (with __ for a dot) are replaced or missing."""

    def attempt() -> object:
        state = random_state(name)
        for key, value in replaced.items():
            key = key.replace("__", ".")
            if value is None:
                del state[key]
            else:
                state[key] = value
        return IMPORTERS[name](state)

    return attempt


def ones(*shape: int) -> Tensor:
    return torch.ones(shape, dtype=torch.float64)


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "negative noise": (
        lambda: variants.efficient_kan([2, 1], noise=-0.1),
        "noise must be at least 0 and finite, got -0.1",
    ),
    "NaN noise": (lambda: variants.paper_kan([2, 1], noise=math.nan), "noise must be"),
    "one width": (lambda: variants.cheby_kan([2]), "widths must have at least two entries"),
    "norm of one feature": (
        lambda: variants.fast_kan([2, 1, 1]),
        r"widths must be at least 2 before each LayerNorm, .* got \[2, 1, 1\]",
    ),
    "norm of one input": (lambda: variants.faster_kan([1, 3]), "before each LayerNorm"),
    "negative sums": (lambda: Multiply(-1, 1), "num_sum and num_product must be .* got -1 and 1"),
    "no node": (lambda: Multiply(0, 0), "not both 0"),
    "no factor": (lambda: Multiply(1, 1, 0), "arity must be at least 1, .* got 0"),
    "too few arities": (lambda: Multiply(0, 2, [2]), r"one for each of 2 products, got \[2\]"),
    "wrong features": (
        lambda: Multiply(1, 1)(ones(4, 2)),
        r"x must have last dimension in_features = 3, got shape \(4, 2\)",
    ),
    "empty state": (lambda: variants.from_pykan({}), "must hold the key 'act_fun.0.grid'"),
    "unknown key": (
        changed("efficient_kan", layers__0__gain=ones(2)),
        "must hold the keys layers.*.base_weight, .* only, got 'layers.0.gain'",
    ),
    "other model": (
        lambda: variants.from_fast_kan(random_state("efficient_kan")),
        "only, got 'layers.0.base_weight'",
    ),
    "missing key": (
        changed("efficient_kan", layers__1__grid=None),
        "state_dict must hold the key 'layers.1.grid'",
    ),
    "missing layer": (
        lambda: variants.from_efficient_kan(
            {k.replace("layers.1", "layers.2"): v for k, v in random_state("efficient_kan").items()}
        ),
        "state_dict must hold the key 'layers.1.base_weight'",
    ),
    "transposed weight": (
        changed("efficient_kan", layers__0__base_weight=ones(3, 4)),
        r"layers.0.base_weight must have shape \(4, 3\), got \(3, 4\)",
    ),
    "flat weight": (
        changed("efficient_kan", layers__0__spline_weight=ones(4, 24)),
        r"layers.0.spline_weight must have shape \(m, n, num_basis\), got \(4, 24\)",
    ),
    "short grid": (
        changed("efficient_kan", layers__0__grid=ones(3, 8)),
        "layers.0.grid must have more columns .* got 8 and 8",
    ),
    "knots that do not increase": (
        changed("efficient_kan", layers__0__grid=torch.arange(12.0).flip(0).expand(3, 12)),
        "knots must be non-decreasing",
    ),
    "no residual for its weights": (
        lambda: variants.from_efficient_kan(random_state("efficient_kan"), residual=None),
        "residual must name the base activation of the weights, got None",
    ),
    "layers that do not fit": (
        lambda: variants.from_efficient_kan(
            {
                **random_state("efficient_kan"),
                "layers.1.base_weight": ones(2, 5),
                "layers.1.spline_weight": ones(2, 5, 8),
                "layers.1.spline_scaler": ones(2, 5),
                "layers.1.grid": torch.arange(12.0).expand(5, 12),
            }
        ),
        "layers must fit together",
    ),
    "half a norm": (
        changed("fast_kan", layers__0__layernorm__bias=None),
        "must hold both layers.0.layernorm.weight and layers.0.layernorm.bias",
    ),
    "columns between features": (
        changed("fast_kan", layers__0__spline_linear__weight=ones(4, 25)),
        "layers.0.spline_linear.weight must have a multiple of 8 columns, .* got 25",
    ),
    "norm of other features": (
        changed("fast_kan", layers__0__layernorm__bias=ones(5)),
        r"layers.0.layernorm.bias must have shape \(3,\), got \(5,\)",
    ),
    "formula": (
        changed("paper_kan", symbolic_fun__1__mask=torch.tensor([[0.0] * 4, [0.0, 0.0, 1.0, 0.0]])),
        r"symbolic_fun.1.mask\[1, 2\] is on: that edge is a formula",
    ),
    "multiplication nodes": (
        changed("paper_kan", node_scale_0=ones(3), node_bias_0=ones(3)),
        "node_scale_0 has 3 entries for 4 sums: the model has multiplication nodes",
    ),
    "old pykan": (
        changed("paper_kan", biases__0__weight=ones(1, 4)),
        "must be that of a pykan MultKAN, got the key 'biases.0.weight'",
    ),
    "nodes of a layer that is not there": (
        changed("paper_kan", node_bias_2=ones(2)),
        "got the key 'node_bias_2'",
    ),
    "flat coefficients of old pykan": (
        changed("paper_kan", act_fun__0__coef=ones(12, 6)),
        r"act_fun.0.coef must have shape \(n, m, num_basis\), got \(12, 6\)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused_by_name(case: str) -> None:
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()
