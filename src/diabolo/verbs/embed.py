"""embed: the representation of any images, as an array file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from diabolo.data.images import Images
from diabolo.data.splits import read_parts
from diabolo.errors import UserError
from diabolo.files import write_whole
from diabolo.recipe import Data
from diabolo.run import Run
from diabolo.verbs.console import Show


def embed(
    run: str | Path | Run,
    data: str | Path | Images,
    *,
    out: str | Path | None = None,
    space: str | None = None,
    quiet: bool = False,
) -> np.ndarray:
    """Embed every image of a data set, train first: float32 [N, D].

    out: an `.npz` to write, with `features` [N, D], `labels` [N] (−1 where there is none), `names` [N] and
    `classes`; `diabolo evaluate` reads it. Images are resized to what the run was trained on.
    """
    show = Show(quiet)
    run = run if isinstance(run, Run) else Run.open(run)
    if out is not None and Path(out).suffix != ".npz":
        raise UserError(f"{out}: the output is an array file: name it with .npz")
    if not isinstance(data, Images):
        shape = run.facts.shape
        size = shape[1] if len(shape) == 3 else None
        colour = {1: "grey", 3: "rgb"}.get(shape[0], "as-is") if len(shape) == 3 else "as-is"
        parts = read_parts(Data(name=str(data), size=size, colour=colour))  # type: ignore[arg-type]
        for note in parts.notes:
            show.note(note)
        data = parts.together()
    features = run.embed(data, space)
    if out is not None:
        labels = np.full(len(data), -1) if data.labels is None else data.labels.numpy()
        names = data.names or tuple(str(i) for i in range(len(data)))
        arrays = {
            "features": features,
            "labels": labels,
            "names": np.array(names),
            "classes": np.array(data.classes),
        }
        write_whole(Path(out), lambda path: _savez(path, arrays))
        show.note(f"{len(features):,} × {features.shape[1]} features → {out}")
    return features


def _savez(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with path.open("wb") as file:  # a file, since np.savez would add a suffix to a name
        np.savez(file, allow_pickle=False, **arrays)
