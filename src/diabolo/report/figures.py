"""What a run looks like: curves, reconstructions, latents, the confusion matrix.

Every figure is drawn once, in the colours of the light theme. `inline` turns those colours into CSS
variables, so that the same figure follows the page into the dark.
"""

import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from diabolo.report.tiles import strip

Array = npt.NDArray[Any]

# The ten class colours are Petroff's (2021, arXiv:2107.02270), chosen to stay apart under colour-vision
# deficiencies; the dark theme lightens those that would sink into its background.
LIGHT = {
    "paper": "#ffffff",
    "ink": "#1c1e22",
    "muted": "#666b73",
    "rule": "#dcdee1",
    "accent": "#2f66c5",
    "class-0": "#3f90da",
    "class-1": "#ffa90e",
    "class-2": "#bd1f01",
    "class-3": "#94a4a2",
    "class-4": "#832db6",
    "class-5": "#a96b59",
    "class-6": "#e76300",
    "class-7": "#b9ac70",
    "class-8": "#717581",
    "class-9": "#92dadd",
}
DARK = LIGHT | {
    "paper": "#15171a",
    "ink": "#e6e5e1",
    "muted": "#9a9ea6",
    "rule": "#34373c",
    "accent": "#82abf2",
    "class-2": "#d8321a",
    "class-4": "#a15ad6",
}
ON_ACCENT = "#fefefe"  # text on the heat of a confusion matrix, which is the same in both themes
CSS_NAMES = {colour: name for name, colour in LIGHT.items()}
PALETTE = [colour for name, colour in LIGHT.items() if name.startswith("class-")]

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 8,
    "text.color": LIGHT["ink"],
    "text.parse_math": False,  # class names are text, whatever signs they hold
    "axes.edgecolor": LIGHT["rule"],
    "axes.facecolor": "none",
    "axes.labelcolor": LIGHT["muted"],
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "axes.unicode_minus": True,
    "legend.frameon": False,
    "xtick.color": LIGHT["rule"],
    "ytick.color": LIGHT["rule"],
    "xtick.labelcolor": LIGHT["muted"],
    "ytick.labelcolor": LIGHT["muted"],
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "diabolo",  # the same figure gives the same bytes
}
styled = rc_context(
    STYLE
)  # a decorator: figures take their style where they are made and where they are saved

CURVE_POINTS = 400  # longer curves are averaged in groups
LEGEND_COLUMNS, LEGEND_CHARACTERS = 4, 76  # at most, and as many as fit side by side
FAR = 10  # times the shortest curve, from where on a longer one would press it against the axis
MARKED = 30  # points up to which a curve shows them
NUMBERED = 20  # classes up to which a confusion matrix can carry its numbers


class Series(NamedTuple):
    """One curve: y [n] over x [n], named; x is counted in epochs, or in images encoded.

    held_out: of what is read on train, the same on validation.
    """

    name: str
    x: Array
    y: Array
    held_out: "Series | None" = None


def series(metrics: Sequence[Mapping[str, Any]]) -> list[Series]:
    """The curves in the rows of `metrics.jsonl`: the loss, its terms, then kNN accuracy in percent and rank.

    Steps become epochs through the last row, whose "epoch" counts the epochs done. The loss on validation
    begins behind the first step: before it, it may be so large that all else would lie flat.
    """
    train = [row for row in metrics if row["kind"] == "train"]
    live = [row for row in metrics if row["kind"] == "curve"]
    begun = [row for row in live if row["step"] > 0]
    last = max(live or train, key=lambda row: row["step"], default={})
    pace = last["step"] / last["epoch"] if last.get("epoch") else 1.0

    def read(rows: list[Mapping[str, Any]], key: str, name: str, scale: float = 1) -> Series:
        pairs = [(row["step"] / pace, scale * row[key]) for row in rows if row.get(key) is not None]
        x, y = np.array(pairs, dtype=float).reshape(-1, 2).T
        return Series(name, _thin(x), _thin(y))

    terms = list(dict.fromkeys(k for row in train for k in row if k not in ("kind", "step", "epoch", "lr")))
    if len(terms) == 2 and all(row[terms[0]] == row[terms[1]] for row in train):
        terms.pop()  # a single term is the loss itself
    curves = [read(train, term, term)._replace(held_out=read(begun, term, "validation")) for term in terms]
    curves += [
        read(live, "knn", "kNN on validation, %", 100),
        read(live, "effective_rank", "effective rank on validation"),
    ]
    return [
        one if one.held_out and len(one.held_out.x) else one._replace(held_out=None)
        for one in curves
        if len(one.x)
    ]


@styled
def curve(one: Series) -> Figure:
    """A single curve without its name, for a page that prints the name itself."""
    figure = Figure(figsize=(3.1, 1.75))
    _draw_curve(figure.add_subplot(), one)
    return figure


