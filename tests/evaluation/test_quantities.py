"""Quantities: R² that is known beforehand, against scikit-learn, and from a file to the page."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

import diabolo
from diabolo.cli import main
from diabolo.data.images import Images, Splits
from diabolo.data.parts import Parts
from diabolo.data.readers import read
from diabolo.errors import UserError
from diabolo.evaluation.feature_files import load_features
from diabolo.evaluation.features import Features, Part
from diabolo.evaluation.probes import standardised
from diabolo.evaluation.quantities import Quantities
from diabolo.evaluation.regression import PENALTIES
from diabolo.evaluation.suite import read_scores, score, write_scores
from diabolo.evaluation.verdict import verdict
from diabolo.tables import PROBES
from diabolo.verbs.evaluate import evaluate
from tests.evaluation.planted import blobs
from tests.report.test_report import Page

NAMES = ("exact", "noisy", "unrelated")
SPEC = [PROBES.complete("ridge", "probe")]


def planted(sizes: tuple[int, int, int] = (2000, 500, 4000), width: int = 5, noise: float = 2.0) -> Features:
    """One quantity linear in the features and far from zero, one with noise, one that is noise alone.

    Features are independent, of variances 1, 4, 9, …, and weigh so that each adds 1 to a quantity's variance.
    """
    rng = np.random.default_rng(0)
    scale = np.arange(1, width + 1)

    def part(n: int) -> Part:
        values = (rng.normal(size=(n, width)) * scale + 3).astype(np.float32)
        linear = (values / scale).sum(axis=1, dtype=np.float64)
        columns = (linear + 1e6, linear + noise * rng.normal(size=n), rng.normal(size=n))
        return Part(values, quantities=np.stack(columns, axis=1))

    return Features(*(part(n) for n in sizes), quantity_names=NAMES)


def test_r2_is_the_share_of_variance_that_is_no_noise() -> None:
    features = planted()
    found = Quantities()(features, seed=0)
    each = found.more["each"]
    assert list(each) == list(found.chosen) == list(NAMES)
    assert each["exact"] > 0.99999
    assert each["noisy"] == pytest.approx(5 / (5 + 2.0**2), abs=0.03)
    assert each["unrelated"] == pytest.approx(0, abs=0.01)
    assert found.r2 == pytest.approx(np.mean(list(each.values())))


def test_it_is_scikit_learn_s_with_the_penalty_that_validation_prefers() -> None:
    features = planted((30, 60, 80), width=10, noise=8.0)
    found = Quantities()(features, seed=0)
    flat = standardised(features)
    for column, name in enumerate(NAMES):
        train, validation, test = (
            part.quantities[:, column] for part in (flat.train, flat.validation, flat.test)
        )
        fits = {p: Ridge(alpha=p * 30).fit(flat.train.values.astype(float), train) for p in PENALTIES}
        known = {p: r2_score(validation, fit.predict(flat.validation.values)) for p, fit in fits.items()}
        best = max(known, key=known.get)
        assert found.chosen[name] == pytest.approx({"penalty": best, "validation": known[best]}, abs=1e-4)
        expected = r2_score(test, fits[best].predict(flat.test.values))
        assert found.more["each"][name] == pytest.approx(expected, abs=1e-4)
    assert found.chosen["noisy"]["penalty"] > found.chosen["exact"]["penalty"]


def test_the_penalty_is_not_chosen_on_test() -> None:
    """Test has what the weakest penalty predicts; validation prefers a stronger one."""
    features = planted((30, 60, 80), width=20, noise=8.0)
    flat = standardised(features)
    weakest = Ridge(alpha=30 * min(PENALTIES)).fit(flat.train.values.astype(float), features.train.quantities)
    predicted = weakest.predict(flat.test.values.astype(float))
    trap = replace(features, test=replace(features.test, quantities=predicted))
    assert Quantities(penalties=(min(PENALTIES),))(trap, seed=0).more["each"]["noisy"] > 0.9999
    found = Quantities()(trap, seed=0)
    assert found.more["each"]["noisy"] < 0.99
    assert found.chosen == Quantities()(features, seed=0).chosen


def test_only_some_of_them_and_none_that_is_constant() -> None:
    features = planted((50, 20, 20))
    whole = Quantities()(features, seed=0)
    some = Quantities(only=("unrelated", "exact"))(features, seed=0)
    assert some.more["each"] == pytest.approx({n: whole.more["each"][n] for n in ("unrelated", "exact")})
    with pytest.raises(UserError, match=r"^unknown quantity 'exakt': did you mean 'exact'\?"):
        Quantities(only=("exakt",))(features, seed=0)
    constant = features.test.quantities.copy()
    constant[:, 1] = 0.1
    still = replace(features, test=replace(features.test, quantities=constant))
    with pytest.raises(UserError, match=r"^ridge: quantity 'noisy' is the same for every example of test"):
        Quantities()(still, seed=0)
    assert Quantities(only=("exact",))(still, seed=0).r2 > 0.999


def test_scores_hold_r2_and_no_accuracy(tmp_path: Path) -> None:
    features = planted((50, 20, 20))
    entry = score(features, SPEC, seed=0).scores
    assert entry["ridge"].keys() == {"r2", "each", "chosen", "seconds"}
    assert json.loads(json.dumps(entry)) == entry
    write_scores(tmp_path / "scores.json", {"encoder": entry})
    assert read_scores(tmp_path / "scores.json")["encoder"] == entry
    for wrong in ({"r2": 1.5}, {"accuracy": 0.5}, {"r2": float("nan")}):
        with pytest.raises(UserError, match="'encoder' has no R² up to 1 for ridge"):
            write_scores(tmp_path / "scores.json", {"encoder": entry | {"ridge": wrong}})


def test_the_verdict_sets_r2_beside_the_references() -> None:
    def row(r2: float) -> dict:
        return {"width": 8, "centred_rank": 6.0, "test_size": 100, "ridge": {"r2": r2}}

    said = verdict({"encoder": row(0.914), "random": row(-0.2), "pixels": row(0.5)})
    line = "ridge regression reads quantities with a mean R² of 0.91"
    assert f"{line} (−0.20 from a random encoder, 0.50 from raw pixels)" in said
    assert line in verdict({"encoder": row(0.914)})


def test_the_command_line_shows_r2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    features = planted((50, 20, 20))
    parts = {"train": features.train, "validation": features.validation, "test": features.test}
    arrays = {f"{name}_features": part.values for name, part in parts.items()}
    arrays |= {f"{name}_quantities": part.quantities for name, part in parts.items()}
    file, out, page = tmp_path / "z.npz", tmp_path / "scores.json", tmp_path / "page.html"
    np.savez(file, quantity_names=np.array(NAMES), **arrays)
    assert main(["evaluate", str(file), "--probe", "ridge", "--out", str(out), "--report", str(page)]) == 0
    shown = capsys.readouterr().err
    found = json.loads(out.read_text())["encoder"]["ridge"]
    assert found["each"] == pytest.approx(Quantities()(features, 0).more["each"])
    assert "ridge R²" in shown
    assert f" {found['r2']:.3f} " in shown
    assert "%" not in shown
    texts = Page(page).texts
    assert "Ridge, R²" in texts
    assert f"{found['r2']:.3f}" in texts
    assert f"{100 * found['r2']:.1f}" not in texts


def test_a_suite_leaves_it_out_where_there_are_no_quantities(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text("probes: [knn, ridge]")
    scores = evaluate(blobs(), suite=tmp_path / "mine.yaml")
    assert "left out probe 'ridge': it needs quantities in train" in capsys.readouterr().err
    assert "ridge" not in scores["encoder"]
    with pytest.raises(UserError, match=r"^probe 'ridge': it needs quantities in train"):
        evaluate(blobs(), probes=["ridge"], quiet=True)
    with pytest.raises(UserError, match=r"^ridge: these features have no quantities"):
        Quantities()(blobs(), seed=0)


def test_quantities_go_from_a_file_through_a_run_to_features(tmp_path: Path, digits: Splits) -> None:
    """How bright a digit is, and how much brighter above than below: both linear in the pixels."""
    images = Parts(digits.train, digits.validation, digits.test).together()
    halves = images.pixels.double().unflatten(2, (2, 4)).mean((1, 3, 4))
    quantities = torch.stack([halves.sum(1), halves[:, 0] - halves[:, 1]], 1).numpy()
    file = tmp_path / "digits.npz"
    names = np.array(["brightness", "top"])
    np.savez(file, x=images.pixels.numpy(), y=images.labels, quantities=quantities, quantity_names=names)
    settings = {
        "encoder": {"name": "mlp", "widths": [32]},
        "evaluation.probes": ["ridge"],
        "evaluation.live": 0,
    }
    run = diabolo.fit(file, "ae", epochs=1, settings=settings, out=tmp_path / "run", quiet=True)
    assert list(run.scores["random"]["ridge"]["each"]) == ["brightness", "top"]
    assert run.scores["pixels"]["ridge"]["r2"] > 0.999
    assert 0.3 < run.scores["encoder"]["ridge"]["r2"] <= 1

    diabolo.embed(run, file, out=tmp_path / "z.npz", quiet=True)
    features = load_features(tmp_path / "z.npz")
    assert features.quantity_names == ("brightness", "top")
    assert evaluate(features, probes=["ridge"], quiet=True)["encoder"]["ridge"]["r2"] > 0.3
    with pytest.raises(UserError, match=r"^evaluation.probes: probe 'ridge' needs quantities in train"):
        diabolo.fit("digits", "ae", epochs=1, settings=settings, out=tmp_path / "none", quiet=True)


def test_parts_of_features_and_of_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sizes = {"train": 20, "test": 8}
    quantities = {name: rng.normal(size=(n, 3)) for name, n in sizes.items()}
    given = {f"{name}_features": column[:, :2] for name, column in quantities.items()}
    given |= {f"{name}_quantities": column for name, column in quantities.items()}
    labels = {f"{name}_labels": np.arange(n) % 3 - 1 for name, n in sizes.items()}
    np.savez(tmp_path / "z.npz", **given, **labels)
    features = load_features(tmp_path / "z.npz")
    assert features.quantity_names == ("0", "1", "2")
    np.testing.assert_array_equal(features.test.quantities, quantities["test"][labels["test_labels"] >= 0])
    for part in (features.train, features.validation, features.test):  # rows stay together
        np.testing.assert_allclose(part.values, part.quantities[:, :2], rtol=1e-6)

    pixels = {f"x_{name}": rng.integers(0, 256, (n, 5, 5), np.uint8) for name, n in sizes.items()}
    named = {f"quantities_{name}": column for name, column in quantities.items()}
    np.savez(tmp_path / "x.npz", **pixels, **named, quantity_names=np.array(["a", "b", "c"]))
    parts = read(tmp_path / "x.npz")
    np.testing.assert_array_equal(parts.test.quantities, quantities["test"])
    np.testing.assert_array_equal(parts.together().quantities, np.concatenate(list(quantities.values())))
    assert parts.train.quantity_names == parts.together().quantity_names == ("a", "b", "c")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"quantities": np.ones(9)}, r"expected real numbers \[N, Q\], found float64 \[9\]"),
        ({"quantities": np.full((9, 1), "a")}, r"expected real numbers \[N, Q\], found <U1 \[9, 1\]"),
        ({"quantities": np.full((9, 1), np.nan)}, "NaN or infinite"),
        ({"quantities": np.eye(8)}, "9"),
        ({"quantities": np.eye(9), "quantity_names": np.array(["a"])}, "9 quantities but 1 names"),
    ],
)
def test_wrong_quantities_are_one_line(tmp_path: Path, given: dict, message: str) -> None:
    np.savez(tmp_path / "z.npz", features=np.eye(9), **given)
    np.savez(tmp_path / "x.npz", images=np.zeros((9, 4, 4), np.uint8), **given)
    for load, name in ((load_features, "z.npz"), (read, "x.npz")):
        with pytest.raises(UserError, match=message) as error:
            load(tmp_path / name)
        assert str(error.value).startswith(str(tmp_path / name))
        assert "\n" not in str(error.value)


def test_parts_that_differ_in_their_quantities_are_refused(tmp_path: Path) -> None:
    given = {"train_features": np.eye(9), "test_features": np.eye(9), "train_quantities": np.eye(9)}
    np.savez(tmp_path / "z.npz", **given)
    with pytest.raises(UserError, match=r"the parts differ in their quantities"):
        load_features(tmp_path / "z.npz")


def test_the_digest_tells_quantities_apart() -> None:
    def digest(quantities: torch.Tensor | None) -> str:
        images = Images(torch.zeros(4, 2), quantities=quantities)
        return Splits(images, images, images).digest()

    assert len({digest(None), digest(torch.zeros(4, 1).double()), digest(torch.ones(4, 1).double())}) == 3
