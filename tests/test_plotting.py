"""Pictures: Matplotlib objects that hold what they should, and nothing on the side."""

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from helpers import default_dtype, seeded, uniform

import kanlite as kl

plt = pytest.importorskip("matplotlib.pyplot")
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402


@pytest.fixture(autouse=True)
def float64_and_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test leaves no file, and closes its figures."""
    monkeypatch.chdir(tmp_path)
    with default_dtype(torch.float64):
        yield
    plt.close("all")
    assert os.listdir(tmp_path) == []


def curves(ax: Axes) -> list[tuple[list[float], list[float]]]:
    """What is drawn, without the dotted ends of the domain."""
    return [
        (list(line.get_xdata()), list(line.get_ydata()))
        for line in ax.get_lines()
        if line.get_linestyle() == "-"
    ]


def ends(ax: Axes) -> list[float]:
    return sorted(line.get_xdata()[0] for line in ax.get_lines() if line.get_linestyle() == ":")


def render(figure: Figure) -> None:
    figure.canvas.draw()


@pytest.mark.parametrize("derivative", [0, 1, 2])
@pytest.mark.parametrize("extrapolate", ["linear", "zero"])
def test_a_basis_is_drawn_function_by_function(derivative: int, extrapolate: str) -> None:
    basis = kl.BSpline(4, 2, 0.0, 3.0, extrapolate=extrapolate)
    ax = kl.plot_basis(basis, derivative=derivative)
    assert isinstance(ax, Axes)
    drawn = curves(ax)
    assert len(drawn) == basis.num_basis == 6
    for number, (x, y) in enumerate(drawn):
        assert min(x) < 0 < 3 < max(x), "a little beyond the domain"
        expected = basis.derivative(torch.tensor(x), derivative)[:, number]
        assert y == expected.tolist()
    assert ends(ax) == [0.0, 3.0]
    render(ax.figure)


def test_one_feature_of_many_is_drawn() -> None:
    basis = kl.BSpline(knots=torch.stack([kl.uniform_knots(3, 3), kl.uniform_knots(3, 3, 2, 5)]))
    for feature, domain in ((0, [-1.0, 1.0]), (1, [2.0, 5.0])):
        ax = kl.plot_basis(basis, feature=feature)
        assert ends(ax) == domain
        assert len(curves(ax)) == 6


def test_given_axes_are_used() -> None:
    figure, axes = plt.subplots(1, 2)
    layer = kl.KANLayer(2, 3, kl.BSpline())
    assert kl.plot_basis(layer.basis, ax=axes[0]) is axes[0]
    assert kl.plot_edge(layer, 2, 1, ax=axes[1]) is axes[1]
    assert plt.get_fignums() == [figure.number], "no other figure was made"


@pytest.mark.parametrize("each", [False, True])
def test_an_edge_is_drawn_as_it_is(each: bool) -> None:
    knots = torch.stack([kl.uniform_knots(3, 3, 0, 1), kl.uniform_knots(3, 3, 2, 5)])
    basis = kl.BSpline(knots=knots) if each else kl.BSpline(3, 3, 2.0, 5.0)
    layer = kl.KANLayer(2, 3, basis, bias=True, generator=seeded())
    ax = kl.plot_edge(layer, out_index=2, in_index=1)
    ((x, y),) = curves(ax)
    inputs = torch.stack([torch.zeros(len(x)), torch.tensor(x)], -1)
    assert y == layer.edges(inputs)[:, 2, 1].tolist()
    assert ends(ax) == [2.0, 5.0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("$x_{1}$", r"$\phi_{21}$")
    render(ax.figure)


def test_samples_are_ticks_on_an_edge() -> None:
    x = uniform(4, 5, 2)
    ax = kl.plot_edge(kl.KANLayer(2, 1, kl.BSpline()), 0, 1, x)
    (ticks,) = (line for line in ax.get_lines() if line.get_marker() == "|")
    assert list(ticks.get_xdata()) == x[..., 1].flatten().tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_dtype_can_be_drawn(dtype: torch.dtype) -> None:
    model = kl.KAN([2, 2], kl.BSpline()).to(dtype)
    x = uniform(10, 2).to(dtype)
    for figure in (
        kl.plot_basis(model[0].basis).figure,
        kl.plot_edge(model[0], 0, 0, x).figure,
        kl.plot_kan(model, x),
    ):
        render(figure)


@pytest.mark.parametrize(
    ("out_index", "in_index", "message"),
    [
        (3, 0, r"out_index must be in \[0, 3\), got 3"),
        (-1, 0, r"out_index must be in \[0, 3\), got -1"),
        (0, 2, r"in_index must be in \[0, 2\), got 2"),
    ],
)
def test_an_edge_that_is_not_there_is_refused(out_index: int, in_index: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kl.plot_edge(kl.KANLayer(2, 3, kl.BSpline()), out_index, in_index)
    assert plt.get_fignums() == []


@pytest.mark.parametrize("widths", [(1, 1), (2, 3, 1), (3, 2, 2, 4)])
def test_a_network_has_a_small_plot_on_each_edge(widths: tuple[int, ...]) -> None:
    model = kl.KAN(widths, kl.BSpline(), generator=seeded())
    x = uniform(30, widths[0])
    figure = kl.plot_kan(model, x)
    assert isinstance(figure, Figure)
    (canvas,) = figure.axes
    insets = canvas.child_axes
    edges = [n * m for n, m in pairwise(widths)]
    assert len(insets) == sum(edges)
    assert len(curves(canvas)) == 2 * sum(edges), "one line into each plot, one out of it"
    assert {text.get_text() for text in canvas.texts} == {f"$x_{{{i}}}$" for i in range(widths[0])}
    # The plots of a layer are in order: those of input 0 first, each with its own function.
    inputs, position = kl.edge_inputs(model, x), 0
    for layer, z in zip(model, inputs, strict=True):
        for i in range(layer.in_features):
            for j in range(layer.out_features):
                ((xs, ys),) = curves(insets[position])
                points = torch.zeros(len(xs), layer.in_features)
                points[:, i] = torch.tensor(xs)
                assert ys == layer.edges(points)[:, j, i].tolist()
                assert [min(xs), max(xs)] == pytest.approx(
                    [z[:, i].min().item(), z[:, i].max().item()]
                )
                position += 1
    render(figure)


def test_the_strongest_edge_of_a_layer_is_the_darkest() -> None:
    model = kl.KAN([2, 2], kl.BSpline(), residual=None)
    with torch.no_grad():
        model[0].coef[0] = torch.linspace(0, 1, 8)[:, None]
        model[0].coef[1] = 0.1 * torch.linspace(0, 1, 8)[:, None]
        model[0].coef[1, :, 1] = 3.0  # constant
    figure = kl.plot_kan(model, torch.linspace(-1, 1, 20)[:, None].expand(-1, 2))
    alphas = [inset.get_lines()[0].get_alpha() for inset in figure.axes[0].child_axes]
    assert alphas == pytest.approx([1.0, 1.0, 0.08 + 0.092, 0.08])


def test_inputs_can_be_named() -> None:
    figure = kl.plot_kan(kl.KAN([2, 1], kl.BSpline()), uniform(5, 2), names=["mass", "speed"])
    assert {text.get_text() for text in figure.axes[0].texts} == {"mass", "speed"}


def test_one_sample_is_enough() -> None:
    render(kl.plot_kan(kl.KAN([2, 3, 1], kl.BSpline()), uniform(1, 2)))


def test_what_cannot_be_drawn_is_refused() -> None:
    model = kl.KAN([5, 13, 1], kl.BSpline())
    with pytest.raises(ValueError, match=r"at most 64 edges per layer to be drawn, got \[65, 13\]"):
        kl.plot_kan(model, uniform(4, 5))
    with pytest.raises(ValueError, match=r"names must have 2 entries, .* got \['x'\]"):
        kl.plot_kan(kl.KAN([2, 1], kl.BSpline()), uniform(4, 2), names=["x"])
    with pytest.raises(ValueError, match="x must hold at least one sample"):
        kl.plot_kan(kl.KAN([2, 1], kl.BSpline()), torch.empty(0, 2))
