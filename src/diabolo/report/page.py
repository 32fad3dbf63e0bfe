"""The page: what was found of a representation, in one HTML file that needs nothing else to be read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from markupsafe import Markup
from matplotlib.figure import Figure

from diabolo.files import check_file, check_folder, write_bytes, write_text
from diabolo.report import figures, gallery, projection
from diabolo.report.figures import Array
from diabolo.report.gallery import Gallery, Neighbours, Worst, data_uri
from diabolo.report.measures import Measured
from diabolo.report.table import number, probe_title, table
from diabolo.report.templates import template

LAYERS = 8  # in which points are drawn, so that no class lies on top of all others


@dataclass(frozen=True)
class Reconstructions:
    """What went in, what came out and, if not the input, what the encoder saw: [n, C, H, W] in [0, 1].

    own: whether the method's own decoder made them, and not one trained on the frozen representation.
    """

    input: Array
    output: Array
    view: Array | None = None
    own: bool = True


@dataclass(frozen=True)
class Latents:
    """Test features [N, D]; labels int [N], positions in `classes`; thumbnails uint8 [N, C, H, W]."""

    features: Array
    labels: Array | None = None
    classes: Sequence[str] = ()
    thumbnails: Array | None = None


@dataclass(frozen=True)
class Similarity:
    """Cosines [n · each, n · each] between views of n examples, those of one in a row; views: their name."""

    cosines: Array
    each: int
    views: str = ""


@dataclass(frozen=True)
class Confusion:
    """Counts int [K, K]: rows are true classes, columns predicted ones. probe: whose predictions they are."""

    counts: Array
    classes: Sequence[str]
    probe: str = "linear"


@dataclass(frozen=True)
class Content:
    """Everything a report can show. What is missing leaves its section out.

    summary: the key facts, name → value. verdict: sentences, the most important first.
    scores: as in `scores.json`, the run's own first: representation → {"width", "centred_rank",
        probe: {"accuracy"} or {"r2"}}; entries of another kind are ignored.
    references: the names of reference rows, each also with ".space" behind it.
    metrics: the rows of `metrics.jsonl`. recipe, environment: plain values, shown as YAML.
    """

    title: str
    summary: Mapping[str, str] = field(default_factory=dict)
    verdict: Sequence[str] = ()
    scores: Mapping[str, Any] = field(default_factory=dict)
    references: Sequence[str] = ("pixels", "pca", "random", "supervised")
    measures: Sequence[Measured] = ()
    metrics: Sequence[Mapping[str, Any]] = ()
    reconstructions: Reconstructions | None = None
    latents: Latents | None = None
    similarity: Similarity | None = None
    confusion: Confusion | None = None
    views: Sequence[Gallery] = ()
    samples: Sequence[Gallery] = ()
    neighbours: Neighbours | None = None
    worst: Worst | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)


def write(where: Path, content: Content) -> Path:
    """Write the page and return its path: `where` is an `.html` file, or a folder.

    A folder gets `report.html` and its figures as files, in `figures/`. Each file appears whole or not at
    all; the page, which needs none of the others, comes last.
    """
    alone = _alone(where)
    folder = None if alone else where / "figures"
    parts: dict[str, Any] = {
        "curves": _curves(folder, content.metrics),
        "reconstructions": _reconstructions(folder, content.reconstructions),
        "latents": _latents(folder, content.latents),
        "similarity": _similarity(folder, content.similarity),
        "confusion": _confusion(folder, content.confusion),
        "views": [_gallery(folder, one) for one in content.views],
        "samples": [_gallery(folder, one) for one in content.samples],
        "neighbours": _pictures(folder, "neighbours", content.neighbours, gallery.neighbour_rows),
        "worst": _pictures(folder, "worst", content.worst, gallery.worst_tiles),
    }
    html = template("run.html").render(
        parts,
        content=content,
        scores=table(content.scores, content.references),
        recipe=_yaml(content.recipe),
        environment=_yaml(content.environment),
    )
    path = where if alone else where / "report.html"
    write_text(path, html)
    return path


def check_page(where: Path) -> None:
    """Raise `UserError` where `write` could not write."""
    (check_file if _alone(where) else check_folder)(where)


def _alone(where: Path) -> bool:
    return where.suffix == ".html" and not where.is_dir()


def _curves(folder: Path | None, metrics: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    many = figures.series(metrics)
    if many:
        _save(folder, "curves", figures.curves(many))
    return [
        {
            "name": one.name,
            "last": number(one.y[-1]),
            "held_out": number(one.held_out.y[-1]) if one.held_out else "",
            "svg": Markup(figures.inline(figures.curve(one), f"curve-{i}")),
        }
        for i, one in enumerate(many)
    ]


def _reconstructions(folder: Path | None, images: Reconstructions | None) -> list[tuple[str, str]]:
    if images is None:
        return []
    rows = {"Input": images.input, "View": images.view, "Output": images.output}
    shown = {name: row for name, row in rows.items() if row is not None}
    _save(folder, "reconstructions", figures.reconstructions(shown), kinds=("png",))
    return gallery.strips(list(shown.items()))


def _gallery(folder: Path | None, one: Gallery) -> dict[str, Any]:
    _save(folder, one.name, gallery.drawn(one), kinds=("png",))
    return {"title": one.title, "note": one.note, "strips": gallery.strips(one.rows)}


def _pictures(folder: Path | None, name: str, what: Any, lay_out: Callable[[Any], list[Any]]) -> list[Any]:
    if what is None:
        return []
    _save(folder, name, gallery.drawn(what), kinds=("png",))
    return lay_out(what)


def _latents(folder: Path | None, latents: Latents | None) -> dict[str, Any]:
    """What the template draws: planes of points, drawn in layers and by class, in the order of the sprite."""
    if latents is None or len(latents.features) < projection.FEWEST:
        return {}
    chosen = projection.choose(len(latents.features))
    groups = np.zeros(len(chosen), dtype=int) if latents.labels is None else latents.labels[chosen]
    layer = np.arange(len(chosen)) * LAYERS // len(chosen)
    order = np.lexsort((groups, layer))
    chosen, groups, layer = chosen[order], groups[order], layer[order]

    components, share = projection.pca(latents.features)
    if not share.any():
        return {"planes": {}}
    planes = {
        "PCA": components[chosen],
        "t-SNE": projection.tsne(latents.features[chosen], components[chosen]),
    }
    labels = None if latents.labels is None else groups
    _save(folder, "latents", figures.scatter(planes, labels, latents.classes), kinds=("png",))

    colours = [figures.css(colour) for colour in figures.colours(len(latents.classes))]
    runs = np.flatnonzero(np.diff(groups, prepend=-1) | np.diff(layer, prepend=-1))
    thumbnails = latents.thumbnails
    return {
        "shown": len(chosen),
        "total": len(latents.features),
        "share": [f"{100 * part:.0f}" for part in share],
        "legend": [] if labels is None else list(zip(latents.classes, colours, strict=True)),
        "groups": [int(groups[run]) for run in runs],
        "planes": {name: _dots(points, runs) for name, points in planes.items()},
        "sprite": None if thumbnails is None else data_uri("webp", projection.sprite(thumbnails[chosen])),
        "columns": projection.SPRITE_COLUMNS,
        "rows": -(-len(chosen) // projection.SPRITE_COLUMNS),
        "aspect": 1 if thumbnails is None else thumbnails.shape[3] / thumbnails.shape[2],
    }


def _dots(points: Array, runs: Array) -> list[str]:
    """Points [n, 2] as dots in a square of side 1000: one SVG path from each start in `runs` to the next."""
    low, high = points.min(axis=0), points.max(axis=0)
    scaled = 500 + 970 * (points - (low + high) / 2) / (high - low).max()
    dots = [f"M{x:.0f} {1000 - y:.0f}h.1" for x, y in scaled]
    return ["".join(dots[start:stop]) for start, stop in zip(runs, [*runs[1:], len(dots)], strict=True)]


def _similarity(folder: Path | None, similarity: Similarity | None) -> Markup | None:
    if similarity is None:
        return None
    figure = figures.similarity(similarity.cosines, similarity.each)
    _save(folder, "similarity", figure)
    return Markup(figures.inline(figure, "similarity"))


def _confusion(folder: Path | None, confusion: Confusion | None) -> dict[str, Any]:
    if confusion is None:
        return {}
    figure = figures.confusion(confusion.counts, confusion.classes)
    _save(folder, "confusion", figure)
    return {"probe": probe_title(confusion.probe), "svg": Markup(figures.inline(figure, "confusion"))}


def _yaml(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=88) if values else ""


def _save(folder: Path | None, name: str, figure: Figure, kinds: Sequence[str] = ("png", "svg")) -> None:
    """Keep a figure as files, where there is a folder for them."""
    if folder is None:
        return
    for kind in kinds:
        write_bytes(folder / f"{name}.{kind}", figures.save(figure, kind))
