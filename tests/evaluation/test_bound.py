"""The bound as a measure: what it is called with is what the method's own bound gives."""

import math

import pytest
import torch

from diabolo.data.images import Images
from diabolo.errors import UserError
from diabolo.evaluation.bound import Bound, binarised
from diabolo.evaluation.features import sample
from diabolo.generation import BATCH
from diabolo.seeds import seed_for
from tests.evaluation.subjects import autoencoder, noise_splits, plain_subject


def test_images_are_binarised_once_by_their_grey_levels():
    levels = torch.tensor([0, 51, 128, 255], dtype=torch.uint8)
    images = Images(levels.view(1, 1, 2, 2).repeat(3 * BATCH + 5, 1, 1, 1))
    drawn = binarised(images)
    assert set(drawn.pixels.unique().tolist()) == {0, 255}
    share = drawn.floats().mean(0).flatten()
    assert share[[0, 3]].tolist() == [0, 1]
    for pixel in (1, 2):
        p = levels[pixel].item() / 255
        assert abs(share[pixel] - p) < 4 * math.sqrt(p * (1 - p) / len(images))
    few = binarised(images.take(torch.arange(BATCH + 3)))
    torch.testing.assert_close(few.pixels, drawn.pixels[: BATCH + 3])  # whatever comes behind
    assert (drawn.pixels[:BATCH] != drawn.pixels[BATCH : 2 * BATCH]).any()


def test_the_bound_is_the_mean_of_the_method_s_own(digits):
    method = autoencoder("vae", digits, "method.likelihood=bernoulli")
    subject = plain_subject(method, digits)
    found = Bound(samples=400, images=50, binarise=True)(subject)
    rows = torch.from_numpy(sample(len(digits.test), 50))
    x = binarised(digits.test).take(rows).floats()
    torch.manual_seed(seed_for("log p", 0))
    nats = -method.log_prob(x, 400).double().numpy()
    assert found["nats"] == pytest.approx(nats.mean())
    assert found["standard_error"] == pytest.approx(nats.std(ddof=1) / math.sqrt(50))
    assert found["negative_elbo"] > found["nats"]
    assert found["bits_per_dimension"] == pytest.approx(found["nats"] / (64 * math.log(2)))
    assert (found["samples"], found["images"]) == (400, 50)
    assert Bound(samples=400, images=50, binarise=True)(subject) == found


def test_the_elbo_is_that_of_the_loss(digits):
    """With one draw the bound is the evidence lower bound, whose KL the objective knows exactly."""
    from diabolo.latents import DiagonalGaussian

    method = autoencoder("vae", digits, "method.likelihood=bernoulli")
    found = Bound(samples=2, binarise=True)(plain_subject(method, digits))
    x = binarised(digits.test).floats()
    torch.manual_seed(0)
    with torch.no_grad():
        q = method.posterior(x)
        assert isinstance(q, DiagonalGaussian)
        zeros = torch.zeros_like(q.mean)
        log_p = method.log_likelihood(q.sample(50), x).mean(1)
        elbo = (log_p - q.kl(DiagonalGaussian(zeros, zeros))).numpy()
    assert found["negative_elbo"] == pytest.approx(-elbo.mean(), abs=0.1)


def test_a_density_has_no_bits_unless_the_method_gives_them(digits):
    method = autoencoder("vae", digits)
    found = Bound(samples=3)(plain_subject(method, digits))
    assert "bits_per_dimension" not in found
    assert "note" not in found
    assert found["images"] == len(digits.test)
    levels = autoencoder("vae", digits, "method.likelihood=discretised-logistic")
    found = Bound(samples=3)(plain_subject(levels, digits))
    assert found["bits_per_dimension"] == pytest.approx(found["nats"] / (64 * math.log(2)))


def test_a_density_of_dequantised_pixels_has_bits(digits):
    method = autoencoder("vae", digits)
    subject = plain_subject(method, digits)
    found, plain = (Bound(samples=20, dequantise=each)(subject) for each in (True, False))
    assert found["note"] == "of pixels with noise within their level"
    per_level = found["nats"] / (64 * math.log(2)) + math.log2(255)
    assert found["bits_per_dimension"] == pytest.approx(per_level)
    assert found["nats"] != plain["nats"]
    assert found["nats"] == pytest.approx(plain["nats"], rel=0.05)  # the noise is small beside v
    assert Bound(samples=20, dequantise=True)(subject) == found


@pytest.mark.parametrize(
    ("preset", "settings", "measure", "message"),
    [
        ("vae", ["method.likelihood=discretised-logistic"], Bound(dequantise=True), "leave it out"),
        ("vae", ["method.likelihood=categorical", "decoder=conv"], Bound(dequantise=True), "leave it out"),
        ("ae", [], Bound(), "a point posterior gives no bound"),
        ("aavae", [], Bound(), "prior 'none'"),
        ("vae", ["method.likelihood=bernoulli"], Bound(), "binarise them"),
    ],
)
def test_what_has_no_bound_is_refused(digits, preset, settings, measure, message):
    with pytest.raises(UserError, match=message):
        measure.check(plain_subject(autoencoder(preset, digits, *settings), digits))


def test_a_check_leaves_the_random_numbers_as_they_were(digits):
    subject = plain_subject(autoencoder("vae", digits, "method.likelihood=bernoulli"), digits)
    before = torch.get_rng_state()
    Bound(binarise=True).check(subject)
    assert torch.equal(torch.get_rng_state(), before)


def test_vectors_are_not_binarised():
    splits = noise_splits((6,))
    with pytest.raises(UserError, match="vectors have no grey levels"):
        Bound(binarise=True).check(plain_subject(autoencoder("vae", splits), splits))