@styled
def curves(many: Sequence[Series]) -> Figure:
    """All curves as small panels, three to a row."""
    columns = min(3, len(many))
    rows = -(-len(many) // columns)
    figure = Figure(figsize=(3.1 * columns, 1.95 * rows))
    for place, one in enumerate(many, start=1):
        axes = figure.add_subplot(rows, columns, place)
        axes.set_title(one.name)
        _draw_curve(axes, one)
    return figure


@styled
def budgets(many: Mapping[str, Sequence[Series]], says: str = "kNN on validation, %") -> Figure:
    """Curves over images encoded, the seeds of a row in one colour; in logarithms, where budgets differ much.

    What was held out is dotted. says: what they show.
    """
    longest = max(map(len, many), default=0) + 5  # the handle is as wide as so many characters
    columns = max(1, min(LEGEND_COLUMNS, LEGEND_CHARACTERS // longest))
    figure = Figure(figsize=(4.8, 3 + 0.16 * -(-len(many) // columns)))
    axes = figure.add_subplot(xlabel="images encoded, every view counted", ylabel=says)
    axes.yaxis.grid(color=LIGHT["rule"], linewidth=0.6)
    axes.set_axisbelow(True)
    for (name, seeds), colour in zip(many.items(), colours(len(many)), strict=True):
        for i, one in enumerate(seeds):
            axes.plot(
                one.x,
                one.y,
                color=colour,
                linewidth=1.4,
                marker="o",
                markersize=2.4 if len(one.x) <= MARKED else 0,
                label=name if i == 0 else None,
            )
            if one.held_out is not None:
                axes.plot(
                    one.held_out.x, one.held_out.y, color=colour, linewidth=1.2, linestyle=(0, (2, 1.5))
                )
    ends = [one.x[-1] for seeds in many.values() for one in seeds if one.x[-1] > 0]
    if ends and max(ends) > FAR * min(ends):
        axes.set_xscale("log")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=columns, handlelength=1.2)
    return figure


@styled
def reconstructions(rows: Mapping[str, Array]) -> Figure:
    """Rows of images [n, C, H, W] in [0, 1], each under its name."""
    strips = {name: strip(images) for name, images in rows.items()}
    height, width = next(iter(strips.values())).shape[:2]
    figure = Figure(figsize=(6.5, len(strips) * (6.5 * height / width + 0.3)))
    for place, (name, image) in enumerate(strips.items(), start=1):
        axes = figure.add_subplot(len(strips), 1, place)
        axes.set_title(name)
        axes.imshow(image, interpolation="none")
        axes.set_axis_off()
    return figure


@styled
def scatter(planes: Mapping[str, Array], labels: Array | None, classes: Sequence[str]) -> Figure:
    """Points [n, 2] in each plane, coloured by class; a legend where it can hold all classes."""
    figure = Figure(figsize=(3.6 * len(planes), 3.9))
    palette = np.array(colours(len(classes)))
    for place, (name, points) in enumerate(planes.items(), start=1):
        axes = figure.add_subplot(1, len(planes), place, aspect="equal")
        axes.set_title(name)
        axes.set_axis_off()
        _scatter(axes, points, labels, classes)
    if labels is not None and len(classes) <= NUMBERED:
        for name, colour in zip(classes, palette, strict=True):
            axes.scatter([], [], s=14, color=colour, label=short(name))
        handles, names = axes.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=5, handletextpad=0.1)
    return figure


@styled
def plane(points: Array, labels: Array | None, classes: Sequence[str]) -> Figure:
    """Points [n, 2], coloured by class, and nothing else."""
    figure = Figure(figsize=(3.1, 3.1))
    axes = figure.add_subplot(aspect="equal")
    axes.set_axis_off()
    _scatter(axes, points, labels, classes)
    return figure


@styled
def confusion(counts: Array, classes: Sequence[str]) -> Figure:
    """Counts [K, K], true class down, predicted class across; the colour is the share of the row."""
    k = len(classes)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    heat = np.empty((k, k, 4))
    heat[..., :3] = to_rgb(LIGHT["accent"])
    heat[..., 3] = np.sqrt(share)  # so that the rarer errors can be seen
    side = np.clip(0.36 * k + 0.8, 3.5, 8)
    figure = Figure(figsize=(side, side))
    axes = figure.add_subplot(aspect="equal", xlabel="predicted", ylabel="true")
    axes.imshow(heat, interpolation="none")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    names = [short(name) for name in classes]
    named = range(k) if k <= 2 * NUMBERED else range(0)
    axes.set_xticks(named, names[: len(named)], rotation=90 if max(map(len, names)) > 2 else 0)
    axes.set_yticks(named, names[: len(named)])
    if k <= NUMBERED:
        for row, column in np.argwhere(counts):
            _number(axes, row, column, f"{counts[row, column]}", heat[row, column, 3])
    return figure


@styled
def shades(panels: Mapping[str, Array], rows: Sequence[str], columns: Sequence[str]) -> Figure:
    """Figures [R, C] in [0, 1], one above the other under their names: each as its number on a shade of it.

    What is not a number stays blank.
    """
    figure = Figure(figsize=(1.5 + 0.62 * len(columns), len(panels) * (0.4 + 0.26 * len(rows)) + 0.7))
    every = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for axes, (name, values) in zip(every, panels.items(), strict=True):
        heat = np.empty((*values.shape, 4))
        heat[..., :3] = to_rgb(LIGHT["accent"])
        heat[..., 3] = np.nan_to_num(values).clip(0, 1)
        axes.set_title(name)
        axes.imshow(heat, interpolation="none", aspect="auto")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_yticks(range(len(rows)), rows)
        axes.set_xticks(range(len(columns)), columns if axes is every[-1] else [""] * len(columns))
        for row, column in np.argwhere(np.isfinite(values)):
            text = f"{round(values[row, column], 2) + 0.0:.2f}".replace("-", "−")  # no negative zero
            _number(axes, row, column, text, heat[row, column, 3])
    return figure


@styled
def similarity(cosines: Array, each: int) -> Figure:
    """Cosines [n · each, n · each] between the views of n examples, those of an example in a row."""
    count = len(cosines) // each
    figure = Figure(figsize=(4.6, 5.1))
    axes, scale = figure.subplots(2, 1, height_ratios=(1, 0.022))
    axes.imshow(_signed(cosines), interpolation="none")
    for edge in each * np.arange(1, count) - 0.5:
        axes.axhline(edge, color=LIGHT["paper"], linewidth=0.8)
        axes.axvline(edge, color=LIGHT["paper"], linewidth=0.8)
    named = range(count) if count <= NUMBERED else range(0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks([each * (i + 0.5) - 0.5 for i in named], [f"{i + 1}" for i in named])
    axes.set_xlabel(f"test image, {each} views of each")
    scale.imshow(_signed(np.linspace(-1, 1, 201)[None]), aspect="auto", extent=(-1, 1, 0, 1))
    scale.set_xticks([-1, 0, 1], ["−1", "cosine 0", "1"])
    scale.set_yticks([])
    for one in (axes, scale):
        one.tick_params(length=0)
        one.spines[:].set_visible(False)
    return figure


@styled
def save(figure: Figure, kind: str) -> bytes:
    """A figure as the bytes of a file: "png" on white, or "svg" without a background."""
    file = BytesIO()
    facecolor = LIGHT["paper"] if kind == "png" else "none"
    metadata = {"Date": None} if kind == "svg" else None
    figure.savefig(file, format=kind, dpi=200, facecolor=facecolor, metadata=metadata)
    return file.getvalue()


def inline(figure: Figure, name: str) -> str:
    """A figure as an <svg> element for the page; `name` keeps its ids apart from those of other figures."""
    svg = save(figure, "svg").decode()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    return re.sub(r"#[0-9a-f]{6}\b", lambda match: css(match.group()), svg)


def css(colour: str) -> str:
    """A colour of the light theme as the CSS variable that follows the theme; others unchanged."""
    return f"var(--{CSS_NAMES[colour]})" if colour in CSS_NAMES else colour


def colours(k: int) -> list[str]:
    """One colour for each of k classes: the palette up to ten, else steps along a rainbow."""
    if k <= len(PALETTE):
        return PALETTE[:k]
    return [to_hex(colour) for colour in colormaps["turbo"](np.linspace(0.08, 0.92, k))]


def _number(axes: Axes, row: int, column: int, text: str, shade: float) -> None:
    """Text in the middle of a cell that is so deep a shade of the accent."""
    colour = ON_ACCENT if shade > 0.8 else LIGHT["ink"]
    axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=7)


def _scatter(axes: Axes, points: Array, labels: Array | None, classes: Sequence[str]) -> None:
    c = LIGHT["accent"] if labels is None else np.array(colours(len(classes)))[labels]
    axes.scatter(points[:, 0], points[:, 1], s=5, c=c, alpha=0.8, linewidths=0)


def _draw_curve(axes: Axes, one: Series) -> None:
    tones = {"train": (one, LIGHT["accent"]), "validation": (one.held_out, LIGHT["class-6"])}
    for name, (part, colour) in tones.items():
        if part is not None:
            axes.plot(part.x, part.y, color=colour, linewidth=1.3, solid_joinstyle="round", label=name)
            axes.plot(part.x[-1:], part.y[-1:], "o", color=colour, markersize=3.5)
    if one.held_out is not None:
        axes.legend(handlelength=1.2, labelcolor=LIGHT["muted"])
    axes.set_xlabel("epoch")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.grid(axis="y", color=LIGHT["rule"], linewidth=0.6)
    axes.spines["left"].set_visible(False)
    axes.ticklabel_format(axis="y", useOffset=False, scilimits=(-4, 6))


def _signed(values: Array) -> Array:
    """Values in [−1, 1] as colours [..., 4] that fade to nothing at 0, in either theme."""
    heat = np.empty((*values.shape, 4))
    heat[..., :3] = np.where(values[..., None] < 0, to_rgb(LIGHT["class-6"]), to_rgb(LIGHT["accent"]))
    heat[..., 3] = np.abs(values).clip(0, 1)
    return heat


def _thin(values: Array) -> Array:
    groups = np.array_split(values, min(len(values), CURVE_POINTS) or 1)
    return np.array([group.mean() for group in groups if len(group)])


def short(name: str, most: int = 18) -> str:
    """A name cut to so many letters."""
    return name if len(name) <= most else name[: most - 1] + "…"
