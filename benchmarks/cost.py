"""What time and memory grow with: images, their side, views, the width of the latent, workers.

    python benchmarks/cost.py
    python benchmarks/cost.py --curve side        # also --quick, to try the script out

Each point is a process of its own, on synthetic pixels. Times are medians of five. Memory is the most the
process held beyond what it held when its libraries were loaded (read from Linux's /proc). The exponent is the
p of c + b·xᵖ, fitted to all points by relative errors: the fixed cost c hides growth at small x. Curves of
fewer than five points are fitted without c. Where the fit moves by less than a quarter, none is given.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from loop import synchronise
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator
from page import keep
from scipy.optimize import nnls
from torch.multiprocessing.spawn import spawn

from diabolo.data.images import Images, Splits
from diabolo.evaluation.features import Features, Part
from diabolo.evaluation.suite import score
from diabolo.methods.build import build_method, build_pipelines, facts_of
from diabolo.recipe import Recipe, complete_for, compose
from diabolo.report.figures import LIGHT, save, styled
from diabolo.runs.environment import default_device
from diabolo.tables import PROBES, SCHEDULES
from diabolo.training.loop import Feed, prepare, train
from diabolo.training.meter import Position
from diabolo.verbs.work import threads_each

# What this file imports, directly or not: loaded once, in the process that the points are forked from.
LIBRARIES = ["torch.utils.flop_counter", "matplotlib.figure", "scipy.optimize", "diabolo.verbs.fit"]
REPEATS = 5
SHARED_STEPS = 400  # that the workers divide among them
EXPONENTS = np.arange(-2, 4, 0.01)
GROWS = 0.25  # an exponent is told where the fit moves by at least this share of its largest value

VAE: dict[str, Any] = {
    "method": {"name": "vae", "latent": 10},
    "encoder": {"name": "mlp", "widths": [512]},
    "training.batch_size": 128,
}
SIMVAE: dict[str, Any] = {
    "method": {"name": "simvae", "latent": 10, "prior": {"name": "cluster", "form": "gaussian"}},
    "encoder": "mlp",
    "training.batch_size": 128,
}
SIMCLR: dict[str, Any] = {
    "method": "simclr",
    "encoder": {"name": "resnet18", "width": 0.25},
    "training.batch_size": 8,
}


class Cost(NamedTuple):
    seconds: float
    memory: int  # bytes


class Power(NamedTuple):
    """fixed + factor · x^exponent."""

    fixed: float
    factor: float
    exponent: float

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.fixed + self.factor * x**self.exponent


@dataclass(frozen=True)
class Curve:
    """What is measured, against what, where, and the exponents to expect of time and memory."""

    of: str
    against: str
    at: tuple[int, ...]
    cost: Callable[[int], Cost]
    expected: tuple[str, str]


# The work of a point: generators that are set up and warm at their first yield, then yield after each unit.


def epochs(images: int) -> Iterator[None]:
    splits = synthetic(images, (1, 28, 28))
    steps = training(VAE, splits)
    for _ in range(5):
        next(steps)
    yield
    while True:
        for _ in range(images // VAE["training.batch_size"]):
            next(steps)
        yield


def side_steps(side: int) -> Iterator[None]:
    yield from training(SIMCLR, synthetic(64, (3, side, side)))


def side_views(side: int) -> Iterator[None]:
    splits = synthetic(64, (3, side, side))
    feed = feed_of(completed(SIMCLR | {"training.batch_size": 64}, splits), splits)
    while True:
        feed(0, 0, 0.0)
        yield


def views_steps(views: int) -> Iterator[None]:
    yield from training(SIMVAE | {"views.count": views}, synthetic(1000, (1, 28, 28)))


def latent_steps(latent: int) -> Iterator[None]:
    yield from training(VAE | {"method": {"name": "vae", "latent": latent}}, synthetic(1000, (1, 28, 28)))


def image_probes(images: int) -> Iterator[None]:
    return probes(images, 32)


def width_probes(width: int) -> Iterator[None]:
    return probes(5000, width)


def probes(rows: int, width: int) -> Iterator[None]:
    """The linear and the kNN probe, with 1,000 rows each for choices and for test."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(10, width)) * 3 / width**0.5

    def part(n: int) -> Part:
        labels = rng.integers(10, size=n)
        values = rng.normal(size=(n, width)).astype(np.float32)
        values += centres.astype(np.float32)[labels]
        return Part(values, labels)

    classes = tuple(str(i) for i in range(10))
    features = Features(part(rows), part(1000), part(1000), classes=classes)
    specs = [PROBES.complete(name, "cost") for name in ("linear", "knn")]
    yield
    while True:
        score(features, specs, 0)
        yield


