"""Anomalies as a measure: what it asks of the data, and what it says of scores that do not exist."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from diabolo.data.images import Splits
from diabolo.errors import UserError
from diabolo.evaluation.anomaly import Anomaly, negative_log_prob
from diabolo.evaluation.measures import Subject
from tests.evaluation.subjects import Coded, autoencoder


def without(splits: Splits, *labels: int) -> Splits:
    kept = torch.ones(len(splits.train), dtype=torch.bool)
    for label in labels:
        kept &= splits.train.labels != label
    return replace(splits, train=splits.train.take(kept.nonzero().flatten()))


def test_the_distance_finds_a_class_that_was_held_out(digits):
    method = Coded(lambda z: z / 2, (1, 8, 8)).eval()
    subject = Subject(method, without(digits, 0, 6), "z", without=("0", "6"))
    Anomaly().check(subject)
    found = Anomaly()(subject)
    assert found["knn"] > 0.95
    # Its error is a quarter of the image's energy, which tells little.
    energy = digits.test.floats().flatten(1).square().sum(1)
    strange = torch.isin(digits.test.labels, torch.tensor([0, 6]))
    pairs = (energy[strange][:, None] > energy[~strange]).float().mean()
    assert found["reconstruction"] == pytest.approx(float(pairs), abs=1e-3)
    assert found["missing"] == {"nll": "Coded is no model of the density of images"}
    assert found["held_out"] == ["0", "6"]


def test_a_density_is_scored_by_it(digits):
    subject = Subject(autoencoder("vae", digits), without(digits, 3), "z", without=("3",))
    found = Anomaly(samples=2, neighbours=1)(subject)
    assert all(0 <= found[name] <= 1 for name in ("reconstruction", "nll", "knn"))
    assert "missing" not in found


def test_a_device_without_float64_can_score_densities(digits, single_precision):
    scores = negative_log_prob(autoencoder("vae", digits), digits.test.take(torch.arange(9)), samples=2)
    assert scores.dtype == np.float64


def test_what_cannot_be_told_apart_is_refused(digits):
    method = Coded(lambda z: z, (1, 8, 8)).eval()
    unlabelled = replace(digits, test=replace(digits.test, labels=None))
    partly = digits.train.labels.clone()
    partly[5] = -1
    only = digits.test.take((digits.test.labels == 3).nonzero().flatten())
    cases = {
        "no class was held out of training": Subject(method, digits, "z"),
        "class '3' is among the training images": Subject(method, digits, "z", without=("3",)),
        "unknown class 'three'": Subject(method, digits, "z", without=("three",)),
        "needs the labels of test": Subject(method, unlabelled, "z", without=("3",)),
        "all of train": Subject(
            method, replace(digits, train=replace(digits.train, labels=partly)), "z", without=("3",)
        ),
        "every labelled image is of a held-out class": Subject(
            method, replace(without(digits, 3), test=only), "z", without=("3",)
        ),
    }
    for message, subject in cases.items():
        with pytest.raises(UserError, match=message):
            Anomaly().check(subject)
