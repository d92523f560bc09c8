"""Pruning: scores that add up, models that shrink, constants that stay."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import nn

import kanlite as kl
from kanlite.pruning import Pruned, edge_scores, input_report, node_scores, prune
from tests.helpers import default_dtype, seeded, uniform


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with default_dtype(torch.float64):
        yield


def model_of(*widths: int, **options: object) -> kl.KAN:
    return kl.KAN(widths, kl.BSpline(4), generator=seeded(), **options)


@torch.no_grad()
def make_constant(layer: kl.KANLayer, i: int, j: int, value: float = 0.0) -> None:
    """Edge [j, i] becomes a constant: B-splines sum to one."""
    layer.coef[i, :, j] = value
    if layer.residual_weight is not None:
        layer.residual_weight[i, j] = 0.0


def test_scores_follow_their_definition() -> None:
    model, x = model_of(3, 4, 2), uniform(200, 3)
    edges, nodes = edge_scores(model, x), node_scores(model, x)
    assert torch.equal(nodes[2], torch.ones(2))
    values = kl.edge_values(model, x)
    for layer in (1, 0):
        phi = values[layer].numpy()
        for j in range(phi.shape[1]):
            for i in range(phi.shape[2]):
                share = phi[:, j, i].std() / phi[:, j].sum(-1).std()
                assert edges[layer][j, i] == pytest.approx(float(nodes[layer + 1][j]) * share)
        assert torch.allclose(nodes[layer], edges[layer].sum(0))


def test_a_node_hands_on_at_least_its_score() -> None:
    model, x = model_of(3, 4, 2), uniform(200, 3)
    for edge, node in zip(edge_scores(model, x), node_scores(model, x)[1:], strict=True):
        assert (edge.sum(1) >= node * (1 - 1e-12)).all()


def test_scores_are_free_of_units() -> None:
    model, x = model_of(2, 3, 1, residual=None), uniform(100, 2)
    before = edge_scores(model, x)
    with torch.no_grad():
        model[1].coef *= 1e-7
    for a, b in zip(before, edge_scores(model, x), strict=True):
        assert torch.allclose(a, b)


@pytest.mark.parametrize("shape", [(), (1,), (2, 2)])
def test_scores_take_any_leading_dimensions(shape: tuple[int, ...]) -> None:
    model, x = model_of(3, 4, 2), uniform(24, 3)
    folded = x.reshape(*shape, -1, 3)
    for a, b in zip(edge_scores(model, x), edge_scores(model, folded), strict=True):
        assert torch.allclose(a, b)


def test_a_network_that_does_not_vary_has_scores_of_zero() -> None:
    model = model_of(2, 2, 1)
    for layer in model:
        for i in range(layer.in_features):
            for j in range(layer.out_features):
                make_constant(layer, i, j, 1.3)
    for scores in edge_scores(model, uniform(50, 2)):
        assert (scores == 0).all()
    assert prune(model, uniform(50, 2)).widths == (2, 1, 1)  # a path stays


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("residual", ["silu", None])
def test_idle_parts_go_and_the_function_stays(bias: bool, residual: str | None) -> None:
    model, x = model_of(3, 5, 2, bias=bias, residual=residual), uniform(300, 3)
    for j in range(2):  # nodes 1 and 3 feed constants
        make_constant(model[1], 1, j, 0.7)
        make_constant(model[1], 3, j, -0.2)
    make_constant(model[0], 2, 0, 0.4)  # an idle edge of a node that stays
    before = {name: value.clone() for name, value in model.state_dict().items()}
    small = prune(model, x, edge_threshold=1e-12, node_threshold=1e-12)
    assert small.widths == (3, 3, 2)
    assert torch.allclose(small(x), model(x), rtol=0, atol=1e-14)
    assert (small[0].coef[2, :, 0] == 0).all()
    assert small[0].edges(x)[:, 0, 2].abs().max() == 0
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_nothing_goes_where_everything_counts() -> None:
    model, x = model_of(3, 4, 2), uniform(100, 3)
    small = prune(model, x, edge_threshold=0.0, node_threshold=0.0)
    assert small is not model
    assert torch.equal(small(x), model(x))
    assert [name for name, _ in small.named_parameters()] == [
        name for name, _ in model.named_parameters()
    ]


def test_the_mean_of_what_goes_stays() -> None:
    model, x = model_of(3, 1, residual=None), uniform(100, 3)
    with torch.no_grad():
        model[0].coef[1] = 5 + 1e-3 * model[0].coef[1]
    small = prune(model, x)
    assert (small[0].coef[1] == 0).all()
    assert torch.allclose(small(x).mean(0), model(x).mean(0))
    gap = (small(x) - model(x)).std()
    assert 0 < gap < 0.03 * model(x).std()


def test_one_knot_vector_for_each_feature() -> None:
    x = uniform(200, 3) * torch.tensor([1.0, 2.0, 3.0])
    knots = kl.quantile_knots(x, 4, 3)
    model = kl.KAN.from_layers(
        [
            kl.KANLayer(3, 2, kl.BSpline(degree=3, knots=knots), generator=seeded(1)),
            kl.KANLayer(2, 1, kl.BSpline(4), generator=seeded(2)),
        ]
    )
    for j in range(2):
        make_constant(model[0], 1, j, 0.5)
    result = prune(model, x, edge_threshold=1e-9, node_threshold=1e-9, drop_inputs=True)
    assert isinstance(result, Pruned)
    assert result.kept == [0, 2]
    assert result.model.widths == (2, 2, 1)
    assert torch.allclose(result.model(x[:, result.kept]), model(x), atol=1e-14)
    assert torch.equal(result.model[0].basis.knots, knots[[0, 2]])


@pytest.mark.parametrize("drop_inputs", [False, True])
def test_every_output_keeps_its_strongest_path(drop_inputs: bool) -> None:
    model, x = model_of(3, 4, 2), uniform(100, 3)
    result = prune(model, x, edge_threshold=99.0, node_threshold=99.0, drop_inputs=drop_inputs)
    small = result.model if isinstance(result, Pruned) else result
    assert small.widths == ((1 if drop_inputs else 3), 1, 2)
    y = small(x[:, result.kept] if isinstance(result, Pruned) else x).detach()
    before = model(x).detach()
    assert (y.std(0) > 0).all()
    assert torch.allclose(y.mean(0), before.mean(0), atol=0.5 * float(before.std()))
    assert [
        int((layer.edges(torch.rand(9, layer.in_features)).std(0) > 0).sum()) for layer in small
    ] == [1, 2]


def test_a_redundant_network_is_found_out() -> None:
    """A [2, 1, 1] network inside a [2, 5, 1] one."""
    model, x = model_of(2, 5, 1), uniform(200, 2)
    with torch.no_grad():
        for i in (0, 1, 2, 4):
            model[1].coef[i] *= 1e-5
            model[1].residual_weight[i] *= 1e-5
    small = prune(model, x)
    assert small.widths == (2, 1, 1)
    assert (small(x) - model(x)).std() < 1e-3 * model(x).std()


def test_a_pruned_model_can_be_saved_trained_and_pruned_again(tmp_path: object) -> None:
    model, x = model_of(2, 5, 1), uniform(100, 2)
    with torch.no_grad():
        model[1].coef[2:] *= 0
        model[1].residual_weight[2:] *= 0
    small = prune(model, x)
    kl.save(small, f"{tmp_path}/model.pt")
    assert torch.equal(kl.load(f"{tmp_path}/model.pt")(x), small(x))
    assert torch.allclose(prune(small, x)(x), small(x))
    y = x.sum(1, keepdim=True)
    losses = kl.fit(small, (x, y), optimizer="lbfgs", steps=10, progress=False).train_loss
    assert losses[-1] < losses[0]


def test_single_precision() -> None:
    model, x = model_of(3, 5, 1).float(), uniform(300, 3).float()
    for i in (1, 3):
        make_constant(model[1], i, 0, 0.7)
    small = prune(model, x, edge_threshold=1e-5, node_threshold=1e-5)
    assert small.widths == (3, 3, 1)
    assert small(x).dtype == torch.float32
    assert torch.allclose(small(x), model(x), atol=1e-6)


def test_layers_that_normalize_keep_their_inputs() -> None:
    model, x = model_of(3, 4, 1, normalize=nn.LayerNorm), uniform(100, 3)
    assert prune(model, x, edge_threshold=0.0, node_threshold=0.0).widths == (3, 4, 1)
    make_constant(model[1], 2, 0)
    with pytest.raises(ValueError, match="model must not normalize the inputs of layer 1"):
        prune(model, x)


def test_the_report_has_the_most_important_input_first() -> None:
    model, x = model_of(3, 1, residual=None), uniform(100, 3)
    with torch.no_grad():
        model[0].coef[1] *= 100
    lines = input_report(model, x).splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("x2")
    assert sum(float(line.split()[2]) for line in lines) == pytest.approx(100, abs=0.2)
    with pytest.raises(ValueError, match="names must hold 3 names, got 2"):
        input_report(model, x, names=["a", "b"])


@pytest.mark.parametrize("function", [edge_scores, node_scores, prune])
def test_bad_arguments_are_refused(function: object) -> None:
    model = model_of(2, 2, 1)
    with pytest.raises(ValueError, match="x must hold at least two samples, got shape"):
        function(model, torch.zeros(0, 2))
    with pytest.raises(ValueError, match="x must hold at least two samples, got shape"):
        function(model, torch.zeros(1, 2))
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match="x must be finite"):
            function(model, torch.tensor([[0.0, 1.0], [bad, 0.0]]))
    with pytest.raises(ValueError, match="model must be a KAN, got Linear"):
        function(nn.Linear(2, 1), torch.zeros(5, 2))


@pytest.mark.parametrize("name", ["edge_threshold", "node_threshold"])
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_thresholds_are_checked(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be finite and at least 0"):
        prune(model_of(2, 1), uniform(10, 2), **{name: value})
