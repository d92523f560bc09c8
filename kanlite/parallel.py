r"""More than one process: what :func:`kanlite.fit` needs to train on several devices at once.

Every process holds the whole model and a share of each batch. With n_r samples in the share of
process r, the gradient of the mean loss over all n of them is

.. math:: \nabla L = \sum_r \frac{n_r}{n} \nabla L_r,

so one sum over the processes per step (an *all-reduce*) is all the communication that data
parallelism needs; it leaves the same bits in every process, which therefore take the same step.
Start with ``torchrun --nproc-per-node=2 script.py``; a script that calls :func:`kanlite.fit`
needs no change. In a single process every function here does nothing.

Glossary
    rank      number of this process, 0 to size - 1; 0 is the one that writes and talks
    size      how many processes there are
    share     the samples of a batch that this process works on
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = ["Processes", "is_first_process", "processes"]


@dataclass(frozen=True)
class Processes:
    """The processes that train together.

    Attributes:
        rank: Number of this one.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def share(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """This process's samples: every size-th one, so that shares differ by one at most."""
        if self.size == 1:
            return tensors
        return tuple(tensor[self.rank :: self.size] for tensor in tensors)

    def sum_(self, values: Iterable[Tensor]) -> None:
        """Add tensors of one dtype up over all processes, in place, in one message."""
        parts = list(values)
        if self.size == 1 or not parts:
            return
        flat = torch.cat([part.reshape(-1) for part in parts])
        dist.all_reduce(flat)
        for part, total in zip(
            parts, torch.split(flat, [part.numel() for part in parts]), strict=True
        ):
            part.copy_(total.view_as(part))

    def extrema(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """The smallest `low` and the largest `high` of all processes, entry by entry."""
        if self.size == 1:
            return low, high
        both = torch.stack([-low, high])
        both = both.cuda() if dist.get_backend() == "nccl" else both
        dist.all_reduce(both, dist.ReduceOp.MAX)
        return -both[0].to(low.device), both[1].to(high.device)

    def count(self, number: int, device: torch.device) -> int:
        """The sum of a number over all processes."""
        total = torch.tensor(number, device=device)
        if self.size > 1:
            dist.all_reduce(total)
        return int(total)

    def agree_on(self, model: nn.Module) -> None:
        """Give every process the parameters and buffers of the first one."""
        if self.size > 1:
            for tensor in model.state_dict().values():
                dist.broadcast(tensor, 0)

    def agree_on_order(self, generator: torch.Generator) -> None:
        """Give every process's generator the state of the first one's."""
        if self.size > 1:
            state = generator.get_state()
            state = state.cuda() if dist.get_backend() == "nccl" else state
            dist.broadcast(state, 0)
            generator.set_state(state.cpu())

    def wait(self) -> None:
        """Go on when all processes have come here."""
        if self.size > 1:
            dist.barrier()


def processes(model: nn.Module) -> Processes:
    """The processes that were started together with this one, all with the first one's model.

    Joins them if ``torchrun`` started this process and nobody has joined yet: with NCCL if the
    model is on a CUDA device, with Gloo otherwise.

    Args:
        model: What they will train; its parameters and buffers become those of the first one's.

    Example:
        >>> processes(nn.Linear(2, 1))
        Processes(rank=0, size=1)
    """
    if not dist.is_available():
        return Processes()
    if not dist.is_initialized() and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        on_gpu = any(parameter.is_cuda for parameter in model.parameters())
        dist.init_process_group("nccl" if on_gpu else "gloo")
        atexit.register(dist.destroy_process_group)
    if not dist.is_initialized():
        return Processes()
    found = Processes(dist.get_rank(), dist.get_world_size())
    found.agree_on(model)
    return found


def is_first_process() -> bool:
    """Whether this process is the one that writes files and talks: the only one, or the first.

    Example:
        >>> is_first_process()
        True
    """
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank() == 0
    return int(os.environ.get("WORLD_SIZE", "1")) == 1 or os.environ.get("RANK", "0") == "0"
