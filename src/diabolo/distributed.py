"""What several processes share: the same results as one process that sees the whole batch.

Each process holds a slice of the global batch, in order of rank. Outside `torch.distributed` every
function here is the identity, or its local equivalent.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from diabolo.errors import UserError

GONE = "by peer"  # gloo's words for a connection that another process has closed or reset

_alone = False


def world_size() -> int:
    together = dist.is_available() and dist.is_initialized() and not _alone
    return dist.get_world_size() if together else 1


def rank() -> int:
    return dist.get_rank() if world_size() > 1 else 0


@contextmanager
def alone() -> Iterator[None]:
    """Compute as one process, for what a single process tries out while the others wait."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


@contextmanager
def missing_others() -> Iterator[None]:
    """Raise `UserError` where another process has ended: what it waits for in a collective will not come."""
    try:
        yield
    except RuntimeError as error:
        if world_size() == 1 or not (isinstance(error, dist.DistError) or GONE in str(error)):
            raise
        raise UserError("another process of this training has ended: why, it says itself") from None


def local(x: Tensor) -> Tensor:
    """This process's slice of a global batch: [B, …] → [B / world, …]."""
    return x.chunk(world_size())[rank()] if world_size() > 1 else x


def gather(x: Tensor) -> Tensor:
    """The global batch from each process's slice, with gradient: [B / world, …] → [B, …].

    When every process computes the same loss of the gathered batch, the gradient that data parallelism
    averages equals that of one process: each slice receives world × its gradient, then the mean is taken.
    """
    return _Gather.apply(x) if world_size() > 1 else x


def reduce_sum(x: Tensor) -> Tensor:
    """The sum over processes, with gradient."""
    return _Sum.apply(x) if world_size() > 1 else x


def mean_over_processes(x: Tensor) -> Tensor:
    """The mean over processes, without gradient, of a tensor on any device."""
    if world_size() == 1:
        return x.detach()
    here = torch.device("cuda") if dist.get_backend() == "nccl" else torch.device("cpu")
    return (reduce_sum(x.detach().to(here)) / world_size()).to(x.device)


def normal_like(x: Tensor) -> Tensor:
    """Standard normal noise shaped like `x` [B / world, …]: this process's slice of the global batch's noise.

    It is drawn from the global generator, which the training loop seeds anew at each step.
    """
    size = (x.shape[0] * world_size(), *x.shape[1:])
    return local(torch.randn(size, dtype=x.dtype, device=x.device))


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        grad = grad.clone(memory_format=torch.contiguous_format)  # others may share it
        dist.all_reduce(grad)
        return local(grad)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        grad = grad.clone()
        dist.all_reduce(grad)
        return grad
