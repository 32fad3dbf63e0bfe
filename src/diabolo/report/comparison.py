"""The page of a comparison: one table over methods, in one HTML file that needs nothing else to be read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from markupsafe import Markup

from diabolo.files import write_text
from diabolo.report.figures import Array, Series, budgets, colours, css, inline, plane
from diabolo.report.gallery import Neighbours, neighbour_rows, strips
from diabolo.report.templates import template


class Shown(Protocol):
    """A figure of the table."""

    @property
    def text(self) -> str: ...
    @property
    def best(self) -> bool: ...


@dataclass(frozen=True)
class Row:
    """A method, or a reference."""

    name: str
    cells: Sequence[Shown]
    reference: bool = False


@dataclass(frozen=True)
class Side:
    """What one method makes of the same test images.

    plane: their representations in the plane, [n, 2]. neighbours: of some of them. reconstructions: of others
    [m, C, H, W] in [0, 1], where there is a decoder. lent: it was trained afterwards.
    """

    plane: Array | None = None
    neighbours: Neighbours | None = None
    reconstructions: Array | None = None
    lent: bool = False


@dataclass(frozen=True)
class Sides:
    """The methods side by side, by name.

    images: what is reconstructed, [m, C, H, W] in [0, 1]. labels int [n]: of the points, in `classes`.
    known: how many training images the neighbours are the nearest of.
    """

    methods: Mapping[str, Side]
    images: Array | None = None
    labels: Array | None = None
    classes: Sequence[str] = ()
    known: int = 0


@dataclass(frozen=True)
class Comparison:
    """Everything the page shows.

    verdict: sentences. summary: key facts, name → value. titles: of the columns. curves: kNN on validation by
    images encoded, the seeds of a method together. protocol: what all rows share of their recipes, as YAML.
    own: what is a row's own, by row. sides: the first run of each method that is at hand.
    """

    title: str
    verdict: Sequence[str]
    summary: Mapping[str, str]
    titles: Sequence[str]
    rows: Sequence[Row]
    curves: Mapping[str, Sequence[Series]]
    protocol: str
    own: Mapping[str, str] = field(default_factory=dict)
    sides: Sides | None = None


def write(path: Path, content: Comparison) -> None:
    """Write the page, whole or not at all."""
    curves = Markup(inline(budgets(content.curves), "budget")) if content.curves else None
    sides = _sides(content.sides or Sides({}))
    html = template("comparison.html").render(vars(content) | {"curves": curves} | sides)
    write_text(path, html)


def _sides(sides: Sides) -> dict[str, Any]:
    """What the template draws of them."""
    planes = {name: side.plane for name, side in sides.methods.items() if side.plane is not None}
    neighbours = {n: side.neighbours for n, side in sides.methods.items() if side.neighbours is not None}
    rebuilt = [
        (n, one.reconstructions) for n, one in sides.methods.items() if one.reconstructions is not None
    ]
    palette = [css(colour) for colour in colours(len(sides.classes))]
    return {
        "planes": [
            (name, Markup(inline(plane(points, sides.labels, sides.classes), f"plane-{i}")))
            for i, (name, points) in enumerate(planes.items())
        ],
        "shown": max(map(len, planes.values()), default=0),
        "legend": [] if sides.labels is None else list(zip(sides.classes, palette, strict=True)),
        "neighbours": [(name, neighbour_rows(of)) for name, of in neighbours.items()],
        "labelled": any(of.labels is not None for of in neighbours.values()),
        "known": sides.known,
        "lent": [name for name, side in sides.methods.items() if side.lent],
        "reconstructions": strips([("input", sides.images), *rebuilt])
        if rebuilt and sides.images is not None
        else [],
    }
