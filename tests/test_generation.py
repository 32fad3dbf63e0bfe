"""Generation, denoising and anomaly scores against literal references."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from diabolo import generation
from diabolo.data.images import Images
from diabolo.errors import UserError
from diabolo.evaluation import anomaly, denoising
from diabolo.generation import BATCH, Gaussian
from diabolo.methods.random import Random
from diabolo.networks.backbone import Backbone
from diabolo.report.grids import grid, square
from diabolo.seeds import generator
from tests.runs import digits, digits_recipe

SHAPE = (1, 4, 6)


class Halves(nn.Module):
    """Codes are the first half of the pixels; decoding fills the second half with zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def represent(self, x: Tensor, space: str | None = None) -> Tensor:
        return x.flatten(1)[:, :12]

    def decode(self, z: Tensor) -> Tensor:
        return torch.cat([z, torch.zeros_like(z)], 1).view(-1, *SHAPE)

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.decode(self.represent(x))


def images(n: int, seed: int = 0) -> Images:
    drawn = torch.randint(256, (n, *SHAPE), generator=generator("test images", seed))
    return Images(drawn.to(torch.uint8))


def test_errors_and_ratios_are_those_of_the_definition():
    a, b = np.random.default_rng(0).uniform(size=(2, 3, *SHAPE))
    literal = [
        sum((p - q) ** 2 for p, q in zip(x.flat, y.flat, strict=True)) / 24 for x, y in zip(a, b, strict=True)
    ]
    np.testing.assert_allclose(generation.squared_error(a, b), literal, rtol=1e-12)
    assert generation.psnr(0.09) == pytest.approx(20 * math.log10(1 / 0.3), rel=1e-12)
    assert generation.psnr(0.0) == math.inf


def test_codes_of_any_arrangement_are_decoded_in_place():
    z = np.random.default_rng(0).normal(size=(3, 200, 12))  # more than one batch
    decoded = generation.decode(Halves(), z)
    assert decoded.shape == (3, 200, *SHAPE)
    np.testing.assert_allclose(decoded.reshape(3, 200, 24)[..., :12], z, rtol=1e-6)


def test_reconstruction_errors_of_many_batches_keep_their_order():
    some = images(BATCH + 7)
    x = some.floats().numpy().reshape(len(some), 24)
    expected = np.square(x[:, 12:], dtype=np.float64).sum(1) / 24  # the half that is lost
    np.testing.assert_allclose(generation.reconstruction_errors(Halves(), some), expected, rtol=1e-6)


def test_a_method_without_a_decoder_is_refused_by_name():
    method = Random(Backbone(nn.Flatten(), SHAPE))
    with pytest.raises(UserError, match="Random has no decoder"):
        generation.coder(method)


def test_a_fitted_gaussian_is_the_mixture_of_one_component():
    z = np.random.default_rng(0).normal(size=(50, 3)) @ np.array([[1, 0.5, 0], [0, 2, 1], [0, 0, 0.1]])
    reference = GaussianMixture(1, covariance_type="full", reg_covar=0).fit(z)
    fitted = Gaussian.fit(z)
    np.testing.assert_allclose(fitted.mean, reference.means_[0], atol=1e-12)
    np.testing.assert_allclose(fitted.covariance, reference.covariances_[0], atol=1e-12)


def test_draws_have_the_moments_of_their_gaussian_even_a_singular_one():
    direction = np.array([[1.0, -2.0, 0.5]])
    gaussian = Gaussian(np.array([3.0, 0.0, -1.0]), direction.T @ direction)
    n = 20_000
    z = gaussian.sample(n, generator("draws", 0))
    along = (z - gaussian.mean) @ direction[0] / (direction**2).sum()
    np.testing.assert_allclose(z - gaussian.mean, along[:, None] * direction, atol=1e-7)  # on the line
    assert abs(along.mean()) < 5 / math.sqrt(n)
    assert abs(along.var() - 1) < 5 * math.sqrt(2 / n)


