"""neighbours: the images that a representation has nearest to given ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diabolo.console import Show
from diabolo.data.images import Images
from diabolo.data.parts import Parts
from diabolo.errors import UserError
from diabolo.evaluation.neighbours import nearest
from diabolo.generation import Array
from diabolo.pages.gallery import spread
from diabolo.report.gallery import Neighbours, drawn
from diabolo.runs.inputs import Looked, doubt, images_of, opened, parts_of, represented, splits_of
from diabolo.runs.outputs import Arrays, at_least, folder_for, pictured, write
from diabolo.runs.run import Run

USUAL = 8  # neighbours of an image
SHOWN = 12  # images in the picture
ACROSS = 10  # neighbours of each there, at most
NAMED = 5  # images named on the terminal, each with its nearest


def neighbours(
    run: str | Path | Run,
    data: Looked = None,
    *,
    among: Looked = None,
    k: int | None = None,
    space: str | None = None,
    out: str | Path | None = None,
    quiet: bool = False,
) -> Arrays:
    """Find the k images most like each given one, by the cosine of their representations.

    data: the images to find others for; by default the run's own test images (see `images_of`). among: where
    to look, all parts of it; by default the run's train images. An image that is there itself is its own
    nearest. k: by default 8, or as many as there are. space: "h", "z" or "map", by default the one it was
    scored in; or "pixels", where the cosine is the correlation of the images themselves.

    Arrays: `neighbours` [N, k], positions among those looked through, nearest first, and their `cosines`;
    `names` [N] and `among_names` [M].
    """
    if k is not None:
        at_least(1, k=k)
    run, show = opened(run), Show(quiet)
    folder = folder_for(run, out)
    for line in doubt(run, space):
        show.note(line)
    images = images_of(run, data, show)
    others = (Parts(splits_of(run, data).train) if among is None else parts_of(run, among, show)).together()
    k = min(USUAL, len(others)) if k is None else k
    if k > len(others):
        raise UserError(f"k is {k}, and there are only {len(others):,} images to look among")
    distances, found = nearest(represented(run, others, space), represented(run, images, space), k, "cosine")
    names, among_names = np.array(images.names), np.array(others.names)
    arrays: Arrays = {
        "neighbours": found,
        "cosines": 1 - distances.astype(np.float64) ** 2 / 2,
        "names": names,
        "among_names": among_names,
    }
    for name, other, cosine in zip(names[:NAMED], found[:, 0], arrays["cosines"][:, 0], strict=False):
        show.note(f"{name}: nearest {among_names[other]} (cosine {f'{cosine:.3f}'.replace('-', '−')})")
    picture = drawn(_few(images, others, found)) if pictured(run) else None
    return write(folder, "neighbours", arrays, picture, show, _list(arrays))


def _few(images: Images, others: Images, found: Array) -> Neighbours:
    """For the picture: some of different classes, where there are labels."""
    chosen = spread(images)[:SHOWN]
    found = found[chosen, :ACROSS]
    labels = None
    if images.labels is not None and others.labels is not None and images.classes == others.classes:
        labels = np.concatenate([images.labels.numpy()[chosen, None], others.labels.numpy()[found]], 1)
    return Neighbours(
        images.floats(torch.from_numpy(chosen)).numpy(),
        np.stack([others.floats(torch.from_numpy(row)).numpy() for row in found]),
        None if labels is None or (labels < 0).any() else labels,
        images.classes,
    )


def _list(arrays: Arrays) -> Iterator[tuple[Any, ...]]:
    yield "name", "rank", "neighbour", "cosine"
    for name, row, cosines in zip(arrays["names"], arrays["neighbours"], arrays["cosines"], strict=True):
        for rank, (other, cosine) in enumerate(zip(row, cosines, strict=True), start=1):
            yield name, rank, arrays["among_names"][other], f"{cosine:.6f}"
