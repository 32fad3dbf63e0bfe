"""What a trial is chosen by, on validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

By = Literal["knn", "reconstruction", "rank"]


@dataclass(frozen=True)
class Criterion:
    """rises: whether more is better. scale: what it is multiplied by when shown, in `unit`."""

    name: str
    rises: bool
    scale: float = 1.0
    unit: str = ""

    @property
    def title(self) -> str:
        return f"{self.name}, {self.unit}" if self.unit else self.name


CRITERIA: dict[By, Criterion] = {
    "knn": Criterion("kNN on validation", rises=True, scale=100, unit="%"),
    "reconstruction": Criterion("MSE per dimension on validation", rises=False),
    "rank": Criterion("effective rank on validation", rises=True),
}
LIVE = {"knn": "knn", "rank": "effective_rank"}  # where the live curve has them
