"""One sitting of a training: the loop, with logs, checkpoints, the live curve and signals attached to it."""

from __future__ import annotations

import copy
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from diabolo.console import Bar, Show, in_two_units
from diabolo.data.ahead import fewer
from diabolo.data.images import Splits
from diabolo.distributed import alone, mean_over_processes, world_size
from diabolo.errors import Interrupted, SettingsError
from diabolo.evaluation.features import sample
from diabolo.evaluation.suite import quick
from diabolo.files import expanded, read_tensors
from diabolo.memory import TO_TRAIN, enough
from diabolo.methods.base import Method
from diabolo.methods.build import build_pipelines
from diabolo.networks import norm
from diabolo.precision import in_precision
from diabolo.runs.run import Run
from diabolo.tables import SCHEDULES
from diabolo.training import checkpoints
from diabolo.training.loop import Event, Feed, prepare, train
from diabolo.training.untrained import estimate_statistics
from diabolo.training.validation import validation_loss

Watch = Callable[[Mapping[str, Any]], None]
CURVE_POINTS = 20  # of the live curve, unless the recipe says how often
WORTH_A_WORD = 0.1  # share of the images that an epoch leaves out
FITTED, FEWEST = 2_000, 128  # images that batch norm is fitted to for the first ones; of large ones at least


@enough(TO_TRAIN)
def train_run(run: Run, splits: Splits, fabric: Fabric, show: Show, watch: Watch | None = None) -> None:
    """Train a run from its newest checkpoint, or from its beginning, to its end, and save the model.

    watch: is given each row of the log; what it raises ends the training.
    """
    recipe, settings = run.recipe, run.recipe.training
    saved = run.folder / "checkpoints"
    method = run.build().to(fabric.device)
    if recipe.init is not None and not any(saved.glob("*.safetensors")):
        warm_start(method, expanded(recipe.init))
    if method.needs.synchronise and world_size() > 1:
        norm.synchronise(method)
    optimiser = prepare(method, recipe)
    position = checkpoints.load(saved, method, optimiser, show.note)
    pipelines = run.pipelines()
    feed = Feed(splits.train, pipelines, settings.batch_size, recipe.seed, fabric.device)
    steps_per_epoch = feed.batches.steps_per_epoch // settings.accumulate
    steps = settings.epochs * steps_per_epoch
    if position.step < steps:
        with in_precision(settings.precision, fabric.device):
            seconds = (steps - position.step) * settings.accumulate * seconds_per_batch(method, feed)
        done = f", {position.step:,} of them done" if position.step else ""
        count = f"{steps:,} step{'s' * (steps != 1)}{done}, {steps_per_epoch} an epoch"
        ready = ", once it is compiled" if settings.compile else ""
        show.note(f"{count}: about {in_two_units(seconds)} to go{ready}")
        taken, there = steps_per_epoch * settings.batch_size * settings.accumulate, len(splits.train)
        if there - taken > WORTH_A_WORD * there:
            show.note(
                f"{taken:,} of the {there:,} images fill whole batches; an epoch leaves out the rest, others "
                "each time: a smaller training.batch_size leaves out fewer"
            )
    board = None
    if fabric.is_global_zero:
        run.truncate_metrics(position.step)
        board = tensorboard(run.folder, position.step)
    schedule = SCHEDULES.build(recipe.schedule | {"warmup": recipe.lr_scale * recipe.schedule["warmup"]})
    events = train(fabric, method, optimiser, schedule, feed, settings, position, show.note)
    bar = Bar(
        show, position.step, steps_per_epoch, settings.epochs, settings.batch_size * settings.accumulate
    )

    def enter(row: dict[str, Any]) -> None:
        run.log(row)
        write_scalars(board, row)
        if row["kind"] == "curve":
            bar.curve(row)
        if watch is not None:
            watch(row)

    with bar, deferred_interrupt() as interrupted, closing(board) if board else nullcontext():
        saved_at = time.perf_counter()
        fresh = position.step < steps and not run.metrics
        if fabric.is_global_zero and fresh and recipe.evaluation.live != 0:
            enter({"kind": "curve", "step": 0, "epoch": 0, **point(run, method, splits, 0.0)})
        for event in events:
            bar.step(event)
            stop = agreed(interrupted, event)
            if fabric.is_global_zero:
                for row in rows(run, method, splits, event):
                    enter(row)
                due = time.perf_counter() - saved_at > settings.checkpoint_every
                if stop or (due and together(event)):
                    checkpoints.save(saved, method, optimiser, position)
                    saved_at = time.perf_counter()
            if stop:
                fabric.barrier()  # no process leaves before the checkpoint is written
                raise Interrupted(
                    f"stopped at step {event.step} of {steps}; continue with --out {run.folder} --resume"
                )
    if not norm.settled(method):
        with alone():
            estimate_statistics(method, splits.train)
    if not all(bool(weights.isfinite().all()) for weights in method.parameters()):
        raise SettingsError(
            f"after step {steps}, the last, the weights are not finite; a lower optimiser.lr, "
            "training.clip=1 or training.precision=float32 may help"
        )
    if fabric.is_global_zero:
        run.save(method, position.seconds)
    fabric.barrier()  # no process goes on before the model is there


