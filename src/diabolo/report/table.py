"""The score table: accuracies in percent and R², the run's own representations against the references."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diabolo.evaluation.verdict import differ

PROBES = {
    "linear": "Linear",
    "mlp": "MLP",
    "knn": "kNN",
    "few-shot": "Few-shot",
    "crop-linear": "Linear (crops)",
    "sgd-linear": "Linear (SGD)",
    "adam-linear": "Linear (Adam)",
    "gmm": "GMM",
    "kmeans": "k-means",
    "attributes": "Attributes",
    "ridge": "Ridge, R²",
    "retrieval": "Retrieval",
    "finetune": "Fine-tuned",
}


@dataclass(frozen=True)
class Unit:
    """What a probe is shown by: key in its entry of the scores, times scale, to so many digits."""

    key: str
    symbol: str
    scale: float
    digits: int

    def read(self, score: Mapping[str, Any]) -> float:
        """The figure as it is shown and compared."""
        return round(self.scale * score[self.key], self.digits)

    def show(self, score: Mapping[str, Any]) -> str:
        return f"{self.read(score):.{self.digits}f}".replace("-", "−")


UNITS = (Unit("accuracy", "%", 100, 1), Unit("r2", "R²", 1, 3))


@dataclass(frozen=True)
class Cell:
    """One figure. share: of what can be reached, in percent, for its bar; None where there is no figure.

    mark: "best" among the run's own in its column; "ahead", a reference beyond that best, of accuracies by
    more than the choice of the test examples explains.
    """

    text: str
    share: float | None
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
    own = [name for name in entries if name.partition(".")[0].lower() not in references]
    units = units_of(entries.values())

    def leader(probe: str) -> Mapping[str, Any] | None:
        """The best of the run's own."""
        having = [entries[name] for name in own if probe in entries[name]]
        return max(having, key=lambda entry: units[probe].read(entry[probe]), default=None)

    best = {probe: leader(probe) for probe in units}

    def cell(name: str, probe: str) -> Cell:
        entry, first, unit = entries[name], best[probe], units[probe]
        if probe not in entry:
            return Cell("–", None)
        score = entry[probe]
        share = 100 * min(1, max(0, score[unit.key]))
        if first is None or name in own:
            mark = "best" if first is not None and unit.read(score) == unit.read(first[probe]) else ""
        else:
            mark = "ahead" if _ahead(entry, first, probe, unit) else ""
        return Cell(unit.show(score), share, mark)

    rows = [
        Row(
            name,
            name not in own,
            entry["width"],
            entry.get("centred_rank"),
            [cell(name, probe) for probe in units],
        )
        for name, entry in entries.items()
    ]
    return Table([probe_title(probe) for probe in units], rows)


def _ahead(entry: Mapping[str, Any], other: Mapping[str, Any], probe: str, unit: Unit) -> bool:
    """Whether a figure is above another; an accuracy by more than the test examples' choice explains."""
    if unit.read(entry[probe]) <= unit.read(other[probe]):
        return False
    if "accuracy" not in entry[probe]:
        return True
    p, q = entry[probe]["accuracy"], other[probe]["accuracy"]
    return differ(p, entry["test_size"], q, other["test_size"])


def number(value: float) -> str:
    """A figure of any size in about four digits: 12345.6 → 12,346; 0.0123456 → 0.01235."""
    if not math.isfinite(value):
        return str(value)
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return text.replace("-", "−")


def probe_title(probe: str) -> str:
    return PROBES.get(probe, probe)


def units_of(entries: Iterable[Mapping[str, Any]]) -> dict[str, Unit]:
    """The unit of every probe that one of the entries has."""
    scores = [
        (name, score) for entry in entries for name, score in entry.items() if isinstance(score, Mapping)
    ]
    return {name: unit for name, score in scores for unit in UNITS if score.get(unit.key) is not None}
