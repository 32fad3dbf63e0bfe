"""What the figures are made of: curves over epochs, strips and sprites of images, projections."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from sklearn.datasets import load_digits

from diabolo.report import figures, projection, tiles


def test_steps_become_epochs_and_terms_keep_their_names():
    rows = [
        {"kind": "train", "step": s, "epoch": 0, "loss": 1.0 * s, "prior": 2.0, "lr": 0.1} for s in (5, 20)
    ]
    rows += [{"kind": "curve", "step": 10, "epoch": 1, "effective_rank": 4.0}]
    rows += [{"kind": "curve", "step": 20, "epoch": 2, "knn": 0.5, "effective_rank": 5.0}]
    curves = {one.name: one for one in figures.series(rows)}
    assert list(curves) == ["loss", "prior", "kNN on validation, %", "effective rank on validation"]
    assert curves["loss"].x.tolist() == [0.5, 2.0]
    assert curves["loss"].y.tolist() == [5.0, 20.0]
    assert curves["kNN on validation, %"].y.tolist() == [50.0]
    assert curves["effective rank on validation"].x.tolist() == [1.0, 2.0]


def test_the_loss_on_validation_lies_in_the_panel_of_the_loss_from_the_first_epoch_on():
    rows = [{"kind": "train", "step": s, "epoch": s / 10, "loss": s, "lr": 0.1} for s in (5, 10, 20)]
    live = [{"kind": "curve", "step": s, "epoch": s // 10, "effective_rank": 1.0} for s in (0, 10, 20)]
    alone, _ = figures.series(rows + live)
    assert alone.held_out is None
    loss, rank = figures.series(rows + [row | {"loss": 30.0 - row["step"]} for row in live])
    assert (loss.name, loss.x.tolist(), loss.y.tolist()) == ("loss", [0.5, 1.0, 2.0], [5.0, 10.0, 20.0])
    assert loss.held_out.x.tolist() == [1.0, 2.0]
    assert loss.held_out.y.tolist() == [20.0, 10.0]
    assert rank.held_out is None
    [axes] = figures.curve(loss).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["train", "validation"]
    assert len({line.get_color() for line in axes.lines}) == 2
    assert figures.curve(alone).axes[0].get_legend() is None
    assert {line.get_color() for line in figures.budgets({"vae": [loss]}).axes[0].lines} == {
        figures.PALETTE[0]
    }


def test_a_single_term_is_not_drawn_beside_the_loss_it_is():
    rows = [{"kind": "train", "step": s, "epoch": s / 10, "loss": s, "contrastive": s} for s in (5, 20)]
    assert [one.name for one in figures.series(rows)] == ["loss"]


def test_a_long_curve_is_averaged_not_sampled():
    n = 10 * figures.CURVE_POINTS
    rows = [{"kind": "train", "step": s, "epoch": 1, "loss": float(s % 2)} for s in range(1, n + 1)]
    (loss,) = figures.series(rows)
    assert len(loss.x) == figures.CURVE_POINTS
    assert np.allclose(loss.y, 0.5)


@given(
    n=st.integers(1, 4),
    channels=st.integers(1, 5),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    most=st.integers(1, 40),
)
def test_shrinking_keeps_within_the_limit_and_the_range(n, channels, height, width, most):
    images = np.random.default_rng(0).random((n, channels, height, width))
    small = tiles.shrink(images, most)
    assert small.shape[:2] == (n, channels)
    assert min(small.shape[2:]) >= 1
    assert small.min() >= images.min()
    assert small.max() <= images.max() + 1e-12
    if max(height, width) <= most:
        assert np.array_equal(small, images)


def test_shrinking_is_the_mean_of_blocks():
    images = np.arange(16.0).reshape(1, 1, 4, 4)
    assert tiles.shrink(images, 2).tolist() == [[[[2.5, 4.5], [10.5, 12.5]]]]


def test_a_strip_holds_the_images_in_order_with_clear_gaps():
    images = np.stack([np.full((3, 4, 4), value) for value in (0.0, 0.5, 1.0)])
    strip = tiles.strip(images)
    assert strip.shape == (4, 14, 4)
    assert strip[0, :, 0].tolist() == [0] * 5 + [128] * 4 + [0] + [255] * 4
    assert strip[0, :, 3].tolist() == [255] * 4 + [0] + [255] * 4 + [0] + [255] * 4


def test_the_sprite_holds_thumbnails_row_by_row():
    n = projection.SPRITE_COLUMNS + 3
    shades = np.linspace(0, 255, n).astype(np.uint8)
    thumbnails = np.broadcast_to(shades[:, None, None, None], (n, 1, 16, 16))
    with Image.open(BytesIO(projection.sprite(thumbnails))) as image:
        sheet = np.asarray(image.convert("L")).astype(int)
    assert sheet.shape == (2 * 16, projection.SPRITE_COLUMNS * 16)
    centres = sheet[8::16, 8::16].ravel()[:n]
    assert np.abs(centres - shades).max() <= 6  # WebP is lossy


def test_pca_finds_the_plane_and_its_share_of_the_variance():
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(200, 2)) * [5, 2]
    rotation, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    points, share = projection.pca(plane @ rotation[:2])
    assert share.sum() == pytest.approx(1)
    centred = plane - plane.mean(axis=0)
    assert np.allclose(points @ points.T, centred @ centred.T)


def test_tsne_keeps_the_classes_of_digits_together():
    digits = load_digits()
    x, labels = digits.data[:300], digits.target[:300]
    plane = projection.tsne(x, projection.pca(x)[0])
    distance = np.square(plane[:, None] - plane[None]).sum(axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (labels[distance.argmin(axis=1)] == labels).mean() > 0.9


@pytest.mark.parametrize("k", [1, 10, 11, 100])
def test_every_class_has_its_own_colour(k):
    assert len(set(figures.colours(k))) == k


@pytest.mark.parametrize(("n", "each"), [(2, 2), (16, 8), (30, 2)])
def test_the_heat_of_a_cosine_is_its_strength_and_its_colour_the_sign(n, each):
    cosines = np.linspace(-1, 1, (n * each) ** 2).reshape(n * each, -1)
    axes, scale = figures.similarity(cosines, each).axes
    heat = axes.images[0].get_array()
    assert np.allclose(heat[..., 3], np.abs(cosines))
    assert len(np.unique(heat[cosines > 0][:, :3], axis=0)) == 1
    assert not np.allclose(heat[0, 0, :3], heat[-1, -1, :3])
    assert len(axes.lines) == 2 * (n - 1)
    edges = {line.get_ydata()[0] for line in axes.lines if line.get_ydata()[0] == line.get_ydata()[1]}
    assert edges == {each * i - 0.5 for i in range(1, n)}
    assert len(axes.get_xticks()) == (n if n <= figures.NUMBERED else 0)
    assert scale.images[0].get_array()[0, 0, 3] == 1


def test_both_themes_name_the_same_colours():
    assert figures.LIGHT.keys() == figures.DARK.keys()
    assert len(figures.CSS_NAMES) == len(
        figures.LIGHT
    )  # one name for each colour: `inline` goes by the colour


def test_an_inline_figure_follows_the_theme():
    svg = figures.inline(figures.confusion(np.array([[9, 1], [0, 10]]), ["a", "b"]), "confusion")
    assert "var(--ink)" in svg
    assert not any(colour in svg for colour in figures.LIGHT.values())
    assert "<metadata" not in svg


def test_a_plane_has_each_point_once_in_the_colour_of_its_class():
    points, labels = np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % 3
    [drawn] = figures.plane(points, labels, ["a", "b", "c"]).axes[0].collections
    assert np.allclose(drawn.get_offsets(), points)
    assert len(np.unique(drawn.get_facecolors(), axis=0)) == 3
    assert np.array_equal(drawn.get_facecolors()[:3], drawn.get_facecolors()[3:6])


@pytest.mark.parametrize("name", ["VAE", "DeepCluster-v2", "instance discrimination", "a name " * 9])
def test_the_legend_of_budgets_stays_inside(name: str) -> None:
    many = {f"{name} {i}": [figures.Series(name, np.arange(3.0), np.arange(3.0))] for i in range(7)}
    figure = figures.budgets(many)
    FigureCanvasAgg(figure).draw()
    [legend] = figure.legends
    assert legend.get_window_extent().x1 <= figure.bbox.x1


@pytest.mark.parametrize(
    ("ends", "scale"), [((100, 1000), "linear"), ((100, 1001), "log"), ((0, 100), "linear")]
)
def test_budgets_far_apart_are_drawn_in_logarithms(ends: tuple[int, int], scale: str) -> None:
    many = {str(end): [figures.Series("loss", np.array([0.0, end]), np.ones(2))] for end in ends}
    assert figures.budgets(many).axes[0].get_xscale() == scale