def rows(run: Run, method: Method, splits: Splits, event: Event) -> Iterator[dict[str, Any]]:
    """What an event adds to the log: the loop's row, and at the end of some epochs the live curve's."""
    if event.row is not None:
        yield event.row
    live, epochs = run.recipe.evaluation.live, run.recipe.training.epochs
    every = math.ceil(epochs / CURVE_POINTS) if live is None else live
    if event.epoch is not None and every and (event.epoch % every == 0 or event.epoch == epochs):
        found = point(run, method, splits, event.epoch / epochs)
        yield {"kind": "curve", "step": event.step, "epoch": event.epoch, **found}


def point(run: Run, method: Method, splits: Splits, progress: float) -> dict[str, float]:
    """A point of the live curve: of the representation in the recipe's space, and the loss on validation.

    Batch norm that lags is fitted to a sample first. progress: the share of training done.
    """
    twin = _twin(run, method)
    pipelines = build_pipelines(run.recipe, copy.deepcopy(run.own.transforms))
    loss = validation_loss(twin, run.recipe, pipelines, splits, progress)
    if not norm.settled(method):
        method = twin
        count = max(FEWEST, fewer(FITTED, splits.train.shape))
        few = torch.from_numpy(sample(len(splits.train), count))
        with alone():
            estimate_statistics(method, splits.train.take(few))
    represent = partial(method.eval().represent, space=run.recipe.evaluation.space)
    return quick(represent, splits, next(method.parameters()).device) | loss


def _twin(run: Run, method: Method) -> Method:
    """The method built anew, with its weights: a module of the user's may hold what cannot be copied."""
    twin = run.build().to(next(method.parameters()).device)
    if run.recipe.training.channels_last:
        twin.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    twin.load_state_dict(method.state_dict())
    return twin


def together(event: Event) -> bool:
    """Whether one process knows all: of several, each alone has seen its losses since the last row."""
    return world_size() == 1 or event.row is not None


def agreed(interrupted: threading.Event, event: Event) -> bool:
    """Whether to stop now. Several processes ask one another where they log, so that all stop at one step."""
    return together(event) and bool(mean_over_processes(torch.tensor(float(interrupted.is_set()))) > 0)


def tensorboard(folder: Path, step: int) -> Any:
    """A writer of TensorBoard event files, which forgets what came after `step`; None without the package."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step)


def write_scalars(board: Any, row: dict[str, Any]) -> None:
    """Add a row of the log to a writer of TensorBoard files, if there is one."""
    if board is not None:
        for name, value in row.items():
            if name not in ("kind", "step", "epoch"):
                board.add_scalar(f"{row['kind']}/{name}", value, row["step"])


def warm_start(method: Method, folder: Path) -> list[str]:
    """Take over every weight of another run that has the same name and shape; at least the encoder's.

    Returns the names of those that stay as they are.
    """
    path = folder / "model.safetensors"
    weights, _ = read_tensors(path)
    own = method.state_dict()
    fitting = {k: v for k, v in weights.items() if k in own and own[k].shape == v.shape}
    left = [name for name in own if name not in fitting]
    missing = [name for name in left if name.startswith("encoder.")]
    if missing:
        raise SettingsError(
            f"{path} does not fit this encoder: {missing[0]} is missing there or has another shape"
        )
    method.load_state_dict(own | fitting)
    return left


def seconds_per_batch(method: Method, feed: Feed, batches: int = 3) -> float:
    """A short trial on a copy, which leaves the method and its results as they are."""
    trial = copy.deepcopy(method).train()
    optimiser = torch.optim.Adam(trial.parameters(), fused=True)
    times = []
    for position in range(min(batches + 1, feed.batches.steps_per_epoch)):
        started = time.perf_counter()
        trial(feed(0, position, 0.0)).total.backward()
        optimiser.step()
        if feed.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return min(times)  # the first ones warm caches up


@contextmanager
def deferred_interrupt() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM set the event, so that a step is never cut in two; sent again they stop at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number: int, _: object) -> None:
        asked.set()
        signal.signal(number, before[signal.Signals(number)])

    stops = (signal.SIGINT, signal.SIGTERM)  # the latter is what SLURM, Kubernetes and shutdowns send
    before = {number: signal.signal(number, ask) for number in stops}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
