"""The space of a search: keys of the recipe, and for each the values to try.

A list names them; a mapping {low, high, log, step} is a range of integers or floats. `log` draws as many
values between 1 and 10 as between 10 and 100.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar

from diabolo.components import settings_of
from diabolo.errors import UserError
from diabolo.recipe import Recipe
from diabolo.shelf import Shelf
from diabolo.tables import METHODS

if TYPE_CHECKING:
    from optuna import Trial

SPACES = Shelf("space", "tuning/spaces")
BATCHES, LATENTS, WIDTHS = [64, 128, 256, 512], [8, 16, 32, 64, 128], [64, 128, 256]
REACH = 10  # how far a rate goes to either side of the recipe's own, as a factor


@dataclass(frozen=True)
class Range:
    """The numbers from low to high, both included; integers where both are."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)


@dataclass(frozen=True)
class Choice:
    """Values of any kind, by the label that the store keeps of each."""

    values: dict[Any, Any]


Space = dict[str, Range | Choice]


def space_from(values: Any, where: str) -> Space:
    """Check a space as YAML has it. A component's name comes before its settings, which go with it."""
    if not isinstance(values, Mapping) or not values:
        raise UserError(f"{where}: expected keys of the recipe, each with a list of values or a range")
    space = {str(key): _dimension(value, f"{where}: {key}") for key, value in values.items()}
    return dict(sorted(space.items(), key=lambda item: not item[0].endswith(".name")))


def default_space(recipe: Recipe, images: int) -> dict[str, Any]:
    """The learning rate around the recipe's own, the batch size, and the width of the code or embedding.

    images: of the training split; batches are no larger.
    """
    lr = recipe.optimiser["lr"]
    values: dict[str, Any] = {
        "optimiser.lr": {"low": lr / REACH, "high": lr * REACH, "log": True},
    }
    if batches := [size for size in BATCHES if size <= images]:
        values["training.batch_size"] = batches
    settings = settings_of(METHODS.load(recipe.method["name"]))
    for key, widths in (("latent", LATENTS), ("width", WIDTHS)):
        if key in settings:
            return values | {f"method.{key}": widths}
    return values


def corners(space: Space) -> list[dict[str, Any]]:
    """Settings in which each value that a list names, and each end of a range, occurs at least once."""
    ends = {key: _ends(dimension) for key, dimension in space.items()}
    return [
        {key: values[min(i, len(values) - 1)] for key, values in ends.items()}
        for i in range(max(map(len, ends.values())))
    ]


def suggest(space: Space, trial: Trial) -> None:
    """Let the study's sampler choose a value for each key."""
    for key, dimension in space.items():
        if isinstance(dimension, Choice):
            trial.suggest_categorical(key, list(dimension.values))
        elif dimension.whole:
            step = 1 if dimension.step is None else int(dimension.step)
            trial.suggest_int(key, int(dimension.low), int(dimension.high), log=dimension.log, step=step)
        else:
            low, high = float(dimension.low), float(dimension.high)
            trial.suggest_float(key, low, high, log=dimension.log, step=dimension.step)


def draws(space: Space, number: int, seed: int) -> list[dict[str, Any]]:
    """So many settings drawn at random, each key on its own. Floats have three significant digits."""
    rng = Random(f"draws {seed}")
    return [{key: _draw(dimension, rng) for key, dimension in space.items()} for _ in range(number)]


def settings_from(space: Space, params: Mapping[str, Any]) -> dict[str, Any]:
    """What a trial was given, as settings of the recipe in the order of the space."""
    return {
        key: dimension.values[params[key]] if isinstance(dimension, Choice) else params[key]
        for key, dimension in space.items()
    }


def _draw(dimension: Range | Choice, rng: Random) -> Any:
    if isinstance(dimension, Choice):
        values = list(dimension.values.values())
        return rng.choice(values)
    low, high = dimension.low, dimension.high
    if dimension.step is not None:
        return low + dimension.step * rng.randrange(math.floor((high - low) / dimension.step) + 1)
    # an integer has the half unit to either side
    half = 0.5 if dimension.whole else 0.0
    low, high = low - half, high + half
    value = math.exp(rng.uniform(math.log(low), math.log(high))) if dimension.log else rng.uniform(low, high)
    return round(value) if dimension.whole else float(f"{value:.3g}")


def _dimension(value: Any, where: str) -> Range | Choice:
    from pydantic import TypeAdapter, ValidationError

    if isinstance(value, list) and value:
        return Choice({_label(item): item for item in value})
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: expected a list of values or {{low: …, high: …}}, got {value!r}")
    try:
        found = TypeAdapter(Range).validate_python(dict(value))
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{where}: {'.'.join(map(str, first['loc'][:1]))}: {first['msg'].lower()}") from None
    if not found.low < found.high or (found.log and (found.low <= 0 or found.step is not None)):
        raise UserError(f"{where}: low must be less than high, and with log above 0 and without a step")
    if found.whole and isinstance(found.step, float):
        raise UserError(f"{where}: a range of integers has an integer step, got {found.step}")
    if found.step is not None and found.step <= 0:
        raise UserError(f"{where}: step must be more than 0, got {found.step}")
    return found


def _label(item: Any) -> Any:
    """What stands for a value in the store, which takes plain ones only."""
    plain = item is None or isinstance(item, bool | int | float | str)
    return item if plain else json.dumps(item)


def _ends(dimension: Range | Choice) -> list[Any]:
    if isinstance(dimension, Choice):
        return list(dimension.values.values())
    return [dimension.low, dimension.high]