def test_one_code_of_a_class_is_its_own_gaussian():
    fitted = generation.per_class(np.array([[1.0, 2.0], [5.0, 5.0], [7.0, 5.0]]), np.array([4, 0, 0]))
    assert list(fitted) == [0, 4]
    np.testing.assert_allclose(fitted[4].sample(3, generator("one", 0)), [[1, 2]] * 3)
    np.testing.assert_allclose(fitted[0].mean, [6, 5])


@given(st.integers(2, 9), st.integers(0, 1000))
def test_interpolations_are_straight_and_evenly_spaced(steps, seed):
    a, b = np.random.default_rng(seed).normal(size=(2, 4, 3))
    lines = generation.interpolation(a, b, steps)
    np.testing.assert_allclose(lines[:, 0], a)
    np.testing.assert_allclose(lines[:, -1], b)
    np.testing.assert_allclose(
        np.diff(lines, axis=1), np.repeat((b - a)[:, None] / (steps - 1), steps - 1, 1)
    )


def test_a_traversal_moves_one_dimension_and_passes_its_start():
    start = np.array([1.0, 2.0, 3.0])
    z = generation.traversal(start, np.array([2, 0]), np.array([0.5, 4.0]), 5)
    assert z.shape == (2, 5, 3)
    np.testing.assert_allclose(z[0, :, 2], [2.5, 2.75, 3, 3.25, 3.5])
    np.testing.assert_allclose(z[1, :, 0], [-3, -1, 1, 3, 5])
    np.testing.assert_allclose(z[0, :, :2], [[1, 2]] * 5)
    np.testing.assert_allclose(z[:, 2], [start] * 2)


def test_the_wiener_filter_is_lees():
    noisy = np.random.default_rng(0).uniform(0.2, 0.8, size=(2, 1, 5, 7))
    window, noise = 3, 0.1
    expected = np.empty_like(noisy)
    padded = np.pad(noisy, ((0, 0), (0, 0), (1, 1), (1, 1)))
    for n, i, j in np.ndindex(2, 5, 7):
        patch = padded[n, 0, i : i + window, j : j + window]
        mean, variance = patch.mean(), patch.var()
        share = max(variance - noise**2, 0) / variance
        expected[n, 0, i, j] = mean + share * (noisy[n, 0, i, j] - mean)
    denoised = denoising.wiener_denoiser(window, noise)(noisy)
    np.testing.assert_allclose(denoised, expected.clip(0, 1), atol=1e-6)


def test_pca_projects_on_the_leading_subspace_of_train():
    train, noisy = images(40), images(5, seed=1).floats().numpy()
    clean = train.floats().numpy().reshape(40, 24).astype(np.float64)
    mean = clean.mean(0)
    _, _, axes = np.linalg.svd(clean - mean)
    leading = axes[:6]
    expected = (noisy.reshape(5, 24) - mean) @ leading.T @ leading + mean
    denoised = denoising.pca_denoiser(train, 6)(noisy)
    np.testing.assert_allclose(denoised.reshape(5, 24), expected.clip(0, 1), atol=1e-4)
    whole = denoising.pca_denoiser(train, 99)(noisy)  # no more than there are
    np.testing.assert_allclose(whole, noisy, atol=1e-4)


def test_the_window_is_the_best_of_validation():
    hill = torch.hann_window(40)
    smooth = Images((255 * hill[:, None] * hill).to(torch.uint8).repeat(5, 1, 1, 1))
    errors = {
        window: np.mean(
            [
                generation.squared_error(x, denoising.wiener_denoiser(window, 0.3)(noisy)).mean()
                for x, noisy in denoising.noisy_batches(smooth, 0.3)
            ]
        )
        for window in denoising.WINDOWS
    }
    chosen = denoising.choose_window(smooth, 0.3)
    assert chosen == min(errors, key=errors.__getitem__)
    assert chosen > 3  # a smooth image wants a wide one


