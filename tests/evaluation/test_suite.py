"""The suite: the scores of a representation, and the file that keeps them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from diabolo.errors import UserError
from diabolo.evaluation.features import Features, Part
from diabolo.evaluation.geometry import centred_rank, effective_rank
from diabolo.evaluation.probes import KNN
from diabolo.evaluation.suite import (
    embedding,
    needing,
    quick,
    read_scores,
    representations,
    score,
    write_scores,
)
from diabolo.tables import PROBES
from tests.evaluation.planted import blobs

SPECS = [
    PROBES.complete(name, "probes") for name in ("linear", {"name": "mlp", "epochs": 2}, "knn", "finetune")
]


def test_scores_of_a_representation():
    features = blobs()
    scored = score(features, SPECS, seed=0)
    entry = scored.scores
    assert (entry["width"], entry["test_size"], entry["active_dimensions"]) == (5, 80, 5)
    assert entry["effective_rank"] == effective_rank(features.train.values)
    spread = features.train.values.std(axis=0)
    assert list(entry["deviation"].values()) == pytest.approx([spread.min(), np.median(spread), spread.max()])
    knn = KNN()(features, seed=0)
    assert (entry["knn"]["accuracy"], entry["knn"]["chosen"]) == (knn.accuracy, knn.chosen)
    assert scored.predictions.keys() == {"linear", "mlp", "knn"}
    assert scored.predictions["knn"].tolist() == knn.predictions.tolist()
    for probe, predictions in scored.predictions.items():
        assert entry[probe]["accuracy"] == np.mean(predictions == features.test.labels)
    assert json.loads(json.dumps(entry)) == entry


def test_probes_say_what_they_need():
    assert [spec["name"] for spec in needing("features", SPECS)] == ["linear", "mlp", "knn"]
    assert [spec["name"] for spec in needing("method", SPECS)] == ["finetune"]


def test_without_labels_there_is_geometry_alone():
    parts = (blobs().train, blobs().validation, blobs().test)
    scored = score(Features(*(Part(part.values) for part in parts), note="as it came"), SPECS, seed=0)
    assert scored.scores.keys() == {
        *(
            "width",
            "train_size",
            "test_size",
            "effective_rank",
            "centred_rank",
            "active_dimensions",
            "sparsity",
            "deviation",
            "note",
        )
    }
    assert scored.predictions == {}


@pytest.mark.parametrize("unit", ["length", "deviation", None])
def test_geometry_of_an_embedding_is_read_on_train_as_its_loss_sees_it(digits, unit):
    def represent(x):
        return x.flatten(1) + 0.1

    found = embedding(represent, digits, unit)
    z = represent(digits.train.floats()).numpy()
    seen = z / np.linalg.norm(z, axis=1, keepdims=True) if unit == "length" else z
    assert found["width"] == 64
    assert found["centred_rank"] == pytest.approx(centred_rank(seen))
    assert found["deviation"]["max"] == pytest.approx(seen.std(axis=0).max(), rel=1e-4)
    variance = seen.var(axis=0)
    expected = {"length": variance.sum() ** 0.5, "deviation": variance.mean() ** 0.5}
    assert found.get("spread") == pytest.approx(expected[unit], rel=1e-4) if unit else "spread" not in found
    assert json.loads(json.dumps(found)) == found


def test_a_quick_look_reads_validation_and_never_test(digits):
    def represent(x):
        return x.flatten(1)

    seen = []
    result = quick(lambda x: seen.append(x) or represent(x), digits)
    rows = {tuple(row) for x in seen for row in x.flatten(1).tolist()}
    assert not rows & {tuple(row) for row in digits.test.floats().flatten(1).tolist()}
    validation = digits.validation.floats().flatten(1).numpy()
    assert result["effective_rank"] == pytest.approx(effective_rank(validation))
    train = Part(digits.train.floats().flatten(1).numpy(), digits.train.labels.numpy())
    part = Part(validation, digits.validation.labels.numpy())
    assert result["knn"] == KNN(k=20)(Features(train, part, part), seed=0).accuracy > 0.9


def test_the_rank_of_a_quick_look_is_of_all_images_where_few_have_labels(digits):
    labels = digits.validation.labels.clone()
    labels[5:] = -1
    few = replace(digits, validation=replace(digits.validation, labels=labels))
    found = quick(lambda x: x.flatten(1), few)
    assert found["effective_rank"] == quick(lambda x: x.flatten(1), digits)["effective_rank"]
    assert (5 * found["knn"]) % 1 == pytest.approx(0)


def test_a_quick_look_without_labels(digits):
    bare = replace(digits, train=replace(digits.train, labels=None))
    assert quick(lambda x: x.flatten(1), bare).keys() == {"effective_rank"}


def entry(**changes):
    return {"width": 4, "effective_rank": 3.5, "knn": {"accuracy": 0.5}} | changes


def test_scores_on_disk(tmp_path):
    path = tmp_path / "scores.json"
    scores = {"encoder": score(blobs(), SPECS, seed=0).scores, "pixels": entry(), "verdict": ["fine"]}
    write_scores(path, scores)
    assert read_scores(path) == scores | {"format_version": 1}
    assert representations(read_scores(path)).keys() == {"encoder", "pixels"}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({"encoder": entry(knn={"accuracy": 52.0})}, "'encoder' has no accuracy from 0 to 1 for knn"),
        ({"encoder": entry(knn={})}, "'encoder' has no accuracy from 0 to 1 for knn"),
        ({"encoder": entry(effective_rank=float("nan"))}, "'encoder' has no effective_rank"),
        ({"encoder": entry(measures=["bound"])}, "'measures' of 'encoder' are not one object each"),
        ({"encoder": entry(measures={"bound": 3})}, "'measures' of 'encoder' are not one object each"),
        ({"encoder": 3}, "'encoder' has no effective_rank"),
        ({"verdict": "good"}, "'verdict' is not a list of sentences"),
    ],
)
def test_wrong_scores_are_neither_written_nor_read(tmp_path, scores, message):
    path = tmp_path / "scores.json"
    with pytest.raises(UserError, match=message):
        write_scores(path, scores)
    assert not path.exists()
    path.write_text(json.dumps(scores | {"format_version": 1}))
    with pytest.raises(UserError, match=message):
        read_scores(path)


def test_scores_that_cannot_be_read(tmp_path):
    path = tmp_path / "scores.json"
    for text, message in (
        (None, "no scores yet"),
        ("{", "unreadable"),
        ("{}", "not scores of format version 1"),
    ):
        if text is not None:
            path.write_text(text)
        with pytest.raises(UserError, match=message):
            read_scores(path)


@pytest.mark.data("mnist")
def test_mnist_from_end_to_end(mnist):
    result = quick(lambda x: torch.nn.functional.avg_pool2d(x, 2).flatten(1), mnist)
    assert result["knn"] > 0.92
    assert 5 < result["effective_rank"] < 196
