"""What the verbs write of images: arrays, and beside them a picture and a list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from diabolo.console import Show
from diabolo.errors import UserError
from diabolo.files import check_folder, expanded, write_arrays, write_bytes, write_csv
from diabolo.generation import Array
from diabolo.report.figures import save
from diabolo.runs.run import Run

Arrays = dict[str, Array]


def folder_for(run: Run, out: str | Path | None) -> Path:
    """The folder for arrays and pictures: the one named, or the run's own. Raises `UserError` for a file."""
    folder = run.folder / "generated" if out is None else expanded(out)
    check_folder(folder)
    return folder


def write(
    folder: Path,
    name: str,
    arrays: Arrays,
    picture: Figure | None,
    show: Show,
    listed: Iterable[Sequence[Any]] | None = None,
) -> Arrays:
    """Write `name.npz`, `name.csv` where images are listed, a heading first, `name.png` of a picture."""
    write_arrays(folder / f"{name}.npz", arrays)
    paths = [f"{folder / name}.npz"]
    if listed is not None:
        write_csv(folder / f"{name}.csv", listed)
        paths.append(f"{folder / name}.csv")
    if picture is not None:
        write_bytes(folder / f"{name}.png", save(picture, "png"))
        paths.append(f"{folder / name}.png")
    show.note(f"→ {', '.join(paths)}")
    return arrays


def pictured(run: Run) -> bool:
    """Whether the run's examples are images, which can be shown."""
    return len(run.facts.shape) == 3


def at_least(least: int, **numbers: int) -> None:
    """Raise `UserError` for a number that is too small, by its name."""
    for name, number in numbers.items():
        if number < least:
            raise UserError(f"{name} must be at least {least}, got {number}")
