"""The pictures of a run's page, from runs on digits."""

from pathlib import Path

import numpy as np
import pytest
import torch

import diabolo
from diabolo.data.images import Images, Splits
from diabolo.data.splits import load
from diabolo.evaluation.features import Features, features_of
from diabolo.evaluation.neighbours import nearest
from diabolo.pages import gallery
from diabolo.recipe import Data
from diabolo.report.grids import grid
from diabolo.runs.run import Run

SMALL = ["encoder={name: mlp, widths: [32]}", "optimiser.lr=0.003", "evaluation.live=0"]


def train(folder: Path, method: str, *settings: str, data: object = "digits") -> Run:
    settings = (*SMALL, *settings)
    return diabolo.fit(data, method, epochs=3, out=folder, settings=settings, evaluate=False, quiet=True)


@pytest.fixture(scope="module")
def splits() -> Splits:
    return load(Data(name="digits"))


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(tmp_path_factory.mktemp("runs") / "vae", "vae", "method.latent=6")


@pytest.fixture(scope="module")
def simclr(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(tmp_path_factory.mktemp("runs") / "simclr", "simclr")


def features(run: Run, splits: Splits) -> Features:
    return features_of(lambda x: run.method.represent(x), splits)


def test_a_decoder_gives_samples_by_class_walks_and_no_method_without_one(vae, simclr, splits):
    found = {one.name: one for one in gallery.samples(vae, splits)}
    assert list(found) == ["samples", "samples-by-class", "interpolations", "traversals"]
    assert "prior" in found["samples"].title
    assert [name for name, _ in found["samples-by-class"].rows] == list(splits.train.classes)
    shapes = {rows.shape for one in found.values() for _, rows in one.rows}
    assert shapes == {(gallery.ACROSS, 1, 8, 8)}
    assert len(found["traversals"].rows) == 6  # no more than there are dimensions
    test = splits.test.floats().numpy()
    for _, row in found["interpolations"].rows:
        assert any(np.array_equal(row[0], image) for image in test)
        decoded = vae.method.reconstruct(torch.from_numpy(row[:1])).detach().numpy()
        np.testing.assert_allclose(row[1:2], decoded, atol=1e-5)
    middles = [row[gallery.ACROSS // 2] for _, row in found["traversals"].rows]
    np.testing.assert_allclose(middles, [middles[0]] * 6, atol=1e-5)  # all pass through the mean code
    assert gallery.samples(simclr, splits) == []


def test_without_a_prior_samples_come_from_a_gaussian_and_say_so(tmp_path, splits):
    first = gallery.samples(train(tmp_path / "ae", "ae"), splits)[0]
    assert first.title == "From a Gaussian"
    assert "prior cannot be sampled" in first.note


def test_neighbours_are_the_nearest_by_cosine(simclr, splits):
    z = features(simclr, splits)
    found = gallery.neighbours(splits, z)
    assert sorted(found.labels[:, 0]) == list(range(gallery.QUERIES))  # each of another class
    unit = [part.values / np.linalg.norm(part.values, axis=1, keepdims=True) for part in (z.test, z.train)]
    test, known = splits.test.floats().numpy(), splits.train.floats().numpy()
    for image, row, labels in zip(found.images, found.nearest, found.labels, strict=True):
        [position] = [i for i in range(len(test)) if np.array_equal(test[i], image)][:1]
        order = np.argsort(-unit[1] @ unit[0][position], kind="stable")[: gallery.NEAREST]
        np.testing.assert_array_equal(row, known[order])
        np.testing.assert_array_equal(labels[1:], z.train.labels[order])


def test_with_a_decoder_the_worst_are_the_worst_rebuilt(vae, splits):
    found = gallery.worst(vae.method, splits, features(vae, splits))
    x = splits.test.floats()
    with torch.no_grad():
        errors = (x - vae.method.reconstruct(x)).square().mean((1, 2, 3))
    most = errors.topk(gallery.WORST)
    np.testing.assert_array_equal(found.rows["input"], x[most.indices])
    np.testing.assert_allclose([float(text) for text in found.captions], most.values, rtol=1e-3)


def test_without_one_they_are_those_whose_neighbours_disagree(simclr, splits):
    train, test = splits.train, splits.test
    z = features(simclr, splits)
    labels = z.test.labels.copy()
    odd = gallery.worst(simclr.method, splits, z).rows["image"]
    assert len(odd) == gallery.WORST
    # One test image is given a wrong label: its neighbours now disagree, and it is among the worst.
    distances, found = nearest(z.train.values, z.test.values, gallery.VOTERS, "cosine")
    agreed = np.flatnonzero((z.train.labels[found] == labels[:, None]).all(axis=1))
    planted = agreed[distances[agreed].mean(axis=1).argmin()]
    changed = test.labels.clone()
    changed[planted] = (changed[planted] + 1) % 10
    wrong = Splits(train, splits.validation, Images(test.pixels, changed, test.classes))
    found = gallery.worst(simclr.method, wrong, features(simclr, wrong))
    np.testing.assert_array_equal(found.rows["image"][0], test.floats()[planted])
    names = test.classes
    assert found.captions[0] == f"{names[changed[planted]]}\n→ {names[labels[planted]]}"


def test_an_image_that_its_neighbours_place_rightly_is_no_worst_case(simclr, splits):
    z = features(simclr, splits)
    _, found = nearest(z.train.values, z.test.values, gallery.VOTERS, "cosine")
    common = np.array([np.bincount(labels).argmax() for labels in z.train.labels[found]])
    wrong = np.flatnonzero(common != z.test.labels)
    right = np.flatnonzero(common == z.test.labels)
    for kept, count in ((np.append(right[:20], wrong[:2]), 2), (right[:20], None)):
        few = Splits(splits.train, splits.validation, splits.test.take(torch.from_numpy(kept)))
        worst = gallery.worst(simclr.method, few, features(simclr, few))
        assert (None if worst is None else len(worst.captions)) == count


def test_without_labels_there_are_neighbours_and_no_worst_cases(simclr, splits):
    bare = Splits(*(Images(part.pixels) for part in (splits.train, splits.validation, splits.test)))
    z = features(simclr, bare)
    found = gallery.neighbours(bare, z)
    assert found.labels is None
    assert found.nearest.shape == (gallery.QUERIES, gallery.NEAREST, 1, 8, 8)
    assert gallery.worst(simclr.method, bare, z) is None


def test_a_single_test_image_is_enough(vae, splits):
    one = Splits(splits.train, splits.validation, splits.test.take(torch.tensor([3])))
    assert [found.name for found in gallery.samples(vae, one)] == [
        "samples",
        "samples-by-class",
        "traversals",
    ]
    assert len(gallery.neighbours(one, features(vae, one)).images) == 1
    assert len(gallery.worst(vae.method, one, features(vae, one)).captions) == 1


def test_vectors_have_no_pictures(tmp_path, splits):
    flat = [Images(part.floats().flatten(1), part.labels) for part in (splits.train, splits.validation)]
    vectors = Splits(*flat, flat[1])
    run = train(tmp_path / "ae", "ae", data=vectors)
    z = features(run, vectors)
    assert gallery.samples(run, vectors) == []
    assert gallery.neighbours(vectors, z) is None
    assert gallery.worst(run.method, vectors, z) is None


def test_framed_images_of_a_grid_have_their_frame_around_them():
    rows = [np.zeros((3, 1, 4, 5)), np.zeros((2, 1, 4, 5))]
    figure = grid(rows, ["a", "b"], framed=[np.array([True, False, True]), np.array([False, True])])
    [axes] = figure.axes
    corners = [patch.get_xy() for patch in axes.patches]
    assert corners == [(-0.5, -0.5), (2 * 6 - 0.5, -0.5), (6 - 0.5, 5 - 0.5)]
    assert {(patch.get_width(), patch.get_height()) for patch in axes.patches} == {(5, 4)}
    assert not grid(rows).axes[0].patches
