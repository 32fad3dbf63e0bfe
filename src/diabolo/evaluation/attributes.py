"""Attributes: many yes-or-no labels at once, each read by a logistic head of its own."""

from typing import Annotated, ClassVar

import numpy as np
from annotated_types import MinLen

from diabolo.errors import UserError, unknown
from diabolo.evaluation.features import Features, Part
from diabolo.evaluation.probes import Linear, Needs, Outcome, Positive, PositiveFloat, known, standardised


class Attributes(Linear):
    """The linear probe on each attribute by itself, with a regularisation of its own.

    The accuracy is the mean over attributes. Beside it stands `base`, what always giving the value that is
    commoner on train would score, since many attributes are rare; `each` holds both by attribute. only: the
    names of those to read, by default all.
    """

    needs: ClassVar[Needs] = "attributes"

    def __init__(
        self,
        *,
        only: Annotated[tuple[str, ...], MinLen(1)] | None = None,
        C: Annotated[tuple[PositiveFloat, ...], MinLen(1)] = (0.001, 0.01, 0.1, 1.0),
        max_iter: Positive = 100,
        tolerance: PositiveFloat = 1e-4,
    ) -> None:
        super().__init__(C=C, max_iter=max_iter, tolerance=tolerance)
        self.only = only

    def __call__(self, features: Features, seed: int) -> Outcome:
        if "attributes" not in features.targets:
            raise UserError("attributes: these features have none; leave this probe out")
        names = features.attribute_names
        for name in self.only or ():
            if name not in names:
                raise unknown("attribute", name, names)
        flat = standardised(features)
        parts = flat.train, flat.validation, flat.test
        each, chosen = {}, {}
        for name in self.only or names:
            train, validation, test = (_labelled(part, names.index(name)) for part in parts)
            common = round(known(train).mean())
            base = accuracy = float((known(test) == common).mean())
            if (known(train) != common).any():
                outcome = self.read(train, validation, test, 2)
                accuracy, chosen[name] = outcome.accuracy, outcome.chosen
            each[name] = {"accuracy": accuracy, "base": base}
        mean = {key: float(np.mean([one[key] for one in each.values()])) for key in ("accuracy", "base")}
        return Outcome(mean["accuracy"], chosen, more={"base": mean["base"], "each": each})


def _labelled(part: Part, column: int) -> Part:
    """The features with one attribute as their label."""
    assert part.attributes is not None
    return Part(part.values, part.attributes[:, column].astype(np.int64))
