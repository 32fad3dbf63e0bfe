"""What the training loop costs beside the bare step it exists for, and how near that is to the machine.

    python benchmarks/loop.py
    python benchmarks/loop.py --case "SimCLR, quarter ResNet-18" --precision float32

The bare step is forward, backward and optimiser on one fixed batch, already augmented. The loop is what
`diabolo fit` runs: index, views, the same step through lightning-fabric, the meter, the progress bar and the
log. Both take the same number of steps in one process, interleaved. The peak is a product of square matrices
in the same precision, measured between the turns; a step's share of it counts multiplications and additions
of its matrix products and convolutions, forward and backward. Where the bare step's time goes is PyTorch's
profiler's account of it, taken after the turns.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from lightning_fabric import Fabric
from page import keep
from torch.profiler import profile
from torch.utils.flop_counter import FlopCounterMode

from diabolo.console import Bar, Show
from diabolo.data.splits import load
from diabolo.methods.build import build_method, build_pipelines, facts_of
from diabolo.recipe import Recipe, complete_for, compose
from diabolo.runs.run import Run
from diabolo.tables import SCHEDULES
from diabolo.training.loop import Feed, prepare, train
from diabolo.training.meter import Position
from diabolo.training.step import compile_step, forward_backward

QUARTER = {"name": "resnet18", "stem": "cifar", "width": 0.25}
CASES = {
    "VAE, MLP, MNIST": {
        "data.name": "mnist",
        "data.normalise": False,
        "encoder": {"name": "mlp", "widths": [500, 500, 2000]},
        "method": {"name": "vae", "latent": 10},
        "training.batch_size": 128,
    },
    "AE, small conv, Fashion-MNIST": {
        "data.name": "fashion-mnist",
        "data.normalise": False,
        "encoder": {"name": "conv", "filters": [8, 16, 32]},
        "method": {"name": "ae", "latent": 20},
        "training.batch_size": 128,
    },
    "AE, quarter ResNet-18, CIFAR-10": {
        "data.name": "cifar10",
        "encoder": QUARTER,
        "method": {"name": "ae", "latent": 64},
        "decoder": {"name": "resnet", "depth": 18, "stem": "cifar", "width": 0.25},
        "training.batch_size": 256,
    },
    "SimCLR, quarter ResNet-18, CIFAR-10": {
        "data.name": "cifar10",
        "encoder": QUARTER,
        "method": "simclr",
        "training.batch_size": 256,
    },
    "SimCLR, ResNet-18, CIFAR-10": {
        "data.name": "cifar10",
        "encoder": QUARTER | {"width": 1.0},
        "method": "simclr",
        "training.batch_size": 256,
    },
}
STEPS = dict(zip(CASES, (60, 60, 6, 6, 1), strict=True))  # of each turn
SIDE = 2048  # of the matrices whose product is the peak
PRODUCTS = ("aten::addmm", "aten::mm", "aten::bmm", "aten::baddbmm", "convolution")
UPDATES = ("_fused_", "_foreach_")


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--case", action="append", choices=CASES)
    parser.add_argument("--precision", action="append", choices=["float32", "bf16"])
    parser.add_argument("--turns", type=int, default=7)
    arguments = parser.parse_args()
    rows = []
    for name in arguments.case or CASES:
        for precision in arguments.precision or ["float32", "bf16"]:
            recipe = compose([{"training": {"epochs": 1000, "precision": precision}}], CASES[name])
            splits = load(recipe.data)
            recipe = complete_for(recipe, splits.train.shape)
            with TemporaryDirectory() as folder:
                times, found = measure(recipe, splits, Path(folder), STEPS[name], arguments.turns)
            bare, loop, views, product = (statistics.median(of) for of in times.values())
            images = recipe.training.batch_size * recipe.views.count / loop
            share = found.operations / bare / (2 * SIDE**3 / product)
            cells = [f"{1000 * seconds:.1f}" for seconds in (bare, loop, views)]
            shares = [share, found.products, share / found.products, found.update]
            cells += [f"{loop / bare:.3f}", f"{images:,.0f}", *(f"{100 * one:.0f} %" for one in shares)]
            rows.append([name, precision, *cells])
    keep(
        "loop",
        "The training loop beside its bare step",
        f"Medians of {arguments.turns} turns, in milliseconds a step. The peak is that of a {SIDE} × {SIDE} "
        "matrix product in the same precision. Of the bare step: the share of the peak it reaches; the part "
        "of its time in products and convolutions, and the share of the peak they reach in it; the part "
        "in the optimiser. The rest is normalisation, activations, casts, the loss and Python.",
        [
            "case",
            "precision",
            "bare",
            "loop",
            "of it views",
            "loop / bare",
            "images/s",
            "of the peak",
            "time in products",
            "they reach",
            "in the optimiser",
        ],
        rows,
    )


class Account(NamedTuple):
    """What a step consists of. products, update: their shares of its time."""

    operations: int  # multiplications and additions of matrix products and convolutions
    products: float
    update: float


def account_of(step: Iterator[None], device: torch.device) -> Account:
    with FlopCounterMode(display=False) as counter:
        next(step)
    on = "self_cpu_time_total" if device.type == "cpu" else "self_device_time_total"
    with profile() as profiled:
        next(step)
        synchronise(device)
    spent = {event.key: getattr(event, on) for event in profiled.key_averages()}

    def share(of: tuple[str, ...]) -> float:
        return sum(spent[key] for key in spent if any(name in key for name in of)) / sum(spent.values())

    return Account(counter.get_total_flops(), share(PRODUCTS), share(UPDATES))


def peak(precision: str, device: torch.device):
    """One product of square matrices a step."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    one, other = (torch.randn(SIDE, SIDE, device=device).to(dtype) for _ in range(2))
    while True:
        one @ other
        yield


def measure(
    recipe: Recipe, splits, folder: Path, steps: int, turns: int
) -> tuple[dict[str, list[float]], Account]:
    """Seconds per step of each way, a value a turn; and what a bare step consists of."""
    fabric = Fabric(accelerator="auto", devices=1)
    feed = Feed(splits.train, build_pipelines(recipe), recipe.training.batch_size, recipe.seed, fabric.device)
    bare = bare_steps(recipe, splits, feed, fabric)
    looped = looped_steps(recipe, splits, feed, fabric, folder)
    views = views_only(feed)
    product = peak(recipe.training.precision, fabric.device)
    ways = {"bare": bare, "loop": looped, "views": views, "product": product}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):  # the first warms caches up
        for name, way in ways.items():
            started = time.perf_counter()
            for _ in range(steps):
                next(way)
            synchronise(fabric.device)
            if turn:
                times[name].append((time.perf_counter() - started) / steps)
    return times, account_of(bare, fabric.device)


def bare_steps(recipe: Recipe, splits, feed: Feed, fabric: Fabric):
    method = build_method(recipe, facts_of(splits)).to(fabric.device).train()
    optimiser = prepare(method, recipe)
    compute = compile_step(method, []) if recipe.training.compile else forward_backward
    batch = feed(0, 0, 0.0)
    while True:
        compute(method, batch, recipe.training.precision)
        optimiser.step()
        optimiser.zero_grad()
        yield


def looped_steps(recipe: Recipe, splits, feed: Feed, fabric: Fabric, folder: Path):
    method = build_method(recipe, facts_of(splits)).to(fabric.device)
    optimiser = prepare(method, recipe)
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
