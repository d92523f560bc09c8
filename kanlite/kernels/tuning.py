"""Which block sizes a GPU kernel gets: a rule at first sight, a measurement where it can be had.

The kernels do not know how they are tuned. A :class:`Tuner` tries the candidates of a kernel
once for each key (kernel, device, sizes) with a timer that the caller hands in, remembers the
fastest, and keeps what it learned in a file, so that the next process need not measure again.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["Blocks", "Tuner"]


class Blocks(NamedTuple):
    """Sizes of a program's tile, and how the GPU runs it.

    Attributes:
        b, i, o: Samples, inputs and outputs of a program, powers of 2, at least 16.
        warps: Warps of 32 threads that share a program.
        stages: How many tiles are loaded ahead.
    """

    b: int
    i: int
    o: int
    warps: int = 4
    stages: int = 2


class Tuner:
    """Remembers the fastest of some candidates, per key.

    Args:
        path: The file that keeps what was measured, or None to keep it in this process only.

    Example:
        >>> tuner = Tuner()
        >>> slow, fast = Blocks(64, 32, 64), Blocks(128, 32, 64)
        >>> tuner.choose("forward", [slow, fast], time=lambda blocks: 1.0 / blocks.b)
        Blocks(b=128, i=32, o=64, warps=4, stages=2)
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.found: dict[str, Blocks] = self._read()

    def choose(
        self,
        key: str,
        candidates: Sequence[Blocks],
        time: Callable[[Blocks], float] | None,
    ) -> Blocks:
        """The fastest candidate for a key; the first one where nothing can be timed.

        Args:
            key: What the choice depends on.
            candidates: At least one, the best guess first.
            time: Seconds that a candidate takes, infinity where it does not run; None if
                there is nothing to time on.
        """
        if key in self.found:
            return self.found[key]
        if time is None or len(candidates) == 1:
            return candidates[0]
        self.found[key] = min(candidates, key=time)
        self._write()
        return self.found[key]

    def _read(self) -> dict[str, Blocks]:
        if self.path is None:
            return {}
        try:
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            return {key: Blocks(*map(int, blocks)) for key, blocks in kept.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}  # nothing there, or nothing to be trusted: measured again

    def _write(self) -> None:
        """Whole or not at all; a home that cannot be written to is no reason to stop."""
        if self.path is None:
            return
        kept = {**self._read(), **self.found}  # what another process learned meanwhile
        part = self.path.with_suffix(f".{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(kept, indent=1), encoding="utf-8")
            part.replace(self.path)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink()
