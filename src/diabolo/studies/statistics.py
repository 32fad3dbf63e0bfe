"""What several seeds say: a mean with its deviation, and whether one row is ahead of another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

Word = Literal["held", "not held", "undecided"]
CONFIDENCE = 0.95
ROUNDING = 1e-9  # share by which a difference of one step may seem larger than a step
BySeed = dict[int, float]


@dataclass(frozen=True)
class Difference:
    """Of two rows over the seeds they share: mean ± half the width of its 95 % interval, in nobody's favour.

    half is infinite with a single seed.
    """

    mean: float
    half: float
    seeds: int

    def at_least(self, by: float) -> Word:
        """Whether the difference is `by` or more: decided where the interval lies on one side of it.

        By 0 it must be more: rows that are equal are not ahead of each other.
        """
        if self.mean - self.half >= by and (by or self.mean > 0):
            return "held"
        return "not held" if self.mean + self.half < by else "undecided"


def paired(one: Mapping[int, float], other: Mapping[int, float], step: float = 0.0) -> Difference:
    """one − other, by seed: Student's interval of the mean of the paired differences.

    step: in which the figures move, such as one test example; the interval is no narrower, lest seeds that
    agree by chance seem to know better.
    """
    from scipy.stats import t

    differences = [one[seed] - other[seed] for seed in sorted(one.keys() & other.keys())]
    n = len(differences)
    if n == 0:
        return Difference(math.nan, math.inf, 0)
    if n == 1:
        return Difference(differences[0], math.inf, 1)
    half = float(t.ppf((1 + CONFIDENCE) / 2, n - 1)) * stdev(differences) / math.sqrt(n)
    return Difference(fmean(differences), max(half, step * (1 + ROUNDING)), n)


def together(words: Sequence[Word]) -> Word:
    """Of a claim over several rows: held where all are, not held where one is not."""
    if "not held" in words:
        return "not held"
    return "held" if words and set(words) == {"held"} else "undecided"


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """The deviation is None for a single value."""
    return fmean(values), stdev(values) if len(values) > 1 else None
