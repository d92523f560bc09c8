"""Two processes train as one does."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import together
import torch

from kanlite.parallel import Processes, processes

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """What each of two processes under torchrun found, and their folder."""
    folder = tmp_path_factory.mktemp("together")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [str(ROOT / "tests" / "together.py"), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
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
    for found in both[1]:
        close(found[name], expected)
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
