"""Structural similarity against its formula, pixel by pixel, and the measure of reconstructions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from diabolo.errors import UserError
from diabolo.evaluation.measures import Subject
from diabolo.evaluation.quality import Copying, Reconstruction, ssim
from diabolo.methods.random import Random
from diabolo.networks.backbone import Backbone
from tests.evaluation.subjects import Coded, noise_splits, plain_subject


def literal_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Wang et al. 2004, eq. 13 and 17, of two images [C, H, W], window by window."""
    C, H, W = x.shape
    weight = {
        (i, j): math.exp(-((i - 5) ** 2 + (j - 5) ** 2) / (2 * 1.5**2)) for i in range(11) for j in range(11)
    }
    total = sum(weight.values())
    values = []
    for c in range(C):
        for top in range(H - 10):
            for left in range(W - 10):
                mx = my = vx = vy = cov = 0.0
                for (i, j), w in weight.items():
                    mx += w / total * x[c, top + i, left + j]
                    my += w / total * y[c, top + i, left + j]
                for (i, j), w in weight.items():
                    dx, dy = x[c, top + i, left + j] - mx, y[c, top + i, left + j] - my
                    vx += w / total * dx * dx
                    vy += w / total * dy * dy
                    cov += w / total * dx * dy
                luminance = (2 * mx * my + 0.01**2) / (mx**2 + my**2 + 0.01**2)
                values.append(luminance * (2 * cov + 0.03**2) / (vx + vy + 0.03**2))
    return sum(values) / len(values)


def test_ssim_is_its_formula_window_by_window():
    rng = np.random.default_rng(0)
    a = rng.uniform(size=(2, 2, 13, 12))
    b = (0.6 * a + 0.4 * rng.uniform(size=a.shape)) * [[[[0.5]], [[1.0]]]]
    literal = [literal_ssim(x, y) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(ssim(a, b), literal, rtol=1e-10)


@given(seed=st.integers(0, 2**32 - 1), noise=st.floats(0, 1))
def test_ssim_is_symmetric_at_most_one_and_one_of_equals(seed, noise):
    rng = np.random.default_rng(seed)
    a = rng.uniform(size=(1, 1, 11, 14))
    b = a + noise * rng.normal(size=a.shape)
    np.testing.assert_allclose(ssim(a, a), 1)
    np.testing.assert_allclose(ssim(a, b), ssim(b, a))
    assert ssim(a, b) <= 1 + 1e-12


def test_reconstructions_are_measured_over_all_of_test():
    splits = noise_splits((2, 12, 13), test=300)  # more than one batch
    x = splits.test.floats().numpy().astype(np.float64)
    y = 0.8 * x + 0.05
    found = Reconstruction()(plain_subject(Coded(lambda x: 0.8 * x + 0.05, (2, 12, 13)), splits))
    mse = np.mean([np.square(one - other).mean() for one, other in zip(x, y, strict=True)])
    assert found["mse"] == pytest.approx(mse, rel=1e-5)
    mean = splits.train.floats().numpy().astype(np.float64).mean(0)
    assert found["mse_of_mean"] == pytest.approx(np.square(x - mean).mean(), rel=1e-5)
    assert found["psnr"] == pytest.approx(-10 * math.log10(mse), rel=1e-5)
    assert found["ssim"] == pytest.approx(ssim(x, y).mean(), rel=1e-5)


def test_small_images_have_no_similarity_and_vectors_no_ratio():
    small = noise_splits((1, 10, 20))
    subject = plain_subject(Coded(lambda x: x / 2, (1, 10, 20)), small)
    assert Reconstruction()(subject).keys() == {"mse", "mse_of_mean", "psnr", "decoder"}
    vectors = noise_splits((7,))
    found = Reconstruction()(plain_subject(Coded(lambda x: x / 2, (7,)), vectors))
    mse = float((vectors.test.pixels / 2).square().mean())
    of_mean = float((vectors.test.pixels - vectors.train.pixels.mean(0)).square().mean())
    assert found.pop("mse_of_mean") == pytest.approx(of_mean, rel=1e-5)
    assert found == {"mse": pytest.approx(mse, rel=1e-5), "decoder": "own"}


def test_a_method_without_a_decoder_gets_one_that_uses_what_the_representation_kept(digits):
    def measured(network):
        return Reconstruction()(Subject(Random(Backbone(network, (1, 8, 8))).eval(), digits, "h"))

    everything = measured(nn.Flatten())
    nothing = measured(nn.Sequential(nn.Flatten(), nn.AvgPool1d(64)))  # mean brightness
    assert everything["decoder"] == "ad hoc"
    variance = float(digits.test.floats().var(0, correction=0).mean())
    assert everything["mse"] < 0.2 * variance
    assert 0.8 * variance < nothing["mse"] < 1.1 * variance


def test_a_method_without_a_decoder_of_its_own_copies_nothing(digits):
    with pytest.raises(UserError, match="Random has no decoder"):
        Copying().check(Subject(Random(Backbone(nn.Flatten(), (1, 8, 8))), digits, "h"))


def test_what_copies_rebuilds_shuffled_pixels_and_what_knows_the_images_does_not():
    splits = noise_splits((1, 4, 4))
    splits.test.pixels[:, :, 2:] = 0  # all that the images have in common: an empty half

    def keep_the_upper_half(z):
        return z * (torch.arange(16) < 8)

    copies = Copying()(plain_subject(Coded(lambda z: z, (1, 4, 4)), splits))
    knows = Copying()(plain_subject(Coded(keep_the_upper_half, (1, 4, 4)), splits))
    assert copies == {"mse": 0, "mse_straight": 0}
    assert knows["mse_straight"] == 0
    assert knows["mse"] > 0.01
