"""The accuracy benchmarks: their mathematics, how a campaign goes on, and that each script runs."""

import importlib
import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from torch.func import hessian, vmap

import kanlite as kl
from benchmarks.accuracy import (
    bessel,
    campaign,
    choices,
    four_variables,
    hundred_variables,
    poisson,
    two_variables,
)
from benchmarks.accuracy.campaign import Follower, Run, Target, Task
from tests.helpers import default_dtype, seeded, uniform

ROOT = Path(kl.__file__).parents[1]


@pytest.fixture(autouse=True)
def _float64_and_the_same_threads():
    threads = torch.get_num_threads()
    with default_dtype(torch.float64):
        yield
    torch.set_num_threads(threads)


# Targets -------------------------------------------------------------------------------------


def laplacian(f, x: torch.Tensor) -> torch.Tensor:
    return vmap(lambda point: hessian(f)(point).diagonal().sum())(x)


def test_the_source_is_the_laplacian_of_the_solution() -> None:
    x = uniform(20, 2)
    torch.testing.assert_close(poisson.source(x), laplacian(poisson.solution, x))
    assert poisson.solution(poisson.boundary(9)).abs().max() < 1e-12


def test_laplacians_of_networks() -> None:
    x = uniform(20, 2, seed=1)
    kan = kl.KAN([2, 3, 2, 1], kl.BSpline(4, 5), residual=None, generator=seeded())
    given = vmap(poisson.Curvature(kan))(x)
    torch.testing.assert_close(given[:, :1], kan(x))
    torch.testing.assert_close(given[:, 1], laplacian(lambda z: kan(z)[0], x))
    mlp = kl.MLP([2, 5, 4, 1], activation="tanh", generator=seeded())
    expected = laplacian(lambda z: mlp(z)[0], x)
    torch.testing.assert_close(poisson.mlp_laplacian(mlp, x), expected)


def test_functions_at_known_points() -> None:
    x = torch.tensor([[0.5, 1.0]])
    assert two_variables.composition(x).item() == pytest.approx(torch.e**2)
    assert two_variables.product(x).item() == 0.5
    assert bessel.target(torch.zeros(1, 1)).item() == pytest.approx(1.0)
    half = torch.tensor([[0.5, 0.5, 0.5, -0.5]])  # both sums of squares are 1/2
    assert four_variables.target(half).item() == pytest.approx(torch.e)
    assert hundred_variables.target(torch.ones(1, 100)).item() == pytest.approx(torch.e)


def test_samples_differ_from_each_other_and_between_seeds() -> None:
    one, two = (campaign.Data.of(two_variables.product, 2, 60, seed) for seed in (0, 1))
    assert len(one.train[0]) == 60
    assert len(one.validation[0]) == 10
    points = [part[0][:10] for data in (one, two) for part in (data.train, data.validation)]
    points += [data.test[0][:10] for data in (one, two)]
    assert all((a != b).all() for i, a in enumerate(points) for b in points[:i])


def test_slope_and_values() -> None:
    assert campaign.slope([10, 20, 40], [1.0, 2.0**-4, 2.0**-8]) == pytest.approx(4.0)
    runs: dict[str, list[Run]] = {
        "a": [{"rmse": e, "process_seconds": 1.0} for e in (3.0, 1.0, 2.0)],
        "b": [{"process_seconds": 4.0}, {"process_seconds": 8.0}],
    }
    assert campaign.worst("a")(runs) == 3.0
    assert campaign.worst("a", best_of=2)(runs) == 2.0
    assert campaign.median("a")(runs) == 2.0
    assert campaign.mean("a", "rmse")(runs) == 2.0
    assert campaign.time_ratio("a", "b")(runs) == pytest.approx(1 / 6)


@pytest.mark.parametrize(
    ("at_least", "bound", "reached"),
    [(False, 2.0, True), (False, 1.9, False), (True, 2.0, True), (True, 2.1, False)],
)
def test_a_target_is_judged(at_least: bool, bound: float, reached: bool) -> None:
    target = Target("it", campaign.worst("a"), bound, at_least)
    verdict = target.verdict({"a": [{"rmse": 2.0}]})
    assert verdict == {"target": "it", "bound": bound, "value": 2.0, "reached": reached}


def test_a_target_waits_for_its_runs() -> None:
    assert Target("it", campaign.worst("a"), 1.0).verdict({}) is None
    assert Target("it", campaign.worst("a"), 1.0).verdict({"a": []}) is None
    assert Target("it", campaign.worst("a", best_of=4), 1.0).verdict({"a": [{"rmse": 0}]}) is None


# The campaign --------------------------------------------------------------------------------


