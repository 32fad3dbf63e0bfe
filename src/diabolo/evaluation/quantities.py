"""Quantities: real-valued targets, each read from the features by a ridge regression of its own."""

from typing import Annotated, ClassVar

import numpy as np
from annotated_types import MinLen

from diabolo.errors import UserError, unknown
from diabolo.evaluation.features import Features, Part
from diabolo.evaluation.probes import Explained, Needs, PositiveFloat
from diabolo.evaluation.regression import PENALTIES, determine


class Quantities:
    """R² of a ridge regression on standardised features, for each quantity, and their mean.

    The penalty is chosen for each quantity by its R² on validation; see `determine`. only: the names of those
    to read, by default all.
    """

    needs: ClassVar[Needs] = "quantities"

    def __init__(
        self,
        *,
        only: Annotated[tuple[str, ...], MinLen(1)] | None = None,
        penalties: Annotated[tuple[PositiveFloat, ...], MinLen(1)] = PENALTIES,
    ) -> None:
        self.only, self.penalties = only, penalties

    def __call__(self, features: Features, seed: int) -> Explained:
        if "quantities" not in features.targets:
            raise UserError("ridge: these features have no quantities; leave this probe out")
        names = features.quantity_names
        for name in self.only or ():
            if name not in names:
                raise unknown("quantity", name, names)
        read = self.only or names
        columns = [names.index(name) for name in read]

        def part(of: Part, where: str) -> tuple[np.ndarray, np.ndarray]:
            assert of.quantities is not None
            y = of.quantities[:, columns]
            if constant := [name for name, spread in zip(read, np.ptp(y, axis=0), strict=True) if not spread]:
                raise UserError(
                    f"ridge: quantity '{constant[0]}' is the same for every example of {where}; name the "
                    "others by 'only'"
                )
            return of.values, y

        found = determine(
            part(features.train, "train"),
            part(features.validation, "validation"),
            part(features.test, "test"),
            self.penalties,
        )
        chosen = {
            name: {"penalty": float(penalty), "validation": float(r2)}
            for name, penalty, r2 in zip(read, found.penalties, found.validation, strict=True)
        }
        each = dict(zip(read, found.r2.tolist(), strict=True))
        return Explained(float(found.r2.mean()), chosen, {"each": each})
