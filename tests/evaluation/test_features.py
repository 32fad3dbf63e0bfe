"""Features: extraction, and files made elsewhere."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from diabolo.data.images import Images, Splits
from diabolo.errors import UserError
from diabolo.evaluation.feature_files import load_features
from diabolo.evaluation.features import features_of, sample
from diabolo.representation import extract


def images(n: int, labels: list[int] | None = None) -> Images:
    pixels = torch.arange(n * 4).remainder(256).to(torch.uint8).reshape(n, 1, 2, 2)
    return Images(pixels, None if labels is None else torch.tensor(labels), ("x", "y"))


def test_batches_make_no_difference():
    whole = images(300)
    np.testing.assert_array_equal(extract(lambda x: x.flatten(1), whole), whole.floats().flatten(1))


def test_extraction_refuses_what_is_not_a_representation():
    with pytest.raises(UserError, match=r"must be \[n, D\], got \[10, 1, 2, 2\]"):
        extract(lambda x: x, images(10))
    with pytest.raises(UserError, match=r"must be \[n, D\], got \[9, 4\] for 10 examples"):
        extract(lambda x: x.flatten(1)[1:], images(10))
    with pytest.raises(UserError, match="1 of 10 rows are not finite"):
        extract(lambda x: 1 / x.flatten(1), images(10).take(torch.tensor([0] + [1] * 9)))
    with pytest.raises(UserError, match="no images"):
        extract(lambda x: x.flatten(1), images(0))


def test_examples_without_a_label_are_left_out():
    splits = Splits(images(6, [0, -1, 1, 0, -1, 1]), images(2, [0, 1]), images(3, [-1, 1, 0]))
    features = features_of(lambda x: x.flatten(1), splits)
    assert features.train.labels.tolist() == [0, 1, 0, 1]
    np.testing.assert_array_equal(features.train.values, splits.train.floats()[[0, 2, 3, 5]].flatten(1))
    assert features.test.labels.tolist() == [1, 0]
    none = features_of(lambda x: x.flatten(1), replace(splits, train=images(6, [-1] * 6)))
    assert (len(none.train), none.train.labels, none.targets) == (6, None, set())


def test_a_labelled_part_is_split_for_probes_and_train_is_not_used():
    labelled = images(40, [0, 1] * 20)
    features = features_of(lambda x: x.flatten(1), Splits(images(9), images(5), images(8, [0] * 8), labelled))
    assert (len(features.train), len(features.validation), len(features.test)) == (36, 4, 8)
    rows = np.concatenate([features.train.values, features.validation.values])
    expected = labelled.floats().flatten(1).numpy()
    assert sorted(rows.tolist()) == sorted(expected.tolist())


def test_a_sample_is_fixed_and_without_repetition():
    assert sample(5, 9).tolist() == [0, 1, 2, 3, 4]
    some = sample(1000, 100).tolist()
    assert sample(1000, 100).tolist() == some == sorted(set(some))
    assert len({position % 10 for position in some}) == 10  # no pattern that a periodic order could meet


def arrays(n: int, seed: int, low: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"features": rng.normal(size=(n, 3)).astype(np.float32), "labels": low + np.arange(n) % 2}


def named(part: str, n: int, seed: int) -> dict[str, np.ndarray]:
    return {f"{part}_{key}": value for key, value in arrays(n, seed).items()}


def test_three_parts_come_back_as_they_were(tmp_path):
    given = named("train", 20, 0) | named("validation", 6, 1) | named("test", 8, 2)
    np.savez(tmp_path / "z.npz", **given, classes=np.array(["cat", "dog"]))
    features = load_features(tmp_path / "z.npz")
    assert features.classes == ("cat", "dog")
    for name in ("train", "validation", "test"):
        part = getattr(features, name)
        np.testing.assert_array_equal(part.values, given[f"{name}_features"])
        np.testing.assert_array_equal(part.labels, given[f"{name}_labels"])


def test_validation_is_held_out_of_train_alone(tmp_path):
    given = named("train", 20, 0) | named("test", 8, 2)
    np.savez(tmp_path / "z.npz", **given)
    features, again = (load_features(tmp_path / "z.npz") for _ in range(2))
    assert (len(features.train), len(features.validation)) == (18, 2)
    rows = np.concatenate([features.train.values, features.validation.values])
    assert sorted(rows.tolist()) == sorted(given["train_features"].tolist())
    np.testing.assert_array_equal(features.test.values, given["test_features"])
    np.testing.assert_array_equal(features.train.values, again.train.values)


def test_one_part_is_split_and_rows_keep_their_labels(tmp_path):
    given = arrays(100, 0, low=7)  # labels 7 and 8
    given["labels"][:10] = -1
    np.savez(tmp_path / "z.npz", **given)
    features = load_features(tmp_path / "z.npz")
    assert (len(features.train), len(features.validation), len(features.test)) == (72, 9, 9)
    assert features.classes == ("7", "8")
    label = {tuple(row): of - 7 for row, of in zip(given["features"].tolist(), given["labels"], strict=True)}
    for part in (features.train, features.validation, features.test):
        assert [label[tuple(row)] for row in part.values.tolist()] == part.labels.tolist()


def test_words_as_labels_and_no_labels(tmp_path):
    words = np.array(["dog", "cat"] * 10)
    np.savez(tmp_path / "words.npz", features=np.eye(20), labels=words)
    features = load_features(tmp_path / "words.npz")
    assert features.classes == ("cat", "dog")
    rows = features.train.values.argmax(axis=1)
    assert [features.classes[i] for i in features.train.labels] == words[rows].tolist()
    np.savez(tmp_path / "none.npz", features=np.eye(20))
    assert load_features(tmp_path / "none.npz").targets == set()


def test_rows_go_to_the_parts_that_are_named(tmp_path):
    given = arrays(100, 0)
    part = np.array(["train", "validation", "test", "train"] * 25)
    np.savez(tmp_path / "z.npz", **given, parts=part)
    features = load_features(tmp_path / "z.npz")
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(features, name).values, given["features"][part == name])
    np.savez(tmp_path / "z.npz", **given, parts=np.where(part == "validation", "labelled", part))
    features = load_features(tmp_path / "z.npz")  # a tenth of what is labelled is for validation
    rows = np.concatenate([features.train.values, features.validation.values])
    assert sorted(rows.tolist()) == sorted(given["features"][part == "validation"].tolist())
    np.testing.assert_array_equal(features.test.values, given["features"][part == "test"])
    np.savez(tmp_path / "z.npz", **given, parts=np.full(100, "train"))
    features = load_features(tmp_path / "z.npz")
    assert (len(features.train), len(features.validation), len(features.test)) == (80, 10, 10)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"features": np.eye(9), "parts": np.full(9, "exam")}, "parts must name train, validation or test"),
        ({"features": np.eye(9), "parts": np.full(8, "train")}, "parts must name train, validation or test"),
        (
            {"features": np.eye(9), "labels": np.arange(8), "parts": np.repeat(["train", "test"], [5, 4])},
            "expected 9 integers or strings",
        ),
        ({"x": np.eye(3)}, "it holds x; expected train_features"),
        ({"features": np.eye(9), "labels": np.arange(8)}, "expected 9 integers or strings"),
        ({"features": np.eye(9), "labels": np.eye(9)}, "expected 9 integers or strings"),
        ({"features": np.zeros((2, 3, 4))}, r"expected real numbers \[N, D\]"),
        ({"features": np.full((9, 2), np.nan)}, "9 of 9 rows are not finite"),
        ({"features": np.eye(2)}, "too few"),
        ({"features": np.array([{}, {}])}, "not an .npz file of plain arrays"),
        ({"train_features": np.eye(9), "test_features": np.eye(8)}, "differ in width"),
        (
            {
                "train_features": np.eye(9),
                "train_labels": np.arange(9),
                "test_features": np.eye(9),
                "test_labels": np.full(9, -1),
            },
            "every label of test is −1",
        ),
        (
            {"features": np.eye(9), "labels": np.arange(9), "classes": np.array(["a"])},
            "positions in its 1 classes",
        ),
        (
            {"train_features": np.eye(9), "test_features": np.eye(9), "test_labels": np.arange(9)},
            "labels are there for some parts only",
        ),
    ],
)
def test_a_wrong_file_says_what_is_expected(tmp_path, given, message):
    np.savez(tmp_path / "z.npz", **given)
    with pytest.raises(UserError, match=message) as error:
        load_features(tmp_path / "z.npz")
    assert str(tmp_path / "z.npz") in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_are_not_npz(tmp_path):
    (tmp_path / "text.npz").write_text("not a zip")
    np.save(tmp_path / "array.npy", np.eye(3))
    for name, message in (
        ("text.npz", "not an .npz"),
        ("array.npy", "not an .npz"),
        ("gone.npz", "no such file"),
    ):
        with pytest.raises(UserError, match=message):
            load_features(tmp_path / name)


def test_features_whose_labels_are_all_missing_are_unlabelled(tmp_path):
    np.savez(tmp_path / "z.npz", features=np.eye(30, dtype=np.float32), labels=np.full(30, -1))
    assert load_features(tmp_path / "z.npz").targets == set()


def test_labels_may_be_words(tmp_path):
    words = np.array(["cat", "dog", "owl"] * 10)
    np.savez(tmp_path / "z.npz", features=np.random.default_rng(0).normal(size=(30, 2)), labels=words)
    features = load_features(tmp_path / "z.npz")
    assert features.classes == ("cat", "dog", "owl")
    assert set(features.train.labels) <= {0, 1, 2}