def test_the_first_images_keep_their_noise_among_more():
    few, many = images(5), images(BATCH + 5)
    [(_, noisy)] = denoising.noisy_batches(few, 0.3, seed=4)
    (clean, first), (_, second) = denoising.noisy_batches(many, 0.3, seed=4)
    kept = few.floats().numpy()
    np.testing.assert_allclose(noisy - kept, (first - clean)[:5], atol=1e-6)
    assert len(second) == 5
    assert first.min() < 0 < 1 < first.max()  # not clipped
    assert (first - clean).std() == pytest.approx(0.3, abs=0.01)


def test_distances_are_the_mean_of_the_nearest():
    rng = np.random.default_rng(0)
    known, new = rng.normal(size=(20, 3)), rng.normal(size=(4, 3))
    literal = [np.mean(sorted(math.dist(z, other) for other in known)[:5]) for z in new]
    np.testing.assert_allclose(anomaly.neighbour_distance(known, new, 5), literal, rtol=1e-9)
    everyone = [np.mean([math.dist(z, other) for other in known]) for z in new]
    np.testing.assert_allclose(anomaly.neighbour_distance(known, new, 50), everyone, rtol=1e-9)


def test_auroc_counts_the_pairs_in_the_right_order():
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(5, size=40).astype(float), rng.integers(-1, 4, size=40)
    strange, normal = scores[np.isin(labels, [1, 3])], scores[np.isin(labels, [0, 2])]
    pairs = [(a > b) + (a == b) / 2 for a in strange for b in normal]
    found = anomaly.held_out_auroc({"x": scores, "minus x": -scores}, labels, [1, 3])
    assert found["x"] == pytest.approx(np.mean(pairs), rel=1e-12)
    assert found["minus x"] == pytest.approx(1 - np.mean(pairs), rel=1e-12)


@pytest.mark.parametrize(("labels", "what"), [([0, 0, -1], "no image is"), ([1, 1, -1], "every labelled")])
def test_one_kind_of_image_gives_no_auroc(labels, what):
    with pytest.raises(UserError, match=what):
        anomaly.held_out_auroc({"x": np.zeros(3)}, np.array(labels), [1])


def test_the_bound_is_drawn_anew_each_time_from_its_own_seed():
    from diabolo.methods.build import build_method

    recipe = digits_recipe("vae")
    splits, facts = digits(recipe)
    method = build_method(recipe, facts).eval()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    nll = anomaly.negative_log_prob(method, splits.test, 3)
    np.testing.assert_array_equal(anomaly.negative_log_prob(method, splits.test, 3), nll)
    assert (anomaly.negative_log_prob(method, splits.test, 3, seed=1) != nll).any()
    assert torch.equal(torch.get_rng_state(), before)
    tighter = anomaly.negative_log_prob(method, splits.test, 100)
    assert tighter.mean() < nll.mean()


def test_a_grid_holds_every_image_where_it_belongs():
    rows = [np.full((n, 1, 4, 6), level) for n, level in [(3, 1.0), (2, 0.5)]]
    [axes] = grid(rows, ["a", "b"], ["", "", "c"]).axes
    canvas = axes.images[0].get_array()
    assert canvas.shape == (4 + 1 + 4, 6 + 1 + 6 + 1 + 6, 4)
    assert canvas[0, 0].tolist() == [255] * 4
    assert canvas[5, 12].tolist() == [128, 128, 128, 255]
    assert canvas[5, 14, 3] == canvas[4, 0, 3] == canvas[0, 6, 3] == 0  # no third image, and clear gaps
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert list(axes.get_xticks()) == [2.5, 9.5, 16.5]


def test_a_square_keeps_the_order():
    assert [len(row) for row in square(np.zeros((7, 1, 2, 2)))] == [3, 3, 1]
    assert len(square(np.zeros((5000, 1, 2, 2)))) == 40
