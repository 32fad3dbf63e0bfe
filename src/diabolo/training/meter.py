"""Where a training stands, and the losses it has not logged yet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from diabolo.distributed import mean_over_processes
from diabolo.errors import SettingsError
from diabolo.methods.base import Terms


class Meter:
    """Loss terms, kept on the device and read once per row of the log, so that no step waits for them."""

    def __init__(self, names: Sequence[str] = (), unlogged: Sequence[Sequence[float]] = ()) -> None:
        self.names = list(names)
        self.rows = [torch.tensor(row, dtype=torch.float64) for row in unlogged]

    def add(self, parts: Sequence[Terms]) -> None:
        """The terms of one step: of its batch, or of each that it accumulates."""
        self.names = ["loss", *parts[0].parts]
        rows = [torch.stack([terms.total, *terms.parts.values()]).detach() for terms in parts]
        self.rows.append(rows[0] if len(rows) == 1 else torch.stack(rows).mean(0))

    def unlogged(self, step: int) -> list[list[float]]:
        """The terms of each step since the last row, `step` being the newest, as this process has seen them.

        Raises `SettingsError` at the first that is not finite.
        """
        rows = self._read()
        self._refuse(rows, step)
        return rows.tolist()

    def flush(self, step: int) -> dict[str, float]:
        """The mean of each term over the steps since the last row, and over all processes.

        Raises `SettingsError` in every process at the first step that is not finite in one.
        """
        rows = mean_over_processes(self._read())
        self._refuse(rows, step)
        self.rows.clear()
        return dict(zip(self.names, rows.mean(0).tolist(), strict=True))

    def _read(self) -> Tensor:
        """The terms of each step since the last row: float64 [steps, terms], on the host."""
        if not self.rows:
            return torch.empty(0, len(self.names), dtype=torch.float64)
        # In one copy from the device, which may know no float64; those of a checkpoint lie on the host.
        return torch.stack([row.to(self.rows[-1]) for row in self.rows]).cpu().double()

    def _refuse(self, rows: Tensor, step: int) -> None:
        for age, row in zip(range(len(rows) - 1, -1, -1), rows.tolist(), strict=True):
            for name, value in reversed(list(zip(self.names, row, strict=True))):
                if not math.isfinite(value):
                    raise SettingsError(
                        f"training stopped at step {step - age}: {name} is {value}; a lower optimiser.lr, "
                        "training.clip=1 or training.precision=float32 may help"
                    )


@dataclass
class Position:
    """How far a training has come."""

    step: int = 0  # optimiser steps done
    seconds: float = 0.0  # spent in steps, over all sittings
    meter: Meter = field(default_factory=Meter)
