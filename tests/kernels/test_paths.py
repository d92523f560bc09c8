"""Every path computes what the reference computes: values, gradients of all orders, edge cases."""

import copy
import itertools
import math
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch
from helpers import default_dtype, largest, seeded, uniform
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

import kanlite as kl
from kanlite.kernels import cpu, torch_path
from kanlite.kernels.autograd import Dense, Forward, InputGradient, Spline, WeightGradient

EXTRAPOLATIONS = ("linear", "constant", "zero", "natural")
PATHS = [name for name in ("torch", "cpu") if name in kl.kernels.available()]
MODULES = {"torch": torch_path, "cpu": cpu}


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with default_dtype(torch.float64):
        yield


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest) -> Iterator[str]:
    with kl.kernels.use(request.param):
        yield request.param


@pytest.fixture(params=["whole", "blocks", "bags"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The forms of the path in plain PyTorch, however small the case."""
    if request.param == "blocks":
        monkeypatch.setattr(torch_path, "PLANES", 40)
        monkeypatch.setattr(torch_path, "ROWS", 3)
    if request.param == "bags":
        monkeypatch.setattr(torch_path, "BAGS_FROM", 1)
        monkeypatch.setattr(torch_path, "TABLE", 20)
    return request.param


def _knots(kind: str, num_intervals: int, degree: int, features: int) -> Tensor:
    knots = kl.uniform_knots(num_intervals, degree)
    if kind == "clamped":  # all knots outside the domain at its ends, one double knot inside
        knots = knots.clamp(-1.0, 1.0)
        if num_intervals > 2 and degree > 0:
            knots[degree + 1] = knots[degree + 2]
    if kind == "each":
        knots = kl.quantile_knots(uniform(50, features, seed=3), num_intervals, degree)
    return knots


def _points(knots: Tensor, batch: int, features: int, degree: int) -> Tensor:
    """Random ones on the domain and off it, and some of the knots."""
    x = uniform(batch, features, low=-1.7, high=1.7, seed=batch)
    rows = knots.expand(features, -1)
    at = torch.tensor([degree, knots.shape[-1] - degree - 1, degree + 1])[: max(0, batch - 1)]
    x[: len(at)] = rows[:, at].T
    return x


CASES = {
    "num_intervals": st.integers(1, 12),
    "kind": st.sampled_from(["uniform", "each", "clamped"]),
    "extrapolate": st.sampled_from(EXTRAPOLATIONS),
    "batch": st.integers(0, 9),
    "features": st.integers(1, 4),
    "out": st.integers(1, 4),
}
FAST = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _close(ours: Tensor, theirs: Tensor, factor: float = 1e-12) -> None:
    assert ours.shape == theirs.shape
    if theirs.numel():
        assert largest(ours - theirs) <= factor * max(1.0, largest(theirs))


# The three operations --------------------------------------------------------------------------


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("degree", range(6))
@FAST
@given(order=st.integers(0, 4), residual=st.booleans(), weighted=st.booleans(), **CASES)
def test_operations_are_their_formulas(
    name: str,
    form: str,
    degree: int,
    order: int,
    residual: bool,
    weighted: bool,
    num_intervals: int,
    kind: str,
    extrapolate: str,
    batch: int,
    features: int,
    out: int,
) -> None:
    """Written out with the dense basis of kanlite.BSpline and with autograd's SiLU."""
    module: ModuleType = MODULES[name]
    knots = _knots(kind, num_intervals, degree, features)
    basis = kl.BSpline(knots=knots, degree=degree, extrapolate=extrapolate)
    x = _points(knots, batch, features, degree)
    coef, grad = uniform(features, basis.num_basis, out, seed=1), uniform(batch, out, seed=2)
    r = uniform(features, out, seed=4) if residual else None
    h = uniform(batch, features, seed=5) if weighted else None
    arguments = (knots, degree, extrapolate, order)
    if name != "torch" and module.supports(x, coef, degree, extrapolate, order) is not None:
        return
    values, silu, ones = basis.derivative(x, order), _silu(x, order), torch.ones_like(x)
    scale, zero = ones if h is None else h, torch.zeros(features, out)
    sums = torch.einsum("big,igo->bio", values, coef)
    sums = sums + silu[..., None] * (zero if r is None else r)
    _close(module.forward(x, coef, r, *arguments, h), torch.einsum("bio,bi->bo", sums, scale))
    _close(
        module.input_gradient(x, coef, r, grad, *arguments), torch.einsum("bio,bo->bi", sums, grad)
    )
    by_coef, by_residual = module.weight_gradient(x, grad, *arguments, h, residual)
    _close(by_coef, torch.einsum("big,bi,bo->igo", values, scale, grad))
    if residual:
        _close(by_residual, (silu * scale).T @ grad)
    else:
        assert by_residual is None


def _silu(x: Tensor, order: int) -> Tensor:
    """By autograd."""
    x = x.clone().requires_grad_()
    y = nn.functional.silu(x)
    for _ in range(order):
        (y,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    return y.detach()


@pytest.mark.parametrize("degree", range(1, 6))
@FAST
@given(**CASES)
def test_gradients_in_one_go_are_the_separate_ones(
    form: str,
    degree: int,
    num_intervals: int,
    kind: str,
    extrapolate: str,
    batch: int,
    features: int,
    out: int,
) -> None:
    knots = _knots(kind, num_intervals, degree, features)
    x = _points(knots, batch, features, degree)
    coef, grad = uniform(features, knots.shape[-1] - degree - 1, out), uniform(batch, out, seed=2)
    rest = (knots, degree, extrapolate)
    for r in (None, uniform(features, out, seed=4)):
        together = torch_path.gradients(x, coef, r, grad, *rest)
        _close(together[0], torch_path.input_gradient(x, coef, r, grad, *rest), 1e-13)
        by_coef, by_residual = torch_path.weight_gradient(
            x, grad, *rest, with_residual=r is not None
        )
        _close(together[1], by_coef, 1e-13)
        assert (together[2] is None) == (by_residual is None)
        if by_residual is not None:
            _close(together[2], by_residual, 1e-13)


# Layers ----------------------------------------------------------------------------------------


def _all(layer: kl.KANLayer, x: Tensor, path: str) -> list[Tensor]:
    """Outputs, and gradients of a weighted sum of them by the input and by all parameters."""
    with kl.kernels.use(path):
        x = x.clone().requires_grad_()
        y = layer(x)
        weight = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).to(y.dtype).reshape(y.shape)
        return [y.detach(), *torch.autograd.grad((y * weight).sum(), (x, *layer.parameters()))]


@pytest.mark.parametrize("name", PATHS)
@FAST
@given(degree=st.integers(0, 5), residual=st.sampled_from(["silu", "tanh", None]), **CASES)
def test_layers_equal_the_reference_in_values_and_gradients(
    name: str,
    form: str,
    degree: int,
    residual: str | None,
    num_intervals: int,
    kind: str,
    extrapolate: str,
    batch: int,
    features: int,
    out: int,
) -> None:
    knots = _knots(kind, num_intervals, degree, features)
    basis = kl.BSpline(knots=knots, degree=degree, extrapolate=extrapolate)
    layer = kl.KANLayer(features, out, basis, residual=residual, generator=seeded())
    x = _points(knots, batch, features, degree)
    for ours, theirs in zip(_all(layer, x, name), _all(layer, x, "reference"), strict=True):
        _close(ours, theirs)


@pytest.mark.parametrize("kind", ["uniform", "each"])
@pytest.mark.parametrize("extrapolate", EXTRAPOLATIONS)
@pytest.mark.parametrize(("degree", "num_intervals"), [(1, 5), (2, 5), (3, 5), (5, 5), (3, 40)])
@pytest.mark.parametrize("name", PATHS)
def test_float32_is_as_exact_as_the_reference(
    name: str, degree: int, num_intervals: int, extrapolate: str, kind: str
) -> None:
    """Within 4 times the error that the reference itself makes, in each tensor."""
    knots = _knots(kind, num_intervals, degree, 6)
    basis = kl.BSpline(knots=knots, degree=degree, extrapolate=extrapolate)
    exact = kl.KANLayer(6, 5, basis, generator=seeded())
    low = copy.deepcopy(exact).float()
    x = uniform(300, 6, low=-1.3, high=1.3)
    x = x.float().double()
    for truth, ours, theirs in zip(
        _all(exact, x, "reference"),
        _all(low, x.float(), name),
        _all(low, x.float(), "reference"),
        strict=True,
    ):
        assert ours.dtype == torch.float32
        assert largest(ours.double() - truth) <= 4 * largest(theirs.double() - truth)


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (4,), (2, 3, 5)])
def test_any_leading_dimensions(path: str, shape: tuple[int, ...]) -> None:
    layer = kl.KANLayer(3, 2, kl.BSpline(), generator=seeded())
    x = uniform(*shape, 3, low=-1.4, high=1.4)
    results = zip(_all(layer, x, path), _all(layer, x, "reference"), strict=True)
    for ours, theirs in results:
        _close(ours, theirs)


