"""Campaigns of trainings: methods take turns, what is done is stored, targets are judged.

A campaign is a table of tasks; a task has methods, and a method is a function of a seed and of
whether only to try the script (`quick`) that returns a dictionary of numbers. Each run is stored
as soon as it ends, so that an interrupted campaign goes on where it stopped. Seed by seed the
methods take turns, so that whatever else the machine does meets all of them. Process time counts
the work done, wall time what a user waits; only ratios of one campaign mean anything.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.speed.measure import machine, write

Run = dict[str, Any]
Method = Callable[[int, bool], Run]
Function = Callable[[Tensor], Tensor]
PEERS = ("pykan",)  # slow: fewer seeds
PACKAGES = ("kanlite", "torch", "numpy", "pykan", "scikit-learn", "database_knotinfo")


@dataclass(frozen=True)
class Follower:
    """A method that depends on another one's run of the same seed: on its time, say."""

    leader: str
    method: Callable[[int, bool, Run], Run]


@dataclass(frozen=True)
class Target:
    """A number to reach: `value(runs by method)` must be at most, or at least, `bound`."""

    text: str
    value: Callable[[dict[str, list[Run]]], float]
    bound: float
    at_least: bool = False

    def verdict(self, runs: dict[str, list[Run]]) -> dict[str, Any] | None:
        """What was measured, and whether it is enough; None where runs are missing."""
        try:
            value = self.value(runs)
        except (KeyError, statistics.StatisticsError):
            return None
        reached = value >= self.bound if self.at_least else value <= self.bound
        return {"target": self.text, "bound": self.bound, "value": value, "reached": reached}


@dataclass(frozen=True)
class Task:
    """Methods that do the same, what to show of their runs, and what they should reach."""

    methods: dict[str, Method | Follower]
    columns: tuple[str, ...] = ("rmse", "parameters", "process_seconds", "wall_seconds")
    targets: tuple[Target, ...] = field(default=())


# Data and errors -----------------------------------------------------------------------------


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def uniform(samples: int, features: int, seed: int) -> Tensor:
    """Points of [-1, 1]^features, shape (samples, features), float64."""
    return 2 * torch.rand(samples, features, generator=generator(seed), dtype=torch.float64) - 1


