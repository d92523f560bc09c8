"""Formulas as networks: values and derivatives, gauges that leave values alone, joint fits."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from kanlite.candidates import CANDIDATES
from kanlite.composition import Composition, Edge, fixed_gauge, refit
from kanlite.samples import Rows
from tests.helpers import default_dtype, uniform

NAMED = {candidate.name: candidate for candidate in CANDIDATES}
SUMS = (((0,), (1,)), ((0,),))  # two hidden sums, one output
PRODUCT = (((0, 1),), ((0,),))  # one hidden product of two sums, one output


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with default_dtype(torch.float64):
        yield


def composition(groups: tuple[tuple[tuple[int, ...], ...], ...], *names: str) -> Composition:
    """Two inputs, each to both outputs of the first layer, and an edge for each hidden node."""
    places = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1), *((1, 0, i) for i in range(2))]
    edges = [
        Edge(*place, NAMED[name], 3 * k)
        for k, (place, name) in enumerate(zip(places, names, strict=False))
    ]
    return Composition(groups, edges)


CASES = {
    "rigid leaving edges": composition(SUMS, "x^2", "sin", "x", "tanh", "sin", "arctan"),
    "leaving edges that scale": composition(SUMS, "exp", "sin", "x^3", "tanh", "x^2", "x"),
    "logarithms": composition(SUMS, "exp", "sin", "gaussian", "tanh", "x", "log"),
    "a product": composition(PRODUCT, "x", "x^2", "sin", "exp", "tanh"),
}


@pytest.fixture(params=CASES)
def net(request: pytest.FixtureRequest) -> Composition:
    return CASES[request.param]


def constants(net: Composition, seed: int = 0) -> Tensor:
    """Random ones, with both signs among them; the arguments of logarithms stay above 0."""
    theta = uniform(net.size, low=0.3, high=1.5, seed=seed)
    for e in net.edges:
        if e.candidate.name == "log":
            theta[net.node(0, e.i)] = 9.0
        elif e.j == 1 or e.layer == 1:
            theta[e.at] *= -1
    return theta


def test_values_are_sums_of_functions() -> None:
    net = composition(SUMS, "x^2", "sin", "x", "tanh", "sin", "arctan")
    theta, x = constants(net), uniform(7, 2)
    (a, b, c), d = theta[:18].reshape(6, 3).T, theta[18:]
    u, v = x.T
    first = c[0] * (a[0] * u + b[0]) ** 2 + c[1] * torch.sin(a[1] * v + b[1]) + d[0]
    second = c[2] * (a[2] * u + b[2]) + c[3] * torch.tanh(a[3] * v + b[3]) + d[1]
    y = c[4] * torch.sin(a[4] * first + b[4]) + c[5] * torch.atan(a[5] * second + b[5]) + d[2]
    assert torch.allclose(net(x, theta)[:, 0], y, rtol=1e-13)
    assert net(x.reshape(1, 7, 2), theta).shape == (1, 7, 1)


def test_nodes_may_be_products() -> None:
    net, x = CASES["a product"], uniform(7, 2)
    theta = constants(net)
    factors = Composition((((0,), (1,)),), net.edges[:4])  # the first layer alone
    both = factors(x, torch.cat([theta[:12], theta[15:17]]))
    a, b, c = theta[12:15]
    y = c * torch.tanh(a * both.prod(-1) + b) + theta[17]
    assert torch.allclose(net(x, theta)[:, 0], y, rtol=1e-13)


def test_the_jacobian_is_that_of_autograd(net: Composition) -> None:
    x = uniform(9, 2)
    rows = Rows(x, uniform(9, 1, seed=2), x, x, torch.tensor([3.0]))
    theta, free = constants(net), torch.arange(net.size) % 3 > 0
    r, j = net.jacobian(theta, free, rows)
    expected = torch.func.jacrev(lambda t: ((net(x, t) - rows.y) / 3)[:, 0])(theta)
    assert torch.allclose(r, ((net(x, theta) - rows.y) / 3)[:, 0])
    assert torch.allclose(j, expected[:, free], rtol=1e-10, atol=1e-12)


def test_a_gauge_is_fixed_and_the_formula_stays(net: Composition) -> None:
    theta, x = constants(net), uniform(50, 2)
    before = theta.clone()
    fixed, free = fixed_gauge(net, theta)
    assert theta.equal(before)
    assert torch.allclose(net(x, fixed), net(x, theta), rtol=1e-11, atol=1e-11)
    assert ((fixed[~free].abs() == 1) | (fixed[~free] == 0)).all()
    again, same = fixed_gauge(net, fixed)
    assert torch.allclose(again, fixed, rtol=1e-12, atol=1e-12)
    assert same.equal(free)


def test_what_is_free_is_not_redundant(net: Composition) -> None:
    """The Jacobian by the free constants has full rank, and by all constants no larger one."""
    x = uniform(400, 2)
    rows = Rows(x, x[:, :1], x, x)
    theta, free = fixed_gauge(net, constants(net))
    _, some = net.jacobian(theta, free, rows)
    _, every = net.jacobian(theta, torch.ones_like(free), rows)
    assert not free.all()
    assert torch.linalg.matrix_rank(some, rtol=1e-9) == int(free.sum())
    assert torch.linalg.matrix_rank(every, rtol=1e-9) == int(free.sum())


def test_constants_are_found_again() -> None:
    net = composition(SUMS, "x^2", "sin", "x", "tanh", "sin", "arctan")
    truth, free = fixed_gauge(net, constants(net))
    x = uniform(300, 2)
    rows = Rows(x, net(x, truth), x, net(x, truth))
    start = truth + 0.02 * uniform(net.size, seed=4) * free
    theta, error = refit(net, start, free, rows, steps=100)
    assert net.error(start, rows) > 1e-3
    assert error == net.error(theta, rows) < 1e-10
    assert net.error(theta, rows, held=True) == error
    assert torch.allclose(theta, truth, atol=1e-6)


def test_only_free_constants_move() -> None:
    net = composition((((0,),),), "sin")
    x = uniform(50, 1)
    rows = Rows(x, 2 * torch.sin(3 * x) + 1, x, x)
    start, free = torch.tensor([2.5, 0.1, 1.0, 0.0]), torch.tensor([True, False, True, True])
    theta, error = refit(net, start, free, rows)
    assert theta[1] == 0.1
    assert (theta != start).tolist() == free.tolist()
    assert error < net.error(start, rows)
    nothing, same = refit(net, start, torch.zeros_like(free), rows)
    assert nothing.equal(start)
    assert same == net.error(start, rows)


def test_a_formula_without_values_is_left_alone() -> None:
    net = composition((((0,),),), "log")
    x = uniform(50, 1)
    theta = torch.tensor([1.0, 0.0, 1.0, 0.0])
    after, error = refit(net, theta, torch.ones(4, dtype=torch.bool), Rows(x, x, x, x))
    assert after.equal(theta)
    assert error == math.inf
