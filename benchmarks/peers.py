"""Training beside pythae, lightly and SimVAE's public code: the same network, batch, views and images.

    python -m venv peers && peers/bin/pip install torch torchvision lightly pythae    # once, about 5 GB
    python benchmarks/peers.py
    python benchmarks/peers.py --peers elsewhere/bin/python --case "VAE, MLP 784–512–10, MNIST"

Peers need torchvision, which needs the full PyTorch, so they have an environment of their own. One recipe
describes both sides of a case. Each side is a process of its own (`benchmarks/peers/`), started once and
paused while it is another's turn; the turn in which it starts is not counted. A turn is an epoch, or a
number of steps of one. `--case` renews the rows of that case alone.

A peer runs twice: as it is, and with glibc's allocator told by MALLOC_* to keep the memory that is freed,
which alone makes some trainings faster. diabolo runs as it is (float32), and with what a user may switch on:
bf16, compiled steps, freed memory kept.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from page import RESULTS, keep

from diabolo.data.splits import load
from diabolo.recipe import Recipe, complete_for, compose, read_recipe
from diabolo.runs.environment import environment

SIDES = Path(__file__).parent / "peers"
KEEPING = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "2000000000"}
PAUSE = 1.0  # seconds between turns, in which a peer's loader workers come to rest
ENDLESS = 1_000_000
PACKAGES = ("torch", "torchvision", "lightly", "pythae")

MNIST = {"data.name": "mnist", "data.normalise": False, "optimiser.lr": 1e-4}
CIFAR = {
    "data.name": "cifar10",
    "method": "simclr",
    "training.batch_size": 128,
    "optimiser": {"name": "sgd", "lr": 0.06, "nesterov": False},
}
VAE = {"name": "vae", "latent": 10, "likelihood": {"name": "gaussian", "variance": 1.0}}


@dataclass(frozen=True)
class Case:
    """What both sides do. steps: of a turn; None for an epoch. views: augment only.

    ours: ways in which diabolo does it: a precision, and whether compiled, and keeping freed memory.
    """

    peer: str
    settings: dict[str, Any]
    recipe: dict[str, Any] = field(default_factory=dict)
    steps: int | None = None
    views: bool = False
    ours: tuple[str, ...] = ("float32", "bf16", "bf16, keeping")


CASES = {
    "VAE, MLP 784–512–10, MNIST": Case(
        "pythae",
        MNIST | {"method": VAE, "encoder": {"name": "mlp", "widths": [512]}, "training.batch_size": 64},
    ),
    "VAE, MLP 784–500–500–2000–10, MNIST": Case(
        "pythae",
        MNIST | {"method": VAE, "encoder": "mlp", "training.batch_size": 128},
        ours=("float32", "bf16", "bf16, keeping", "bf16, compiled, keeping"),
    ),
    "AE, small conv, Fashion-MNIST": Case(
        "pythae",
        MNIST
        | {
            "data.name": "fashion-mnist",
            "method": {"name": "ae", "latent": 20, "likelihood": {"name": "gaussian", "variance": 0.5}},
            "encoder": "conv",
            "training.batch_size": 128,
        },
        ours=("float32", "bf16", "float32, keeping", "float32, compiled, keeping"),
    ),
    "SimCLR, quarter ResNet-18, CIFAR-10": Case(
        "lightly",
        CIFAR | {"encoder": {"name": "resnet18", "width": 0.25}},
        steps=8,
        ours=("float32", "bf16", "bf16, keeping", "bf16, compiled, keeping"),
    ),
    "SimCLR, ResNet-18, CIFAR-10": Case(
        "lightly",
        CIFAR | {"encoder": "resnet18"},
        steps=2,
        ours=("float32", "bf16", "bf16, keeping", "bf16, compiled, keeping"),
    ),
    "Two views alone, CIFAR-10": Case(
        "lightly",
        CIFAR | {"encoder": "resnet18"},
        steps=80,
        views=True,
        ours=("float32", "float32, keeping", "float32, compiled", "float32, compiled, keeping"),
    ),
    "SimVAE, J = 10, MNIST": Case(
        "pillow",
        {"views.count": 10, "training.batch_size": 12},  # the code's batch of 128 counts views
        read_recipe("simvae-simvae-mnist-as-coded"),
        steps=400,
    ),
}
NAMES = {"pythae": "pythae", "lightly": "lightly, 2 workers", "pillow": "its public code's way, 4 workers"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", default="peers/bin/python", help="the Python of the peers' environment")
    parser.add_argument("--case", action="append", choices=CASES)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--limit", type=int, help="of the training images, to try the script out")
    arguments = parser.parse_args()
    rows, machines = ({}, {}) if arguments.case is None else kept()
    for name in arguments.case or CASES:
        case = CASES[name]
        speeds = measure(case, arguments.peers, arguments.turns, arguments.limit)
        peer, keeping = (statistics.median(speeds.pop(side)) for side in ("peer", "peer, keeping"))
        rows[name], machines[name] = [], environment() | {"peers": versions(arguments.peers)}
        for way, found in speeds.items():
            ours = statistics.median(found)
            cells = [f"{speed:,.0f}" for speed in (ours, peer, keeping)]
            ratios = [f"{ours / speed:.1f}" for speed in (peer, keeping)]
            rows[name].append([name, way, NAMES[case.peer], *cells, *ratios])
    keep(
        "peers",
        "Beside the peers, end to end",
        f"Images a second, medians of {arguments.turns} turns, the sides of a case in turn: diabolo in "
        "several ways (plain float32 is its default; compiled: `training.compile=true`; keeping: "
        "`DIABOLO_KEEP_MEMORY=1`), and the peer in float32, first as it is, then with glibc told to keep "
        f"freed memory ({' '.join(f'{key}={value}' for key, value in KEEPING.items())}). "
        "Network, batch, views, optimiser and images are the same. The peers' environment holds "
        f"{'; or '.join(dict.fromkeys(machine['peers'] for machine in machines.values()))}.",
        ["case", "diabolo in", "peer", "diabolo", "peer", "keeping", "ratio to peer", "to peer, keeping"],
        [row for name in CASES for row in rows.get(name, ())],
        command="python benchmarks/peers.py",
        machines=machines,
    )


def kept() -> tuple[dict[str, list[list[str]]], dict[str, Any]]:
    """Of each case that earlier runs of this script measured, its rows and its machine."""
    file, rows = RESULTS / "peers.json", {}
    if not file.exists():
        return {}, {}
    found = json.loads(file.read_text("utf-8"))
    for row in found["rows"]:
        rows.setdefault(row[0], []).append(row)
    return rows, found["machines"]


def versions(python: str) -> str:
    code = f"from importlib.metadata import version; print(*map(version, {PACKAGES}))"
    found = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    return ", ".join(f"{name} {version}" for name, version in zip(PACKAGES, found, strict=True))


def measure(case: Case, peers: str, turns: int, limit: int | None) -> dict[str, list[float]]:
    """Images a second, a value a turn: of diabolo in each way, of the peer both ways."""
    pixels = load(recipe_of(case, "float32", limit).data).train.pixels
    with TemporaryDirectory() as folder, ExitStack() as stack:
        np.save(Path(folder, "images.npy"), pixels.numpy())
        sides = {}
        for name, (python, script, keeping, way) in sides_of(case, peers).items():
            recipe = complete_for(recipe_of(case, way, limit), tuple(pixels.shape[1:]))
            side = {
                "recipe": recipe.to_dict(),
                "images": str(Path(folder, "images.npy")),
                "out": str(Path(folder, name)),
                "steps": case.steps,
                "views": case.views,
            }
            sides[name] = stack.enter_context(started(python, script, side, keeping))
        speeds: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(turns):
            for name, process in sides.items():
                time.sleep(PAUSE)
                print(file=process.stdin, flush=True)
                speeds[name].append(turn(process))
        return speeds


def sides_of(case: Case, peers: str) -> dict[str, tuple[str, str, dict[str, str], str]]:
    """Each side's Python, script, environment and way."""
    own = {"keeping": {"DIABOLO_KEEP_MEMORY": "1"}}
    ours = {way: (sys.executable, "ours", own.get(way.split(", ")[-1], {}), way) for way in case.ours}
    peer = f"with_{case.peer}"
    return ours | {
        "peer": (peers, peer, {}, "float32"),
        "peer, keeping": (peers, peer, KEEPING, "float32"),
    }


