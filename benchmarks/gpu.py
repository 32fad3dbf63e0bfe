"""Training on a GPU: images a second of a step, what the host does for it, and whole trainings.

    python benchmarks/gpu.py                                  # on a GPU; without one it stops
    python benchmarks/gpu.py --case "SimVAE, J = 10, MNIST" --turns 3
    python benchmarks/gpu.py --training "SimCLR, ResNet-18, CIFAR-10"

A step is that of the loop which `diabolo fit` runs, with its index and views. Each way is a process of its
own, one after another, for compiled code is the process's. All ways begin with the same weights and see the
same batches, so that their losses say whether they compute the same. What the host does is PyTorch's account:
how often it waits for the device in ten steps, and how often it launches something in one. A training is
`diabolo fit` with a recipe, as the table's command says. `--case` and `--training` renew those rows alone.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning_fabric import Fabric
from loop import CASES as BARE
from page import RESULTS, keep
from torch.profiler import ProfilerActivity, profile

from diabolo import fit
from diabolo.data.splits import load
from diabolo.methods.build import build_method, build_pipelines, facts_of
from diabolo.recipe import complete_for, compose, read_recipe
from diabolo.runs.environment import environment
from diabolo.tables import SCHEDULES
from diabolo.training.loop import Event, Feed, prepare, train
from diabolo.training.meter import Position

CASES: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {  # recipe, settings, steps of a turn
    "VAE, MLP, MNIST": ({}, BARE["VAE, MLP, MNIST"], 300),
    "SimVAE, J = 10, MNIST": (read_recipe("simvae-simvae-mnist"), {}, 300),
    "AAVAE, ResNet-18, CIFAR-10": (read_recipe("aavae-aavae-cifar10-resnet18"), {}, 60),
    "SimCLR, ResNet-18, CIFAR-10": (read_recipe("cifar10-simclr"), {}, 30),
    "SimCLR, ResNet-18, views of 24 × 24": (read_recipe("cifar10-simclr-fast"), {}, 30),
}
WAYS = {
    "float32": {"precision": "float32"},
    "bf16": {"precision": "bf16"},
    "bf16, compiled": {"precision": "bf16", "compile": True},
    "bf16, graphs": {"precision": "bf16", "compile": "graphs"},
}
TRAININGS = {  # data, recipe, options
    "SimCLR, ResNet-18, CIFAR-10": ("cifar10", "cifar10-simclr-fast", ()),
    "SimVAE, J = 10, MNIST": (
        "mnist",
        "simvae-simvae-mnist",
        ("training.precision=bf16", "training.compile=graphs"),
    ),
}
LAUNCHES = ("cudaLaunch", "cuLaunch", "cudaGraphLaunch", "cudaMemcpyAsync", "cudaMemsetAsync")
WARM, WATCHED = 12, 10  # steps before the clock starts; those in which the waits are counted


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--case", action="append", choices=CASES)
    parser.add_argument("--way", action="append", choices=WAYS)
    parser.add_argument("--training", action="append", choices=TRAININGS)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--one", nargs=2, metavar=("CASE", "WAY"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("there is no GPU here: nothing is measured")
    if arguments.one:
        print(json.dumps(measure(*arguments.one, arguments.turns)))
        return
    everything = arguments.case is arguments.training is None
    steps, trainings = kept("gpu-steps"), kept("gpu-trainings")
    for case in (arguments.case or CASES) if everything or arguments.case else ():
        for way in arguments.way or WAYS:
            steps[f"{case}; {way}"] = [case, way, *apart(case, way, arguments.turns)], environment()
            keep_steps(steps, arguments.turns)
    for training in (arguments.training or TRAININGS) if everything or arguments.training else ():
        trainings[training] = trained(training), environment()
        keep_trainings(trainings)


def kept(name: str) -> dict[str, tuple[list[str], dict[str, Any]]]:
    """Rows of an earlier run, each with its machine."""
    file = RESULTS / f"{name}.json"
    found = json.loads(file.read_text("utf-8")) if file.exists() else {"machines": {}, "rows": []}
    return {
        key: (row, machine)
        for (key, machine), row in zip(found["machines"].items(), found["rows"], strict=True)
    }


def apart(case: str, way: str, turns: int) -> list[str]:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--turns", str(turns), "--one", case, way]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(case: str, way: str, turns: int) -> list[str]:
    """The cells of a row."""
    base, settings, steps = CASES[case]
    # no row of the log falls into a turn: reading the losses is what a row waits for
    recipe = compose([base, {"training": WAYS[way] | {"epochs": 1000, "log_every": 10**9}}], settings)
    splits = load(recipe.data)
    recipe = complete_for(recipe, splits.train.shape)
    fabric = Fabric(accelerator="cuda", devices=1)
    feed = Feed(splits.train, build_pipelines(recipe), recipe.training.batch_size, recipe.seed, fabric.device)
    torch.manual_seed(recipe.seed)
    method = build_method(recipe, facts_of(splits)).to(fabric.device)
    optimiser, position = prepare(method, recipe), Position()
    schedule = SCHEDULES.build(recipe.schedule)
    note = partial(print, file=sys.stderr)
    events = train(fabric, method, optimiser, schedule, feed, recipe.training, position, note)

    def seconds(count: int) -> float:
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in islice(events, count):
            pass
        torch.cuda.synchronize()
        return time.perf_counter() - began

    first = seconds(1)
    seconds(WARM - 1)
    loss = position.meter.unlogged(WARM)[-1][0]
    waits, launches = waits_in(events), launches_in(events)
    a_step = statistics.median(seconds(steps) / steps for _ in range(turns))
    images = recipe.training.batch_size / a_step
    return [
        f"{1000 * a_step:.2f}",
        f"{images:,.0f}",
        f"{images * recipe.encodings:,.0f}",
        f"{loss:.4g}",
        f"{waits}",
        f"{launches}",
        f"{torch.cuda.max_memory_reserved() / 2**20:,.0f}",
        f"{first:.0f}",
    ]


def waits_in(events: Iterator[Event]) -> int:
    """How often the host waits for the device in some steps."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in islice(events, WATCHED):
                pass
    finally:
        torch.cuda.set_sync_debug_mode("default")
    found = [warning for warning in caught if "synchronizing" in str(warning.message)]
    for warning in found[:3]:
        print(f"waits: {warning.filename}:{warning.lineno}", file=sys.stderr)
    return len(found)


