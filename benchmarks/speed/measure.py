"""Timing that survives a noisy machine: methods take turns, and only ratios are reported.

Every round runs every method once, in a new order, each for about the same time. A method's
ratio is its time divided by that of the bound in the same round; what is reported are the median
and the quartiles over the rounds. Process time counts the work of all threads, wall time is
what a user waits.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

Action = Callable[[], None]
SLICE = 0.03  # seconds that a method runs in a round, at least


def take_turns(
    actions: dict[str, Action], rounds: int, seed: int = 0
) -> dict[str, dict[str, list[float]]]:
    """Seconds per call, round by round, by name and clock ("process" or "wall")."""
    repeats = {name: _repeats(action) for name, action in actions.items()}
    times: dict[str, dict[str, list[float]]] = {
        name: {"process": [], "wall": []} for name in actions
    }
    shuffled, order = random.Random(seed), list(actions)
    for _ in range(rounds):
        shuffled.shuffle(order)
        for name in order:
            wall, process = time.perf_counter(), time.process_time()
            for _ in range(repeats[name]):
                actions[name]()
            times[name]["process"].append((time.process_time() - process) / repeats[name])
            times[name]["wall"].append((time.perf_counter() - wall) / repeats[name])
    return times


def _repeats(action: Action) -> int:
    """How many calls make a slice; the first calls, which compile and warm up, do not count."""
    action()
    action()
    begin = time.perf_counter()
    action()
    return max(1, round(SLICE / max(time.perf_counter() - begin, 1e-6)))


def quartiles(values: Iterable[float]) -> list[float]:
    """[lower quartile, median, upper quartile]."""
    ordered = sorted(values)
    if len(ordered) == 1:
        return ordered * 3
    low, middle, high = statistics.quantiles(ordered, n=4, method="inclusive")
    return [low, middle, high]


def ratios(times: dict[str, dict[str, list[float]]], to: str, clock: str) -> dict[str, list[float]]:
    """Quartiles of each method's time over that of `to`, round by round."""
    base = times[to][clock]
    return {
        name: quartiles(t / b for t, b in zip(found[clock], base, strict=True))
        for name, found in times.items()
    }


def saved_for_backward(model: nn.Module, x: Tensor) -> int:
    """Bytes that a forward pass keeps for the backward pass, beside parameters, buffers and x."""
    own = {t.untyped_storage().data_ptr() for t in (x, *model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        y = model(x)
    del y
    return sum(kept.values())


def added_memory(action: Action) -> int | None:
    """The most memory that an action holds beside what the process held before, in bytes.

    From the system's own count of resident memory, which can be set back on Linux alone.
    """
    reset, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    if not os.access(reset, os.W_OK):
        return None
    gc.collect()
    reset.write_text("5")  # the peak is what is held now
    before = _resident(status, "VmHWM")
    action()
    return max(0, _resident(status, "VmHWM") - before)


def _resident(status: Path, field: str) -> int:
    line = next(line for line in status.read_text().splitlines() if line.startswith(field))
    return 1024 * int(line.split()[1])


def machine() -> dict[str, Any]:
    """What was measured on, and with which versions."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((s.split(":")[1].strip() for s in lines if s.startswith("model name")), model)
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "huge_pages": os.environ.get("THP_MEM_ALLOC_ENABLE", "0"),
    }


def write(path: Path, content: dict[str, Any]) -> None:
    """JSON, whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    part.replace(path)