def test_strides_do_not_matter(path: str) -> None:
    layer = kl.KANLayer(3, 2, kl.BSpline(), generator=seeded())
    x = uniform(3, 8).T
    assert not x.is_contiguous()
    y = layer(x)
    assert torch.equal(y, layer(x.contiguous()))
    expanded = torch.ones(()).expand(8, 2)
    (by_view,) = torch.autograd.grad(layer(x.requires_grad_()), x, expanded)
    (by_copy,) = torch.autograd.grad(layer(x), x, expanded.contiguous())
    assert torch.equal(by_view, by_copy)


def test_strides_of_coefficients_do_not_matter(path: str) -> None:
    layer = kl.KANLayer(3, 2, kl.BSpline(), generator=seeded())
    x = uniform(8, 3).requires_grad_()
    plain = layer.coef.detach()
    strided = plain.transpose(0, 1).contiguous().transpose(0, 1)
    assert not strided.is_contiguous()
    found = []
    torch.use_deterministic_algorithms(True)  # memory that nobody has written to is NaN
    try:
        for coef in (plain, strided):
            y = torch.func.functional_call(layer, {"coef": coef.requires_grad_()}, (x,))
            found.append(torch.autograd.grad(y.square().sum(), (x, coef)))
    finally:
        torch.use_deterministic_algorithms(False)
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("kind", ["uniform", "each"])
@pytest.mark.parametrize("extrapolate", EXTRAPOLATIONS)
def test_what_is_not_finite_stays_so_as_in_the_reference(
    path: str, form: str, extrapolate: str, kind: str, bad: float
) -> None:
    """In outputs and in the gradients of all that the sample touches."""
    basis = kl.BSpline(knots=_knots(kind, 5, 3, 3), degree=3, extrapolate=extrapolate)
    layer = kl.KANLayer(3, 2, basis, generator=seeded())
    x = uniform(4, 3)
    x[1, 2] = bad
    for ours, theirs in zip(_all(layer, x, path), _all(layer, x, "reference"), strict=True):
        assert torch.equal(ours.isfinite(), theirs.isfinite())


