"""duplicates: images that are nearly the same, within a data set and across its parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from diabolo.console import Show
from diabolo.data.images import Images
from diabolo.evaluation.duplicates import Duplicates, near_duplicates
from diabolo.generation import Array
from diabolo.report.grids import grid
from diabolo.runs.inputs import Looked, doubt, opened, parts_of, represented
from diabolo.runs.outputs import Arrays, folder_for, pictured, write
from diabolo.runs.run import Run

LISTED = 12  # pairs that are listed, and groups that are drawn, at least and at most
NAMED = 5  # pairs named on the terminal
SHOWN = 8  # images of a group in the picture


def duplicates(
    run: str | Path | Run,
    data: Looked = None,
    *,
    above: float | None = None,
    space: str | None = None,
    out: str | Path | None = None,
    quiet: bool = False,
) -> Arrays:
    """Find images that a run's representation can hardly tell apart: copies, crops, frames of one scene.

    data: by default all the run's own images, train, validation and test. above: the cosine from which two
    images are near-duplicates; see `diabolo.evaluation.duplicates.near_duplicates` for its default.
    space: "h", "z" or "map", by default the method's own; or "pixels", where the cosine is the correlation of
    the images themselves: a weak encoder finds copies less well.

    Arrays: `pairs` [P, 2], positions, most alike first: those above the threshold, and in any case the 12
    most alike; their `cosines` [P]; `above`; for each image its `groups` [N], −1 where it has none, `names`
    [N] and `parts` [N], such as train or test.
    """
    run, show = opened(run), Show(quiet)
    folder = folder_for(run, out)
    for line in doubt(run, space):
        show.note(line)
    parts = parts_of(run, data, show)
    images = parts.together()
    found = near_duplicates(represented(run, images, space), above, LISTED)
    part_of, names = parts.origins(), np.array(images.names)
    arrays: Arrays = {**found._asdict(), "above": np.array(found.above), "names": names, "parts": part_of}
    _tell(found, names, part_of, show)
    picture = _picture(found, images, part_of) if pictured(run) else None
    return write(folder, "duplicates", arrays, picture, show, _list(arrays))


def _list(arrays: Arrays) -> Iterator[tuple[Any, ...]]:
    names, parts = arrays["names"], arrays["parts"]
    yield "name", "part", "other", "other_part", "cosine", "group"
    for (one, other), cosine in zip(arrays["pairs"], arrays["cosines"], strict=True):
        group = arrays["groups"][one] if cosine >= arrays["above"] else ""
        yield names[one], parts[one], names[other], parts[other], f"{cosine:.6f}", group


def _tell(found: Duplicates, names: Array, part_of: Array, show: Show) -> None:
    """How many groups there are, which parts they join, and the pairs most alike."""
    groups = found.members()
    counted = "1 group" if len(groups) == 1 else f"{len(groups):,} groups"
    show.note(
        f"{counted} of near-duplicates (cosine {found.above:.5f} or more), "
        f"{(found.groups >= 0).sum():,} of {len(names):,} images"
    )
    for joined, count in Counter(_joined(part_of[members]) for members in groups).items():
        if " and " in joined:
            show.note(f"across {joined}: {count:,} of the groups")
    for (one, other), cosine in list(zip(found.pairs, found.cosines, strict=True))[:NAMED]:
        show.note(f"{cosine:.5f}".replace("-", "−") + f"  {names[one]}  {names[other]}")


def _picture(found: Duplicates, images: Images, part_of: Array) -> Figure:
    """The groups of the most alike images, or where there is none the most alike pairs, and their cosines."""
    rows = found.members()[:LISTED] or list(found.pairs[:LISTED])
    shown = [images.take(torch.from_numpy(members[:SHOWN])).floats().numpy() for members in rows]
    most = [
        max(cosine for pair, cosine in zip(found.pairs, found.cosines, strict=True) if pair[0] in members)
        for members in rows
    ]
    return grid(
        shown,
        [f"{cosine:.4f}, {_joined(part_of[members])}" for cosine, members in zip(most, rows, strict=True)],
    )


def _joined(parts: Array) -> str:
    """The parts that images come from: "train", or "test and train"."""
    return " and ".join(np.unique(parts))