def test_methods_take_turns_and_what_is_done_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[tuple[str, int]] = []

    breaks_at = [2]  # once

    def method(name: str):
        def run(seed: int, quick: bool) -> Run:
            if seed in breaks_at:
                breaks_at.clear()
                raise KeyboardInterrupt
            calls.append((name, seed))
            seconds = {"process_seconds": 1.0, "wall_seconds": 1.0}
            return {"rmse": float(seed), "parameters": 3} | seconds

        return run

    def after(seed: int, quick: bool, other: Run) -> Run:
        calls.append(("after", seed))
        return {"rmse": other["rmse"] + 10}

    tasks = {
        "task": Task(
            {
                "ours": method("ours"),
                "pykan": method("pykan"),
                "after": Follower("pykan", after),
            },
            targets=(Target("RMSE", campaign.worst("ours"), 5.0),),
        )
    }
    file = tmp_path / "out.json"
    command = ["script", "--seeds", "3", "--peer-seeds", "1", "--output", str(file)]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(KeyboardInterrupt):
        campaign.main("It.", str(tmp_path / "it.py"), tasks)
    assert calls == [("ours", 0), ("pykan", 0), ("after", 0), ("ours", 1)]
    campaign.main("It.", str(tmp_path / "it.py"), tasks)
    assert calls[4:] == [("ours", 2)]
    stored = json.loads(file.read_text(encoding="utf-8"))
    assert stored["runs"]["task"]["after"] == {"0": {"rmse": 10.0}}
    assert stored["verdicts"]["task"] == [
        {"target": "RMSE", "bound": 5.0, "value": 2.0, "reached": True}
    ]
    assert stored["versions"]["torch"] == torch.__version__
    assert "reached: RMSE" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [*command, "--again", "--without", "pykan", "after"])
    campaign.main("It.", str(tmp_path / "it.py"), tasks)
    assert calls[5:] == [("ours", 0), ("ours", 1), ("ours", 2)]


def test_quick_numbers_never_land_beside_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["script", "--quick"])
    with pytest.raises(SystemExit):
        campaign.main("It.", "it.py", {})


SCRIPTS = {
    "bessel": (),
    "two_variables": (),
    "four_variables": (),
    "hundred_variables": (),
    "poisson": (),
    "knots": ("database_knotinfo",),
}


def missing(package: str) -> bool:
    return importlib.util.find_spec(package) is None


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_script_runs(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, since imports take most of the time; pykan takes part if installed."""
    absent = [package for package in SCRIPTS[script] if missing(package)]
    if absent:
        pytest.skip(f"needs {absent[0]}: pip install --group bench")
    module = importlib.import_module(f"benchmarks.accuracy.{script}")
    file = tmp_path / "out.json"
    command = [script, "--quick", "--seeds", "1", "--peer-seeds", "1", "--output", str(file)]
    command += ["--without", "pykan"] if missing("kan") else []
    monkeypatch.setattr(sys, "argv", command)
    campaign.main(module.__doc__, module.__file__, module.TASKS)
    content = json.loads(file.read_text(encoding="utf-8"))
    shown = capsys.readouterr().out
    for name, task in module.TASKS.items():
        runs = content["runs"][name]
        assert {m for m in task.methods if "pykan" not in m} <= set(runs)
        assert ("pykan" in runs) == (not missing("kan"))
        for method, by_seed in runs.items():
            if "pykan" in method and missing("kan"):
                continue
            assert method in shown
            assert by_seed["0"]["process_seconds"] > 0
            assert by_seed["0"]["parameters"] > 0
        assert content["verdicts"][name]


@pytest.mark.parametrize("problem", choices.PROBLEMS)
def test_problems_of_choices(problem: str) -> None:
    pytest.importorskip("sklearn")
    data, again = (choices.PROBLEMS[problem](0) for _ in range(2))
    for part, same in ((data.train, again.train), (data.test, again.test)):
        assert torch.equal(part[0], same[0])
        assert torch.equal(part[1], same[1])
    noise = 0.2 if problem == "noisy composition" else 0.0
    if problem != "diabetes":
        truth = choices.product if problem == "product" else choices.composition
        x, y = data.train
        error = (y - truth(x)).std() / y.std()
        assert error == pytest.approx(noise, abs=0.03)
        assert torch.equal(data.test[1], truth(data.test[0]))  # without noise
    else:
        assert sum(len(x) for x, _ in (data.train, data.validation, data.test)) == 442
        assert data.train[0].aminmax(dim=0).min.tolist() == [-1.0] * 10


def test_choices_run_and_are_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "out.json"
    monkeypatch.setattr(sys, "argv", ["choices", "--quick", "--seeds", "1", "--output", str(file)])
    chosen = ("optimizer: product", "smoothness: noisy composition", "restarts: product")
    campaign.main("It.", "it.py", {name: choices.TASKS[name] for name in chosen})
    for runs in json.loads(file.read_text(encoding="utf-8"))["runs"].values():
        assert all(by_seed["0"]["error"] > 0 for by_seed in runs.values())
    stored = json.loads(Path(choices.__file__).with_suffix(".json").read_text(encoding="utf-8"))
    assert {name: set(runs) for name, runs in stored["runs"].items()} == {
        name: set(task.methods) for name, task in choices.TASKS.items()
    }
    assert {len(s) for runs in stored["runs"].values() for s in runs.values()} == {5}


@pytest.mark.parametrize("script", SCRIPTS)
def test_stored_results_have_every_method_and_seed(script: str) -> None:
    """The JSON beside a script holds the methods and targets that the script has now."""
    file = ROOT / "benchmarks" / "accuracy" / f"{script}.json"
    if not file.exists():
        pytest.skip(f"{script}: not measured yet")
    content = json.loads(file.read_text(encoding="utf-8"))
    for name, task in importlib.import_module(f"benchmarks.accuracy.{script}").TASKS.items():
        runs = content["runs"][name]
        assert set(runs) == set(task.methods)
        for method, by_seed in runs.items():
            assert len(by_seed) >= (2 if "pykan" in method else 5)
        assert [v["target"] for v in content["verdicts"][name]] == [t.text for t in task.targets]
