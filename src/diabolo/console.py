"""What the verbs show while they work: notes, progress, and the table at the end."""

from __future__ import annotations

import math
import time
from collections.abc import Container, Sequence, Sized
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from diabolo.evaluation.suite import representations
from diabolo.report.measures import measures_of
from diabolo.report.table import units_of
from diabolo.training.loop import Event

LINES = 20  # of epochs, at most, in a log


class Show:
    """Writes to the terminal, on the error stream; with `quiet`, writes nothing."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet, highlight=False, markup=False)

    def note(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)

    def table(self, lines: Sequence[Sequence[str]], dimmed: Container[str] = ()) -> None:
        """Lines of cells, headings first; on their side where they are too wide. dimmed: lines, by name."""
        table = _table(lines, dimmed)
        unlimited = self.console.options.update(max_width=10_000)
        if self.console.measure(table, options=unlimited).maximum > self.console.width:
            table = _table(list(zip(*lines, strict=True)), dimmed)  # one in each column
        self.console.print(table)

    def scores(self, scores: dict[str, Any]) -> None:
        """The table of every scored representation, the measures, and the verdict."""
        rows = representations(scores)
        units = units_of(rows.values())
        lines = [["representation", "width", *(f"{p} {unit.symbol}" for p, unit in units.items()), "rank"]]
        for name, entry in rows.items():
            values = [unit.show(entry[probe]) if probe in entry else "–" for probe, unit in units.items()]
            lines.append([name, str(entry["width"]), *values, f"{entry['centred_rank']:.1f}"])
        references = {name for name in rows if not name.startswith("encoder")}
        self.table(lines, references)
        for one in measures_of(scores):
            self.note(f"{one.name}: {', '.join(map(str, one.figures))}")
            for note in one.notes:
                self.note(f"  {note}")
        for line in scores.get("verdict", ()):
            self.note(line)


def _table(lines: Sequence[Sequence[str]], dimmed: Container[str]) -> Table:
    """Lines of cells, the first line and the first cell of each being headings."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    corner, *titles = lines[0]
    table.add_column(corner)
    for title in titles:
        table.add_column(title, justify="right", style="dim" if title in dimmed else None)
    for line in lines[1:]:
        table.add_row(*line, style="dim" if line[0] in dimmed else None)
    return table


class Bar:
    """A progress bar over the steps of a training, and a line for each epoch."""

    def __init__(self, show: Show, done: int, steps_per_epoch: int, epochs: int, batch_size: int) -> None:
        self.show = show
        self.steps_per_epoch, self.epochs, self.batch_size = steps_per_epoch, epochs, batch_size
        self.every = math.ceil(epochs / LINES) or 1
        self.terms = ""
        self.drawn = self.since = time.perf_counter()
        self.since_step = done
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[terms]}", style="dim"),
            console=show.console,
            transient=True,
            refresh_per_second=4,
            disable=not show.console.is_terminal,
        )
        steps = epochs * steps_per_epoch
        self.task = self.progress.add_task("", total=steps, completed=done, epoch="", speed="", terms="")

    def __enter__(self) -> Bar:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def step(self, event: Event) -> None:
        """Move the bar, four times a second at most; at the end of an epoch, leave a line."""
        if event.row:
            names = [name for name in event.row if name not in ("kind", "step", "epoch", "lr")]
            names = names[:1] if len(names) == 2 else names  # a single term is the loss
            self.terms = "  ".join(f"{name} {event.row[name]:.4g}" for name in names)
        now = time.perf_counter()
        if event.epoch is None and now - self.drawn < 0.25:
            return
        self.drawn = now
        epoch = f"{(event.step - 1) // self.steps_per_epoch + 1}/{self.epochs}"
        images = (event.step - self.since_step) * self.batch_size
        speed = f"{images / max(now - self.since, 1e-9):,.0f} images/s"
        self.progress.update(self.task, completed=event.step, epoch=epoch, speed=speed, terms=self.terms)
        if event.epoch is not None and (event.epoch % self.every == 0 or event.epoch == self.epochs):
            self.show.note(f"epoch {epoch}  {speed}  {self.terms}")
            self.since, self.since_step = now, event.step

    def curve(self, row: dict[str, Any]) -> None:
        """A point of the live curve."""
        knn = f"kNN on validation {100 * row['knn']:.1f} %, " if "knn" in row else ""
        before = "" if row["step"] else "before training: "
        loss = f", loss on validation {row['loss']:.4g}" if "loss" in row else ""
        self.show.note(f"  {before}{knn}effective rank {row['effective_rank']:.1f}{loss}")
        self.since += time.perf_counter() - self.drawn  # evaluating is not training


def in_two_units(seconds: float) -> str:
    """A time in its two largest units: 12 s, 5 min 03 s, 1 h 20 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def sizes_of(train: Sized, validation: Sized, test: Sized) -> str:
    """How many examples probes have, in words."""
    return f"{len(train):,} examples to fit on, {len(validation):,} to choose by, {len(test):,} to test on"
