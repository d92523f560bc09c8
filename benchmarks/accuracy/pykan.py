"""pykan as its tutorials use it, in a temporary folder, silent, and timed.

Its constructor writes files and seeds the global generators; both stay in here. Parameters are
counted as coefficients, base scales and spline scales of all edges: what its training moves.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from benchmarks.accuracy.campaign import Data, Run, timed


@contextlib.contextmanager
def quiet_folder() -> Iterator[None]:
    """A folder that takes pykan's files, and no output."""
    here, state = os.getcwd(), torch.get_rng_state()
    silent = io.StringIO()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
                yield
        finally:
            os.chdir(here)
            torch.set_rng_state(state)


def dataset(data: Data) -> dict[str, torch.Tensor]:
    """What pykan's `fit` takes; it only watches the second pair, here the validation data."""
    (x, y), (xv, yv) = data.train, data.validation
    return {"train_input": x, "train_label": y, "test_input": xv, "test_label": yv}


def size(model: Any) -> int:
    layers = model.act_fun
    return sum(p.numel() for a in layers for p in (a.coef, a.scale_base, a.scale_sp))


def fit_by_grids(
    widths: Sequence[int],
    data: Data,
    grids: Sequence[int],
    *,
    steps: int,
    seed: int,
    prepare: Callable[[Any, dict[str, torch.Tensor]], Any] | None = None,
    **options: Any,
) -> tuple[Any, Run]:
    """The tutorials' loop: LBFGS on a coarse grid, `refine`, LBFGS again.

    Args:
        widths, grids, steps: What they say; steps are per grid.
        prepare: What happens to the first model before the loop, if anything; the loop then
            starts with a refinement, as in the tutorial on deep formulas.
        options: Passed to pykan's `fit`.

    Returns:
        The model, and its size and times.
    """
    from kan import KAN

    run: Run = {}
    torch.set_default_dtype(torch.float64)
    pairs = dataset(data)
    with quiet_folder(), timed(run):
        model = KAN(width=list(widths), grid=grids[0], k=3, seed=seed)
        if prepare is not None:
            model = prepare(model, pairs)
        for grid in grids:
            if prepare is not None or grid != grids[0]:
                model = model.refine(grid)
            model.fit(pairs, opt="LBFGS", steps=steps, **options)
    run["parameters"] = size(model)
    return model, run