@dataclass(frozen=True)
class Data:
    """A function on [-1, 1]^n, sampled three times; each pair is (x, y)."""

    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, function: Function, features: int, samples: int, seed: int) -> Data:
        """As many points for the training, a sixth of them for validation, 10,000 for the test."""
        sizes = ((samples, 1000), (max(samples // 6, 1), 2000), (10_000, 3000))
        parts = [uniform(size, features, base + seed) for size, base in sizes]
        return cls(*((x, function(x)) for x in parts))


@torch.no_grad()
def rmse(model: nn.Module, pair: tuple[Tensor, Tensor]) -> float:
    x, y = pair
    return float((model(x) - y).square().mean().sqrt())


@contextmanager
def timed(run: Run) -> Iterator[None]:
    """Add the seconds that the block takes to a run's two clocks."""
    wall, process = time.perf_counter(), time.process_time()
    yield
    run["process_seconds"] = run.get("process_seconds", 0.0) + time.process_time() - process
    run["wall_seconds"] = run.get("wall_seconds", 0.0) + time.perf_counter() - wall


# Values that targets ask for -----------------------------------------------------------------


def column(runs: dict[str, list[Run]], method: str, key: str) -> list[float]:
    return [float(run[key]) for run in runs[method]]


def worst(method: str, key: str = "rmse", *, best_of: int = 0) -> Callable[..., float]:
    """The largest value over the seeds, or over as many as have to succeed."""

    def value(runs: dict[str, list[Run]]) -> float:
        ordered = sorted(column(runs, method, key))
        if not ordered or best_of > len(ordered):
            raise statistics.StatisticsError("not enough runs")
        return ordered[(best_of or len(ordered)) - 1]

    return value


def median(method: str, key: str = "rmse") -> Callable[..., float]:
    return lambda runs: statistics.median(column(runs, method, key))


def mean(method: str, key: str) -> Callable[..., float]:
    return lambda runs: statistics.fmean(column(runs, method, key))


def time_ratio(method: str, peer: str, clock: str = "process_seconds") -> Callable[..., float]:
    """Median time of a method over that of a peer."""
    return ratio(method, peer, clock)


def ratio(method: str, peer: str, key: str) -> Callable[..., float]:
    """Median of a method over that of a peer."""
    return lambda runs: (
        statistics.median(column(runs, method, key)) / statistics.median(column(runs, peer, key))
    )


def exponent(method: str) -> Callable[..., float]:
    """Median over the seeds of p in error ~ (number of intervals)^-p, stored as "exponent"."""
    return median(method, "exponent")


def slope(sizes: list[int], errors: list[float]) -> float:
    """The least-squares slope of -log(error) against log(size)."""
    a = torch.tensor(sizes, dtype=torch.float64).log()
    b = -torch.tensor(errors, dtype=torch.float64).log()
    a = a - a.mean()
    return float((a * b).sum() / (a * a).sum())


# The campaign --------------------------------------------------------------------------------


def main(doc: str | None, file: str, tasks: dict[str, Task]) -> None:
    """Run what is not stored yet, print the tables, write the JSON."""
    options = _options(str(doc).splitlines()[0], Path(file).with_suffix(".json"))
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    stored: dict[str, Any] = {"runs": {}}
    if options.output.exists():
        stored = json.loads(options.output.read_text(encoding="utf-8"))
    chosen = {name: task for name, task in tasks.items() if options.only in name}
    for name, task in chosen.items():
        if options.again:
            for method in task.methods:
                if method not in options.without:
                    stored["runs"].get(name, {}).pop(method, None)
        for method, seed in _turns(task, options):
            _run(stored, name, method, task.methods[method], seed, options)
    stored["verdicts"] = {
        name: _verdicts(task, stored["runs"][name])
        for name, task in tasks.items()
        if name in stored["runs"]
    }
    write(options.output, stored)
    for name, task in chosen.items():
        show(name, task, stored)


def _options(description: str, output: Path) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--peer-seeds", type=int, default=2, help="seeds of pykan, which is slow")
    parser.add_argument("--only", default="", help="tasks whose name contains this")
    parser.add_argument("--without", nargs="*", default=[], help="methods to leave out")
    parser.add_argument("--again", action="store_true", help="forget what is stored of the chosen")
    parser.add_argument("--quick", action="store_true", help="tiny settings, to try the script")
    parser.add_argument("--output", type=Path, default=None, help="the JSON file")
    options = parser.parse_args()
    if options.quick and options.output is None:
        parser.error("--quick needs --output: its numbers mean nothing")
    options.output = options.output or output
    return options


def _turns(task: Task, options: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """(method, seed), seed by seed."""
    for seed in range(options.seeds):
        for method in task.methods:
            if method not in options.without and (method not in PEERS or seed < options.peer_seeds):
                yield method, seed


def _run(
    stored: Run,
    task: str,
    name: str,
    method: Method | Follower,
    seed: int,
    options: argparse.Namespace,
) -> None:
    by_method = stored["runs"].setdefault(task, {})
    runs = by_method.setdefault(name, {})
    if str(seed) in runs or (
        isinstance(method, Follower) and str(seed) not in by_method.get(method.leader, {})
    ):
        return
    print(f"{task}: {name}, seed {seed}", file=sys.stderr, flush=True)
    if isinstance(method, Follower):
        led = by_method[method.leader][str(seed)]
        runs[str(seed)] = method.method(seed, options.quick, led)
    else:
        runs[str(seed)] = method(seed, options.quick)
    stored["machine"] = machine()
    stored["versions"] = versions()
    stored["command"] = shlex.join(["python", *_module(), *sys.argv[1:]])
    write(options.output, stored)


def _module() -> list[str]:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return ["-m", spec.name] if spec else sys.argv[:1]


def versions() -> dict[str, str]:
    """Of the packages that take part, those that are installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _verdicts(task: Task, runs: dict[str, dict[str, Run]]) -> list[dict[str, Any]]:
    lists = {method: list(by_seed.values()) for method, by_seed in runs.items()}
    found = (target.verdict(lists) for target in task.targets)
    return [verdict for verdict in found if verdict is not None]


def show(name: str, task: Task, stored: dict[str, Any]) -> None:
    """One task's table: medians over the seeds, and the worst of the first column."""
    runs = stored["runs"][name]
    first, *others = task.columns
    print(f"\n{name}\n{'method':<26}{'seeds':>6}{first:>12}{'worst':>11}", end="")
    print("".join(f"{label:>17}" for label in others))
    for method, by_seed in runs.items():
        if not by_seed:
            continue
        values = [run[first] for run in by_seed.values()]
        worst_of = min(values) if first == "accuracy" else max(values)
        print(f"{method:<26}{len(values):>6}{statistics.median(values):>12.3g}", end="")
        print(f"{worst_of:>11.3g}", end="")
        for label in others:
            column_of = [run[label] for run in by_seed.values() if label in run]
            shown = f"{statistics.median(column_of):.4g}" if column_of else ""
            print(f"{shown:>17}", end="")
        print()
    for verdict in stored["verdicts"][name]:
        mark = "reached" if verdict["reached"] else "NOT reached"
        print(f"  {mark}: {verdict['target']} (measured {verdict['value']:.3g})")
