"""Where reduced precision ends: statistics and losses are computed in float32 or better."""

from collections.abc import Callable
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
