"""Unsupervised probes: the matching is optimal, labels do not steer the clusters, test is read once."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diabolo.errors import UserError
from diabolo.evaluation.clustering import GMM, KMeans, matching
from diabolo.evaluation.features import Features, Part
from diabolo.evaluation.suite import score
from diabolo.tables import PROBES
from tests.evaluation.planted import blobs, with_test_labels

pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30)


@given(pairs, st.integers(4, 6))
def test_the_matching_is_the_best_of_all_permutations(pairs, count):
    clusters, labels = np.array(pairs).T
    # Every way to give the clusters classes, no class twice; beyond the fourth a class is none.
    orders = np.array(list(permutations(range(count))))
    best = max(np.mean(order[clusters] == labels) for order in orders)
    classes = matching(clusters, labels, count)
    assert np.mean(classes[clusters] == labels) == best
    given_out = classes[classes >= 0].tolist()
    assert len(given_out) == len(set(given_out)) == min(count, labels.max() + 1)


def test_fewer_clusters_than_classes():
    assert matching(np.array([0, 0, 1, 1]), np.array([2, 2, 0, 1]), 2).tolist() in ([2, 0], [2, 1])


PROBE_LIST = [GMM(restarts=4), KMeans()]


@pytest.mark.parametrize("probe", PROBE_LIST, ids=["gmm", "kmeans"])
def test_separate_classes_are_found(probe):
    features = blobs(noise=0.1)
    outcome = probe(features, seed=0)
    assert outcome.accuracy == outcome.more["nmi"] == outcome.more["ari"] == 1
    assert outcome.predictions.tolist() == features.test.labels.tolist()


@pytest.mark.parametrize("probe", PROBE_LIST, ids=["gmm", "kmeans"])
def test_clusters_are_matched_on_train_and_read_on_test(probe):
    """On a test part whose classes are swapped, the agreement is as high and the accuracy is 0."""
    features = blobs(noise=0.1)
    swapped = with_test_labels(features, (features.test.labels + 1) % 3)
    one, other = probe(features, seed=0), probe(swapped, seed=0)
    assert (other.accuracy, other.more["nmi"], other.more["ari"]) == (0, 1, 1)
    assert one.predictions.tolist() == other.predictions.tolist()


@pytest.mark.parametrize("probe", PROBE_LIST, ids=["gmm", "kmeans"])
def test_labels_do_not_steer_the_clusters(probe):
    features = blobs(noise=1)
    shuffled = np.random.default_rng(0).permutation(features.train.labels)
    other = probe(replace(features, train=Part(features.train.values, shuffled)), seed=0)
    one = probe(features, seed=0)
    assert one.more == other.more
    assert one.chosen == other.chosen


def test_a_mixture_finds_what_k_means_cannot():
    """Two classes that lie across one another: their means agree, their covariances do not."""
    rng = np.random.default_rng(0)

    def part(n: int) -> Part:
        labels = rng.integers(0, 2, n)
        spread = np.where(labels[:, None] == 0, [5.0, 0.2], [0.2, 5.0])
        return Part((spread * rng.normal(size=(n, 2))).astype(np.float32), labels)

    features = Features(part(600), part(50), part(300), classes=("flat", "tall"))
    assert GMM()(features, seed=0).accuracy > 0.9
    assert KMeans()(features, seed=0).accuracy < 0.8


def test_more_components_than_classes():
    outcome = GMM(components=6, restarts=4)(blobs(), seed=0)
    assert set(outcome.predictions.tolist()) <= {-1, 0, 1, 2}
    assert KMeans(clusters=6)(blobs(), seed=0).accuracy < 1


def test_further_figures_reach_the_scores():
    features = blobs()
    specs = [PROBES.complete(name, "probes") for name in ("gmm", "kmeans")]
    entry = score(features, specs, seed=0).scores
    for name, further in (("gmm", "log_likelihood"), ("kmeans", "inertia")):
        assert entry[name].keys() == {"accuracy", "nmi", "ari", further, "chosen", "seconds"}
    outcome = GMM()(features, seed=0)
    assert (entry["gmm"]["nmi"], entry["gmm"]["ari"]) == (outcome.more["nmi"], outcome.more["ari"])


@pytest.mark.parametrize("name", ["gmm", "kmeans"])
def test_labels_are_needed(name):
    features = blobs()
    unlabelled = replace(features, test=Part(features.test.values))
    with pytest.raises(UserError, match=f"^{name}: it needs labels, and test has none"):
        PROBES.build(PROBES.complete(name, "probes"))(unlabelled, seed=0)


def test_wide_features_are_clustered_on_their_principal_components():
    features = blobs()
    rng = np.random.default_rng(0)
    turned = np.linalg.qr(rng.normal(size=(40, 40)))[0][: features.width].astype(np.float32)
    wide = features.map(
        lambda values: values @ turned + 1e-3 * rng.normal(size=(len(values), 40)).astype("f4")
    )
    narrow = GMM(restarts=4, max_width=features.width)(wide, 0)
    assert narrow.chosen["width"] == features.width
    assert narrow.accuracy == GMM(restarts=4)(features, 0).accuracy