def recipe_of(case: Case, way: str, limit: int | None) -> Recipe:
    """A turn of `fit` ends where it logs: after `steps`, and at the end of an epoch."""
    precision, *switches = way.split(", ")
    training = {"epochs": ENDLESS, "precision": precision, "log_every": case.steps or ENDLESS}
    layer = {"training": training | {"compile": "compiled" in switches}, "evaluation": {"live": 0}}
    return compose([case.recipe, layer], case.settings | {"data.limit": limit})


@contextmanager
def started(
    python: str, script: str, side: dict[str, Any], environment: dict[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """A side that has started and warmed up."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    own["PYTHONPATH"] = str(SIDES.parents[1] / "src")
    log = Path(f"{side['out']}.log")
    with log.open("w") as errors:
        process = subprocess.Popen(
            [python, str(SIDES / f"{script}.py"), json.dumps(side)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=own | environment,
        )
        try:
            turn(process)
            yield process
        except EOFError:
            sys.exit(f"{script} ended before its turn:\n{log.read_text()[-2000:]}")
        finally:
            process.communicate()  # its input ends, and it leaves


def turn(process: subprocess.Popen[str]) -> float:
    """Wait for a side's turn to end. Returns its images a second."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise EOFError
    return json.loads(line)["images_per_second"]


if __name__ == "__main__":
    main()
