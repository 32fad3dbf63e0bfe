"""One sitting of a training: the loop, with logs, checkpoints, the live curve and Ctrl-C attached to it."""

from __future__ import annotations

import copy
import math
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from lightning_fabric import Fabric

from diabolo.data.images import Splits
from diabolo.distributed import world_size
from diabolo.errors import Interrupted, UserError
from diabolo.evaluation.suite import quick
from diabolo.files import read_tensors
from diabolo.methods.base import Method
from diabolo.networks import norm
from diabolo.run import Run
from diabolo.tables import OPTIMISERS, SCHEDULES
from diabolo.training import checkpoints
from diabolo.training.loop import Event, Feed, train
from diabolo.training.meter import Position
from diabolo.verbs.console import Show, duration
from diabolo.views.base import View
from diabolo.views.pipeline import build_pipelines


CURVE_POINTS = 20  # of the live kNN and rank, unless the recipe says how often


def train_run(
    run: Run, splits: Splits, fabric: Fabric, transforms: Sequence[View] | None, show: Show
) -> None:
    """Train a run from its newest checkpoint, or from its beginning, to its end, and save the model."""
    recipe, settings = run.recipe, run.recipe.training
    method = run.build().to(fabric.device)
    if recipe.init is not None:
        warm_start(method, Path(recipe.init))
    if settings.channels_last:
        method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if method.needs.synchronise and world_size() > 1:
        norm.synchronise(method)
    groups = method.parameter_groups(recipe.optimiser["weight_decay"])
    optimiser = OPTIMISERS.build(recipe.optimiser, groups=groups)
    position = checkpoints.load(run.folder / "checkpoints", method, optimiser)
    pipelines = build_pipelines(recipe, transforms)
    feed = Feed(splits.train, pipelines, settings.batch_size, recipe.seed, fabric.device)
    steps_per_epoch = feed.batches.steps_per_epoch // settings.accumulate
    steps = settings.epochs * steps_per_epoch
    if settings.epochs == 0:
        estimate_statistics(method, feed)
    if position.step < steps:
        seconds = (steps - position.step) * settings.accumulate * seconds_per_batch(method, feed)
        show.note(f"{steps:,} steps, {steps_per_epoch} an epoch: about {duration(seconds)} to go")
    if settings.compile:
        method.compile()
        for pipeline in pipelines:
            pipeline.compile()
    if fabric.is_global_zero:
        run.truncate_metrics(position.step)
    show.start(position.step, steps, settings.epochs, settings.batch_size * settings.accumulate)
    events = train(fabric, method, optimiser, SCHEDULES.build(recipe.schedule), feed, settings, position)
    try:
        with deferred_interrupt() as interrupted:
            for event in events:
                show.step(event)
                if fabric.is_global_zero:
                    _record(run, method, splits, event, position, show)
                due = event.epoch is not None and event.epoch % settings.checkpoint_every == 0
                if fabric.is_global_zero and (due or interrupted.is_set()):
                    checkpoints.save(run.folder / "checkpoints", method, optimiser, position)
                if interrupted.is_set():
                    raise Interrupted(
                        f"stopped at step {event.step} of {steps}; continue with --out {run.folder} --resume"
                    )
    finally:
        show.stop()
    if fabric.is_global_zero:
        run.save(method, position.seconds)


def _record(run: Run, method: Method, splits: Splits, event: Event, position: Position, show: Show) -> None:
    """Write the event's row, and the live curve's where an epoch ends."""
    if event.row is not None:
        run.log(event.row)
    live, epochs = run.recipe.evaluation.live, run.recipe.training.epochs
    every = math.ceil(epochs / CURVE_POINTS) if live is None else live
    if event.epoch is not None and every and (event.epoch % every == 0 or event.epoch == epochs):
        method.eval()
        scores = quick(
            lambda x: method.represent(x, run.recipe.evaluation.space),
            splits,
            next(method.parameters()).device,
        )
        row = {"kind": "curve", "step": event.step, "epoch": event.epoch, **scores}
        run.log(row)
        show.curve(row)


def warm_start(method: Method, folder: Path) -> None:
    """Take over every weight of another run that has the same name and shape; at least the encoder's."""
    path = folder / "model.safetensors"
    weights, _ = read_tensors(path)
    own = method.state_dict()
    fitting = {k: v for k, v in weights.items() if k in own and own[k].shape == v.shape}
    missing = [name for name in own if name.startswith("encoder.") and name not in fitting]
    if missing:
        raise UserError(
            f"{path} does not fit this encoder: {missing[0]} is missing there or has another shape"
        )
    method.load_state_dict(own | fitting)


def estimate_statistics(method: Method, feed: Feed) -> None:
    """Batch-norm statistics of an untrained method, from one pass over the data."""
    norm.estimate(method, method.represent, feed.clean())


def seconds_per_batch(method: Method, feed: Feed, batches: int = 3) -> float:
    """A short trial on a copy, which leaves the method and its results as they are."""
    trial = copy.deepcopy(method).train()
    optimiser = torch.optim.SGD(trial.parameters(), lr=0.0)
    times = []
    for position in range(min(batches + 1, feed.batches.steps_per_epoch)):
        started = time.perf_counter()
        trial(feed(0, position, 0.0)).total.backward()
        optimiser.step()
        times.append(time.perf_counter() - started)
    return min(times)  # the first ones warm caches up


@contextmanager
def deferred_interrupt() -> Iterator[threading.Event]:
    """Ctrl-C sets the event, so that a step is never cut in two; a second Ctrl-C stops at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(*_: object) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
