"""The report, read back as a browser would: from real digits, with parts missing, with hostile names."""

from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from diabolo.report import projection
from diabolo.report.gallery import Gallery, Neighbours, Worst, column, picture
from diabolo.report.measures import Figure, Measured, measures_of
from diabolo.report.page import Confusion, Content, Latents, Reconstructions, Similarity, write
from diabolo.report.table import number, table
from diabolo.report.tiles import strip

VOID = {"meta", "img", "br", "link", "hr"}
SECTIONS = {
    "scores",
    "measures",
    "curves",
    "views",
    "reconstructions",
    "samples",
    "latents",
    "similarity",
    "confusion",
    "neighbours",
    "worst",
    "recipe",
    "environment",
}


class Page(HTMLParser):
    """Collects what the tests ask about, and fails on a tag that is closed but was not open."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.starts: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(path.read_text("utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.starts.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.starts.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())

    @property
    def sections(self) -> set[str | None]:
        return {attrs["id"] for tag, attrs in self.starts if tag == "section"}

    def values(self, attribute: str) -> list[str]:
        return [attrs[attribute] or "" for _, attrs in self.starts if attribute in attrs]


def metrics() -> list[dict]:
    rows: list[dict] = []
    for step in range(10, 101, 10):
        rows.append(
            {"kind": "train", "step": step, "epoch": step // 50, "loss": 5 / step, "prior": -0.5, "lr": 0.1}
        )
    for epoch in (1, 2):
        rows.append(
            {"kind": "curve", "step": 50 * epoch, "epoch": epoch, "knn": 0.4 * epoch, "effective_rank": 3.0}
        )
    return rows


@pytest.fixture(scope="module")
def full() -> Content:
    """Scikit-learn's digits, seen through a PCA that takes the place of an autoencoder."""
    digits = load_digits()
    x, labels = digits.data[:150] / 16, digits.target[:150]
    pca = PCA(8, random_state=0).fit(x)
    z = pca.transform(x)
    predicted = KNeighborsClassifier(5).fit(z[:75], labels[:75]).predict(z[75:])
    counts = np.zeros((10, 10), dtype=int)
    np.add.at(counts, (labels[75:], predicted), 1)
    classes = [f"digit {name}" for name in range(10)]
    images = x.reshape(-1, 1, 8, 8)
    return Content(
        title="ae on digits, seed 0",
        summary={"Images": "150"},
        verdict=["It holds."],
        scores={
            "ae h": {
                "width": 8,
                "test_size": 1000,
                "centred_rank": 6.54,
                "linear": {"accuracy": 0.9},
                "knn": {"accuracy": 0.80},
            },
            "ae z": {
                "width": 4,
                "test_size": 1000,
                "centred_rank": 3.1,
                "linear": {"accuracy": 0.85},
                "knn": {"accuracy": 0.81},
            },
            "pixels": {
                "width": 1064,
                "test_size": 1000,
                "centred_rank": None,
                "linear": {"accuracy": 0.95},
            },
            "format_version": 1,
        },
        measures=[
            Measured(
                "reconstruction",
                [Figure("MSE", "0.0123"), Figure("SSIM", "0.9", {"untrained": "0.2"})],
                ["on test"],
                {"z": [Figure("hue", "0.31", {"untrained": "0.1"})], "h": [Figure("hue", "0.7")]},
            )
        ],
        metrics=metrics(),
        reconstructions=Reconstructions(
            images[:6], pca.inverse_transform(z[:6]).reshape(-1, 1, 8, 8), images[6:12]
        ),
        latents=Latents(z, labels, classes, np.rint(images * 255).astype(np.uint8)),
        similarity=Similarity(np.corrcoef(z[:12]), 3, "views: none"),
        confusion=Confusion(counts, classes),
        views=[Gallery("views", "2 views of each image", [("digit 0", images[:4])])],
        samples=[
            Gallery("samples", "From the prior", [("", images[:4]), ("", images[4:8])], "They are drawn."),
            Gallery("traversals", "Along one dimension", [("z3", images[8:12])]),
        ],
        neighbours=Neighbours(
            images[:2],
            images[2:8].reshape(2, 3, 1, 8, 8),
            np.concatenate([labels[:2, None], labels[2:8].reshape(2, 3)], axis=1),
            classes,
        ),
        worst=Worst(
            {"input": images[:3], "output": images[3:6]}, ["0.33", "0.22", "0.11"], "The worst three."
        ),
        recipe={"data": {"name": "digits"}, "seed": 0},
        environment={"python": "3.11"},
    )


