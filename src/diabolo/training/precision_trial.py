"""A short trial of the precisions, for a recipe that leaves the choice to it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from diabolo.data.images import Images
from diabolo.distributed import alone, world_size
from diabolo.methods.build import Facts, build_method, build_pipelines
from diabolo.recipe import Recipe
from diabolo.training.loop import Feed, prepare
from diabolo.training.step import compile_step, forward_backward
from diabolo.views.base import View

SHARE = 0.9  # of float32's time that bf16 may take to be chosen: its rounding should buy something
TURNS, SECONDS = 3, 1.0  # a trial takes at least so many turns, and at least so long


def step_times(
    recipe: Recipe,
    train: Images,
    facts: Facts,
    device: torch.device,
    encoder: nn.Module | None = None,
    transforms: Sequence[View] | None = None,
) -> dict[str, float]:
    """The median seconds of forward pass, backward pass and update on the first batch, in each precision.

    They take turns on one copy of the method, with one process's share of the batch. What is random in the
    training that follows is seeded for its place, so that it is the same as without a trial.
    Empty where there is no choice: on a device without bf16, or with nothing to train.
    """
    if not has_bf16(device) or recipe.training.epochs == 0:
        return {}
    size = recipe.training.batch_size // world_size()
    with alone():
        feed = Feed(train, build_pipelines(recipe, transforms), size, recipe.seed, device)
        method = build_method(recipe, facts, encoder).to(device).train()
        optimiser = prepare(method, recipe)
        graphs = recipe.training.compile == "graphs"
        batch = feed(0, 0, 0.0)
        compute = compile_step(method, [], graphs) if recipe.training.compile else forward_backward
        times: dict[str, list[float]] = {"float32": [], "bf16": []}
        started = time.perf_counter()
        while len(times["bf16"]) <= TURNS or time.perf_counter() - started < SECONDS:
            for precision, spent in times.items():
                begun = time.perf_counter()
                if graphs:
                    torch.compiler.cudagraph_mark_step_begin()
                compute(method, batch, precision)
                optimiser.step()
                optimiser.zero_grad()
                method.after_step(0.0)
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                spent.append(time.perf_counter() - begun)
    return {name: statistics.median(spent[1:]) for name, spent in times.items()}  # the first warms caches up


def has_bf16(device: torch.device) -> bool:
    """Whether a device computes in bf16 itself. How fast a CPU is at it only a trial can tell."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu"


def faster(times: Mapping[str, float]) -> str:
    """The precision to train in, by the seconds of a step in each; float32 where nothing was tried."""
    return "bf16" if times and times["bf16"] < SHARE * times["float32"] else "float32"
