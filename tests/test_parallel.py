"""Two processes train as one does."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import together
import torch

import kanlite as kl
from kanlite.parallel import Processes, processes

ROOT = Path(__file__).parents[1]


def torchrun(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Two processes, one thread each."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*command, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """What each of two processes under torchrun found, and their folder."""
    folder = tmp_path_factory.mktemp("together")
    run = torchrun(str(ROOT / "tests" / "together.py"), str(folder))
    assert run.returncode == 0, run.stderr
    return folder, [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(2)]


def close(got: dict[str, Any], wanted: dict[str, Any], tolerance: float = 1e-10) -> None:
    assert len(got["train"]) == len(wanted["train"])
    assert got["train"] == pytest.approx(wanted["train"], rel=tolerance)
    assert got["validation"] == pytest.approx(wanted["validation"], rel=tolerance)
    for name, value in wanted["state"].items():
        torch.testing.assert_close(got["state"][name], value, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", together.SAME)
def test_as_in_one_process(name: str, both: tuple[Path, list[dict[str, Any]]]) -> None:
    expected = together.train(together.SAME[name]())
    # Solving the normal equations enlarges the rounding of their sums.
    tolerance = 1e-7 if name == "second_order" else 1e-10
    for found in both[1]:
        close(found[name], expected, tolerance)
    assert expected["train"][-1] < expected["train"][0]


@pytest.mark.parametrize("name", [*together.SAME, "loader", "different", "resumed"])
def test_all_processes_end_with_the_same_bits(
    name: str, both: tuple[Path, list[dict[str, Any]]]
) -> None:
    first, second = (found[name] for found in both[1])
    assert first["train"] == second["train"]
    assert all(torch.equal(value, second["state"][key]) for key, value in first["state"].items())


def test_a_loader_with_shares(both: tuple[Path, list[dict[str, Any]]]) -> None:
    """As one process that gets both shares of each batch."""
    data = together.SharesPutTogether()
    expected = together.train({"model": together.model(), "data": data, "adapt_knots": False})
    for found in both[1]:
        close(found["loader"], expected)


def test_resumed_training_goes_on_as_if_never_stopped(
    both: tuple[Path, list[dict[str, Any]]],
) -> None:
    for found in both[1]:
        close(found["resumed"], found["mini_batches"], tolerance=1e-14)
        close(found["resumed loader"], found["loader"], tolerance=1e-14)


def test_one_process_writes(both: tuple[Path, list[dict[str, Any]]]) -> None:
    assert (both[0] / "of-0.pt").exists()
    assert not (both[0] / "of-1.pt").exists()


def test_what_is_wrong_stops_all_of_them(both: tuple[Path, list[dict[str, Any]]]) -> None:
    for found in both[1]:
        refused, not_finite = found["messages"]
        assert "data must be a DataLoader with a DistributedSampler" in refused
        assert "RandomSampler" in refused or "SequentialSampler" in refused
        assert "step 0: the loss is not finite" in not_finite


def test_one_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    alone = processes(torch.nn.Linear(2, 1))
    assert alone == Processes(0, 1)
    assert alone.is_first
    x = torch.arange(6.0)
    assert alone.share(x)[0] is x
    alone.sum_([x])
    assert torch.equal(x, torch.arange(6.0))
    assert alone.count(5, x.device) == 5


def test_shares_are_disjoint_and_hold_everything() -> None:
    x = torch.arange(11)
    parts = [Processes(rank, 4).share(x)[0] for rank in range(4)]
    assert sorted(torch.cat(parts).tolist()) == x.tolist()
    assert {len(part) for part in parts} == {2, 3}


def test_death_of_a_process_ends_the_run_and_a_new_one_goes_on(tmp_path: Path) -> None:
    script = str(ROOT / "tests" / "together.py")
    died = torchrun(script, str(tmp_path), "5")
    assert died.returncode != 0
    assert "Signal 9 (SIGKILL)" in died.stderr
    assert not list(tmp_path.glob("rank*.pt"))  # nobody went on alone
    checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert checkpoint["step"] == 3
    again = torchrun(script, str(tmp_path), "-1")
    assert again.returncode == 0, again.stderr
    expected = together.train({"model": together.model(), "data": together.Mortal(-1)})
    for rank in range(2):
        found = torch.load(tmp_path / f"rank{rank}.pt", weights_only=False)
        close(found, expected)


def test_the_command_line_needs_no_change(tmp_path: Path) -> None:
    """Two processes print once, write once, and find what one process finds."""
    x = together.random(120, 2, seed=3)
    rows = [f"{a!r},{b!r},{(a * b + a)!r}" for a, b in x.tolist()]
    (tmp_path / "data.csv").write_text("\n".join(["a,b,y", *rows]))
    fit = ["fit", "data.csv", "--target", "y", "--no-formula", "--steps", "20", "--out"]
    run = torchrun("-m", "kanlite", *fit, "two", folder=tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("120 rows, 2 inputs") == 1
    assert run.stdout.count("written to two") == 1
    command = [sys.executable, "-m", "kanlite", *fit, "one"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    alone = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert alone.returncode == 0, alone.stderr
    one, two = (kl.load(tmp_path / name / "model.pt") for name in ("one", "two"))
    with torch.no_grad():
        torch.testing.assert_close(one(x), two(x), rtol=1e-6, atol=1e-6)
    refused = torchrun("-m", "kanlite", *fit, "two", folder=tmp_path)
    assert refused.returncode != 0
    assert refused.stderr.count("kanlite: two holds model.pt") == 1