@pytest.fixture(scope="module")
def written(full, tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("run"), full)


def test_a_full_report_holds_everything_and_needs_nothing_from_outside(written):
    page = Page(written)
    assert written.name == "report.html"
    assert page.sections == SECTIONS
    assert written.stat().st_size < 3_000_000
    links = page.values("src") + page.values("href") + page.values("xlink:href")
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    assert "url(http" not in written.read_text("utf-8")
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)


def test_every_figure_is_a_whole_file_and_no_other_file_is_left(written):
    folder = written.parent
    names = {file.name for file in (folder / "figures").iterdir()}
    both = {f"{name}.{kind}" for name in ("curves", "similarity", "confusion") for kind in ("png", "svg")}
    alone = ("reconstructions", "latents", "views", "samples", "traversals", "neighbours", "worst")
    assert names == both | {f"{name}.png" for name in alone}
    assert {file.name for file in folder.iterdir()} == {"figures", "report.html"}
    for file in (folder / "figures").glob("*.png"):
        with Image.open(file) as image:
            image.load()


def test_every_point_is_drawn_once_in_each_plane_in_the_order_of_the_thumbnails(full, written):
    page = Page(written)
    paths = [attrs for tag, attrs in page.starts if tag == "path" and "data-group" in attrs]
    counts = np.zeros(10, dtype=int)
    for path in paths:
        counts[int(path["data-group"])] += path["d"].count("M")
    assert (counts == 2 * np.bincount(full.latents.labels)).all()
    half = len(paths) // 2
    shape = [(path["data-group"], path["d"].count("M")) for path in paths]
    assert shape[:half] == shape[half:]


def test_many_points_are_thinned(full, tmp_path, monkeypatch):
    monkeypatch.setattr(projection, "POINTS", 60)
    page = Page(write(tmp_path, full))
    assert sum(path.count("M") for path in page.values("d") if "h.1" in path) == 2 * 60
    assert "60 of 150" in " ".join(" ".join(page.texts).split())


@pytest.mark.parametrize("name", sorted(SECTIONS))
def test_what_is_missing_leaves_out_its_section_alone(full, tmp_path, name):
    field = {"curves": "metrics"}.get(name, name)
    empty = getattr(Content(title=""), field)
    few = replace(full, latents=Latents(full.latents.features[:20]))
    page = Page(write(tmp_path, replace(few, **{field: empty})))
    assert page.sections == SECTIONS - {name}


def test_a_title_alone_makes_a_page(tmp_path):
    page = Page(write(tmp_path, Content(title="only a title")))
    assert page.sections == set()
    assert "only a title" in page.texts
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_vectors_without_labels_have_points_but_neither_legend_nor_thumbnails(full, tmp_path):
    page = Page(write(tmp_path, replace(full, latents=Latents(full.latents.features[:50, :1]))))
    assert "latents" in page.sections
    assert not {"legend", "thumb"} & set(page.values("class"))


def test_collapsed_latents_are_called_collapsed(full, tmp_path):
    page = Page(write(tmp_path, replace(full, latents=Latents(np.ones((50, 4))))))
    assert any("collapsed" in text for text in page.texts)
    assert not (tmp_path / "figures" / "latents.png").exists()


