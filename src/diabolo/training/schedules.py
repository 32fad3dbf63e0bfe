"""Learning rates as functions of the step: nothing to store, nothing to restore."""

import math
from typing import Annotated

from annotated_types import Ge


class Constant:
    """Linear warm-up over `warmup` epochs, then constant."""

    def __init__(self, *, warmup: Annotated[float, Ge(0)] = 0.0) -> None:
        self.warmup = warmup

    def factor(self, step: int, steps: int, steps_per_epoch: int) -> float:
        """What the learning rate is multiplied by at `step` (from 0) of `steps`."""
        warm = self.warmup * steps_per_epoch
        return (step + 1) / (warm + 1) if step < warm else 1.0


class Cosine(Constant):
    """Linear warm-up over `warmup` epochs, then half a cosine to `final` times the rate."""

    def __init__(
        self, *, warmup: Annotated[float, Ge(0)] = 0.0, final: Annotated[float, Ge(0)] = 0.0
    ) -> None:
        super().__init__(warmup=warmup)
        self.final = final

    def factor(self, step: int, steps: int, steps_per_epoch: int) -> float:
        warm = self.warmup * steps_per_epoch
        if step < warm:
            return super().factor(step, steps, steps_per_epoch)
        share = (step - warm) / max(steps - warm, 1)
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
