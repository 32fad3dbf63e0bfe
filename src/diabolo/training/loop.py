"""The training loop: flat, and the same for every method.

It yields an event a step to whoever runs it; logs, checkpoints, curves and progress bars attach there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim import Optimizer

from diabolo.data.ahead import AHEAD, Ahead, in_order
from diabolo.data.batches import Batches
from diabolo.data.images import Images, as_float
from diabolo.data.rows import Pixels
from diabolo.distributed import local
from diabolo.errors import UserError
from diabolo.memory import fits, send
from diabolo.methods.base import Method
from diabolo.recipe import Recipe, Training
from diabolo.seeds import generator, seed_device
from diabolo.tables import OPTIMISERS
from diabolo.training.meter import Position
from diabolo.training.schedules import Constant
from diabolo.training.step import Note, Step, compile_step, forward_backward, silent
from diabolo.views.pipeline import Batch, Pipeline, make_batch

ROWS = 20  # of the log that a short training has: its curves are more than a point


@dataclass(frozen=True)
class Event:
    """One optimiser step was taken."""

    step: int  # steps done
    epoch: int | None  # epochs done, when this step ends one
    row: dict[str, Any] | None  # what to log, when it is time to


class Feed:
    """The batches of a training, each a function of (seed, epoch, position).

    Pixels in memory lie on the device, where they take at most a quarter of what is free there; others, and
    those on disk, are read ahead. The batches are the same.
    """

    def __init__(
        self, images: Images, pipelines: Sequence[Pipeline], batch_size: int, seed: int, device: torch.device
    ) -> None:
        self.device = device
        pixels = images.pixels
        here = isinstance(pixels, Tensor) and (device.type == "cpu" or fits(pixels.nbytes, device))
        self.pixels: Pixels = pixels.to(device) if here else pixels  # type: ignore[union-attr]
        self.ahead = None if here else Ahead(pixels, device)
        self.labels = None if images.labels is None else images.labels.to(device)
        self.pipelines = pipelines
        self.batches = Batches(len(images), batch_size, seed)
        self.seed = seed

    def __call__(self, epoch: int, position: int, progress: float) -> Batch:
        """The batch at a position of an epoch, augmented; the global generator is seeded for it as well."""
        seed_device(self.device, "noise", self.seed, epoch, position)
        rows = local(self.batches.indices(epoch, position))
        index = send(rows, self.device)
        if self.ahead:
            pixels = self.ahead(rows, self._following(epoch, position))
        else:
            pixels = self.pixels.index_select(0, index)  # type: ignore[union-attr]  # faster than indexing
        labels = None if self.labels is None else self.labels[index]
        share = torch.full((), progress, device=self.device)  # a copy from the host would wait
        rng = generator("views", self.seed, epoch, position)
        return make_batch(self.pipelines, as_float(pixels), index, labels, share, rng)

    def clean(self, size: int = 256) -> Iterator[Tensor]:
        """The whole split in order, without augmentation, in batches [≤ size, *shape]."""
        yield from map(as_float, in_order(self.pixels, size, self.device))

    def _following(self, epoch: int, position: int) -> list[Tensor]:
        """The rows of the next batches, those of the next epoch behind the last of this one."""
        steps = self.batches.steps_per_epoch
        later = (divmod(epoch * steps + position + i, steps) for i in range(1, AHEAD + 1))
        return [local(self.batches.indices(*one)) for one in later]


def prepare(method: Method, recipe: Recipe) -> Optimizer:
    """Lay a method out in memory as its recipe says, in place, and build the optimiser of its parameters."""
    if recipe.training.channels_last:
        method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    groups = method.parameter_groups(recipe.optimiser["weight_decay"])
    scaled = recipe.optimiser | {"lr": recipe.lr_scale * recipe.optimiser["lr"]}
    return OPTIMISERS.build(scaled, groups=groups)


def train(
    fabric: Fabric,
    method: Method,
    optimiser: Optimizer,
    schedule: Constant,
    feed: Feed,
    settings: Training,
    position: Position,
    note: Note = silent,
) -> Iterator[Event]:
    """Train from `position` to the end of the last epoch, keeping `position` up to date.

    note: is told what a user may want to know of the compiled step.

    Raises `SettingsError` at the first loss that is not finite, naming the step and the term.
    """
    rates = [group["lr"] for group in optimiser.param_groups]
    compute: Step = forward_backward
    if settings.compile:
        compute = compile_step(method, feed.pipelines, settings.compile == "graphs", note)
    wrapped, optimiser = fabric.setup(method, optimiser)
    # Fabric's wrapper reduces gradients; to one process it would only cost a small network 2 % of its step.
    module = wrapped if fabric.world_size > 1 else method
    steps_per_epoch = feed.batches.steps_per_epoch // settings.accumulate
    if steps_per_epoch == 0:
        raise UserError("training.accumulate: an epoch has fewer batches than one step accumulates")
    steps = settings.epochs * steps_per_epoch
    every = min(settings.log_every, max(1, steps // ROWS))
    method.train()
    for step in range(position.step, steps):
        started = time.perf_counter()
        if settings.compile == "graphs":
            torch.compiler.cudagraph_mark_step_begin()  # until the next, graphs leave one another's memory
        epoch, within = divmod(step, steps_per_epoch)
        if within == 0 and method.needs.features:
            prepare_epoch(method, feed, epoch)
        factor = schedule.factor(step, steps, steps_per_epoch)
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate if group.get("fixed_lr") else rate * factor
        parts = []
        for part in range(settings.accumulate):
            batch = feed(epoch, within * settings.accumulate + part, step / steps)
            with fabric.no_backward_sync(wrapped, enabled=part < settings.accumulate - 1):
                parts.append(compute(module, batch, settings.precision, settings.accumulate))
        if settings.clip is not None:
            fabric.clip_gradients(wrapped, optimiser, max_norm=settings.clip, error_if_nonfinite=False)
        optimiser.step()
        optimiser.zero_grad()
        method.after_step((step + 1) / steps)
        position.meter.add(parts)
        position.step = step + 1
        ends_epoch = within == steps_per_epoch - 1
        row = None
        if ends_epoch or position.step % every == 0:
            row = {
                "kind": "train",
                "step": position.step,
                "epoch": position.step / steps_per_epoch,
                **position.meter.flush(position.step),
                "lr": rates[0] * factor,
            }
        position.seconds += time.perf_counter() - started
        yield Event(position.step, epoch + 1 if ends_epoch else None, row)
        if not method.training:  # whoever took the event evaluated it
            method.train()


@torch.no_grad()
def prepare_epoch(method: Method, feed: Feed, epoch: int) -> None:
    """Hand a method the default representation of the whole training split, [N, D]; every process has it."""
    method.eval()
    features = torch.cat([method.represent(x) for x in feed.clean()])
    method.train()
    seed_device(features.device, "epoch", feed.seed, epoch)
    method.before_epoch(features)
