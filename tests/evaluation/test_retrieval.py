"""Retrieval against its literal definition."""

from dataclasses import replace

import numpy as np
import pytest

from diabolo.errors import UserError
from diabolo.evaluation.features import Features, Part
from diabolo.evaluation.probes import KNN
from diabolo.evaluation.retrieval import Retrieval
from diabolo.evaluation.suite import score
from diabolo.tables import PROBES
from tests.evaluation.planted import blobs, with_test_labels


def literal_precision(features: Features, k: int, metric: str) -> float:
    """One query at a time, in float64."""
    train, shares = features.train.values.astype(np.float64), []
    for query, label in zip(features.test.values.astype(np.float64), features.test.labels, strict=True):
        if metric == "cosine":
            cosines = [row @ query / np.sqrt((row @ row) * (query @ query)) for row in train]
            order = np.argsort(cosines)[::-1]
        else:
            order = np.argsort([np.sqrt(((row - query) ** 2).sum()) for row in train])
        shares.append(np.mean(features.train.labels[order[:k]] == label))
    return float(np.mean(shares))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_precision_is_the_literal_share(metric):
    features = blobs(noise=1.5)
    outcome = Retrieval(metric=metric, at=(1, 3, 10))(features, seed=0)
    assert outcome.more == pytest.approx(
        {f"precision_{k}": literal_precision(features, k, metric) for k in (1, 3, 10)}
    )
    assert outcome.accuracy == outcome.more["precision_10"]
    assert outcome.more["precision_1"] == KNN(k=1, metric=metric)(features, seed=0).accuracy
    assert 0.4 < outcome.accuracy < 0.9


def test_ties_within_a_class_and_a_class_that_train_lacks():
    same = Part(np.ones((4, 2), np.float32), np.array([0, 0, 0, 1]))
    one = Part(np.ones((1, 2), np.float32), np.array([0]))
    assert Retrieval(at=(4,))(Features(same, one, one), seed=0).accuracy == 0.75
    features = blobs()
    strangers = with_test_labels(features, np.full(80, 3))
    assert Retrieval()(strangers, seed=0).accuracy == 0


def test_it_is_scored_by_name_and_predicts_no_class():
    scored = score(blobs(), [PROBES.complete("retrieval", "probe"), PROBES.complete("knn", "probe")], seed=0)
    assert scored.scores["retrieval"].keys() == {
        *("accuracy", "precision_1", "precision_5", "precision_10", "chosen", "seconds")
    }
    assert scored.predictions.keys() == {"knn"}


def test_what_cannot_be_retrieved_is_one_line():
    features = blobs(sizes=(8, 5, 5))
    with pytest.raises(UserError, match=r"^retrieval: 10 are asked for, but there are only 8"):
        Retrieval()(features, seed=0)
    with pytest.raises(UserError, match=r"^retrieval: it needs labels, and test has none"):
        Retrieval()(replace(features, test=Part(features.test.values)), seed=0)
