"""Single images on the page: rows of many under a name, and tiles with a caption each.

Images are [n, C, H, W] in [0, 1].
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from diabolo.report.figures import Array, short
from diabolo.report.grids import grid
from diabolo.report.tiles import strip

SHARP = 48  # pixels on the shorter side of a picture that is kept to the bit; larger ones are compressed

LETTERS = 9  # of a line above an image in a file


@dataclass(frozen=True)
class Gallery:
    """Rows of images under their names. name: of its file. note: what they are, in a sentence."""

    name: str
    title: str
    rows: Sequence[tuple[str, Array]]
    note: str = ""


@dataclass(frozen=True)
class Neighbours:
    """Images [n, C, H, W], and of each the k nearest of train [n, k, C, H, W].

    labels: int [n, 1 + k], of the image and of its neighbours, positions in `classes`.
    """

    images: Array
    nearest: Array
    labels: Array | None = None
    classes: Sequence[str] = ()


@dataclass(frozen=True)
class Worst:
    """The images that a run does worst on, the worst first: rows that belong together.

    captions: one for each, of a line or more.
    says: what is worst about them, in a sentence.
    """

    rows: Mapping[str, Array]
    captions: Sequence[str]
    says: str


def strips(rows: Sequence[tuple[str, Array]]) -> list[tuple[str, str]]:
    """Each row's name, and its images side by side."""
    return [(name, picture(strip(images))) for name, images in rows]


def neighbour_rows(neighbours: Neighbours) -> list[list[dict[str, Any]]]:
    """A row of tiles for each image: itself, then its neighbours; `other` is a neighbour of another class."""
    rows = []
    for i, images in enumerate(np.concatenate([neighbours.images[:, None], neighbours.nearest], axis=1)):
        labels = None if neighbours.labels is None else neighbours.labels[i]
        rows.append(
            [
                {
                    "picture": picture(strip(image[None])),
                    "name": "" if labels is None else neighbours.classes[labels[j]],
                    "other": labels is not None and bool(labels[j] != labels[0]),
                }
                for j, image in enumerate(images)
            ]
        )
    return rows


def worst_tiles(worst: Worst) -> list[dict[str, str]]:
    """A tile for each image: what belongs together one above the other, and its caption."""
    stacks = zip(*worst.rows.values(), strict=True)
    return [
        {"picture": picture(column(np.stack(stack))), "caption": caption}
        for stack, caption in zip(stacks, worst.captions, strict=True)
    ]


def column(images: Array) -> Array:
    """Images one above the other, clear gaps between, as `strip` has them side by side."""
    tiles = [strip(image[None]) for image in images]
    width = tiles[0].shape[1]
    clear = np.zeros((max(1, width // 14), width, 4), dtype=np.uint8)
    return np.concatenate([part for tile in tiles for part in (clear, tile)][1:])


def drawn(gallery: Gallery | Neighbours | Worst) -> Figure:
    """The same as a figure, for a file."""
    if isinstance(gallery, Gallery):
        return grid([images for _, images in gallery.rows], [short(name) for name, _ in gallery.rows])
    if isinstance(gallery, Worst):
        captions = ["\n".join(short(part, LETTERS) for part in one.splitlines()) for one in gallery.captions]
        return grid(list(gallery.rows.values()), list(gallery.rows), captions)
    rows = np.concatenate([gallery.images[:, None], gallery.nearest], axis=1)
    labels = () if gallery.labels is None else gallery.labels[:, 0]
    return grid(list(rows), [short(gallery.classes[label]) for label in labels], ["image", "nearest"])


def picture(pixels: Array) -> str:
    """Pixels uint8 [H, W, 4] as the address of a WebP image."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "webp", lossless=min(pixels.shape[:2]) <= SHARP, quality=85)
    return data_uri("webp", file.getvalue())


def data_uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{b64encode(data).decode()}"
