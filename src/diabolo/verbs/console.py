"""What the verbs show while they work: notes, progress, and the table at the end."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from diabolo.training.loop import Event

REFERENCES = ("random", "pca", "pixels")
PROBES = ("linear", "mlp", "knn", "finetune")


class Show:
    """Writes to the terminal; with `quiet`, writes nothing."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet, highlight=False)
        self.progress: Progress | None = None

    def note(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)

    def start(self, done: int, steps: int, epochs: int, batch_size: int) -> None:
        """Begin a progress bar over the steps of a training."""
        self.epochs, self.steps_per_epoch, self.batch_size = (
            epochs,
            max(steps // max(epochs, 1), 1),
            batch_size,
        )
        self.latest: dict[str, float] = {}
        self.since, self.since_step = time.perf_counter(), done
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[terms]}", style="dim"),
            console=self.console,
            transient=True,
            refresh_per_second=4,
            disable=not self.console.is_terminal,
        )
        self.task = self.progress.add_task("", total=steps, completed=done, epoch="", speed="", terms="")
        self.progress.start()

    def step(self, event: Event) -> None:
        """Move the bar; at the end of an epoch, leave a line."""
        if event.row:
            names = [n for n in event.row if n not in ("kind", "step", "epoch", "lr")]
            self.latest = {name: event.row[name] for name in names}
        now = time.perf_counter()
        if event.epoch is None and now - self.shown < 0.25:
            return
        self.shown = now
        assert self.progress is not None
        epoch = f"{(event.step - 1) // self.steps_per_epoch + 1}/{self.epochs}"
        speed = (
            f"{(event.step - self.since_step) * self.batch_size / max(now - self.since, 1e-9):,.0f} images/s"
        )
        terms = "  ".join(f"{name} {value:.4g}" for name, value in self.latest.items())
        self.progress.update(self.task, completed=event.step, epoch=epoch, speed=speed, terms=terms)
        if event.epoch is not None:
            self.note(f"epoch {event.epoch}/{self.epochs}  {speed}  {terms}")
            self.since, self.since_step = now, event.step

    shown = 0.0

    def curve(self, row: dict[str, Any]) -> None:
        knn = f"kNN on validation {100 * row['knn']:.1f} %, " if "knn" in row else ""
        self.note(f"  {knn}effective rank {row['effective_rank']:.1f}")
        self.since = time.perf_counter()

    def stop(self) -> None:
        if self.progress is not None:
            self.progress.stop()
            self.progress = None

    def scores(self, scores: dict[str, Any]) -> None:
        """The table of every scored representation, and the verdict below it."""
        rows = {
            name: entry
            for name, entry in scores.items()
            if isinstance(entry, dict) and "effective_rank" in entry
        }
        probes = [probe for probe in PROBES if any(probe in entry for entry in rows.values())]
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("representation")
        table.add_column("width", justify="right")
        for probe in probes:
            table.add_column(f"{probe} %", justify="right")
        table.add_column("effective rank", justify="right")
        for name, entry in rows.items():
            values = [f"{100 * entry[p]['accuracy']:.1f}" if p in entry else "–" for p in probes]
            style = "dim" if name in REFERENCES else None
            table.add_row(name, str(entry["width"]), *values, f"{entry['effective_rank']:.1f}", style=style)
        self.console.print(table)
        for line in scores.get("verdict", ()):
            self.note(line)


def duration(seconds: float) -> str:
    """In words, to about two figures."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