def test_hostile_names_are_shown_as_text(full, tmp_path):
    hostile = "<script>alert('$x_{')</script>\"&<img src=http://example.org>"
    classes = [hostile, *full.latents.classes[1:]]
    content = replace(
        full,
        title=hostile,
        summary={hostile: hostile},
        verdict=[hostile],
        scores={hostile: {"width": 2, hostile: {"accuracy": 0.5}}},
        measures=[
            Measured(hostile, [Figure(hostile, hostile)], [hostile], {hostile: [Figure(hostile, hostile)]})
        ],
        metrics=[{"kind": "train", "step": 1, "epoch": 1, hostile: 1.0}],
        latents=replace(full.latents, classes=classes),
        confusion=replace(full.confusion, classes=classes, probe=hostile),
        samples=[
            replace(
                full.samples[0], title=hostile, note=hostile, rows=[(hostile, full.samples[0].rows[0][1])]
            )
        ],
        neighbours=replace(full.neighbours, classes=[hostile] * 10),
        worst=replace(full.worst, captions=[hostile] * 3, says=hostile),
        recipe={hostile: hostile},
        environment={"note": hostile},
    )
    page = Page(write(tmp_path, content))
    assert [tag for tag, _ in page.starts].count("script") == 1
    assert not any("example.org" in link for link in page.values("src"))
    assert page.texts.count(hostile) >= 19


def test_measures_keep_their_figures_their_twin_and_their_reasons():
    found = {
        "mse": 0.01234567,
        "ssim": 0.5,
        "samples": 5000,
        "held_out": ["a", "b"],
        "matrix": [[1.0]],
        "views": "simclr",
        "missing": {"nll": "no density"},
        "note": "as it is",
        "seconds": 3.2,
    }
    scores = {
        "encoder": {"width": 2, "measures": {"reconstruction": found}},
        "random": {"width": 2, "measures": {"reconstruction": found | {"ssim": 0.25}}},
        "verdict": [],
    }
    [one] = measures_of(scores)
    assert (one.name, one.notes) == ("reconstruction", ["as it is", "no nll: no density"])
    assert [str(figure) for figure in one.figures] == [
        "MSE 0.01235 (untrained 0.01235)",
        "SSIM 0.5 (untrained 0.25)",
        "samples 5,000",
        "held out a, b",
        "views simclr",
    ]
    assert measures_of({"encoder": {"width": 2}, "verdict": []}) == []


def test_parts_of_a_measure_stand_side_by_side():
    found = {"mean": 0.5, "z": {"hue": 0.25, "mean": 0.5}, "h": {"hue": 0.75, "mean": 0.8}}
    twin = {"mean": 0.1, "z": {"hue": 0.125, "mean": 0.1}}
    rows = {
        "encoder": {"measures": {"style": found}},
        "random": {"measures": {"style": twin}},
    }
    [one] = measures_of(rows)
    assert list(map(str, one.figures)) == ["mean R² 0.5 (untrained 0.1)"]
    assert {part: list(map(str, figures)) for part, figures in one.parts.items()} == {
        "z": ["hue 0.250 (untrained 0.125)", "mean 0.500 (untrained 0.100)"],
        "h": ["hue 0.750", "mean 0.800"],
    }
    assert one.references == {}
    style = {"mean": 0.4, "h": {"hue": -0.1, "mean": 0.4}, "missing": {"blur": "it is too small"}}
    pixels = {"measures": {"style": style}}
    [one] = measures_of(rows | {"pixels": pixels})
    assert list(map(str, one.figures)) == ["mean R² 0.5 (untrained 0.1, pixels 0.4)"]
    assert [list(map(str, figures)) for figures in one.references.values()] == [["hue −0.100", "mean 0.400"]]


def test_the_table_marks_the_best_of_the_run_and_the_reference_beyond_it(written):
    page = Page(written)
    cells = [attrs["class"] for tag, attrs in page.starts if tag == "td" and "class" in attrs]
    assert cells == ["best", "", "", "best", "ahead", ""]
    assert {"90.0", "85.0", "81.0", "95.0", "–", "6.5", "of 8", "of 1,064"} <= set(page.texts)
    assert "format_version" not in page.texts


@pytest.mark.parametrize(("test_size", "marks"), [(360, ["", "ahead"]), (100_000, ["ahead", "ahead"])])
def test_a_reference_is_ahead_where_the_test_set_tells_it_apart(test_size, marks):
    scores = {
        name: {"width": 8, "test_size": test_size, "knn": {"accuracy": knn}, "ridge": {"r2": r2}}
        for name, knn, r2 in (("encoder", 0.906, 0.5), ("pca", 0.911, 0.51), ("pixels", 0.983, 0.4))
    }
    own, *others = table(scores, ("pca", "pixels")).rows
    assert [cell.mark for cell in own.cells] == ["best", "best"]
    assert [row.cells[0].mark for row in others] == marks
    assert [row.cells[1].mark for row in others] == ["ahead", ""]  # of R² there is no such error