def launches_in(events: Iterator[Event]) -> int:
    """Kernels, graphs, copies and fills that the host launches for a step."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
        next(events)
        torch.cuda.synchronize()
    return sum(event.count for event in profiled.key_averages() if event.key.startswith(LAUNCHES))


def keep_steps(rows: dict[str, tuple[list[str], dict[str, Any]]], turns: int) -> None:
    keep(
        "gpu-steps",
        "Steps on a GPU",
        f"Medians of {turns} turns: milliseconds of a step; training images a second, and those that go "
        f"through the encoder (views, originals). The loss of step {WARM}, of the same weights and batches. "
        f"How often the host waits for the device in {WATCHED} steps, and what it launches for one (kernels, "
        "graphs, copies). Memory that PyTorch reserved, MiB; seconds of the first step, which compiles.",
        [
            "case",
            "way",
            "ms",
            "images/s",
            "encoded/s",
            "loss",
            "waits",
            "launches",
            "MiB",
            "first step, s",
        ],
        [row for row, _ in rows.values()],
        command="python benchmarks/gpu.py",
        machines={key: machine for key, (_, machine) in rows.items()},
    )


def trained(name: str) -> list[str]:
    """The cells of a row. The model's seconds are those its steps took; the whole also loads and scores."""
    data, recipe, options = TRAININGS[name]
    with TemporaryDirectory() as folder:
        began = time.perf_counter()
        run = fit(data, recipe=recipe, settings=options, out=Path(folder) / "run")
        whole = time.perf_counter() - began
        scores = json.loads((run.folder / "scores.json").read_text("utf-8"))
    probes = {
        key: one for key, one in scores["encoder"].items() if isinstance(one, dict) and "accuracy" in one
    }
    found = ", ".join(f"{key} {100 * one['accuracy']:.1f} %" for key, one in probes.items())
    command = " ".join(["diabolo fit", data, f"--recipe {recipe}", *(f"--set {one}" for one in options)])
    epochs = run.recipe.training.epochs
    return [name, f"`{command}`", f"{epochs}", f"{run.seconds:.0f}", f"{whole:.0f}", found]


def keep_trainings(rows: dict[str, tuple[list[str], dict[str, Any]]]) -> None:
    keep(
        "gpu-trainings",
        "Whole trainings on a GPU",
        "Seconds that the training's steps took, and those of the whole command, which reads the data, "
        "draws the live curve, scores on test and writes the report; accuracies on test.",
        ["training", "command", "epochs", "steps, s", "whole, s", "accuracy"],
        [row for row, _ in rows.values()],
        command="python benchmarks/gpu.py",
        machines={key: machine for key, (_, machine) in rows.items()},
    )


if __name__ == "__main__":
    main()
