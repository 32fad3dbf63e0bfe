"""A step as one graph beside a compiled forward pass and beside the eager step.

    python benchmarks/compiled.py
    python benchmarks/compiled.py --case "AE, small conv, Fashion-MNIST"

Forward pass, backward pass and update on one fixed batch, in one process, turn by turn: eagerly; with the
forward pass compiled, which is what several processes do; and with both passes in one graph.
"""

import argparse
import statistics
import time
from collections.abc import Iterator

import torch
from loop import CASES, synchronise
from page import keep

from diabolo.allocator import spare_page_faults
from diabolo.data.splits import load
from diabolo.methods.build import build_method, build_pipelines, facts_of
from diabolo.recipe import Recipe, complete_for, compose
from diabolo.runs.environment import default_device
from diabolo.training.loop import Feed, prepare
from diabolo.training.step import compile_step, forward_backward

TRIED = {  # precision, steps of a turn
    "VAE, MLP, MNIST": ("bf16", 40),
    "AE, small conv, Fashion-MNIST": ("float32", 40),
    "SimCLR, quarter ResNet-18, CIFAR-10": ("bf16", 3),
}
WAYS = ("eager", "forward pass", "one graph")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", action="append", choices=TRIED)
    parser.add_argument("--turns", type=int, default=7)
    arguments = parser.parse_args()
    spare_page_faults(default_device())
    rows = []
    for name in arguments.case or TRIED:
        precision, steps = TRIED[name]
        times = measure(
            compose([{"training": {"precision": precision}}], CASES[name]), steps, arguments.turns
        )
        eager, forward, graph = (1000 * statistics.median(times[way]) for way in WAYS)
        cells = [f"{one:.1f}" for one in (eager, forward, graph)]
        rows.append([name, precision, *cells, f"{eager / graph:.2f}", f"{forward / graph:.2f}"])
    keep(
        "compiled",
        "A step compiled as one graph",
        "Milliseconds of a step on one fixed batch (forward pass, backward pass, update), medians of "
        f"{arguments.turns} turns: eager, with the forward pass compiled, and with both passes in one graph. "
        "Ratios are of the first and of the second to the third.",
        ["case", "precision", *WAYS, "eager / graph", "forward / graph"],
        rows,
    )


def measure(recipe: Recipe, steps: int, turns: int) -> dict[str, list[float]]:
    """Seconds of a step of each way, a value a turn."""
    splits, device = load(recipe.data), default_device()
    recipe = complete_for(recipe, splits.train.shape)
    # The graph first: what it sets up for the compiler holds for the forward pass too.
    ways = {way: stepping(way, recipe, splits, device) for way in reversed(WAYS)}
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for turn in range(turns + 1):  # the first compiles
        for way, step in ways.items():
            started = time.perf_counter()
            for _ in range(steps):
                next(step)
            synchronise(device)
            if turn:
                times[way].append((time.perf_counter() - started) / steps)
    return times


def stepping(way: str, recipe: Recipe, splits, device: torch.device) -> Iterator[None]:
    feed = Feed(splits.train, build_pipelines(recipe), recipe.training.batch_size, recipe.seed, device)
    batch = feed(0, 0, 0.0)
    method = build_method(recipe, facts_of(splits)).to(device).train()
    optimiser = prepare(method, recipe)
    compute = forward_backward
    if way == "one graph":
        compute = compile_step(method, [])
    elif way == "forward pass":
        method.compile()
    while True:
        compute(method, batch, recipe.training.precision)
        optimiser.step()
        optimiser.zero_grad()
        yield


if __name__ == "__main__":
    main()
