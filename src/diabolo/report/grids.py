"""Grids: many images in rows, each row under a name at its left."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from diabolo.report.figures import PALETTE, Array, styled
from diabolo.report.tiles import strip

MOST_ROWS = 40  # what a page can hold
WIDTH, TILE_WIDTH = 6.5, 0.62  # of all columns and of one, at most, inches
FRAME = PALETTE[6]
LETTER, HEADING = 0.068, 0.22  # of the text, inches


@styled
def grid(
    rows: Sequence[Array],
    names: Sequence[str] = (),
    columns: Sequence[str] = (),
    framed: Sequence[Array] = (),
) -> Figure:
    """Rows of images [n, C, H, W] in [0, 1], which may differ in n: names at their left, columns' above.

    At most 40 rows are drawn. A column's name may have several lines. framed: for each row, bool [n].
    """
    strips = [strip(row) for row in rows[:MOST_ROWS]]
    height, width = strip(rows[0][:1]).shape[:2]  # of one tile
    across, gap = max(one.shape[1] for one in strips), max(1, width // 14)
    canvas = np.zeros((len(strips), height + gap, across, 4), dtype=np.uint8)
    for one, row in zip(strips, canvas, strict=True):
        row[:height, : one.shape[1]] = one
    canvas = canvas.reshape(-1, across, 4)[:-gap]

    count = (across + gap) // (width + gap)
    inches = min(WIDTH, TILE_WIDTH * count)
    lines = max((1 + name.count("\n") for name in columns), default=0)
    margin = LETTER * max(map(len, names), default=0) + 0.1
    size = (inches + margin, inches * len(canvas) / across + HEADING * lines + 0.1)
    figure = Figure(figsize=size)
    axes = figure.add_subplot(anchor="NW")  # so that the names have their margin
    axes.imshow(canvas, interpolation="none")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    for row, marks in enumerate(framed[: len(strips)]):
        for column in np.flatnonzero(marks):
            corner = (column * (width + gap) - 0.5, row * (height + gap) - 0.5)
            frame = Rectangle(
                corner, width, height, fill=False, edgecolor=FRAME, linewidth=1.5, clip_on=False
            )
            axes.add_patch(frame)
    middles = np.arange(max(len(strips), count))
    named = names[: len(strips)]
    axes.set_yticks((middles * (height + gap) + (height - 1) / 2)[: len(named)], named)
    headed = columns[:count]
    axes.set_xticks((middles * (width + gap) + (width - 1) / 2)[: len(headed)], headed)
    return figure


def square(images: Array) -> list[Array]:
    """Images in the rows of a square, the last ones left out where it would have more rows than a page."""
    side = min(int(np.ceil(np.sqrt(len(images)))), MOST_ROWS)
    return [images[start : start + side] for start in range(0, min(len(images), side * side), side)]
