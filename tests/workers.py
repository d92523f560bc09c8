"""What tests run in processes of their own. Imports little, so that they start quickly."""

import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import kanlite as kl

STEPS = 40


def random(*shape: int, seed: int) -> Tensor:
    """Random numbers between -1 and 1."""
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1


def _basis(scale: float = 1.0) -> kl.BSpline:
    """Cubics in float64, whatever the default dtype."""
    return kl.BSpline(knots=kl.uniform_knots(4, 3, -scale, scale, dtype=torch.float64))


# One of two processes of DistributedDataParallel ----------------------------------------------


def distributed_model(seed: int) -> kl.KAN:
    generator = torch.Generator().manual_seed(seed)
    return kl.KAN([2, 3, 1], _basis(), bias=True, generator=generator)


def train_on_a_share(rank: int, folder: str) -> None:
    """The gradient of half of the samples, averaged with that of the other half."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    model = nn.parallel.DistributedDataParallel(distributed_model(seed=rank))
    model(random(10, 2, seed=0)[rank::2]).square().mean().backward()
    gradients = {name: parameter.grad for name, parameter in model.module.named_parameters()}
    torch.save((model.module.state_dict(), gradients), f"{folder}/rank{rank}.pt")
    torch.distributed.destroy_process_group()


# Trainings to be killed -----------------------------------------------------------------------


def _target(x: Tensor) -> Tensor:
    return torch.sin(3 * x.sum(1, keepdim=True))


def _model(scale: float = 1.0) -> kl.KAN:
    generator = torch.Generator().manual_seed(0)
    return kl.KAN([2, 3, 1], _basis(scale), generator=generator)


def adam_mini_batches() -> dict[str, Any]:
    x = random(50, 2, seed=1)
    generator = torch.Generator().manual_seed(2)
    return {"model": _model(), "data": (x, _target(x)), "batch_size": 16, "generator": generator}


def adam_without_a_generator() -> dict[str, Any]:
    x = random(50, 2, seed=1)
    return {"model": _model(), "data": (x, _target(x)), "batch_size": 16}


def lbfgs_full_batch() -> dict[str, Any]:
    x = random(50, 2, seed=1)
    return {"model": _model(), "data": (x, _target(x)), "optimizer": "lbfgs"}


def loader_with_its_own_generator() -> dict[str, Any]:
    x = random(50, 2, seed=1)
    generator = torch.Generator().manual_seed(3)
    dataset = TensorDataset(x, _target(x))
    return {
        "model": _model(),
        "data": DataLoader(dataset, batch_size=8, shuffle=True, generator=generator),
        "optimizer": _sgd_with_momentum,
    }


def knots_that_move() -> dict[str, Any]:
    """Domains are much too small, so that they move at steps 0, 1, 2, 4, 8 and 16."""
    x = 3 * random(50, 2, seed=1)
    validation = 3 * random(20, 2, seed=4)
    return {
        "model": _model(scale=0.2),
        "data": (x, _target(x)),
        "batch_size": 20,
        "generator": torch.Generator().manual_seed(2),
        "validation": (validation, _target(validation)),
    }


def dropout() -> dict[str, Any]:
    """Draws from PyTorch's global generator in every step."""
    x = random(50, 2, seed=1)
    first, second = _model()
    model = nn.Sequential(first, nn.Dropout(0.3), nn.BatchNorm1d(3).double(), second)
    return {"model": model, "data": (x, _target(x)), "adapt_knots": False}


SCENARIOS: dict[str, Callable[[], dict[str, Any]]] = {
    function.__name__: function
    for function in (
        adam_mini_batches,
        adam_without_a_generator,
        lbfgs_full_batch,
        loader_with_its_own_generator,
        knots_that_move,
        dropout,
    )
}


def _sgd_with_momentum(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9)


def train(
    name: str, path: str | None = None, resume: bool = False, delay: float = 0.0
) -> tuple[nn.Module, kl.History]:
    """Run a training of SCENARIOS, each evaluation of the loss slowed down by a delay."""

    def loss(prediction: Tensor, target: Tensor) -> Tensor:
        time.sleep(delay)
        return (prediction - target).square().mean()

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        arguments = SCENARIOS[name]()
        model, data = arguments.pop("model"), arguments.pop("data")
        history = kl.fit(
            model,
            data,
            loss=loss,
            steps=STEPS,
            checkpoint=path,
            checkpoint_every=3,
            resume=resume,
            **arguments,
        )
    torch.set_num_threads(threads)
    return model, history