def pixels(src: str) -> np.ndarray:
    data = b64decode(src.removeprefix("data:image/webp;base64,"))
    with Image.open(BytesIO(data)) as image:
        return np.asarray(image.convert("L"))


def test_neighbours_stand_behind_their_image_and_those_of_another_class_are_marked(full, written):
    page = Page(written)
    shown = [attrs for tag, attrs in page.starts if tag == "img" and "title" in attrs]
    labels = full.neighbours.labels
    assert [one["title"] for one in shown] == [f"digit {label}" for label in labels.ravel()]
    marked = ["class" in one for one in shown]
    assert marked == (labels != labels[:, :1]).ravel().tolist()
    assert any(marked)
    query = np.rint(full.neighbours.images[0, 0] * 255)
    assert np.array_equal(pixels(shown[0]["src"]), query)
    second = np.rint(full.neighbours.nearest[1, 2, 0] * 255)
    assert np.array_equal(pixels(shown[-1]["src"]), second)


def test_the_worst_are_stacked_in_the_order_of_their_captions(full, written):
    page = Page(written)
    captions = list(full.worst.captions)
    assert [text for text in page.texts if text in captions] == captions
    stacks = [attrs["src"] for tag, attrs in page.starts if tag == "img" and attrs["alt"] == ""]
    assert len(stacks) == 3
    for i, stack in enumerate(map(pixels, stacks)):
        assert np.array_equal(stack[:8], np.rint(full.worst.rows["input"][i, 0] * 255))
        assert np.array_equal(stack[-8:], np.rint(full.worst.rows["output"][i, 0] * 255))


@pytest.mark.parametrize(("side", "exact"), [(32, True), (96, False)])
def test_small_pictures_are_kept_to_the_bit_and_large_ones_small(side, exact):
    noise = np.random.default_rng(0).random((3, 3, side, side))
    for rows in (strip(noise), column(noise), strip(noise[:1])):
        with Image.open(BytesIO(b64decode(picture(rows).partition(",")[2]))) as image:
            kept = np.asarray(image.convert("RGBA"))
        assert kept.shape == rows.shape
        clear = rows[..., 3] == 0
        assert np.array_equal(kept[..., 3] == 0, clear)
        assert np.array_equal(kept[~clear], rows[~clear]) == exact


def test_samples_are_rows_under_their_names(full, written):
    page = Page(written)
    assert {"From the prior", "They are drawn.", "z3"} <= set(page.texts)
    [row] = [attrs["src"] for tag, attrs in page.starts if tag == "img" and attrs["alt"] == "z3 images"]
    assert np.array_equal(pixels(row)[:, 9:17], np.rint(full.samples[1].rows[0][1][1, 0] * 255))


@pytest.mark.parametrize("k", [3, 11, 30, 120])
def test_any_number_of_classes_and_channels(full, tmp_path, k):
    rng = np.random.default_rng(0)
    labels = np.arange(2 * k) % k
    classes = [f"class {i}" for i in range(k)]
    content = Content(
        title="wide",
        latents=Latents(
            rng.normal(size=(2 * k, 4)), labels, classes, rng.integers(0, 256, (2 * k, 5, 70, 33), np.uint8)
        ),
        reconstructions=Reconstructions(rng.random((3, 2, 200, 130)), rng.random((3, 2, 200, 130))),
        confusion=Confusion(37 * np.eye(k, dtype=int), classes),
    )
    page = Page(write(tmp_path, content))
    assert page.texts.count("37") == (k if k <= 20 else 0)
    assert len([attrs for tag, attrs in page.starts if tag == "li"]) == k


def test_the_page_is_the_same_each_time(full, written, tmp_path):
    assert write(tmp_path, full).read_bytes() == written.read_bytes()


@pytest.mark.parametrize(
    ("value", "text"),
    [(12345.6, "12,346"), (-14.9312, "−14.93"), (0.0123456, "0.01235"), (0.0, "0"), (float("nan"), "nan")],
)
def test_numbers_have_about_four_digits(value, text):
    assert number(value) == text
