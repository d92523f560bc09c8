"""A function of four variables that takes three layers: restarts find the way in.

    python -m benchmarks.accuracy.four_variables

exp((sin(pi(x1^2 + x2^2)) + sin(pi(x3^2 + x4^2))) / 2) by [4, 2, 1, 1] on 3000 random points of
[-1, 1]^4. Most starts end in a bad minimum; validation on 500 other points tells which of 16 on
4 intervals goes on to 20. pykan runs its tutorial on deep formulas: 20 steps with a penalty on 3
intervals, pruning, then grids 3, 5, 10, 20, 50 with 50 steps each. Prints a table and writes
four_variables.json beside this file.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import kanlite as kl
from benchmarks.accuracy import campaign
from benchmarks.accuracy.campaign import Data, Run, Target, Task, generator, rmse, timed

WIDTHS = [4, 2, 1, 1]
DEGREE, RESTARTS = 4, 16


def target(x: Tensor) -> Tensor:
    pairs = x.square().unflatten(1, (2, 2)).sum(2)  # x1^2 + x2^2, x3^2 + x4^2
    return torch.exp(torch.sin(torch.pi * pairs).mean(1, keepdim=True))


def data(seed: int, quick: bool) -> Data:
    return Data.of(target, 4, 200 if quick else 3000, seed)


def kanlite(seed: int, quick: bool) -> Run:
    sample, draws, run = data(seed, quick), generator(seed), Run()
    basis = kl.BSpline(4, DEGREE)
    model = kl.KAN(WIDTHS, basis, residual=None, init="power", generator=draws).double()
    with timed(run):
        model, _ = kl.fit_coarse_to_fine(
            model,
            sample.train,
            num_intervals=[4],
            restarts=2 if quick else RESTARTS,
            steps=3 if quick else 60,
            validation=sample.validation,
            generator=draws,
            progress=False,
        )
        model = kl.refine(model, 8 if quick else 20)
        kl.fit(model, sample.train, optimizer="lm", steps=3 if quick else 200, progress=False)
    return {"rmse": rmse(model, sample.test), "parameters": kl.count_parameters(model)} | run


def pykan(seed: int, quick: bool) -> Run:
    from benchmarks.accuracy.pykan import fit_by_grids

    def penalized_and_pruned(model: Any, pairs: dict[str, Tensor]) -> Any:
        model.fit(pairs, opt="LBFGS", steps=2 if quick else 20, lamb=0.002, lamb_entropy=2.0)
        return model.prune(edge_th=1e-2)

    sample = data(seed, quick)
    model, run = fit_by_grids(
        WIDTHS,
        sample,
        [3, 5] if quick else [3, 5, 10, 20, 50],
        steps=2 if quick else 50,
        seed=seed,
        prepare=penalized_and_pruned,
        stop_grid_update_step=20,
    )
    return {"rmse": rmse(model, sample.test)} | run


TASKS = {
    "four variables": Task(
        {"kanlite": kanlite, "pykan": pykan},
        targets=(
            Target("RMSE, all seeds", campaign.worst("kanlite"), 5e-5),
            Target("parameters", campaign.worst("kanlite", "parameters"), 265),
            Target(
                f"process time over pykan's, {RESTARTS} restarts included",
                campaign.time_ratio("kanlite", "pykan"),
                1.0,
            ),
        ),
    )
}


if __name__ == "__main__":
    campaign.main(__doc__, __file__, TASKS)
