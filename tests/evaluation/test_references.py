"""Reference rows, and the cache of their scores."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from diabolo.data.images import Images, Splits
from diabolo.evaluation.features import Features
from diabolo.evaluation.probes import Linear, standardised
from diabolo.evaluation.references import Components, Pixels, cached, projected


def pixels(splits: Splits) -> Features:
    return projected(Pixels(splits.train.shape), splits)


def pca(splits: Splits, width: int) -> Features:
    return projected(Components(splits.train, width), splits)


def test_pixels_are_flattened_in_zero_to_one(digits):
    features = pixels(digits)
    np.testing.assert_array_equal(
        features.test.values, digits.test.pixels.flatten(1).numpy().astype(np.float32) / 255
    )
    assert (features.width, features.classes, features.note) == (64, digits.train.classes, "")
    assert Linear()(features, seed=0).accuracy > 0.93


@pytest.mark.parametrize(("shape", "size"), [((3, 96, 96), (32, 32)), ((1, 200, 50), (110, 27))])
def test_large_images_are_averaged_down_and_the_note_says_so(shape, size):
    pixels_of = torch.randint(0, 256, (12, *shape), dtype=torch.uint8)
    images = Images(pixels_of, torch.arange(12) % 2)
    features = pixels(Splits(images, images, images))
    assert features.width == shape[0] * size[0] * size[1] <= 3072
    assert features.note == f"pixels averaged down from {shape[1]}×{shape[2]} to {size[0]}×{size[1]}"
    if shape[0] == 3:  # a whole number of pixels in each block
        blocks = pixels_of.double().div(255).reshape(12, 3, 32, 3, 32, 3).mean(dim=(3, 5))
        np.testing.assert_allclose(features.test.values, blocks.flatten(1), atol=1e-6)


def test_vectors_stay_as_they_are():
    images = Images(torch.randn(12, 5000))
    np.testing.assert_array_equal(pixels(Splits(images, images, images)).train.values, images.pixels)


def test_pca_is_that_of_train_alone(digits):
    features = pca(digits, 10)
    raw = pixels(digits)
    mean = raw.train.values.astype(np.float64).mean(axis=0)
    _, _, directions = np.linalg.svd(raw.train.values - mean, full_matrices=False)
    expected = (raw.test.values - mean) @ directions[:10].T
    np.testing.assert_allclose(np.abs(features.test.values), np.abs(expected), atol=1e-3)
    other_test = replace(digits, test=digits.test.take(torch.arange(20)))
    np.testing.assert_allclose(pca(other_test, 10).test.values, features.test.values[:20], atol=1e-4)


def test_pca_uses_the_unlabelled_images_of_train(digits):
    unlabelled = replace(digits, train=replace(digits.train, labels=None), labelled=digits.validation)
    features = pca(unlabelled, 10)
    assert (len(features.train), len(features.validation)) == (270, 30)
    np.testing.assert_allclose(features.test.values, pca(digits, 10).test.values, atol=1e-4)


def test_pca_is_no_wider_than_the_data_vary(digits):
    x = digits.train.pixels.flatten(1).numpy() / 255.0
    deviations = np.linalg.svd(x - x.mean(0), compute_uv=False)
    there = int((deviations > 1e-3 * deviations[0]).sum())
    assert there < x.shape[1]  # corners are always white
    features = pca(digits, 100)
    assert features.width == there
    assert features.note == f"{there} principal components, all there are"


def test_pca_of_fewer_images_than_pixels_has_no_component_that_is_rounding(digits):
    few = pca(replace(digits, train=digits.train.take(torch.arange(20))), 64)
    assert few.width == 19
    assert np.abs(standardised(few).test.values).max() < 100


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DIABOLO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "references"


def test_a_reference_is_computed_once_for_a_key(folder):
    calls = []

    def compute(value):
        return lambda: calls.append(value) or {"width": value}

    assert cached({"data": "mnist", "seed": 0}, compute(1)) == {"width": 1}
    assert cached({"seed": 0, "data": "mnist"}, compute(2)) == {"width": 1}
    assert cached({"data": "mnist", "seed": 1}, compute(3)) == {"width": 3}
    assert calls == [1, 3]


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"key": {"a": 2}, "result": {"x": 1}}', '{"key": {"a": 1}}']
)
def test_a_damaged_file_is_computed_again(folder, damage):
    cached({"a": 1}, lambda: {"x": 1})
    (file,) = folder.iterdir()
    file.write_text(damage)
    assert cached({"a": 1}, lambda: {"x": 5}) == {"x": 5}
    assert json.loads(file.read_text())["result"] == {"x": 5}
    assert list(folder.iterdir()) == [file]


def test_a_file_that_cannot_be_written_costs_only_a_warning(folder):
    cached({"a": 1}, lambda: {"x": 1})
    (file,) = folder.iterdir()
    file.unlink()
    file.mkdir()
    with pytest.warns(UserWarning, match=r"cannot write .* computed again next time"):
        assert cached({"a": 1}, lambda: {"x": 5}) == {"x": 5}
