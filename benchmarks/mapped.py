"""Training on images that stay on disk beside images in memory, and decoding with one core and with all.

    python benchmarks/mapped.py
    python benchmarks/mapped.py --images 512 --steps 2 --turns 1 --pictures 100 --dry    # does it run?

SimCLR trains a ResNet-18 on the same random images three times, turn by turn: in memory (on the device),
from the memory map as training reads it, ahead and by index, and from the map after the system has been told
to forget the file, so that every image comes from the disk. Decoding is of JPEG files of 256×256, to 64×64.
"""

import argparse
import os
import statistics
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from lightning_fabric import Fabric
from loop import looped_steps, synchronise
from page import keep, timed
from PIL import Image

from diabolo.data.decode import cores, decode
from diabolo.data.sources import folder_files
from diabolo.data.splits import load
from diabolo.methods.build import build_pipelines
from diabolo.recipe import complete_for, compose
from diabolo.training.loop import Feed

WAYS = ("in memory", "memory map", "memory map, from the disk")


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--images", type=int, default=20_000, help="of the training")
    parser.add_argument("--side", type=int, default=64, help="of an image, pixels")
    parser.add_argument("--width", type=float, default=0.25, help="of the ResNet-18")
    parser.add_argument("--precision", choices=["float32", "bf16"], default="float32")
    parser.add_argument("--steps", type=int, default=6, help="of a turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=1_000, help="to decode")
    parser.add_argument("--dry", action="store_true", help="keep nothing")
    options = parser.parse_args()
    with TemporaryDirectory(dir=Path.cwd()) as folder:  # the system's place for them may be memory
        training = measure_training(Path(folder), options)
        decoding = measure_decoding(Path(folder), options)
    rows = [*_rows(training), *_rows(decoding)]
    if options.dry:
        print(*rows, sep="\n")
        return
    keep(
        "mapped",
        "Images on disk",
        f"SimCLR with a ResNet-18 of width {options.width}, {options.precision}, two views of each of "
        f"256 out of {options.images:,} images, 3 × {options.side} × {options.side}; decoding of JPEG files, "
        f"256 × 256. Medians of {options.turns} turns; ratios are to the first row of their kind.",
        ["case", "images/s", "ratio"],
        rows,
    )


def measure_training(folder: Path, options: argparse.Namespace) -> dict[str, list[float]]:
    """Images a second of each way, a value a turn."""
    file = folder / "images.npy"
    shape = (options.images, 3, options.side, options.side)
    array = np.lib.format.open_memmap(file, "w+", np.uint8, shape)
    for start in range(0, len(array), 256):
        array[start : start + 256] = np.random.default_rng(start).integers(0, 256, shape[1:], np.uint8)
    array.flush()
    steps = {way: _steps(folder / way, file, way == "in memory", options) for way in WAYS}
    rates: dict[str, list[float]] = {f"training, {way}": [] for way in WAYS}
    for turn in range(options.turns + 1):  # the first warms caches up
        for way, (one, device) in steps.items():
            if way.endswith("disk"):
                forget(file)
            started = time.perf_counter()
            for _ in range(options.steps):
                next(one)
            synchronise(device)
            if turn:
                seconds = time.perf_counter() - started
                rates[f"training, {way}"].append(256 * options.steps / seconds)
    return rates


def _steps(out: Path, file: Path, resident: bool, options: argparse.Namespace):
    """The steps of a training that never ends, and the device they are taken on."""
    out.mkdir()
    values = {
        "data": {"name": str(file), "resident": resident},
        "method": "simclr",
        "encoder": {"name": "resnet18", "width": options.width},
        "training": {"batch_size": 256, "epochs": 1_000_000, "precision": options.precision},
    }
    recipe = compose([values])
    splits = load(recipe.data)
    recipe = complete_for(recipe, splits.train.shape)
    fabric = Fabric(accelerator="auto", devices=1)
    feed = Feed(splits.train, build_pipelines(recipe), 256, recipe.seed, fabric.device)
    return looped_steps(recipe, splits, feed, fabric, out), fabric.device


def forget(file: Path) -> None:
    """Drop what the system holds of a file in memory."""
    with file.open("rb") as opened:
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure_decoding(folder: Path, options: argparse.Namespace) -> dict[str, list[float]]:
    """Images a second with one thread and with one for each core, a value a turn."""
    rng = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    for i in range(options.pictures):
        smooth = Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).resize((256, 256))
        smooth.save(folder / "pictures" / f"{i}.jpg", quality=90)
    files = folder_files(folder / "pictures")
    threads = {"decoding, one core": 1, f"decoding, all cores ({cores()})": cores()}
    rates: dict[str, list[float]] = {name: [] for name in threads}
    for turn in range(options.turns + 1):
        for name, count in threads.items():
            seconds, *_ = timed(partial(decode, files, size=64, colour="rgb", threads=count))
            if turn:
                rates[name].append(len(files) / seconds)
    return rates


def _rows(rates: dict[str, list[float]]) -> list[list[str]]:
    medians = {name: statistics.median(values) for name, values in rates.items()}
    first = next(iter(medians.values()))
    return [[name, f"{rate:,.0f}", f"{rate / first:.2f}"] for name, rate in medians.items()]


if __name__ == "__main__":
    main()
