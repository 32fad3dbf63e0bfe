"""Batch norm whose statistics do not depend on how a batch is cut over processes.

PyTorch's own synchronised batch norm refuses CPUs. These are `nn.BatchNorm1d` and `2d` with another forward
pass in training: the same parameters, buffers and keys, and the same in evaluation.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from diabolo.distributed import gather, mean_over_processes, world_size
from diabolo.errors import UserError
from diabolo.precision import upcast

B = TypeVar("B")

SPANS = 10  # of a moving average of batches, after which it has settled


class _Tracking(_BatchNorm):
    """Batch norm that is handed the moments it tracks."""

    @torch.no_grad()
    def track(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics [C] towards a batch's; with momentum None they average all batches."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        rate = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), rate)
        self.running_var.lerp_(variance.to(self.running_var.dtype), rate)


class _Synchronised(_Tracking):
    """In training, the statistics are of all processes' examples; each process holds equally many."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or world_size() == 1:
            return super().forward(x)
        mean, variance = synchronised_moments(x)
        n = world_size() * x.numel() // x.shape[1]
        self.track(mean, variance * (n / (n - 1)))
        out = (upcast(x) - _spread(mean, x)) * _spread((variance + self.eps).rsqrt(), x)
        if self.affine:
            out = out * _spread(self.weight, x) + _spread(self.bias, x)
        return out.to(x.dtype)


class _Grouped(_Tracking):
    """In training, each group of `size` consecutive examples is normalised by its own statistics."""

    size: int
    estimating = False  # whether `estimate` is at work, for which a batch is one group

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.estimating:
            return super().forward(x)
        if len(x) % self.size:
            raise UserError(
                f"batch norm over groups of {self.size} needs a batch of a multiple of that on each process, "
                f"got {len(x)}: change training.batch_size or the group"
            )
        parts = x.split(self.size)
        precise = torch.promote_types(x.dtype, torch.float32)
        moments = torch.zeros(2, len(parts), self.num_features, dtype=precise, device=x.device)
        # with momentum 1, "running" statistics are the group's own: one fused pass gives both
        out = torch.cat(
            [
                F.batch_norm(part, mean, variance, self.weight, self.bias, True, 1.0, self.eps)
                for part, mean, variance in zip(parts, *moments, strict=True)
            ]
        )
        self.track(*mean_over_processes(moments.mean(1)))
        return out


class _Synchronised1d(_Synchronised, nn.BatchNorm1d):
    pass


class _Synchronised2d(_Synchronised, nn.BatchNorm2d):
    pass


class _Grouped1d(_Grouped, nn.BatchNorm1d):
    pass


class _Grouped2d(_Grouped, nn.BatchNorm2d):
    pass


def synchronise(module: nn.Module) -> nn.Module:
    """Let every plain batch norm in a module, in place, use the statistics of all processes.

    B examples over several processes then give the outputs, gradients and running statistics of B examples on
    one. Grouped batch norm stays as it is: its groups lie within a process.
    """
    for norm in module.modules():
        _become(norm, _Synchronised1d, _Synchronised2d)
    return module


def group(module: nn.Module, size: int) -> nn.Module:
    """Let every plain batch norm in a module, in place, normalise groups of `size` consecutive examples.

    This is ghost batch norm (Hoffer et al. 2017). Scale and shift are shared; the running statistics follow
    the mean over all groups of all processes. A batch that `size` does not divide is a `UserError`.
    """
    for norm in module.modules():
        _become(norm, _Grouped1d, _Grouped2d)
        if isinstance(norm, _Grouped):
            norm.size = size
    return module


def plain(module: nn.Module) -> nn.Module:
    """Undo `synchronise` and `group`, in place: for training of another kind, such as fine-tuning."""
    for norm in module.modules():
        if isinstance(norm, _Tracking):
            kind = nn.BatchNorm1d if isinstance(norm, nn.BatchNorm1d) else nn.BatchNorm2d
            object.__setattr__(norm, "__class__", kind)
    return module


@torch.no_grad()
def estimate(module: nn.Module, forward: Callable[[B], object], batches: Iterable[B]) -> nn.Module:
    """Set the running statistics of every batch norm to their average over `forward` of each batch.

    For networks that were hardly trained: all else is in evaluation mode meanwhile, and the whole module
    after. `forward` is the module itself, or one of its methods; what it does not reach stays as it was.
    """
    norms = [norm for norm in module.eval().modules() if isinstance(norm, _BatchNorm)]
    grouped = [norm for norm in norms if isinstance(norm, _Grouped)]
    momenta = [norm.momentum for norm in norms]
    before = [{name: buffer.clone() for name, buffer in norm.named_buffers()} for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for norm in grouped:
        norm.estimating = True
    for batch in batches if norms else ():
        forward(batch)
    for norm in grouped:
        norm.estimating = False
    for norm, momentum, buffers in zip(norms, momenta, before, strict=True):
        norm.momentum = momentum
        if norm.num_batches_tracked is not None and not norm.num_batches_tracked:
            norm.load_state_dict(buffers, strict=False)
    return module.eval()


def settled(module: nn.Module) -> bool:
    """Whether running statistics have forgotten where they began, and follow the weights.

    Until ten times the span of their moving average they lag behind weights that move fast, enough to make
    a code ten times too wide (Wu & Johnson 2021, section 3). True where there is no batch norm.
    """
    norms = [norm for norm in module.modules() if isinstance(norm, _BatchNorm) and norm.momentum]
    seen = [
        norm.momentum * int(norm.num_batches_tracked)
        for norm in norms
        if norm.momentum and norm.num_batches_tracked is not None
    ]
    return not seen or max(seen) >= SPANS


def synchronised_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance [C] of [n, C, …] over all processes' examples, in float32 or better."""
    x = upcast(x)
    dims = [d for d in range(x.ndim) if d != 1]
    variance, mean = torch.var_mean(x, dims, correction=0)
    means, variances = gather(torch.stack([mean, variance])[None]).unbind(1)  # [processes, C]
    return means.mean(0), variances.mean(0) + means.var(0, correction=0)


def _spread(values: Tensor, x: Tensor) -> Tensor:
    """[C] → [C, 1, …], to go with [n, C, …]."""
    return values.view(-1, *(1 for _ in x.shape[2:]))


def _become(norm: nn.Module, one: type[nn.BatchNorm1d], two: type[nn.BatchNorm2d]) -> None:
    """Change a plain batch norm's class, which keeps its tensors, hooks and place."""
    if type(norm) is nn.BatchNorm1d:
        norm.__class__ = one
    elif type(norm) is nn.BatchNorm2d:
        norm.__class__ = two