def training(settings: dict[str, Any], splits: Splits) -> Iterator[None]:
    recipe = completed(settings, splits)
    fabric = Fabric(accelerator="auto", devices=1)
    method = build_method(recipe, facts_of(splits)).to(fabric.device)
    optimiser = prepare(method, recipe)
    schedule, feed = SCHEDULES.build(recipe.schedule), feed_of(recipe, splits)
    for _ in train(fabric, method, optimiser, schedule, feed, recipe.training, Position()):
        yield


def completed(settings: dict[str, Any], splits: Splits) -> Recipe:
    layer = {"data": {"name": "synthetic", "normalise": False}, "training": {"epochs": 1_000_000}}
    return complete_for(compose([layer], settings), splits.train.shape)


def feed_of(recipe: Recipe, splits: Splits) -> Feed:
    pipelines = build_pipelines(recipe)
    return Feed(splits.train, pipelines, recipe.training.batch_size, recipe.seed, default_device())


def synthetic(n: int, shape: tuple[int, ...]) -> Splits:
    def part(n: int) -> Images:
        return Images(torch.randint(0, 256, (n, *shape), dtype=torch.uint8))

    return Splits(part(n), part(10), part(10))


def alone(work: Callable[[int], Iterator[None]]) -> Callable[[int], Cost]:
    def cost(x: int) -> Cost:
        before = memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        units = work(x)
        next(units)
        seconds = statistics.median(timed(units) for _ in range(REPEATS))
        return Cost(seconds, memory("VmHWM") - before)

    return cost


def timed(units: Iterator[None]) -> float:
    synchronise(default_device())
    started = time.perf_counter()
    next(units)
    synchronise(default_device())
    return time.perf_counter() - started


def memory(name: str) -> int:
    """VmRSS, what this process holds, or VmHWM, the most it held: bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def shared(workers: int) -> Cost:
    """`SHARED_STEPS` steps in all, by processes that share the machine's threads as those of `--workers` do.

    Memory is the sum of what they held, libraries included.
    """
    with TemporaryDirectory() as folder:
        barrier = multiprocessing.get_context("spawn").Barrier(workers)
        with threads_each(workers):
            arguments = torch.get_num_threads(), SHARED_STEPS // workers, barrier, Path(folder)
            spawn(share, arguments, nprocs=workers)
        found = [json.loads(file.read_text()) for file in Path(folder).iterdir()]
    slowest = np.max([one["seconds"] for one in found], axis=0)
    return Cost(statistics.median(slowest.tolist()), sum(one["memory"] for one in found))


def share(_: int, threads: int, steps: int, barrier: Any, folder: Path) -> None:
    torch.set_num_threads(threads)
    units = training(VAE, synthetic(10_000, (1, 28, 28)))
    next(units)
    seconds = []
    for _ in range(REPEATS):
        barrier.wait()
        started = time.perf_counter()
        for _ in range(steps):
            next(units)
        seconds.append(time.perf_counter() - started)
    found = {"seconds": seconds, "memory": memory("VmHWM")}
    (folder / f"{os.getpid()}.json").write_text(json.dumps(found))


IMAGES = (1000, 3000, 10_000, 30_000, 100_000, 300_000)
SIDES = (28, 48, 80, 136, 224)
VIEWS = (1, 2, 4, 8, 16)
WIDTHS = (8, 32, 128, 512, 2048)
CURVES = {
    "images": Curve("epoch of a VAE", "training images, 28 × 28", IMAGES, alone(epochs), ("1", "1")),
    "probes": Curve("linear, kNN probes, d = 32", "training images", IMAGES, alone(image_probes), ("1", "1")),
    "side": Curve("step of SimCLR, 8 images", "side, pixels", SIDES, alone(side_steps), ("2", "2")),
    "augmentation": Curve(
        "two views of 64 images", "side, pixels", SIDES, alone(side_views), ("2 to 3", "2")
    ),
    "views": Curve("step of SimVAE, 128 images", "views J", VIEWS, alone(views_steps), ("1", "1")),
    "latent": Curve("step of a VAE, 128 images", "latent width d", WIDTHS, alone(latent_steps), ("1", "1")),
    "width": Curve(
        "linear, kNN probes, 5,000 images", "feature width d", WIDTHS, alone(width_probes), ("1", "1")
    ),
    "workers": Curve(f"{SHARED_STEPS} steps of VAEs, shared", "workers", (1, 2, 4), shared, ("−1 to 0", "1")),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--curve", action="append", choices=CURVES)
    parser.add_argument("--quick", action="store_true", help="the three smallest points of each curve")
    arguments = parser.parse_args()
    chosen = {name: CURVES[name] for name in arguments.curve or CURVES}
    at = {name: curve.at[: 3 if arguments.quick else None] for name, curve in chosen.items()}
    costs = measure(at)
    rows, panels = [], []
    for name, curve in chosen.items():
        x = np.array(at[name], dtype=float)
        seconds, memories = np.array(costs[name], dtype=float).T
        fits = power(x, seconds), power(x, memories)
        panels += [(curve, "seconds", x, seconds, fits[0]), (curve, "bytes", x, memories, fits[1])]
        rows.append(
            [
                curve.against,
                f"{at[name][0]:,} – {at[name][-1]:,}",
                curve.of,
                f"{amount(seconds[0], 's')} – {amount(seconds[-1], 's')}",
                told(x, fits[0]),
                curve.expected[0],
                f"{amount(memories[0], 'B')} – {amount(memories[-1], 'B')}",
                told(x, fits[1]),
                curve.expected[1],
            ]
        )
    keep(
        "cost",
        "What time and memory grow with",
        "Each point a process of its own, on synthetic images; times are medians of "
        f"{REPEATS}. Memory is the most that was held beyond the loaded libraries, for workers with them. "
        "p is the exponent of c + b·xᵖ through all points, and beside it what it should be; – where hardly "
        "anything moves. All points are in `benchmarks/results/cost.json`.",
        ["against", "from – to", "of", "time", "p", "should be", "memory", "p", "should be"],
        rows,
        figure=save(draw(panels), "png"),
        points={name: {"x": at[name], "seconds, bytes": costs[name]} for name in chosen},
    )


def measure(at: dict[str, Sequence[int]]) -> dict[str, list[Cost]]:
    """The costs of each curve's points; each process starts from one that has the libraries loaded."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    costs: dict[str, list[Cost]] = {name: [] for name in at}
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        for name, xs in at.items():
            for x in xs:
                costs[name].append(pool.submit(point, name, x).result())
                print(name, x, *costs[name][-1], flush=True)
    return costs


