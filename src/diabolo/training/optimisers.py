"""Optimisers by name. Each takes the parameter groups a method gives, with their weight decay."""

from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor
from torch.optim import Optimizer

Groups = list[dict[str, Any]]
Rate = Annotated[float, Gt(0)]
Decay = Annotated[float, Ge(0)]
Beta = Annotated[float, Ge(0), Lt(1)]


def adam(
    groups: Groups,
    *,
    lr: Rate = 1e-3,
    weight_decay: Decay = 0.0,
    betas: tuple[Beta, Beta] = (0.9, 0.999),
    eps: Rate = 1e-8,
) -> Optimizer:
    """Adam; weight decay, if any, is added to the gradient."""
    return torch.optim.Adam(groups, lr=lr, weight_decay=weight_decay, betas=betas, eps=eps, fused=True)


def adamw(
    groups: Groups,
    *,
    lr: Rate = 1e-3,
    weight_decay: Decay = 0.05,
    betas: tuple[Beta, Beta] = (0.9, 0.999),
    eps: Rate = 1e-8,
) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""
    return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay, betas=betas, eps=eps, fused=True)


def sgd(
    groups: Groups,
    *,
    lr: Rate = 0.06,
    weight_decay: Decay = 5e-4,
    momentum: Beta = 0.9,
    nesterov: bool = True,
) -> Optimizer:
    """SGD with (Nesterov) momentum."""
    return torch.optim.SGD(
        groups,
        lr=lr,
        weight_decay=weight_decay,
        momentum=momentum,
        nesterov=nesterov and momentum > 0,
        fused=True,
    )


class LARS(Optimizer):
    """Layer-wise adaptive rate scaling (You et al. 2017), with heavy-ball momentum.

    Matrices and filters step by lr · trust · ‖w‖/‖g + λw‖; vectors (biases, norms) step as in SGD.
    """

    def __init__(
        self,
        groups: Groups,
        *,
        lr: Rate = 0.3,
        weight_decay: Decay = 1e-6,
        momentum: Beta = 0.9,
        trust: Rate = 1e-3,
    ) -> None:
        super().__init__(
            groups, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "trust": trust}
        )

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, p.grad, group)

    def _update(self, p: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        update = grad.add(p, alpha=group["weight_decay"])
        if p.ndim > 1:
            w, g = p.norm(), update.norm()
            # Where either norm is zero there is no ratio: take the plain step.
            update = update * torch.where((w > 0) & (g > 0), group["trust"] * w / g, torch.ones_like(w))
        state = self.state[p]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(p)
        state["momentum"].mul_(group["momentum"]).add_(update)
        p.sub_(state["momentum"] * group["lr"])
