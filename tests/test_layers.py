"""KAN layers: the contract of their edges, what PyTorch asks of modules, and first weights."""

import copy
import io
import math
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from helpers import default_dtype, forkserver, largest, same_state, seeded, uniform, wait_for
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from workers import distributed_model, random, train_on_a_share

import kanlite as kl
from kanlite.layers import RESIDUALS


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with default_dtype(torch.float64):
        yield


def _each(n: int) -> kl.BSpline:
    """A basis with other knots for each feature."""
    return kl.BSpline.from_data(uniform(50, n) ** 3, 4, 2)


class TwoCosines(kl.Basis):
    """The least that a basis must be: cos(x) and cos(2x) on [-3, 3]."""

    num_basis = 2
    feature_shape = ()

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequency", torch.tensor([1.0, 2.0]))

    @property
    def domain(self) -> tuple[Tensor, Tensor]:
        return torch.tensor(-3.0), torch.tensor(3.0)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cos(x.unsqueeze(-1) * self.frequency)

    def derivative(self, x: Tensor, order: int = 1) -> Tensor:
        phase = x.unsqueeze(-1) * self.frequency + order * math.pi / 2
        return self.frequency**order * torch.cos(phase)

    def select(self, features: object) -> "TwoCosines":
        return copy.deepcopy(self)

    def config(self) -> dict[str, object]:
        return {}

    @classmethod
    def from_config(cls, config: dict[str, object]) -> "TwoCosines":
        return cls()


# Layers 3 -> 2 of every kind, as functions.
LAYERS: dict[str, Callable[[], kl.KANLayer]] = {
    **{
        f"residual {residual}": (
            lambda residual=residual: kl.KANLayer(
                3, 2, kl.BSpline(), residual=residual, generator=seeded()
            )
        )
        for residual in (*RESIDUALS, None)
    },
    "custom residual": lambda: kl.KANLayer(3, 2, kl.BSpline(), residual=torch.sin),
    "bias": lambda: kl.KANLayer(3, 2, kl.BSpline(), bias=True),
    "only a basis and a bias": lambda: kl.KANLayer(3, 2, kl.BSpline(), residual=None, bias=True),
    "basis for each feature": lambda: kl.KANLayer(3, 2, _each),
    "normalized": lambda: kl.KANLayer(3, 2, kl.BSpline(), normalize=nn.LayerNorm, bias=True),
    "degree 0": lambda: kl.KANLayer(3, 2, kl.BSpline(degree=0)),
    "natural": lambda: kl.KANLayer(3, 2, kl.BSpline(extrapolate="natural")),
    "another basis": lambda: kl.KANLayer(3, 2, TwoCosines()),
}


@pytest.fixture(params=LAYERS)
def layer(request: pytest.FixtureRequest) -> kl.KANLayer:
    made = LAYERS[request.param]()
    with torch.no_grad():
        for parameter in made.parameters():  # no term may hide behind a zero
            parameter.copy_(uniform(*parameter.shape, seed=1))
    return made


# The contract --------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (1,), (7,), (2, 0, 5), (2, 3, 5)])
def test_a_layer_is_the_sum_of_its_edges_and_its_bias(
    layer: kl.KANLayer, shape: tuple[int, ...]
) -> None:
    x = uniform(*shape, 3, low=-1.5, high=1.5)
    y, edges = layer(x), layer.edges(x)
    assert y.shape == (*shape, 2)
    assert edges.shape == (*shape, 2, 3)
    total = edges.sum(-1) if layer.bias is None else edges.sum(-1) + layer.bias
    assert largest(y - total) <= 1e-13


def test_edge_ji_is_the_stated_formula(layer: kl.KANLayer) -> None:
    """Written out in loops: sum_g c_igj B_g(x_i) + r_ij b(x_i)."""
    x = uniform(5, 3, low=-1.5, high=1.5)
    z = x if layer.normalize is None else layer.normalize(x)
    basis = layer.basis(z)  # (5, 3, num_basis)
    edges = layer.edges(x)
    residual = RESIDUALS.get(layer.residual, layer.residual)
    for j in range(2):
        for i in range(3):
            phi = sum(layer.coef[i, g, j] * basis[:, i, g] for g in range(layer.basis.num_basis))
            if residual is not None:
                phi = phi + layer.residual_weight[i, j] * residual(x[:, i])
            assert largest(edges[:, j, i] - phi) <= 1e-13


