"""From images to a batch of views: draw for the whole batch, then apply on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diabolo.distributed import local, world_size
from diabolo.errors import UserError
from diabolo.memory import send
from diabolo.views.base import Drawn, View

Options = dict[str, Any]  # of the compiler, for what is compiled with them and nothing else


@dataclass
class Batch:
    """What a method sees in one step. B is this process's share of the batch, J the views of an example.

    views: one tensor per resolution, [B, J, C, H, W] (or [B, J, F]).
    draws: per resolution, what each augmentation drew, in order; tensors are [B · J, …].
    clean: [B, C, H, W], the examples without augmentation; floats, images in [0, 1].
    index: [B], positions in the training split. labels: [B], −1 where there is none.
    progress: 0-d, the share of training done.
    """

    views: list[Tensor]
    draws: list[list[Drawn]]
    clean: Tensor
    index: Tensor
    labels: Tensor | None
    progress: Tensor

    @property
    def drawn(self) -> list[list[Drawn]]:
        """`draws` by example and view, [B, J, …], for whoever wants them as targets."""
        return [
            [{k: v.unflatten(0, views.shape[:2]) for k, v in drawn.items()} for drawn in draws]
            for views, draws in zip(self.views, self.draws, strict=True)
        ]


class Pipeline:
    """`count` views of each example, each through the same chain of augmentations."""

    def __init__(self, transforms: Sequence[View], count: int = 1) -> None:
        self.transforms = list(transforms)
        self.count = count
        self.apply = self._apply  # replaced by its compiled form in `compile`

    def draw(self, n: int, shape: tuple[int, ...], rng: torch.Generator) -> list[Drawn]:
        """What each augmentation draws for `n` examples of `shape`: tensors [n · J, …]."""
        drawn = []
        for view in self.transforms:
            found = view.draw(n * self.count, shape, rng)
            if not isinstance(found, dict):
                raise UserError(f"{view}: draw returns a dictionary of tensors, not {type(found).__name__}")
            drawn.append(found)
            shape = view.shape(shape)
        return drawn

    def several(self, x: Tensor, count: int, rng: torch.Generator) -> Tensor:
        """`count` views of each example, to look at: [n, *shape] → [n, count, *shape of the views]."""
        pipeline = Pipeline(self.transforms, count)
        return pipeline.apply(x, pipeline.draw(len(x), tuple(x.shape[1:]), rng))

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a view of an example of `shape`."""
        for view in self.transforms:
            shape = view.shape(shape)
        return shape

    def _apply(self, x: Tensor, drawn: list[Drawn]) -> Tensor:
        """[B, *shape] → [B, J, *shape of the views]."""
        x = x.repeat_interleave(self.count, 0) if self.count > 1 else x
        for view, parameters in zip(self.transforms, drawn, strict=True):
            x = view.apply(x, parameters)
        return x.unflatten(0, (-1, self.count))

    def compile(self, options: Options | None = None) -> None:
        """Fuse the chain into one kernel or few; the draws stay eager. options: `torch.compile`'s."""
        if self.transforms:  # else there is nothing to fuse, and a compiled call costs more than it
            self.apply = torch.compile(self._apply, dynamic=False, options=options)


def make_batch(
    pipelines: Sequence[Pipeline],
    clean: Tensor,
    index: Tensor,
    labels: Tensor | None,
    progress: Tensor,
    rng: torch.Generator,
) -> Batch:
    """Augment this process's slice of a batch.

    The draws are made for the global batch and then sliced, so that a view does not depend on the number of
    processes. clean [B, …], index [B] and labels [B] are local; `rng` is the same on every process.
    """
    views, draws = [], []
    shape = tuple(clean.shape[1:])
    for pipeline in pipelines:
        everywhere = pipeline.draw(len(clean) * world_size(), shape, rng)
        here = [{k: send(local(v), clean.device) for k, v in d.items()} for d in everywhere]
        views.append(pipeline.apply(clean, here))
        draws.append(here)
    return Batch(views, draws, clean, index, labels, progress)
