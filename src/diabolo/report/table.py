"""The score table: accuracies in percent, the run's own representations against the references."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PROBES = {
    "linear": "Linear",
    "mlp": "MLP",
    "knn": "kNN",
    "few-shot": "10 per class",
    "sgd-linear": "Linear (SGD)",
    "adam-linear": "Linear (Adam)",
    "gmm": "GMM",
    "kmeans": "k-means",
    "attributes": "Attributes",
    "retrieval": "Retrieval",
    "finetune": "Fine-tuned",
}


@dataclass(frozen=True)
class Cell:
    """One accuracy. mark: "best" among the run's own in its column; "ahead", a reference beyond that best."""

    percent: float | None
    mark: str = ""


@dataclass(frozen=True)
class Row:
    """One representation: its cells stand in the order of the table's probes."""

    name: str
    reference: bool
    width: int
    rank: float | None
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Table:
    """Column titles and rows."""

    probes: Sequence[str]
    rows: Sequence[Row]


def table(scores: Mapping[str, Any], references: Sequence[str] = ()) -> Table:
    """Lay out `scores.json`. `references`: the names of reference rows, in any space."""
    entries = {
        name: entry for name, entry in scores.items() if isinstance(entry, Mapping) and "width" in entry
    }
    percents = {name: _percents(entry) for name, entry in entries.items()}
    own = [name for name in entries if name.partition(".")[0].lower() not in references]
    probes = list(dict.fromkeys(probe for row in percents.values() for probe in row))
    best = {probe: max((percents[name].get(probe, 0) for name in own), default=100) for probe in probes}

    def cell(name: str, probe: str) -> Cell:
        percent = percents[name].get(probe)
        if percent is None:
            return Cell(None)
        if name in own:
            return Cell(percent, "best" if percent == best[probe] else "")
        return Cell(percent, "ahead" if percent > best[probe] else "")

    rows = [
        Row(
            name,
            name not in own,
            entry["width"],
            entry.get("centred_rank"),
            [cell(name, p) for p in probes],
        )
        for name, entry in entries.items()
    ]
    return Table([probe_title(probe) for probe in probes], rows)


def number(value: float) -> str:
    """A figure of any size in about four digits: 12345.6 → 12,346; 0.0123456 → 0.01235."""
    if not math.isfinite(value):
        return str(value)
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return text.replace("-", "−")


def probe_title(probe: str) -> str:
    return PROBES.get(probe, probe)


def _percents(entry: Mapping[str, Any]) -> dict[str, float]:
    """The accuracy of each probe that has one, in percent, to the one decimal that is shown and compared."""
    scores = {probe: score for probe, score in entry.items() if isinstance(score, Mapping)}
    return {
        probe: round(100 * s["accuracy"], 1) for probe, s in scores.items() if s.get("accuracy") is not None
    }