def test_input_i_moves_its_own_edges_only() -> None:
    layer = kl.KANLayer(3, 2, _each, generator=seeded())
    x = uniform(4, 3)
    y = x.clone()
    y[:, 1] += 0.1
    change = layer.edges(x) - layer.edges(y)
    assert not change[:, :, [0, 2]].any()
    assert change[:, :, 1].all()


def test_weights_have_the_stated_shapes() -> None:
    layer = kl.KANLayer(3, 2, kl.BSpline(5, 3), bias=True)
    shapes = {name: tuple(p.shape) for name, p in layer.named_parameters()}
    assert shapes == {"coef": (3, 8, 2), "residual_weight": (3, 2), "bias": (2,)}
    bare = kl.KANLayer(3, 2, kl.BSpline(5, 3), residual=None)
    assert [name for name, _ in bare.named_parameters()] == ["coef"]
    assert bare.residual_weight is None
    assert bare.bias is None


def test_off_domain_tells_the_share_of_each_feature() -> None:
    layer = kl.KANLayer(2, 1, kl.BSpline())
    x = torch.tensor([[0.0, 2.0], [-3.0, 2.0], [1.0, -1.0], [math.nan, 0.5]])
    assert layer.off_domain(x).tolist() == [0.5, 0.5]
    assert layer.off_domain(x.reshape(2, 2, 2)).tolist() == [0.5, 0.5]
    assert layer.off_domain(torch.empty(0, 2)).tolist() == [0.0, 0.0]
    each = kl.KANLayer(2, 1, kl.BSpline(knots=kl.uniform_knots(5, 3, 0.0, 4.0).expand(2, -1)))
    assert each.off_domain(x[:3]).tolist() == [1 / 3, 1 / 3]


def test_off_domain_is_asked_behind_the_normalization() -> None:
    layer = kl.KANLayer(2, 1, kl.BSpline(), normalize=lambda n: nn.LayerNorm(n))
    x = torch.tensor([[100.0, 100.5]])  # becomes -1 and 1, nearly
    assert layer.off_domain(x).tolist() == [0.0, 0.0]


def test_normalization_comes_before_the_basis_only() -> None:
    layer = kl.KANLayer(2, 1, kl.BSpline(), normalize=nn.LayerNorm, generator=seeded())
    with torch.no_grad():
        layer.residual_weight.zero_()
    x = uniform(4, 2)
    assert largest(layer(x) - layer(10 * x + 3)) <= 1e-3
    with torch.no_grad():
        layer.residual_weight.fill_(1.0)
    assert largest(layer(x) - layer(10 * x + 3)) > 1


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stays_so(layer: kl.KANLayer, bad: float) -> None:
    """For the samples that hold it, and for no others."""
    x = uniform(3, 3)
    x[1, 2] = bad
    y = layer(x)
    assert y[[0, 2]].isfinite().all()
    assert not y[1].isfinite().any()


# What PyTorch asks of a module ---------------------------------------------------------------


def test_drops_in_for_linear_in_a_sequential() -> None:
    model = nn.Sequential(
        nn.Linear(4, 3), kl.KANLayer(3, 5, kl.BSpline()), nn.LayerNorm(5), nn.Linear(5, 1)
    )
    y = model(uniform(2, 6, 4))
    assert y.shape == (2, 6, 1)
    y.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_state_dict_pickle_and_deepcopy_keep_every_bit(layer: kl.KANLayer) -> None:
    x, buffer = uniform(5, 3), io.BytesIO()
    y = layer(x)
    for same in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert same_state(layer, same)
        assert torch.equal(same(x), y)
        with torch.no_grad():
            same.coef.add_(1)
        assert torch.equal(layer(x), y), "a copy must not share its weights"
    torch.save(layer.state_dict(), buffer)
    buffer.seek(0)
    other = copy.deepcopy(layer)
    other.reset_parameters(generator=seeded(5))
    assert not torch.equal(other(x), y)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(other(x), y)


