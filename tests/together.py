"""What two processes of `torchrun` do in the tests of training together.

`together.py FOLDER` runs every scenario; `together.py FOLDER STEP` trains from where a checkpoint
stopped, and the second process dies at the given step (never, if it is -1).
"""

import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

import kanlite as kl

STEPS = 12
SAMPLES = 50


def random(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1


def target(x: Tensor) -> Tensor:
    return torch.sin(3 * x.sum(1, keepdim=True))


def model(seed: int = 0, scale: float = 1.0) -> kl.KAN:
    basis = kl.BSpline(knots=kl.uniform_knots(4, 3, -scale, scale, dtype=torch.float64))
    return kl.KAN([2, 3, 1], basis, generator=torch.Generator().manual_seed(seed))


def data(scale: float = 1.0) -> tuple[Tensor, Tensor]:
    x = scale * random(SAMPLES, 2, seed=1)
    return x, target(x)


def mini_batches() -> dict[str, Any]:
    """The last batch of an epoch holds one sample: nothing for the second process."""
    generator = torch.Generator().manual_seed(2)
    return {"model": model(), "data": data(), "batch_size": 7, "generator": generator}


def full_batch() -> dict[str, Any]:
    return {"model": model(), "data": data(), "optimizer": "lbfgs"}


def second_order() -> dict[str, Any]:
    return {"model": model(), "data": data(), "optimizer": "lm"}


def knots_that_move() -> dict[str, Any]:
    x, y = data(3.0)
    return {"model": model(scale=0.2), "data": (x, y), "validation": (x, y)}


def penalized() -> dict[str, Any]:
    penalty = kl.Penalty(magnitude=1e-2, entropy=1e-2, smoothness=1e-3)
    return {"model": model(), "data": data(), "penalty": penalty}


def list_of_batches() -> dict[str, Any]:
    x, y = data()
    batches = list(zip(x.split(20), y.split(20), strict=True))
    return {"model": model(), "data": batches}


SAME: dict[str, Callable[[], dict[str, Any]]] = {
    function.__name__: function
    for function in (
        mini_batches, full_batch, second_order, knots_that_move, penalized, list_of_batches,
    )
}  # fmt: skip


class SharesPutTogether:
    """What both processes of a DistributedSampler see, for one process."""

    def __init__(self) -> None:
        self.epoch = -1

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.epoch += 1
        loaders = [loader(rank) for rank in range(2)]
        for one in loaders:
            one.sampler.set_epoch(self.epoch)  # type: ignore[attr-defined]
        for (x, y), (u, v) in zip(*loaders, strict=True):
            yield torch.cat([x, u]), torch.cat([y, v])


def loader(rank: int) -> DataLoader[Any]:
    dataset = TensorDataset(*data())
    sampler: DistributedSampler[Any] = DistributedSampler(dataset, 2, rank, seed=5)
    return DataLoader(dataset, batch_size=6, sampler=sampler)


def result(fitted: nn.Module, history: kl.History) -> dict[str, Any]:
    return {
        "state": fitted.state_dict(),
        "train": history.train_loss,
        "validation": history.validation_loss,
    }


def train(options: dict[str, Any], **more: Any) -> dict[str, Any]:
    return result(options["model"], kl.fit(**options, steps=STEPS, **more))


def main(folder: str) -> None:
    """All scenarios, one after the other; each process saves what it got."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    found = {name: train(options()) for name, options in SAME.items()}
    # Knots are adapted in the first half: a run that stops early would adapt them less often.
    found["loader"] = train({"model": model(), "data": loader(rank), "adapt_knots": False})
    # Processes that start from different weights, orders and seeds end in the same place.
    torch.manual_seed(rank)
    found["different"] = train({"model": model(seed=rank), "data": data(), "batch_size": 16})
    path = f"{folder}/checkpoint.pt"
    kl.fit(**mini_batches(), steps=5, checkpoint=path)
    found["resumed"] = train(mini_batches(), checkpoint=path, resume=True)
    path = f"{folder}/loader.pt"
    kl.fit(model(), loader(rank), steps=7, checkpoint=path, adapt_knots=False)
    fresh = {"model": model(), "data": loader(rank), "adapt_knots": False}
    found["resumed loader"] = train(fresh, checkpoint=path, resume=True)
    kl.fit(model(), data(), steps=2, checkpoint=f"{folder}/of-{rank}.pt")
    found["messages"] = [refused(DataLoader(TensorDataset(*data()))), not_finite()]
    torch.save(found, f"{folder}/rank{rank}.pt")


def refused(given: DataLoader[Any]) -> str:
    try:
        kl.fit(model(), given, steps=2)
    except ValueError as error:
        return str(error)
    return "nothing was raised"


def not_finite() -> str:
    """Only the first process's share breaks, and all of them stop."""
    x, y = data()
    y = y.clone()
    y[0] = 1e200  # its square is infinite
    try:
        kl.fit(model(), (x, y), steps=2)
    except FloatingPointError as error:
        return str(error)
    return "nothing was raised"


class Mortal:
    """Batches, and the death of the second process before one of them."""

    def __init__(self, step: int) -> None:
        self.step, self.drawn = step, 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        x, y = data()
        for batch in zip(x.split(20), y.split(20), strict=True):
            if self.drawn == self.step and os.environ["RANK"] == "1":
                os.kill(os.getpid(), signal.SIGKILL)
            self.drawn += 1
            yield batch


def until_death(folder: str, step: int) -> None:
    """Train with a checkpoint after each pass through the three batches."""
    torch.set_num_threads(1)
    options = {"checkpoint": f"{folder}/checkpoint.pt", "checkpoint_every": 3, "resume": True}
    found = train({"model": model(), "data": Mortal(step)}, **options)
    torch.save(found, f"{folder}/rank{os.environ['RANK']}.pt")


if __name__ == "__main__":
    if len(sys.argv) == 2:
        main(sys.argv[1])
    else:
        until_death(sys.argv[1], int(sys.argv[2]))
