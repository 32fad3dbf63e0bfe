"""The page of a search: its best trial, its history, and what each setting did, in one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from diabolo.files import write_text
from diabolo.report.figures import LIGHT, inline, short, styled
from diabolo.report.table import number
from diabolo.report.templates import template
from diabolo.tuning.criteria import Criterion
from diabolo.tuning.space import Choice, Range, Space

EDGE = 0.05  # of a range: what is nearer to its end is at the edge


@dataclass(frozen=True)
class Content:
    """Everything the page shows.

    found: as in `search.json`. command: trains the best. protocol: as YAML. budget: of a trial, by key of the
    recipe. gained: whether the best's training brought more than the choice of validation images explains.
    """

    title: str
    criterion: Criterion
    found: Mapping[str, Any]
    space: Space
    command: str
    protocol: str
    budget: Mapping[str, Any]
    gained: bool = True

    @property
    def trials(self) -> list[dict[str, Any]]:
        """Those that came to their end, in their order."""
        return [trial for trial in self.found["trials"] if trial["state"] == "complete"]

    @property
    def verdict(self) -> list[str]:
        best, states = self.found["best"], [trial["state"] for trial in self.found["trials"]]
        count = f"{len(states)} trial{'s' * (len(states) != 1)}"
        others = [f"{states.count(s)} {word}" for s, word in STATES.items() if s in states]
        aside = f" ({', '.join(others)})" if others else ""
        before = f"; before training, {shown(self.criterion, best['before'])}" if "before" in best else ""
        sentences = [
            f"Best of {count}{aside}: {in_words(best['settings'])}.",
            f"{figure(self.criterion, best['value'])}{before}.",
        ]
        if not self.gained:
            sentences.append(
                "That is no more than the untrained encoder has, as far as the validation images can tell: "
                "give the trials more epochs."
            )
        edges = [key for key, dimension in self.space.items() if _at_edge(dimension, best["settings"][key])]
        if edges:
            verb = "lies" if len(edges) == 1 else "lie"
            sentences.append(f"{', '.join(edges)} {verb} at the edge of the range: better may lie beyond it.")
        return sentences


STATES = {"pruned": "stopped early", "fail": "failed", "running": "still running"}


def figure(criterion: Criterion, value: float) -> str:
    """A trial's value in a line."""
    return f"{criterion.name}: {shown(criterion, value)}"


def shown(criterion: Criterion, value: float) -> str:
    """A value in the criterion's unit."""
    return f"{number(criterion.scale * value)} {criterion.unit}".rstrip()


def in_words(settings: Mapping[str, Any]) -> str:
    """Settings in a line."""
    return ", ".join(f"{key} {_text(value)}" for key, value in settings.items())


def write(path: Path, content: Content) -> None:
    """Write the page, whole or not at all."""
    rows = sorted(content.trials, key=lambda t: t["value"], reverse=content.criterion.rises)
    unfinished = [trial for trial in content.found["trials"] if trial["state"] != "complete"]
    y = np.array([content.criterion.scale * trial["value"] for trial in content.trials])
    best = [trial["number"] for trial in content.trials].index(content.found["best"]["number"])
    html = template("search.html").render(
        content=content,
        keys=list(content.space),
        rows=[_row(trial, content) for trial in [*rows, *unfinished]],
        history=Markup(inline(history(content.trials, y, content.criterion), "history")),
        slices=[
            (
                key,
                Markup(
                    inline(slice_of([t["settings"][key] for t in content.trials], y, best, d), f"slice-{i}")
                ),
            )
            for i, (key, d) in enumerate(content.space.items())
        ],
        began=any("before" in trial for trial in content.trials),
        epochs=content.budget["training.epochs"],
        limit=content.budget.get("data.limit"),
        importance=[(key, 100 * share) for key, share in content.found["importance"].items()],
    )
    write_text(path, html)


@styled
def history(trials: Sequence[Mapping[str, Any]], y: np.ndarray, criterion: Criterion) -> Figure:
    """The value of each trial, before its training too where that is known, and the best so far."""
    figure = Figure(figsize=(4.8, 2.8))
    axes = figure.add_subplot(xlabel="trial", ylabel=criterion.title)
    x = [trial["number"] + 1 for trial in trials]
    best = np.maximum.accumulate(y) if criterion.rises else np.minimum.accumulate(y)
    axes.step(x, best, where="post", color=LIGHT["accent"], linewidth=1.3)
    before = [criterion.scale * trial.get("before", np.nan) for trial in trials]
    axes.plot(x, before, "o", color=LIGHT["muted"], markersize=4, fillstyle="none", markeredgewidth=0.8)
    _dots(axes, x, y)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    return figure


@styled
def slice_of(values: Sequence[Any], y: np.ndarray, best: int, dimension: Range | Choice) -> Figure:
    """The value of each trial over one of its settings; the best one ringed."""
    figure = Figure(figsize=(3.1, 2))
    axes = figure.add_subplot()
    if isinstance(dimension, Range):
        if dimension.log:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
            axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(dimension.low, dimension.high)
        _dots(axes, values, y, best)
        return figure
    choices = list(dimension.values.values())
    _dots(axes, [choices.index(value) for value in values], y, best)
    axes.set_xlim(-0.5, len(choices) - 0.5)
    axes.set_xticks(range(len(choices)), [short(_text(choice), 12) for choice in choices])
    return figure


def _dots(axes: Axes, x: Sequence[Any], y: np.ndarray, ringed: int | None = None) -> None:
    axes.plot(x, y, "o", color=LIGHT["accent"], markersize=4, alpha=0.7, markeredgewidth=0, clip_on=False)
    if ringed is not None:
        axes.plot(
            x[ringed], y[ringed], "o", color=LIGHT["accent"], markersize=9, fillstyle="none", clip_on=False
        )
    axes.grid(axis="y", color=LIGHT["rule"], linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)


def _row(trial: Mapping[str, Any], content: Content) -> dict[str, Any]:
    """A line of the table of trials."""
    ended = trial["state"] == "complete"
    scale = content.criterion.scale
    return {
        "number": trial["number"] + 1,
        "best": trial["number"] == content.found["best"]["number"],
        "value": number(scale * trial["value"]) if ended else STATES[trial["state"]],
        "settings": [_text(trial["settings"][key]) for key in content.space],
        "before": number(scale * trial["before"]) if "before" in trial else "–",
        "seconds": f"{number(trial['seconds'])} s" if "seconds" in trial else "–",
        "reason": trial.get("reason", ""),
    }


def _text(value: Any) -> str:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return number(value) if plain else str(value)


def _at_edge(dimension: Range | Choice, value: Any) -> bool:
    """Whether a value lies at either end of a range."""
    if isinstance(dimension, Choice):
        return False
    low, high, at = (np.log(v) if dimension.log else v for v in (dimension.low, dimension.high, value))
    return bool(min(at - low, high - at) < EDGE * (high - low))