def test_gradients_of_inputs_and_parameters(layer: kl.KANLayer) -> None:
    """Away from knots, where the function is smooth."""
    x = (torch.tensor([[-1.3, -0.47, 0.13], [0.71, 1.24, -0.83]])).requires_grad_()
    names, values = zip(*layer.named_parameters(), strict=True)

    def function(x: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    assert gradcheck(function, (x, *values))


def test_double_backward() -> None:
    layer = kl.KANLayer(2, 2, kl.BSpline(), bias=True, generator=seeded())
    x = (torch.tensor([[-1.3, -0.47], [0.13, 0.71]])).requires_grad_()
    assert gradgradcheck(layer, x)
    (slope,) = torch.autograd.grad(layer(x).sum(), x, create_graph=True)
    slope.square().sum().backward()  # as a loss on derivatives does
    assert layer.coef.grad is not None
    assert layer.coef.grad.any()


@pytest.mark.parametrize("kind", ["shared", "each"])
def test_vmap_of_jacobians_and_hessians(kind: str) -> None:
    basis = kl.BSpline() if kind == "shared" else _each
    layer = kl.KANLayer(3, 2, basis, generator=seeded())
    x = uniform(5, 3, low=-1.3, high=1.3)
    jacobians = torch.func.vmap(torch.func.jacrev(layer))(x)
    slopes = layer.basis.derivative(x)  # (5, 3, num_basis): in closed form
    silu = torch.sigmoid(x) * (1 + x * (1 - torch.sigmoid(x)))
    expected = torch.einsum("sig,igo->soi", slopes, layer.coef)
    expected = expected + silu[:, None, :] * layer.residual_weight.T
    assert largest(jacobians - expected) <= 1e-12
    hessians = torch.func.vmap(torch.func.hessian(layer))(x)
    assert hessians.shape == (5, 2, 3, 3)
    off_diagonal = hessians * (1 - torch.eye(3))
    assert largest(off_diagonal) == 0, "a sum of functions of one variable has no mixed derivatives"
    curvature = torch.einsum("sig,igo->soi", layer.basis.derivative(x, 2), layer.coef)
    s = torch.sigmoid(x)
    silu = s * (1 - s) * (2 + x * (1 - 2 * s))
    expected = curvature + silu[:, None, :] * layer.residual_weight.T
    assert largest(hessians.diagonal(dim1=-2, dim2=-1) - expected) <= 1e-11


@pytest.mark.parametrize("residual", ["silu", None])
@pytest.mark.parametrize("degree", [0, 3])
def test_autocast_to_bfloat16(residual: str | None, degree: int) -> None:
    with default_dtype(torch.float32):
        model = kl.KAN(
            [3, 4, 2], kl.BSpline(degree=degree), residual=residual, bias=True, generator=seeded()
        )
        x = uniform(16, 3)
    exact = model(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = model(x)
        edges = model[0].edges(x)
    assert y.dtype == torch.bfloat16, "as that of nn.Linear"
    if degree:  # a step function of rounded hidden units may jump
        assert largest(y.float() - exact) <= 0.03
    assert largest(edges.float() - model[0].edges(x)) <= 0.03
    y.float().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_model_of_another_dtype_runs(dtype: torch.dtype) -> None:
    model = kl.KAN([3, 4, 2], kl.BSpline(), bias=True, generator=seeded())
    x = uniform(8, 3)
    y = model(x)
    low = copy.deepcopy(model).to(dtype)
    assert low(x.to(dtype)).dtype == dtype
    assert largest(low(x.to(dtype)).double() - y) <= 60 * torch.finfo(dtype).eps


def test_a_layer_takes_the_dtype_of_its_basis() -> None:
    """Knots from float64 data make a float64 network, whatever the default dtype is."""
    x = uniform(50, 2)
    with default_dtype(torch.float32):
        model = kl.KAN([2, 3, 1], lambda n: kl.BSpline.from_data(uniform(50, n).double()))
    assert {value.dtype for value in model.state_dict().values()} == {torch.float64}
    assert model(x).dtype == torch.float64
    assert model[0].edges(x).dtype == torch.float64


# One variant per way through the forward pass.
@pytest.mark.parametrize(
    "name", ["residual silu", "basis for each feature", "normalized", "natural", "another basis"]
)
def test_compiles_as_one_graph(name: str) -> None:
    """Tracing alone, by backend="eager": no graph break, in forward and edges."""
    layer, x = LAYERS[name](), uniform(5, 3, low=-1.5, high=1.5)
    torch.compiler.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    assert torch.equal(compiled(x), layer(x))
    edges = torch.compile(layer.edges, fullgraph=True, backend="eager")
    assert torch.equal(edges(x), layer.edges(x))


def test_compiles_to_machine_code() -> None:
    with default_dtype(torch.float32):
        layer, x = kl.KANLayer(3, 2, kl.BSpline(degree=2)), uniform(5, 3, low=-1.5, high=1.5)
    torch.compiler.reset()
    compiled = torch.compile(layer, fullgraph=True)
    with torch.no_grad():
        try:
            y = compiled(x)
        except Exception as error:
            if any(word in repr(error) for word in ("InvalidCxxCompiler", "CppCompileError")):
                pytest.skip("torch.compile finds no C++ compiler that works here")
            raise
        assert largest(y - layer(x)) <= 1e-5


def test_distributed_data_parallel_gives_the_gradient_of_all_samples(tmp_path: Path) -> None:
    if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
        pytest.skip("this PyTorch has no gloo")
    processes = [
        forkserver().Process(target=train_on_a_share, args=(rank, str(tmp_path)), daemon=True)
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    assert wait_for(lambda: not any(process.is_alive() for process in processes), seconds=120)
    assert [process.exitcode for process in processes] == [0, 0]
    (first, mean), (second, same_mean) = (
        torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)
    )
    model = distributed_model(seed=0)
    assert same_state(model, first), "everyone starts with the weights of rank 0"
    assert same_state(model, second)
    model(random(10, 2, seed=0)).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert torch.equal(mean[name], same_mean[name])
        assert largest(mean[name] - parameter.grad) <= 1e-14


# Initial weights -----------------------------------------------------------------------------

SCHEMES = ("variance", "paper", "power")


@pytest.mark.parametrize("init", SCHEMES)
def test_a_generator_reproduces_the_draw_and_nothing_else_is_touched(init: str) -> None:
    before = torch.get_rng_state()
    a, b = (kl.KAN([2, 3, 1], kl.BSpline(), init=init, generator=seeded(7)) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert same_state(a, b)
    assert not same_state(a, kl.KAN([2, 3, 1], kl.BSpline(), init=init, generator=seeded(8)))


def test_without_a_generator_the_global_one_decides() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        a, b = (kl.KANLayer(2, 3, kl.BSpline()) for _ in range(2))
        torch.manual_seed(3)
        c = kl.KANLayer(2, 3, kl.BSpline())
    assert same_state(a, c)
    assert not same_state(a, b)


def _mean_square(function: Callable[[Tensor], Tensor], low: float, high: float) -> float:
    x = torch.linspace(low, high, 100_001)
    return function(x).square().reshape(len(x), -1).sum(-1).mean().item()


@pytest.mark.parametrize("residual", ["silu", "relu", None])
@pytest.mark.parametrize("init", SCHEMES)
def test_measured_standard_deviations_are_the_stated_ones(init: str, residual: str | None) -> None:
    n, m = 60, 40
    basis = kl.BSpline(5, 3, -2.0, 1.0)
    layer = kl.KANLayer(n, m, basis, residual=residual, init=init, generator=seeded())
    if init == "variance":
        through_basis = _mean_square(basis, -2.0, 1.0)
        share = 1.0 if residual is None else 0.1
        coef_std = math.sqrt(share * 0.75 / (n * through_basis))  # 0.75: the variance of U(-2, 1)
        if residual is not None:
            through_residual = _mean_square(RESIDUALS[residual], -2.0, 1.0)
            residual_std = math.sqrt(0.9 * 0.75 / (n * through_residual))
    elif init == "paper":
        coef_std, residual_std = 0.1, math.sqrt(2 / (n + m))
    else:
        size = n * (8 if residual is None else 9)
        coef_std, residual_std = size**-1.75, size**-0.25
    assert layer.coef.std().item() == pytest.approx(coef_std, rel=0.02)
    assert abs(layer.coef.mean().item()) <= 0.03 * coef_std
    if residual is None:
        assert layer.residual_weight is None
    else:
        assert layer.residual_weight.std().item() == pytest.approx(residual_std, rel=0.05)
        if init == "paper":  # Xavier-uniform: no entry beyond the bound, some near it
            bound = math.sqrt(6 / (n + m))
            assert 0.99 * bound <= largest(layer.residual_weight) <= bound


@pytest.mark.parametrize("residual", ["silu", "identity", None])
@pytest.mark.parametrize("basis", [kl.BSpline(5, 3, -2.0, 2.0), kl.BSpline(3, 1, 0.0, 5.0)])
def test_variance_is_kept_on_average_over_draws(basis: kl.Basis, residual: str | None) -> None:
    basis = copy.deepcopy(basis).double()
    low, high = basis.low.item(), basis.high.item()
    layer = kl.KANLayer(6, 20, basis, residual=residual, generator=seeded())
    generator = seeded(1)
    squares = []
    for draw in range(150):
        layer.reset_parameters(generator=generator)
        squares.append(layer(uniform(200, 6, low=low, high=high, seed=draw)).square().mean())
    measured = torch.stack(squares).mean().item()
    assert measured == pytest.approx((high - low) ** 2 / 12, rel=0.04)


def test_a_residual_that_is_silent_on_the_domain_leaves_all_to_the_basis() -> None:
    layer = kl.KANLayer(4, 50, kl.BSpline(5, 3, -2.0, -1.0), residual="relu", generator=seeded())
    assert not layer.residual_weight.any()
    through_basis = _mean_square(layer.basis, -2.0, -1.0)
    expected = math.sqrt(1 / 12 / (4 * through_basis))
    assert layer.coef.std().item() == pytest.approx(expected, rel=0.05)


def test_reset_parameters_draws_anew_and_clears_the_bias() -> None:
    layer = kl.KANLayer(2, 3, kl.BSpline(), bias=True, generator=seeded(1))
    assert not layer.bias.any()
    with torch.no_grad():
        layer.bias.fill_(5.0)
    layer.reset_parameters("paper", generator=seeded(2))
    assert not layer.bias.any()
    fresh = kl.KANLayer(2, 3, kl.BSpline(), bias=True, init="paper", generator=seeded(2))
    assert same_state(layer, fresh)


# How layers and networks are put together ----------------------------------------------------


def test_a_network_is_its_layers_one_after_the_other() -> None:
    model = kl.KAN([2, 5, 3], kl.BSpline(), generator=seeded())
    x = uniform(4, 2)
    assert isinstance(model, nn.Sequential)
    assert model.widths == (2, 5, 3)
    assert torch.equal(model(x), model[1](model[0](x)))
    assert [(layer.in_features, layer.out_features) for layer in model] == [(2, 5), (5, 3)]


def test_a_part_of_a_network_is_a_network_of_the_same_layers() -> None:
    model = kl.KAN([2, 5, 3, 1], kl.BSpline(), generator=seeded())
    part = model[1:]
    assert isinstance(part, kl.KAN)
    assert part.widths == (5, 3, 1)
    assert part[0] is model[1]
    assert model[-1] is model[2]


def test_a_basis_is_copied_into_every_layer() -> None:
    basis = kl.BSpline()
    model = kl.KAN([2, 3, 1], basis)
    bases = [basis, *(layer.basis for layer in model)]
    assert len({id(b) for b in bases}) == len({b.knots.data_ptr() for b in bases}) == 3
    model.float()
    assert basis.knots.dtype == torch.float64


def test_a_callable_makes_a_basis_for_each_number_of_inputs() -> None:
    asked: list[int] = []

    def make(n: int) -> kl.BSpline:
        asked.append(n)
        return _each(n)

    model = kl.KAN([2, 4, 1], make)
    assert asked == [2, 4]
    assert [layer.basis.feature_shape for layer in model] == [(2,), (4,)]


def test_normalization_is_copied_or_made_for_each_layer() -> None:
    model = kl.KAN([3, 3, 3], kl.BSpline(), normalize=nn.LayerNorm(3))
    assert model[0].normalize is not model[1].normalize
    model = kl.KAN([2, 4, 1], kl.BSpline(), normalize=nn.LayerNorm)
    assert [tuple(layer.normalize.normalized_shape) for layer in model] == [(2,), (4,)]


def test_options_reach_every_layer() -> None:
    model = kl.KAN([2, 3, 1], kl.BSpline(), residual="tanh", bias=True)
    assert all(layer.residual == "tanh" and layer.bias is not None for layer in model)
    assert all("residual='tanh', bias=True" in repr(layer) for layer in model)
    assert "residual='custom'" in repr(kl.KANLayer(1, 1, kl.BSpline(), residual=torch.sin))


def test_from_layers_takes_layers_as_they_are() -> None:
    layers = [kl.KANLayer(2, 3, kl.BSpline()), kl.KANLayer(3, 1, TwoCosines())]
    model = kl.KAN.from_layers(layers)
    assert model.widths == (2, 3, 1)
    assert list(model) == layers


# Bad input -----------------------------------------------------------------------------------

BAD: dict[str, tuple[Callable[[], object], str]] = {
    "no inputs": (
        lambda: kl.KANLayer(0, 2, kl.BSpline()),
        "in_features and out_features must be at least 1, got 0 and 2",
    ),
    "no outputs": (lambda: kl.KANLayer(2, 0, kl.BSpline()), "got 2 and 0"),
    "no basis": (lambda: kl.KANLayer(2, 2, None), "basis must be a Basis .*, got NoneType"),
    "callable that makes no basis": (
        lambda: kl.KANLayer(2, 2, lambda n: n),
        "basis must be a Basis or a callable in_features -> Basis, got int",
    ),
    "basis for other features": (
        lambda: kl.KANLayer(2, 2, _each(3)),
        r"basis must have feature_shape \(\) or \(2,\) = \(in_features,\), got \(3,\)",
    ),
    "unknown residual": (
        lambda: kl.KANLayer(2, 2, kl.BSpline(), residual="swish"),
        "residual must be one of .*'silu'.*, got 'swish'",
    ),
    "residual that is no function": (
        lambda: kl.KANLayer(2, 2, kl.BSpline(), residual=[1]),
        "residual must be .* a callable or None, got",
    ),
    "residual that is not finite": (
        lambda: kl.KANLayer(2, 2, kl.BSpline(), residual=torch.log),
        "residual must be finite on the domain",
    ),
    "normalization that is no module": (
        lambda: kl.KANLayer(2, 2, kl.BSpline(), normalize="layer"),
        "normalize must be a Module",
    ),
    "unknown scheme": (
        lambda: kl.KANLayer(2, 2, kl.BSpline(), init="xavier"),
        "init must be one of .*, got 'xavier'",
    ),
    "one width": (
        lambda: kl.KAN([2], kl.BSpline()),
        r"widths must have at least two entries, got \[2\]",
    ),
    "integer input": (
        lambda: kl.KANLayer(2, 2, kl.BSpline())(torch.zeros(3, 2, dtype=torch.long)),
        r"x must be floating point, got torch\.int64",
    ),
    "wrong last dimension": (
        lambda: kl.KANLayer(2, 2, kl.BSpline())(torch.zeros(2, 3)),
        r"x must have last dimension in_features = 2, got shape \(2, 3\)",
    ),
    "one number": (lambda: kl.KANLayer(1, 2, kl.BSpline())(torch.tensor(1.0)), r"got shape \(\)"),
    "edges of the wrong dimension": (
        lambda: kl.KANLayer(2, 2, kl.BSpline()).edges(torch.zeros(2, 1)),
        r"got shape \(2, 1\)",
    ),
    "off_domain of the wrong dimension": (
        lambda: kl.KANLayer(2, 2, kl.BSpline()).off_domain(torch.zeros(2, 1)),
        r"got shape \(2, 1\)",
    ),
    "no layers": (lambda: kl.KAN.from_layers([]), "layers must hold at least one layer, got none"),
    "layers that do not fit": (
        lambda: kl.KAN.from_layers([kl.KANLayer(2, 3, kl.BSpline())] * 2),
        "out_features = 3 before one with in_features = 2",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_by_name(case: str) -> None:
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()
