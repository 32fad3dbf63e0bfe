"""What the training loop costs beside the bare step it exists for.

    python benchmarks/loop.py --data mnist --method vae
    python benchmarks/loop.py --data cifar10 --method simclr

The bare step is forward, backward and optimiser on one fixed batch, already augmented. The loop is what
`diabolo fit` runs: index, views, the same step through lightning-fabric, the meter, the progress bar and the
log. Both take the same number of steps in one process, interleaved; the ratio of their medians is printed as
JSON, with the share that views alone take.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from lightning_fabric import Fabric

from diabolo.data.splits import load
from diabolo.methods.build import build_method, facts_of
from diabolo.recipe import Recipe, complete_for, compose
from diabolo.run import Run, environment
from diabolo.tables import OPTIMISERS, SCHEDULES
from diabolo.training.loop import Feed, compile_step, train
from diabolo.training.meter import Position
from diabolo.verbs.console import Bar, Show
from diabolo.views.pipeline import build_pipelines


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--method", default="vae")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--steps", type=int, default=30, help="of each turn")
    parser.add_argument("--turns", type=int, default=7)
    arguments = parser.parse_args()

    layer = {"data": {"name": arguments.data}, "method": arguments.method, "training": {"epochs": 1000}}
    recipe = compose([layer], arguments.set)
    splits = load(recipe.data)
    recipe = complete_for(recipe, splits.train.shape)
    with TemporaryDirectory() as folder:
        times = measure(recipe, splits, Path(folder), arguments.steps, arguments.turns)
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(
        json.dumps(
            {
                "data": arguments.data,
                "method": arguments.method,
                "settings": arguments.set,
                "batch": recipe.training.batch_size,
                "views": recipe.views.count,
                "milliseconds per step": {name: round(1000 * value, 3) for name, value in medians.items()},
                "loop / bare": round(medians["loop"] / medians["bare"], 3),
                "environment": environment(),
            },
            indent=2,
        )
    )


def measure(recipe: Recipe, splits, folder: Path, steps: int, turns: int) -> dict[str, list[float]]:
    """Seconds per step of each way, a value a turn."""
    fabric = Fabric(accelerator="auto", devices=1, precision=precision(recipe))
    feed = Feed(splits.train, build_pipelines(recipe), recipe.training.batch_size, recipe.seed, fabric.device)
    bare = bare_steps(recipe, splits, feed, fabric)
    looped = looped_steps(recipe, splits, feed, fabric, folder)
    views = views_only(feed)
    ways = {"bare": bare, "loop": looped, "views": views}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):  # the first warms caches up
        for name, way in ways.items():
            started = time.perf_counter()
            for _ in range(steps):
                next(way)
            synchronise(fabric.device)
            if turn:
                times[name].append((time.perf_counter() - started) / steps)
    return times


def precision(recipe: Recipe) -> str:
    return "bf16-mixed" if recipe.training.precision == "bf16" else "32-true"


def prepared(recipe: Recipe, splits, device: torch.device):
    method = build_method(recipe, facts_of(splits)).to(device).train()
    if recipe.training.channels_last:
        method.to(memory_format=torch.channels_last)
    groups = method.parameter_groups(recipe.optimiser["weight_decay"])
    optimiser = OPTIMISERS.build(recipe.optimiser, groups=groups)
    if recipe.training.compile:
        compile_step(method, [])
    return method, optimiser


def bare_steps(recipe: Recipe, splits, feed: Feed, fabric: Fabric):
    method, optimiser = prepared(recipe, splits, fabric.device)
    batch = feed(0, 0, 0.0)
    while True:
        with fabric.autocast():
            loss = method(batch).total
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        yield


def looped_steps(recipe: Recipe, splits, feed: Feed, fabric: Fabric, folder: Path):
    method, optimiser = prepared(recipe, splits, fabric.device)
    Run.create(folder / "run", recipe, facts_of(splits))
    run = Run(folder / "run", recipe, facts_of(splits))
    schedule = SCHEDULES.build(recipe.schedule)
    bar = Bar(Show(), 0, feed.batches.steps_per_epoch, recipe.training.epochs, recipe.training.batch_size)
    for event in train(fabric, method, optimiser, schedule, feed, recipe.training, Position()):
        bar.step(event)
        if event.row is not None:
            run.log(event.row)
        yield


def views_only(feed: Feed):
    position = 0
    while True:
        feed(0, position % feed.batches.steps_per_epoch, 0.0)
        position += 1
        yield


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