def point(name: str, x: int) -> Cost:
    return CURVES[name].cost(x)


def power(x: np.ndarray, y: np.ndarray) -> Power:
    """The closest c + b·x^p by relative errors, c and b not negative; of fewer than five points c = 0."""
    scaled, terms = x / x[-1], slice(0 if len(x) >= 5 else 1, 2)

    def fit(p: float) -> tuple[float, Power]:
        basis = np.stack([1 / y, scaled**p / y], 1)
        weights = np.zeros(2)
        weights[terms], error = nnls(basis[:, terms], np.ones(len(x)))
        return error, Power(weights[0], weights[1] / x[-1] ** p, p)

    return min((fit(p) for p in EXPONENTS), key=lambda found: found[0])[1]


def told(x: np.ndarray, fit: Power) -> str:
    y = fit(x)
    return f"{fit.exponent:.2f}".replace("-", "−") if 1 - y.min() / y.max() >= GROWS else "–"


def amount(value: float, unit: str) -> str:
    return EngFormatter(unit, places=1)(value)


@styled
def draw(panels: Sequence[tuple[Curve, str, np.ndarray, np.ndarray, Power]]) -> Figure:
    """Time and memory of each curve side by side, two curves to a row."""
    rows = -(-len(panels) // 4)
    figure = Figure(figsize=(9.6, 2.1 * rows))
    for place, (curve, what, x, y, fit) in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, 4, place)
        draw_panel(axes, curve, what, x, y, fit)
    return figure


def draw_panel(axes: Axes, curve: Curve, what: str, x: np.ndarray, y: np.ndarray, fit: Power) -> None:
    time_or_memory, unit, colour = (
        ("time", "s", LIGHT["accent"]) if what == "seconds" else ("memory", "B", LIGHT["class-6"])
    )
    exponent = told(x, fit)
    moves = "hardly moves" if exponent == "–" else f"$p$ = {exponent}"
    axes.set_title(f"{curve.of}\n{time_or_memory}, {moves}", fontsize=8, parse_math=True)
    fine = np.geomspace(x[0], x[-1], 100)
    axes.plot(fine, fit(fine), color=LIGHT["muted"], linewidth=0.9, linestyle="--")
    axes.plot(x, y, "o", color=colour, markersize=4)
    axes.set(xscale="log", yscale="log", xlabel=curve.against)
    decades = np.log10(y.max() / y.min())
    middle = np.sqrt(y.max() * y.min())
    half = 10 ** (max(decades, 1) / 2 + 0.15)
    axes.set_ylim(middle / half, middle * half)
    axes.set_xticks(x, [f"{v:.0f}" if v % 1000 else f"{v / 1000:.0f}k" for v in x])
    axes.yaxis.set_major_locator(LogLocator(subs=(1,) if decades > 1.3 else (1, 2, 5)))
    axes.yaxis.set_major_formatter(EngFormatter(unit))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
    axes.grid(axis="y", color=LIGHT["rule"], linewidth=0.6)


if __name__ == "__main__":
    main()
