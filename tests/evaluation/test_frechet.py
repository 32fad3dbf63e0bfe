"""The Fréchet distance against its formula, and on digits whose quality is known."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch.nn import functional as F

import diabolo
from diabolo.data.images import Splits
from diabolo.errors import UserError
from diabolo.evaluation import frechet
from diabolo.evaluation.frechet import Frechet, extractor_for, frechet_distance
from diabolo.files import write_tensors
from diabolo.report.measures import measures_of
from diabolo.tables import MEASURES
from tests.evaluation.subjects import Coded, noise_splits, plain_subject
from tests.networks.test_timm_encoder import CONFIG, Convolutional, stand_in


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
    assert found[0]["width"] == 128


def test_the_extractor_is_trained_once(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("DIABOLO_CACHE", str(tmp_path))
    first = extractor_for(digits, torch.device("cpu"))
    [kept] = (tmp_path / "extractors").glob("*.safetensors")
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


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", stand_in([]))


def test_the_features_of_a_model_of_one_s_own(
    timm: None, digits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, file = Convolutional(3).eval(), tmp_path / "mine.safetensors"
    write_tensors(file, network.state_dict())
    made = np.random.default_rng(0).random((70, 1, 8, 8), np.float32)
    monkeypatch.setattr(frechet, "_conditional", lambda *given: iter((made[:40], made[40:])))

    def seen(x: torch.Tensor) -> np.ndarray:
        """In the size and normalisation of the model, whole, grey in every channel."""
        x = F.interpolate(x, CONFIG["input_size"][1:], mode="bicubic", antialias=True).clamp(0, 1)
        mean, std = (torch.tensor(CONFIG[key]).view(3, 1, 1) for key in ("mean", "std"))
        return network((x - mean) / std).detach().numpy()

    subject = plain_subject(Coded(lambda z: z, (1, 8, 8)), digits)
    measure = Frechet(extractor="timm:small_cnn", weights=str(file))
    measure.check(subject)
    found = measure(subject)
    expected = literal(seen(torch.from_numpy(made)), seen(digits.test.floats()))
    assert found["distance"] == pytest.approx(expected, rel=1e-3)
    assert 0 <= found["floor"] < found["distance"]
    assert found["width"] == 10
    assert "FID" not in str(found)
    figures = {
        one.label: one.value for one in measures_of({"encoder": {"measures": {"frechet": found}}})[0].figures
    }
    assert (figures["extractor"], figures["features"]) == (found["extractor"], "10")


def test_a_distance_is_named_after_its_extractor(timm: None, digits: Splits, tmp_path: Path) -> None:
    subject, file = plain_subject(Coded(lambda z: z, (1, 8, 8)), digits), tmp_path / "mine.safetensors"
    names = []
    for _ in range(2):
        write_tensors(file, Convolutional(3).state_dict())
        names.append(Frechet(extractor="timm:small_cnn", weights=str(file))(subject)["extractor"])
    assert all(name.startswith("small_cnn of timm, weights mine.safetensors (") for name in names)
    assert names[0] != names[1]  # the same file name, other weights
    assert Frechet(extractor="timm:trained_cnn")(subject)["extractor"] == "trained_cnn of timm"


def test_a_wrong_extractor_is_refused_before_anything_is_trained(
    timm: None, digits: Splits, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"^frechet: unknown extractor 'inception': 'classifier', or 'timm:'"):
        Frechet(extractor="inception")
    with pytest.raises(UserError, match=r"^frechet: weights are of a model"):
        Frechet(weights="mine.safetensors")
    for settings, message in (
        ({"extractor": "timm:nothing"}, "unknown timm model 'nothing'"),
        ({"extractor": "timm:small_cnn"}, "'small_cnn': No pretrained weights"),
        ({"extractor": "timm:small_cnn", "weights": "none.safetensors"}, "no model file at none.safetensors"),
    ):
        with pytest.raises(UserError, match=f"^measure 'frechet': .*{message}"):
            diabolo.fit(
                "digits",
                "vae",
                epochs=1,
                settings={"evaluation.measures": [{"name": "frechet", **settings}]},
                out=tmp_path / "run",
                quiet=True,
            )
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_recipe_of_before_has_the_classifier() -> None:
    assert MEASURES.complete({"name": "frechet"}, "measure") == MEASURES.complete(
        {"name": "frechet", "extractor": "classifier", "weights": None}, "measure"
    )