# Derivatives of derivatives --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["uniform", "each"])
@pytest.mark.parametrize("extrapolate", ["linear", "natural"])
def test_gradcheck_and_gradgradcheck(path: str, form: str, extrapolate: str, kind: str) -> None:
    """Of all inputs, off the knots: for x, and for every parameter."""
    basis = kl.BSpline(knots=_knots(kind, 4, 3, 2), degree=3, extrapolate=extrapolate)
    layer = kl.KANLayer(2, 2, basis, generator=seeded())
    names, values = zip(*layer.named_parameters(), strict=True)
    x = torch.tensor([[-1.31, -0.47], [0.13, 0.71]], requires_grad=True)

    def function(x: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    assert gradcheck(function, (x, *values))
    assert gradgradcheck(function, (x, *values))


def _inputs(*shapes: tuple[int, ...]) -> list[Tensor]:
    return [
        uniform(*shape, low=-0.97, high=0.97, seed=seed).requires_grad_()
        for seed, shape in enumerate(shapes)
    ]


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("kernel", ["torch", "cpu", "dense"])
def test_gradcheck_of_each_operation_with_all_its_arguments(kernel: str, order: int) -> None:
    """h and both orders too, which layers reach by second and third derivatives alone."""
    if kernel == "cpu" and "cpu" not in PATHS:
        pytest.skip("no compiled path here")
    basis, knots = kl.BSpline(4, 5), kl.uniform_knots(4, 5)
    kind = Dense(basis) if kernel == "dense" else Spline(kernel, 5, "linear")
    x, h, coef, r, g = _inputs((3, 2), (3, 2), (2, 9, 2), (2, 2), (3, 2))
    for check in (gradcheck, gradgradcheck):
        assert check(lambda *a: Forward.apply(kind, *a, knots, order), (x, coef, r, h))
        assert check(lambda *a: InputGradient.apply(kind, *a, knots, order), (x, coef, r, g))
        assert check(lambda *a: WeightGradient.apply(kind, *a, knots, order, True), (x, g, h))


@pytest.mark.parametrize("degree", [3, 5])
def test_third_derivatives_through_autograd(path: str, degree: int) -> None:
    """The third derivative of the layer, and gradients of it by all parameters."""
    layer = kl.KANLayer(1, 1, kl.BSpline(5, degree), generator=seeded())
    x = uniform(20, 1, low=-1.2, high=1.2).requires_grad_()
    y = layer(x)
    for _ in range(3):
        (y,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    values, silu = layer.basis.derivative(x.detach(), 3), _silu(x.detach(), 3)
    _close(y, values[:, 0] @ layer.coef[0] + silu * layer.residual_weight)
    by_coef, by_residual = torch.autograd.grad(y.sum(), (layer.coef, layer.residual_weight))
    _close(by_coef[0, :, 0], values.sum((0, 1)))
    _close(by_residual, silu.sum().reshape(1, 1))


def test_a_laplacian_trains_as_with_the_reference(path: str) -> None:
    """The gradient of a loss on second derivatives, through two layers."""
    model = kl.KAN([2, 3, 1], kl.BSpline(), generator=seeded())

    def gradients(name: str) -> list[Tensor]:
        with kl.kernels.use(name):
            x = uniform(7, 2).requires_grad_()
            (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
            parts = [
                torch.autograd.grad(slope[:, i].sum(), x, create_graph=True)[0][:, i]
                for i in range(2)
            ]
            return list(torch.autograd.grad(sum(parts).square().sum(), model.parameters()))

    for ours, theirs in zip(gradients(path), gradients("reference"), strict=True):
        _close(ours, theirs, 1e-11)


# What is kept, what is compiled ----------------------------------------------------------------

BASES = {
    "uniform": lambda: kl.BSpline(),
    "each": lambda: kl.BSpline(knots=_knots("each", 5, 3, 3), degree=3),
    "many": lambda: kl.BSpline(30),
    "gaussian": lambda: kl.GaussianRBF(),
    "switch": lambda: kl.ReflectionalSwitch(),
}


@pytest.mark.parametrize("kind", BASES)
def test_nothing_but_x_and_parameters_is_kept_for_gradients(path: str, kind: str) -> None:
    layer, x = kl.KANLayer(3, 2, BASES[kind](), bias=True), uniform(50, 3).requires_grad_()
    known = {t.untyped_storage().data_ptr() for t in (x, *layer.parameters(), *layer.buffers())}
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(x)
    assert kept
    assert {tensor.untyped_storage().data_ptr() for tensor in kept} <= known
    with (
        kl.kernels.use("reference"),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
    ):
        layer(x)
    assert not {tensor.untyped_storage().data_ptr() for tensor in kept} <= known


@pytest.mark.parametrize("kind", ["gaussian", "switch"])
def test_other_bases_equal_the_reference(kind: str) -> None:
    layer = kl.KANLayer(3, 2, BASES[kind](), generator=seeded())
    x = uniform(2, 9, 3, low=-2.0, high=2.0)
    for ours, theirs in zip(_all(layer, x, "torch"), _all(layer, x, "reference"), strict=True):
        _close(ours, theirs)
    assert gradgradcheck(layer, x[0, :2].requires_grad_())


@pytest.mark.parametrize("kind", ["uniform", "each", "gaussian"])
def test_compiled_whole_with_the_same_gradients(path: str, kind: str) -> None:
    model = kl.KAN([3, 3, 2], BASES[kind](), generator=seeded())
    x = uniform(6, 3).requires_grad_()
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        _close(compiled(x), model(x), 1e-13)
    ours, theirs = (
        torch.autograd.grad(f(x).square().sum(), (x, *model.parameters()))
        for f in (compiled, model)
    )
    for a, b in zip(ours, theirs, strict=True):
        _close(a, b, 1e-13)


@pytest.mark.parametrize(("with_h", "with_r"), list(itertools.product([False, True], repeat=2)))
def test_operators_are_registered_rightly(path: str, with_h: bool, with_r: bool) -> None:
    """Schema, and shapes without data, by PyTorch's own check."""
    knots = kl.uniform_knots(4, 3)
    x, coef, grad = uniform(5, 2), uniform(2, 7, 3), uniform(5, 3)
    h = uniform(5, 2) if with_h else None
    r = uniform(2, 3) if with_r else None
    spline = (path, 3, "linear")
    operators, tests = torch.ops.kanlite, ("test_schema", "test_faketensor")
    for name, arguments in {
        "forward": (x, coef, r, h, knots, 0, *spline),
        "input_gradient": (x, coef, r, grad, knots, 1, *spline),
        "weight_gradient": (x, grad, h, with_r, knots, 0, *spline),
    }.items():
        operator = getattr(operators, name).default
        torch.library.opcheck(operator, arguments, test_utils=tests)


def test_exported_graphs_hold_operations_of_pytorch_alone() -> None:
    layer = kl.KANLayer(3, 2, kl.BSpline(), generator=seeded())
    x = uniform(5, 3)
    program = torch.export.export(layer, (x,))
    assert not [node for node in program.graph.nodes if "kanlite" in str(node.target)]
    _close(program.module()(x), layer(x), 1e-13)


def test_training_follows_the_reference(path: str) -> None:
    """The same losses, step by step."""

    def losses(name: str) -> list[float]:
        with kl.kernels.use(name):
            model = kl.KAN([2, 3, 1], kl.BSpline(), generator=seeded())
            x = uniform(60, 2)
            y = torch.sin(3 * x[:, :1]) * x[:, 1:]
            history = kl.fit(model, (x, y), optimizer="adam", steps=30, progress=False)
            return history.train_loss

    ours, theirs = losses(path), losses("reference")
    assert ours[-1] < ours[0] / 2
    assert ours == pytest.approx(theirs, rel=1e-9)
