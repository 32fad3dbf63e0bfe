"""Where reduced precision ends: statistics and losses are computed in float32 or better."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def upcast(x: Tensor) -> Tensor:
    """bf16 and float16 become float32; float32 and float64 stay."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function of tensors outside autocast, its tensors upcast: for losses with matrix products."""

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        tensors: list[Any] = [upcast(a) if isinstance(a, Tensor) else a for a in args]
        device = next(a.device.type for a in args if isinstance(a, Tensor))
        with torch.autocast(device, enabled=False):
            return function(*tensors, **kwargs)

    return wrapped


def in_precision(setting: str, device: torch.device) -> AbstractContextManager[None]:
    """Where a step's forward pass runs, by a recipe's `training.precision`.

    The batch itself stays float32: bf16 would round pixels, which are a likelihood's targets too, by up to
    half a grey level.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=setting == "bf16")


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Take denormal numbers for zero on the CPU, which is several times slower on them.

    Adam's moments of dead units decay to such numbers. Threads inherit the setting from the one that starts
    them, so this encloses all work of a training, from its beginning. After it the setting is what it was.
    """
    before = sys.float_info.min / 2 == 0  # PyTorch sets it, for all arithmetic, and does not tell it
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
