"""A function of a hundred variables: exp of the mean of sin^2(pi x_i / 2), by [100, 1, 1].

    python -m benchmarks.accuracy.hundred_variables

3000 random points of [-1, 1]^100, 10,000 others to test; the function's standard deviation is
stored beside the error, since it is small. kanlite takes 4, then 8 intervals, 12 steps of
Levenberg-Marquardt each; it starts four times on the coarse grid, and 500 further points say
which start goes on, for a single one can end in a bad minimum (beside it: how a single one
fares). The time is that of all starts. pykan takes grids 3, 5, 10 with 20 steps of LBFGS each,
from one start. Prints a table and writes hundred_variables.json beside this file.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

import kanlite as kl
from benchmarks.accuracy import campaign
from benchmarks.accuracy.campaign import Data, Run, Target, Task, generator, rmse, timed


def target(x: Tensor) -> Tensor:
    return torch.exp(torch.sin(torch.pi * x / 2).square().mean(1, keepdim=True))


def data(seed: int, quick: bool) -> tuple[Data, int]:
    """The sample, and the number of variables."""
    features = 5 if quick else 100
    return Data.of(target, features, 200 if quick else 3000, seed), features


def errors(model: torch.nn.Module, sample: Data) -> Run:
    return {"rmse": rmse(model, sample.test), "deviation": float(sample.test[1].std())}


def kanlite(seed: int, quick: bool, *, starts: int) -> Run:
    (sample, features), draws, run = data(seed, quick), generator(seed), Run()
    model = kl.KAN([features, 1, 1], kl.BSpline(), residual=None, generator=draws).double()
    with timed(run):
        model, _ = kl.fit_coarse_to_fine(
            model,
            sample.train,
            num_intervals=[2, 4] if quick else [4, 8],
            steps=3 if quick else 12,
            restarts=starts,
            validation=sample.validation,
            generator=draws,
            progress=False,
        )
    return errors(model, sample) | {"parameters": kl.count_parameters(model)} | run


def pykan(seed: int, quick: bool) -> Run:
    from benchmarks.accuracy.pykan import fit_by_grids

    sample, features = data(seed, quick)
    grids, steps = ([3, 5], 2) if quick else ([3, 5, 10], 20)
    model, run = fit_by_grids([features, 1, 1], sample, grids, steps=steps, seed=seed)
    return errors(model, sample) | run


TASKS = {
    "a hundred variables": Task(
        {
            "kanlite": partial(kanlite, starts=4),
            "kanlite, one start": partial(kanlite, starts=1),
            "pykan": pykan,
        },
        ("rmse", "deviation", "parameters", "process_seconds", "wall_seconds"),
        (
            Target("RMSE, all seeds", campaign.worst("kanlite"), 1.5e-3),
            Target("process time over pykan's", campaign.time_ratio("kanlite", "pykan"), 1.0),
        ),
    )
}


if __name__ == "__main__":
    campaign.main(__doc__, __file__, TASKS)
