"""The Fréchet distance against its formula, and on digits whose quality is known."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from diabolo.errors import UserError
from diabolo.evaluation.frechet import Frechet, extractor_for, frechet_distance
from tests.evaluation.subjects import Coded, noise_splits, plain_subject


def literal(a: np.ndarray, b: np.ndarray) -> float:
    """Heusel et al. 2017, eq. 6, with scipy's matrix square root."""
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    return float(
        np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(first + second - 2 * np.real(sqrtm(first @ second)))
    )


def test_the_distance_is_the_formula_s():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6))
    b = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6)) + 0.5
    assert frechet_distance(a, b) == pytest.approx(literal(a, b), rel=1e-8)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-8)


def test_a_shift_counts_by_its_square_and_equals_are_at_no_distance():
    a = np.random.default_rng(1).normal(size=(50, 4))
    assert frechet_distance(a, a + np.array([3, 0, 4, 0])) == pytest.approx(25)
    assert frechet_distance(a, a[::-1]) == pytest.approx(0, abs=1e-9)
    flat = a * [1, 1, 1, 0]  # a dead feature is no difficulty
    assert frechet_distance(flat, flat) == pytest.approx(0, abs=1e-6)


def test_better_images_are_nearer(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("DIABOLO_CACHE", str(tmp_path))
    identity = Coded(lambda z: z, (1, 8, 8))  # its samples are those of Gaussians in pixels
    blurred = Coded(lambda z: 0.2 * z + 0.2, (1, 8, 8))
    found = [Frechet()(plain_subject(method, digits)) for method in (identity, blurred)]
    assert found[0]["floor"] < found[0]["distance"] < 0.5 * found[1]["distance"]
    assert found[0]["floor"] == found[1]["floor"]
    assert found[0]["decoder"] == "own"
    assert "convolutional classifier" in found[0]["extractor"]


def test_the_extractor_is_trained_once(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("DIABOLO_CACHE", str(tmp_path))
    first = extractor_for(digits, torch.device("cpu"))
    [kept] = (tmp_path / "extractors").iterdir()
    written = kept.stat().st_mtime_ns
    again = extractor_for(digits, torch.device("cpu"))
    assert kept.stat().st_mtime_ns == written
    x = digits.test.floats()[:5]
    torch.testing.assert_close(first.represent(x), again.represent(x))
    assert float(first.name.split()[2]) > 80  # it has learned the classes


def test_what_has_no_labels_or_no_images_is_refused(digits):
    with pytest.raises(UserError, match="these are vectors"):
        Frechet().check(plain_subject(Coded(lambda z: z, (7,)), noise_splits((7,))))
    with pytest.raises(UserError, match="it needs labels"):
        Frechet().check(plain_subject(Coded(lambda z: z, (1, 4, 4)), noise_splits((1, 4, 4))))
