"""The figure a trial is chosen by, read from its run."""

from __future__ import annotations

import math

import numpy as np

from diabolo.errors import SettingsError
from diabolo.generation import Coder, reconstruction_errors
from diabolo.runs.inputs import trained_on
from diabolo.runs.run import Run
from diabolo.tuning.criteria import CRITERIA, LIVE, By


def value_of(run: Run, by: By) -> float:
    """The last point of the live curve; for reconstruction, the mean squared error on validation.

    Raises `SettingsError` where the run has none: no labels, or no decoder.
    """
    if by in LIVE:
        points = _points(run, by)
        if not points:
            raise SettingsError(
                f"{run.folder}: its curve has no {CRITERIA[by].name}, to choose by: no labels?"
            )
        value = points[-1][1]
    elif isinstance(run.method, Coder):
        value = float(np.mean(reconstruction_errors(run.method, trained_on(run).validation)))
    else:
        method = run.recipe.method["name"]
        raise SettingsError(f"{run.folder}: {method} has no decoder, to choose by reconstruction")
    if not math.isfinite(value):
        raise SettingsError(f"{CRITERIA[by].name} is not finite")
    return value


def before_training(run: Run, by: By) -> float | None:
    """The same figure of the encoder that was not trained yet, where the live curve has it."""
    return next((value for step, value in _points(run, by) if step == 0), None) if by in LIVE else None


def _points(run: Run, by: By) -> list[tuple[int, float]]:
    """The steps and values of the live curve."""
    rows = [row for row in run.metrics if row["kind"] == "curve" and LIVE[by] in row]
    return [(row["step"], float(row[LIVE[by]])) for row in rows]
