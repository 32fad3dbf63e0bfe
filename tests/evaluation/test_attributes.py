"""Attributes: a head each, its penalty chosen on validation, and the base rate beside it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

import diabolo
from diabolo.data.images import Images, Splits
from diabolo.data.parts import Parts
from diabolo.data.readers import read
from diabolo.errors import UserError
from diabolo.evaluation.attributes import Attributes
from diabolo.evaluation.feature_files import load_features
from diabolo.evaluation.features import Features, Part, features_of
from diabolo.evaluation.probes import standardised
from diabolo.evaluation.suite import score
from diabolo.tables import PROBES
from diabolo.verbs.evaluate import evaluate

NAMES = ("linear", "noise", "rare", "never")
SPEC = [PROBES.complete("attributes", "probe")]


def planted(sizes: tuple[int, int, int] = (300, 100, 200), width: int = 6, seed: int = 0) -> Features:
    """Features without labels, and four attributes: one linear but for noise, one that train lacks."""
    rng = np.random.default_rng(seed)

    def part(n: int, never: bool) -> Part:
        values = rng.normal(size=(n, width)).astype(np.float32)
        linear = values[:, 0] - values[:, 1] + rng.normal(size=n) > 0
        columns = (linear, rng.random(n) < 0.5, rng.random(n) < 0.1, never & (rng.random(n) < 0.3))
        return Part(values, attributes=np.stack(columns, axis=1).astype(np.int8))

    parts = [part(n, never) for n, never in zip(sizes, (False, True, True), strict=True)]
    return Features(*parts, attribute_names=NAMES)


def literal_head(features: Features, column: int) -> tuple[float, float]:
    """The penalty that is best on validation, the strongest among equals, and its accuracy on test."""
    flat = standardised(features)
    train, validation, test = flat.train, flat.validation, flat.test
    best = None
    for C in (0.001, 0.01, 0.1, 1.0):
        head = LogisticRegression(C=C).fit(train.values, train.attributes[:, column])
        accuracy = np.mean(head.predict(validation.values) == validation.attributes[:, column])
        if best is None or accuracy > best[0]:
            best = accuracy, C, np.mean(head.predict(test.values) == test.attributes[:, column])
    return best[1], best[2]


def test_each_attribute_has_a_head_of_its_own():
    features = planted()
    outcome = Attributes()(features, seed=0)
    each = outcome.more["each"]
    assert list(each) == list(NAMES)
    for column, name in enumerate(NAMES[:3]):
        C, accuracy = literal_head(features, column)
        assert outcome.chosen[name]["C"] == C
        assert each[name]["accuracy"] == pytest.approx(accuracy, abs=0.011)  # two of 200: where it stops
    usual = features.train.attributes.mean(axis=0) > 0.5
    base = (features.test.attributes == usual).mean(axis=0)
    assert [one["base"] for one in each.values()] == pytest.approx(base.tolist())
    assert each["never"]["accuracy"] == each["never"]["base"] == pytest.approx(base[3])
    assert "never" not in outcome.chosen
    assert each["linear"]["accuracy"] > each["linear"]["base"] + 0.15
    assert outcome.accuracy == pytest.approx(np.mean([one["accuracy"] for one in each.values()]))
    assert outcome.more["base"] == pytest.approx(base.mean())
    assert outcome.predictions is None


def test_only_some_of_them():
    features = planted()
    whole, some = Attributes()(features, seed=0), Attributes(only=("rare", "linear"))(features, seed=0)
    assert some.more["each"] == {name: whole.more["each"][name] for name in ("rare", "linear")}
    with pytest.raises(UserError, match=r"^unknown attribute 'lineal': did you mean 'linear'\?"):
        Attributes(only=("lineal",))(features, seed=0)


def test_no_penalty_is_chosen_on_test():
    """Test has the attributes that the weakest penalty predicts; validation prefers a stronger one."""
    features = planted(sizes=(80, 400, 200), width=30)
    flat = standardised(features)
    weakest = LogisticRegression(C=1.0).fit(flat.train.values, flat.train.attributes[:, 0])
    attributes = features.test.attributes.copy()
    attributes[:, 0] = weakest.predict(flat.test.values)
    planted_test = replace(features, test=replace(features.test, attributes=attributes))
    assert Attributes(C=(1.0,))(planted_test, seed=0).more["each"]["linear"]["accuracy"] == 1
    outcome = Attributes()(planted_test, seed=0)
    assert outcome.chosen["linear"]["C"] < 1
    assert outcome.more["each"]["linear"]["accuracy"] < 1
    assert outcome.chosen == Attributes()(features, seed=0).chosen


def test_scores_and_verdict_without_labels(tmp_path):
    features = planted()
    assert score(features, SPEC, seed=0).scores["attributes"].keys() == {
        *("accuracy", "base", "each", "chosen", "seconds")
    }
    scores = evaluate(features, probes=["attributes"], out=tmp_path / "scores.json", quiet=True)
    found = scores["encoder"]["attributes"]
    assert (
        f"reads attributes right in {100 * found['accuracy']:.1f} % on average; always giving the commoner "
        f"value would in {100 * found['base']:.1f} %"
    ) in scores["verdict"]
    with pytest.raises(UserError, match=r"^probe 'knn': it needs labels in train"):
        evaluate(features, probes=["attributes", "knn"], quiet=True)
    bare = replace(features, test=Part(features.test.values))
    with pytest.raises(UserError, match=r"^probe 'attributes': it needs attributes in train"):
        evaluate(bare, probes=["attributes"], quiet=True)
    with pytest.raises(UserError, match=r"^attributes: these features have none"):
        Attributes()(bare, seed=0)


def test_attributes_go_from_a_file_through_a_run_to_features(tmp_path, digits):
    """Whether a digit is even, and whether its upper half is the brighter."""
    images = Parts(digits.train, digits.validation, digits.test).together()
    halves = images.pixels.float().unflatten(2, (2, 4)).mean((1, 3, 4))
    attributes = torch.stack([images.labels % 2 == 0, halves[:, 0] > halves[:, 1]], 1).numpy()
    names = np.array(["even", "top"])
    file = tmp_path / "digits.npz"
    np.savez(file, images=images.pixels.numpy(), attributes=attributes, attribute_names=names)
    settings = {
        "encoder": {"name": "mlp", "widths": [32]},
        "evaluation.probes": ["attributes"],
        "evaluation.live": 0,
    }
    run = diabolo.fit(file, "ae", epochs=1, settings=settings, out=tmp_path / "run", quiet=True)
    for row in ("encoder", "random", "pca", "pixels"):
        found = run.scores[row]["attributes"]
        assert list(found["each"]) == ["even", "top"]
        assert found["each"]["top"]["accuracy"] > found["each"]["top"]["base"] + 0.1

    diabolo.embed(run, file, out=tmp_path / "z.npz", quiet=True)
    features = load_features(tmp_path / "z.npz")
    assert features.attribute_names == ("even", "top")
    assert evaluate(features, probes=["attributes"], quiet=True)["encoder"]["attributes"]["accuracy"] > 0.7
    with pytest.raises(UserError, match=r"^evaluation.probes: probe 'attributes' needs attributes in train"):
        diabolo.fit("digits", "ae", epochs=1, settings=settings, out=tmp_path / "none", quiet=True)


def test_examples_without_a_label_or_whose_labels_are_none():
    attributes = torch.tensor([[0], [1], [1], [0]], dtype=torch.int8)
    images = Images(torch.arange(8.0).reshape(4, 2), torch.tensor([0, -1, 1, -1]), attributes=attributes)
    bare = replace(images, labels=torch.full((4,), -1))
    features = features_of(lambda x: x, Splits(images, images, bare))
    assert features.train.attributes.tolist() == [[0], [1]]  # of those with a label, as for every probe
    assert features.test.attributes.tolist() == attributes.tolist()
    assert features.attribute_names == ("0",)


def test_parts_of_features_and_of_images(tmp_path):
    rng = np.random.default_rng(0)
    sizes = {"train": 20, "test": 8}
    attributes = {name: rng.integers(0, 2, (n, 3)) for name, n in sizes.items()}
    given = {f"{name}_features": rng.normal(size=(n, 4)) for name, n in sizes.items()}
    given |= {f"{name}_attributes": column for name, column in attributes.items()}
    np.savez(tmp_path / "z.npz", **given)
    features = load_features(tmp_path / "z.npz")
    assert features.attribute_names == ("0", "1", "2")
    np.testing.assert_array_equal(features.test.attributes, attributes["test"])
    row = {
        tuple(r): a
        for r, a in zip(
            given["train_features"].astype(np.float32).tolist(), attributes["train"].tolist(), strict=True
        )
    }
    for part in (features.train, features.validation):
        assert [row[tuple(r)] for r in part.values.tolist()] == part.attributes.tolist()

    pixels = {f"x_{name}": rng.integers(0, 256, (n, 5, 5), np.uint8) for name, n in sizes.items()}
    named = {f"attributes_{name}": column for name, column in attributes.items()}
    np.savez(tmp_path / "x.npz", **pixels, **named, attribute_names=np.array(["a", "b", "c"]))
    parts = read(tmp_path / "x.npz")
    np.testing.assert_array_equal(parts.test.attributes, attributes["test"])
    assert parts.together().attributes.shape == (28, 3)
    assert parts.train.attribute_names == parts.together().attribute_names == ("a", "b", "c")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"attributes": np.full((9, 2), 2)}, r"attributes: expected 0 and 1, \[N, A\], found int64 \[9, 2\]"),
        ({"attributes": np.ones(9)}, r"expected 0 and 1, \[N, A\], found float64 \[9\]"),
        ({"attributes": np.eye(8)}, "9"),
        ({"attributes": np.eye(9), "attribute_names": np.array(["a"])}, "9 attributes but 1 names"),
    ],
)
def test_wrong_attributes_are_one_line(tmp_path, given, message):
    np.savez(tmp_path / "z.npz", features=np.eye(9), **given)
    np.savez(tmp_path / "x.npz", images=np.zeros((9, 4, 4), np.uint8), **given)
    for load, name in ((load_features, "z.npz"), (read, "x.npz")):
        with pytest.raises(UserError, match=message) as error:
            load(tmp_path / name)
        assert str(error.value).startswith(str(tmp_path / name))
        assert "\n" not in str(error.value)


def test_parts_that_differ_in_their_attributes_are_refused(tmp_path):
    given = {"train_features": np.eye(9), "test_features": np.eye(9), "train_attributes": np.eye(9)}
    np.savez(tmp_path / "z.npz", **given)
    with pytest.raises(UserError, match=r"the parts differ in their attributes"):
        load_features(tmp_path / "z.npz")


def test_the_digest_tells_attributes_apart(digits):
    def marked(value: int) -> Splits:
        attributes = torch.full((len(digits.train), 1), value, dtype=torch.int8)
        return replace(digits, train=replace(digits.train, attributes=attributes))

    assert len({digits.digest(), marked(0).digest(), marked(1).digest()}) == 3


def test_examples_without_a_label_have_attributes_all_the_same(tmp_path):
    """Half of the examples have no label: other probes leave them out, this one reads all."""
    rng = np.random.default_rng(0)

    def images(n: int) -> Images:
        pixels = torch.from_numpy(rng.integers(0, 256, (n, 1, 4, 4), dtype=np.uint8))
        attributes = (pixels.float().mean((1, 2, 3)) > 127).to(torch.int8)[:, None]
        labels = torch.where(torch.arange(n) % 2 == 0, torch.arange(n) // 2 % 2, -1)
        return Images(pixels, labels=labels, attributes=attributes, attribute_names=("bright",))

    splits = Splits(images(200), images(60), images(100))
    features = features_of(lambda x: x.flatten(1), splits)
    assert (len(features.train), len(features.test)) == (100, 50)
    assert (len(features.beside.train), len(features.beside.test)) == (200, 100)
    assert features.beside.targets == {"attributes"}
    doubled = features.map(lambda values: 2 * values)
    np.testing.assert_array_equal(doubled.beside.test.values, 2 * features.beside.test.values)
    alone = Splits(
        *(replace(part, labels=None, classes=()) for part in (splits.train, splits.validation, splits.test))
    )
    expected = score(features_of(lambda x: x.flatten(1), alone), SPEC, 0).scores["attributes"]["each"]
    assert score(features, SPEC, 0).scores["attributes"]["each"] == expected

    arrays = {}
    for name in ("train", "validation", "test"):
        part = getattr(splits, name)
        arrays |= {
            f"{name}_features": part.floats().flatten(1).numpy(),
            f"{name}_labels": part.labels.numpy(),
        }
        arrays[f"{name}_attributes"] = part.attributes.numpy()
    np.savez(tmp_path / "z.npz", **arrays, attribute_names=["bright"])
    read_back = load_features(tmp_path / "z.npz")
    assert (len(read_back.train), len(read_back.beside.train)) == (100, 200)
    assert score(read_back, SPEC, 0).scores["attributes"]["each"] == expected
