"""What `DIABOLO_KEEP_MEMORY=1` gains in time and costs in memory, on a CPU with Linux and glibc.

    python benchmarks/allocator.py
    python benchmarks/allocator.py --turns 1 --steps 2     # only to see that it works

Every turn is a process of its own, with and without in turn, since the allocator's bounds cannot be lowered
again. It loads the data, warms up, and takes steps as `diabolo fit` does; or it represents 2,048 images as
`diabolo evaluate` does. Page faults are those of one step, and the peak is the largest resident memory of the
whole process, which includes PyTorch and the data set.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from lightning_fabric import Fabric
from loop import CASES, looped_steps
from page import keep, timed

from diabolo.allocator import SWITCH, spare_page_faults
from diabolo.data.splits import load
from diabolo.methods.build import build_method, build_pipelines, facts_of
from diabolo.precision import flushed_denormals
from diabolo.recipe import complete_for, compose
from diabolo.representation import extract
from diabolo.training.loop import Feed

CPU = torch.device("cpu")
IMAGES = 2048
FEATURES = "features of 2,048 images, "
TRAINED = ("VAE, MLP, MNIST", "SimCLR, quarter ResNet-18, CIFAR-10")
STEPS = {"VAE, MLP, MNIST": 100, "SimCLR, quarter ResNet-18, CIFAR-10": 10}
WARM_UP = 3
MIB = 2**20


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, help="of each turn; by default 10 to 100")
    parser.add_argument("--precision", choices=["float32", "bf16"], default="float32")
    parser.add_argument("--measure", help=argparse.SUPPRESS)  # a case, in the process of one turn
    arguments = parser.parse_args()
    if arguments.measure is not None:
        print(json.dumps(measure(arguments.measure, arguments.precision, arguments.steps)))
        return
    rows = []
    for case in (*TRAINED, *(FEATURES + name for name in TRAINED)):
        steps = arguments.steps or STEPS.get(case, 5)
        found: dict[str, list[dict[str, float]]] = {"0": [], "1": []}
        for _ in range(arguments.turns):
            for switch, measured in found.items():
                measured.append(turn(case, arguments.precision, steps, switch))
        without, kept = (
            {name: statistics.median(one[name] for one in turns) for name in turns[0]}
            for turns in found.values()
        )
        times = [f"{1000 * side['seconds']:.1f}" for side in (without, kept)]
        times += [f"{kept[time] / without[time]:.2f}" for time in ("seconds", "processor")]
        faults = [f"{side['faults']:,.0f}" for side in (without, kept)]
        peaks = [f"{side['peak'] / MIB:,.0f}" for side in (without, kept)]
        rows.append([case, *times, *faults, *peaks])
    keep(
        "allocator",
        "Keeping freed memory on a CPU",
        f"With `{SWITCH}=1` (kept) and without, in {arguments.precision}: medians of {arguments.turns} "
        "processes each, with and without in turn. Milliseconds and page faults of a step, the ratio also of "
        "processor time; the largest resident memory of the process, MiB.",
        ["case", "ms", "kept", "ratio", "processor", "page faults", "kept", "peak MiB", "kept"],
        rows,
    )


def turn(case: str, precision: str, steps: int, switch: str) -> dict[str, float]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--measure", case, "--precision", precision, "--steps", str(steps)]
    environment = os.environ | {SWITCH: switch}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


@flushed_denormals()
def measure(case: str, precision: str, steps: int) -> dict[str, float]:
    """Of one step the median seconds and the page faults; of the process the largest memory, bytes."""
    spare_page_faults(CPU)
    with TemporaryDirectory() as folder:
        way = ways(case, precision, Path(folder))
        for _ in range(WARM_UP):
            next(way)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        wall, processor, _ = zip(*(timed(lambda: next(way)) for _ in range(steps)), strict=True)
        used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": statistics.median(wall),
        "processor": statistics.median(processor),
        "faults": (used.ru_minflt - before) / steps,
        "peak": 1024 * used.ru_maxrss,
    }


def ways(case: str, precision: str, folder: Path) -> Iterator[None]:
    """The steps of a case, one for each value."""
    values = {"training": {"epochs": 1000, "precision": precision}}
    recipe = compose([values], CASES[case.removeprefix(FEATURES)])
    splits = load(recipe.data)
    recipe = complete_for(recipe, splits.train.shape)
    if case in TRAINED:
        fabric = Fabric(accelerator="cpu", devices=1)
        feed = Feed(splits.train, build_pipelines(recipe), recipe.training.batch_size, recipe.seed, CPU)
        yield from looped_steps(recipe, splits, feed, fabric, folder)
    method = build_method(recipe, facts_of(splits)).eval()
    some = splits.train.take(torch.arange(IMAGES))
    while True:
        extract(method.represent, some)
        yield


if __name__ == "__main__":
    main()
