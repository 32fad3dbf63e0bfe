"""Denoising as a measure; the tests of the verb hold the rest."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from diabolo.errors import UserError
from diabolo.evaluation.denoising import Denoising, bench, noisy_batches
from diabolo.evaluation.measures import Subject
from diabolo.methods.random import Random
from tests.evaluation.subjects import Coded, noise_splits, plain_subject


def test_the_gain_of_a_known_denoiser_is_what_it_must_be():
    shape, noise = (1, 12, 12), 0.2
    splits = noise_splits(shape, test=300)
    subject = plain_subject(Coded(lambda x: 0.5 * x, shape), splits)
    found = Denoising(noise=noise)(subject)
    [clean, noisy] = (np.concatenate(part) for part in zip(*noisy_batches(splits.test, noise), strict=True))
    assert found["psnr_in"] == pytest.approx(-10 * math.log10(np.square(noisy - clean).mean()), rel=1e-5)
    assert found["psnr_in"] == pytest.approx(-20 * math.log10(noise), abs=0.05)
    halved = np.square((0.5 * noisy).clip(0, 1) - clean).mean()
    assert found["psnr_method"] == pytest.approx(-10 * math.log10(halved), rel=1e-5)
    assert found["gain"] == pytest.approx(found["psnr_method"] - found["psnr_in"])
    other = Denoising(noise=noise)(Subject(subject.method, splits, "z", seed=1))
    assert other["psnr_in"] != found["psnr_in"]


def test_vectors_have_errors_and_no_filter():
    found = Denoising(noise=0.5)(plain_subject(Coded(lambda x: x, (6,)), noise_splits((6,))))
    assert found.keys() == {"mse_in", "mse_method", "mse_pca", "noise"}
    assert found["mse_method"] == pytest.approx(found["mse_in"])
    assert found["mse_pca"] == pytest.approx(found["mse_in"], rel=1e-4)  # as wide as the vectors


def test_a_method_without_a_decoder_is_refused(digits):
    method = Random(Coded(lambda x: x, (1, 8, 8)).encoder)
    with pytest.raises(UserError, match="Random has no decoder"):
        Denoising().check(Subject(method, digits, "h"))


def test_pca_has_no_more_components_than_there_are_examples():
    subject = plain_subject(Coded(lambda x: x, (6,)), noise_splits((6,)))
    few = replace(subject.splits, train=subject.splits.train.take(torch.arange(4)))
    assert bench(subject.method, few, 0.5).width == 4
    assert bench(subject.method, subject.splits, 0.5).width == 6
