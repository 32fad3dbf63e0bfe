"""Measures: what scores hold beside the accuracies of probes, read from what represents the images itself.

A measure is built with its settings and called with a `Subject`. It chooses nothing on test.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from diabolo.data.images import Splits
from diabolo.distributed import alone
from diabolo.errors import UserError
from diabolo.evaluation.decoder import coder_for
from diabolo.generation import Coder
from diabolo.methods.base import Method
from diabolo.recipe import decoder_for
from diabolo.tables import MEASURES
from diabolo.views.pipeline import Pipeline


@dataclass(frozen=True)
class Subject:
    """What a measure looks at: a method in evaluation mode, on its device, and the data it is scored on.

    space: the representation that is scored. views: those of the training, where it had any that are at hand.
    without: the classes that training went without. seed: of a run. kept: where a decoder trained for
    a method without one is kept. decoder: the completed specification of that one, by default for the
    shape. precision: such a decoder is trained in, that of the run's training.
    """

    method: Method
    splits: Splits
    space: str
    views: Pipeline | None = None
    without: tuple[str, ...] = ()
    seed: int = 0
    kept: Path | None = None
    decoder: Mapping[str, Any] | None = None
    precision: str = "float32"

    @cached_property
    def coder(self) -> Coder:
        """The method, with a decoder trained on the space where it has none of its own."""
        train = self.splits.train
        return coder_for(
            self.method,
            self.space,
            train.shape,
            self.decoder or decoder_for(train.shape),
            lambda: train,
            self.seed,
            self.kept,
            precision=self.precision,
        )


class Measure:
    """A way to read a method. Its keyword-only parameters are the recipe's settings."""

    # What reference rows it says something of, and cheaply: "random" (the untrained twin), "pca", "pixels".
    beside: ClassVar[tuple[str, ...]] = ()

    def check(self, subject: Subject) -> None:
        """Raise `UserError`, with the reason, where it has no answer; of an untrained method too."""

    def __call__(self, subject: Subject) -> dict[str, Any]:
        """Plain numbers, texts and lists, ready for JSON; a "note" is what a reader should know of them."""
        raise NotImplementedError


Measures = Mapping[str, Measure]


def build_measures(specs: Iterable[Mapping[str, Any]]) -> dict[str, Measure]:
    """The measures of completed specs, by name."""
    return {spec["name"]: MEASURES.build(spec) for spec in specs}


def beside(row: str, specs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The completed specs of the measures that are read on a reference row as well."""
    return [dict(spec) for spec in specs if row in MEASURES.load(spec["name"]).beside]


def objection(measure: Measure, subject: Subject) -> str | None:
    """Why a measure has no answer for the method or the data; None where it has."""
    try:
        with alone():
            measure.check(subject)
    except UserError as reason:
        return str(reason)
    return None


def check_measures(measures: Measures, subject: Subject) -> None:
    """Raise `UserError` for the first measure that the method or the data do not support."""
    for name, measure in measures.items():
        if reason := objection(measure, subject):
            raise UserError(f"measure '{name}': {reason}")


def measured(measures: Measures, subject: Subject) -> dict[str, dict[str, Any]]:
    """What each measure finds, and the seconds it took."""
    results = {}
    for name, measure in measures.items():
        started = time.perf_counter()
        with alone():  # one process scores, while others may still be there
            found = measure(subject)
        results[name] = found | {"seconds": round(time.perf_counter() - started, 2)}
    return results
