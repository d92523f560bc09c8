"""Sketches: derivatives, knots that change and functions that stay, and simplification."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import kanlite as kl
from kanlite.samples import Rows
from kanlite.structure import LINE, NOTHING, SPLINE, Sketch
from tests.helpers import default_dtype, seeded, uniform

SHAPES = ([2, 1], [2, 3, 2], [2, (1, 1), 1], [2, (0, 2), 2, 1])


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with default_dtype(torch.float64):
        yield


def sketch(shape: list[int | tuple[int, int]], x: Tensor, seed: int = 0) -> Sketch:
    """A random one, its hidden domains around what passes through them."""
    return Sketch(shape, x, seeded(seed)).adapted(x)


def rows(y: Tensor, x: Tensor) -> Rows:
    y = (y - y.mean(0)) / y.std(0, correction=0)
    return Rows(
        x[: len(x) * 4 // 5], y[: len(x) * 4 // 5], x[len(x) * 4 // 5 :], y[len(x) * 4 // 5 :]
    )


def kinds(net: Sketch) -> list[list[list[int]]]:
    return [layer.kind.tolist() for layer in net.layers]


def test_basis_functions_are_those_of_the_package() -> None:
    x = uniform(50, 2)
    layer = sketch([2, 1], x).layers[0]
    z = torch.lerp(layer.low, layer.high, torch.linspace(0, 1, 41)[:, None])
    basis = kl.BSpline(3, low=-1.0, high=1.0)
    u = 2 * (z - layer.low) / (layer.high - layer.low) - 1
    values, slopes = layer.features(z)
    assert torch.allclose(values, basis(u), atol=1e-12)
    ahead, behind = (layer.features(z + h)[0] for h in (1e-6, -1e-6))
    assert torch.allclose(slopes[1:-1], (ahead - behind)[1:-1] / 2e-6, atol=1e-7)


def test_beyond_the_domain_functions_are_straight() -> None:
    x = uniform(50, 1)
    layer = sketch([1, 1], x).layers[0]
    far = layer.high + torch.tensor([0.0, 0.5, 1.0])[:, None]
    values = layer.features(far)[0]
    assert torch.allclose(values[0] + values[2], 2 * values[1])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_derivatives_are_exact(shape: list[int | tuple[int, int]]) -> None:
    x = uniform(30, 2)
    net = sketch(shape, x).with_edge(0, 0, 1, LINE)
    first = net.first(x)
    prediction, slopes = net.derivatives(first)
    assert torch.equal(prediction, net(first))
    for k in range(slopes.shape[2]):
        step = torch.zeros(slopes.shape[2])
        step[k] = 1e-6
        change = (net.moved(step)(first) - net.moved(-step)(first)) / 2e-6
        assert torch.allclose(slopes[:, :, k], change, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_roughness_is_the_quadratic_form(shape: list[int | tuple[int, int]]) -> None:
    x = uniform(30, 2)
    net = sketch(shape, x).with_edge(0, 0, 1, LINE)
    matrix, pull = net.bending()
    step = torch.randn(len(pull), generator=seeded(7))
    expected = net.roughness() + 2 * step @ pull + step @ matrix @ step
    assert net.moved(step).roughness() == pytest.approx(float(expected))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_refining_keeps_the_function(shape: list[int | tuple[int, int]]) -> None:
    x = uniform(100, 2)
    net = sketch(shape, x)
    fine = net.refined(6)
    assert fine.layers[0].coef.shape[1] == 9
    assert torch.allclose(fine(fine.first(x)), net(net.first(x)), atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_model_is_the_sketch_in_the_units_of_the_targets(
    shape: list[int | tuple[int, int]],
) -> None:
    x = uniform(100, 2)
    net = sketch(shape, x).with_edge(0, 0, 1, NOTHING)
    y = net(net.first(x))
    mean, spread = torch.full(y.shape[1:], 3.0), torch.full(y.shape[1:], 2.0)
    model = net.model(mean, spread)
    assert torch.allclose(model(x), mean + spread * y, atol=1e-9)
    products = any(isinstance(size, tuple) for size in shape)
    assert isinstance(model, kl.KAN) is not products
    assert sum(isinstance(part, kl.Multiply) for part in model) == int(products)


def test_nodes_that_serve_nothing_are_left_out() -> None:
    x = uniform(100, 2)
    net = sketch([2, (2, 1), 1], x).with_edge(1, 0, 1, NOTHING).with_edge(1, 0, 2, NOTHING)
    small = net.cleared()
    assert kinds(small) == [[[2, 2], [0, 0], [0, 0], [0, 0]], [[2, 0, 0]]]
    model = small.model(torch.zeros(1), torch.ones(1))
    assert isinstance(model, kl.KAN)
    assert model.widths == (2, 1, 1)
    idle = sketch([2, 2, 1], x).with_edge(0, 1, 0, NOTHING).with_edge(0, 1, 1, NOTHING).cleared()
    assert kinds(idle) == [[[2, 2], [0, 0]], [[2, 0]]]


def test_a_start_can_keep_inputs_apart() -> None:
    x = uniform(50, 3)
    net = Sketch([3, (1, 1), 1], x, seeded(), apart=True)
    assert net.layers[0].kind[0].tolist() == [SPLINE] * 3
    assert (net.layers[0].kind[1:] > NOTHING).sum(0).tolist() == [1, 1, 1]
    alone = Sketch([1, (0, 1), 1], x[:, :1], seeded(), apart=True)
    assert alone.layers[0].kind.tolist() == [[SPLINE], [SPLINE]]  # a factor needs an input


def test_a_product_is_reduced_to_its_factors() -> None:
    x = uniform(500, 2)
    data = rows((x[:, :1] + 0.5) * torch.sin(2 * x[:, 1:]), x)
    net = Sketch([2, (0, 1), 1], x, seeded(1))
    for smoothness in (1e-2, 1e-4, 1e-6, 1e-8):
        net = net.trained(data.x, data.y, smoothness=smoothness, adapt=True)
    fine = net.refined(12).trained(data.x, data.y)
    error = fine.error(fine.first(data.held_x), data.held_y)
    small, after = fine.simplified(data, error)
    assert after < 1e-3
    assert small.reads_once
    assert not fine.reads_once
    assert small.cost < fine.cost
    factors = sorted(map(sorted, small.layers[0].kind.tolist()))
    assert factors == [[NOTHING, LINE], [NOTHING, SPLINE]]
    assert small.layers[1].kind.tolist() == [[LINE]]


def test_what_the_data_need_stays() -> None:
    x = uniform(500, 2)
    data = rows(torch.exp(torch.sin(math.pi * x[:, :1]) + x[:, 1:] ** 2), x)
    net = Sketch([2, 1, 1], x, seeded(0))
    for smoothness in (1e-2, 1e-4, 1e-6, 1e-8):
        net = net.trained(data.x, data.y, smoothness=smoothness, adapt=True)
    net = net.refined(12).trained(data.x, data.y)
    error = net.error(net.first(data.held_x), data.held_y)
    small, after = net.simplified(data, error)
    assert error < 1e-3
    assert kinds(small) == [[[SPLINE, SPLINE]], [[SPLINE]]]
    assert after == error


def test_a_factor_or_an_output_without_edges_is_not_whole() -> None:
    x = uniform(50, 2)
    net = sketch([2, (1, 1), 1], x)
    assert net.is_whole()
    assert not net.with_edge(0, 1, 0, NOTHING).with_edge(0, 1, 1, NOTHING).is_whole()
    assert net.with_edge(0, 0, 0, NOTHING).with_edge(0, 0, 1, NOTHING).is_whole()
    assert not net.with_edge(1, 0, 0, NOTHING).with_edge(1, 0, 1, NOTHING).is_whole()


def test_an_error_that_is_not_finite_is_infinite() -> None:
    x = uniform(20, 1)
    net = sketch([1, 1], x)
    assert net.error(net.first(x), torch.full((20, 1), math.nan)) == math.inf
    assert isinstance(net.model(torch.zeros(1), torch.ones(1)), nn.Sequential)
