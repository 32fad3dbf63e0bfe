"""Momentum networks: slow copies that follow the networks which are trained."""

import math
from collections.abc import Iterable
from copy import deepcopy

import torch
from torch import Tensor, nn


def slow_copy(modules: Iterable[nn.Module]) -> nn.Sequential:
    """The modules one after another as they are now, without gradient."""
    return deepcopy(nn.Sequential(*modules)).requires_grad_(False)


def cosine_momentum(progress: float, start: float) -> float:
    """From `start` to 1: 1 − (1 − τ)(cos(πk/K) + 1)/2 (BYOL: Grill et al. 2020, "Optimization")."""
    return 1 - (1 - start) * (1 + math.cos(math.pi * progress)) / 2


@torch.no_grad()
def follow(copy: nn.Sequential, modules: Iterable[nn.Module], momentum: float) -> None:
    """Move the copy's weights towards those of the modules: w ← m·w + (1 − m)·w'; buffers are its own."""
    fast: list[Tensor] = [p for module in modules for p in module.parameters()]
    torch._foreach_lerp_(list(copy.parameters()), fast, 1 - momentum)
