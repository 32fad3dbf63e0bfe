"""A budget, of training time or of images encoded, and the epochs that it buys."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from diabolo.errors import Interrupted, UserError
from diabolo.recipe import Recipe
from diabolo.verbs.fit import fit
from diabolo.verbs.work import threads_each

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
MEASURED = 10.0  # seconds of training that a measurement takes, or a tenth of the budget if that is less
EVERY = 5  # steps between looks at the clock; the first of them warm up
ENDLESS = 1_000_000  # epochs


class _EnoughError(Exception):
    """The pace is known."""


class Pace:
    """Watches a training's log and, after enough of it, knows how many steps it makes a second."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.since: tuple[float, int] | None = None
        self.steps_per_second = 0.0

    def __call__(self, row: Mapping[str, Any]) -> None:
        now = time.perf_counter()
        if self.since is None:
            self.since = now, row["step"]
            return
        spent = now - self.since[0]
        if spent >= self.seconds:
            self.steps_per_second = (row["step"] - self.since[1]) / spent
            raise _EnoughError


def seconds_of(budget: str) -> float:
    """A time such as "90s", "20m" or "1.5h" in seconds."""
    number, unit = budget[:-1], budget[-1:]
    try:
        seconds = float(number) * UNITS[unit]
    except (ValueError, KeyError):
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UserError(f"--budget {budget}: write a time, for example 90s, 20m or 1.5h")
    return seconds


def epochs_encoding(encoded: int, recipe: Recipe, images: int) -> int:
    """The epochs whose views are nearest to so many images encoded.

    images: of the training split. Raises `UserError` where not even half an epoch fits.
    """
    epochs = encoded / (recipe.encodings * images)
    if epochs < 0.5:
        raise UserError(
            f"an epoch of {recipe.method['name']} encodes {recipe.encodings * images:,} images, and the "
            f"budget is {encoded:,}: raise it, or use fewer images with --set data.limit=N"
        )
    return max(1, round(epochs))


def epochs_within(seconds: float, recipe: Recipe, images: int, workers: int = 1) -> int:
    """The epochs that a training finishes nearest to a time, on this machine and beside so many workers.

    A few seconds of the training itself are run and thrown away. A pass over all features before each
    epoch counts where epochs are as short as that.
    images: of the training split. Raises `UserError` where not even half an epoch fits.
    """
    pace = Pace(min(MEASURED, seconds / 10))
    values = recipe.to_dict()
    values["training"] |= {"epochs": ENDLESS, "log_every": EVERY, "checkpoint_every": ENDLESS}
    values["evaluation"] |= {"live": 0}
    try:
        with TemporaryDirectory() as folder, threads_each(workers), suppress(_EnoughError):
            fit(recipe=values, out=Path(folder) / "run", evaluate=False, watch=pace, quiet=True)
    except Interrupted:
        raise Interrupted("stopped while an epoch was measured; the same command again goes on") from None
    per_epoch = images // recipe.training.batch_size // recipe.training.accumulate
    epochs = seconds * pace.steps_per_second / per_epoch
    if epochs < 0.5:
        raise UserError(
            f"an epoch of {recipe.method['name']} takes about {seconds / epochs:.0f} s, and the budget is "
            f"{seconds:.0f} s: raise it, or use fewer images with --set data.limit=N"
        )
    return max(1, round(epochs))
