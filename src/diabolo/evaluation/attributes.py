"""Attributes: many yes-or-no labels at once, each read by a logistic head of its own."""

from typing import ClassVar

import numpy as np

from diabolo.errors import UserError
from diabolo.evaluation.features import Features, Part
from diabolo.evaluation.probes import Linear, Needs, Outcome, known, standardised


class Attributes(Linear):
    """The linear probe on each attribute by itself, with a regularisation of its own.

    The accuracy is the mean over attributes. Beside it stands `base`, what always giving the value that is
    commoner on train would score, since many attributes are rare; `each` holds both by attribute.
    """

    needs: ClassVar[Needs] = "attributes"

    def __call__(self, features: Features, seed: int) -> Outcome:
        if not features.attributed:
            raise UserError("attributes: these features have none; leave this probe out")
        flat = standardised(features)
        parts = flat.train, flat.validation, flat.test
        each, chosen = {}, {}
        for column, name in enumerate(features.attribute_names):
            train, validation, test = (_labelled(part, column) for part in parts)
            common = round(known(train).mean())
            base = accuracy = float((known(test) == common).mean())
            if (known(train) != common).any():
                outcome = self.read(train, validation, test)
                accuracy, chosen[name] = outcome.accuracy, outcome.chosen
            each[name] = {"accuracy": accuracy, "base": base}
        mean = {key: float(np.mean([one[key] for one in each.values()])) for key in ("accuracy", "base")}
        return Outcome(mean["accuracy"], chosen, more={"base": mean["base"], "each": each})


def _labelled(part: Part, column: int) -> Part:
    """The features with one attribute as their label."""
    assert part.attributes is not None
    return Part(part.values, part.attributes[:, column].astype(np.int64))
