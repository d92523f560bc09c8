"""Which function for which edge: suggestions from the network, choices from the data."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import kanlite as kl
from kanlite.candidates import CANDIDATES
from kanlite.samples import Rows
from kanlite.selection import Search, Slot, edge_slots
from tests.helpers import default_dtype, seeded, spline_network, uniform


@pytest.fixture(autouse=True)
def float64_without_gradients() -> Iterator[None]:
    with default_dtype(torch.float64), torch.no_grad():
        yield


def slots_of(model: kl.KAN, x: Tensor) -> tuple[list[Slot], list[Tensor]]:
    return edge_slots(model, kl.edge_layers(model), x, CANDIDATES, 1e-6)


def search(model: kl.KAN, x: Tensor, y: Tensor, goal: float) -> Search:
    groups = tuple(tuple((j,) for j in range(layer.out_features)) for layer in model)
    rows = Rows.split(x, y, seeded(), spread=y.std(0))
    return Search(*slots_of(model, x), groups, rows, goal, 1e-6)


def test_every_edge_is_a_slot_with_its_share() -> None:
    x = uniform(200, 2)
    model = spline_network([[torch.sin, lambda u: 3 * u**2], [torch.exp, lambda u: 0 * u + 2]], x=x)
    slots, (constants,) = slots_of(model, x)
    assert [(s.layer, s.j, s.i) for s in slots] == [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)]
    assert [s.row().chosen for s in slots] == ["sin", "x^2", "exp", "constant"]
    assert slots[0].score + slots[1].score == pytest.approx(1)
    assert torch.allclose(constants, torch.tensor([0.0, 2.0]), atol=1e-9)
    phi = model[0].edges(x)
    assert all(torch.allclose(s.spline.function(x[:, s.i]), phi[:, s.j, s.i]) for s in slots)


def test_biases_are_among_the_constants() -> None:
    x = uniform(50, 1)
    model = kl.KAN([1, 2], kl.BSpline(), bias=True, generator=seeded())
    model[0].bias.copy_(torch.tensor([3.0, -1.0]))
    assert slots_of(model, x)[1][0].tolist() == [3.0, -1.0]


def test_edges_that_share_an_input_are_known_up_to_each_other() -> None:
    x = uniform(300, 1, low=-2.0, high=2.0)
    mixed = [[lambda u: torch.cos(u) - 0.7 * u**2], [lambda u: u**2]]
    slots, _ = slots_of(spline_network(*[mixed], x=x), x)
    alone, shared = slots[0].suggestions[0], slots[0].shared()[0]
    assert shared.candidate.name == "sin"
    assert shared.error < 1e-5 < alone.error
    single, _ = slots_of(spline_network([[torch.sin]], x=x), x)
    assert single[0].shared() == []


def test_the_data_choose_among_suggestions() -> None:
    """An edge on a short range is like many functions; what the targets say is exact."""
    x = uniform(400, 1, low=0.5, high=1.5)
    model = spline_network([[lambda u: torch.log(u) + 2e-3 * torch.sin(9 * u)]], x=x)
    found = search(model, x, 2 * torch.log(x) + 1, goal=1e-9)
    net, theta, error = found.run()
    assert found.reached
    assert error < 1e-9
    assert [slot.row().chosen for slot in found.slots] == ["log"]
    assert torch.allclose(net(x, theta), 2 * torch.log(x) + 1)


def test_what_nothing_fits_stays_a_spline() -> None:
    x = uniform(400, 2)
    wild = lambda u: torch.sin(3 * u) + torch.sin(7 * u**2)  # noqa: E731
    model = spline_network([[wild, lambda u: u**2]], x=x)
    found = search(model, x, model(x), goal=1e-4)
    _, _, error = found.run()
    assert found.reached
    assert error < 1e-4
    assert [slot.row().chosen for slot in found.slots] == ["numeric", "x^2"]
    assert found.slots[0].numeric
    assert found.slots[0].misfit == 0
    assert found.slots[0].row().runner_up != ""


def test_a_row_without_a_runner_up() -> None:
    x = uniform(100, 1)
    slot = slots_of(spline_network([[torch.sin]], x=x), x)[0][0]
    slot.suggestions = slot.suggestions[:1]
    row = slot.row()
    assert (row.chosen, row.runner_up, row.runner_up_error) == ("sin", "", math.inf)
    assert not row.numeric
