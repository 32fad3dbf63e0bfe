"""Active units and KL, against their definitions and a posterior that is known."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from diabolo.errors import UserError
from diabolo.evaluation.latents import Latents
from diabolo.evaluation.measures import Subject
from diabolo.latents import DiagonalGaussian
from diabolo.methods.random import Random
from tests.evaluation.subjects import Coded, autoencoder, noise_splits, plain_subject


def posterior(x: Tensor) -> DiagonalGaussian:
    """Dimensions of which 0 and 3 move with the data, 1 hardly, and 2 is the prior."""
    a = x.flatten(1)
    mean = torch.stack([a[:, 0], 0.01 * a[:, 1], torch.zeros_like(a[:, 0]), 2 * a[:, 2] + 1], 1)
    log_variance = torch.stack([a[:, 3] - 1, 0 * a[:, 0] - 0.5, 0 * a[:, 0], -a[:, 4]], 1)
    return DiagonalGaussian(mean, log_variance)


@pytest.mark.parametrize(
    ("prior", "variance"),
    [("standard-normal", 1.0), ("{name: cluster, form: gaussian, variance: 0.3, content_variance: 2}", 2.3)],
)
def test_units_and_nats_are_their_definitions(prior, variance, monkeypatch):
    splits = noise_splits((1, 5, 6), test=300)
    method = autoencoder("vae", splits, f"method.prior={prior}")
    monkeypatch.setattr(method, "posterior", posterior)
    found = Latents()(plain_subject(method, splits))
    q = posterior(splits.test.floats().double())
    normal = Normal(q.mean, (q.log_variance / 2).exp())
    kl = kl_divergence(normal, Normal(0.0, variance**0.5)).mean(0)
    np.testing.assert_allclose(found["kl_per_dimension"], kl, rtol=1e-5, atol=1e-7)
    assert found["kl"] == pytest.approx(kl.sum().item())
    assert found["entropy"] == pytest.approx(normal.entropy().sum(1).mean().item())
    np.testing.assert_allclose(found["variance"], q.mean.numpy().var(0), rtol=1e-5, atol=1e-12)
    assert (found["active"], found["width"]) == (2, 4)


def test_without_a_prior_of_one_image_there_is_no_kl(digits):
    found = Latents()(plain_subject(autoencoder("aavae", digits), digits))
    assert found["missing"] == {"kl": "the prior is no distribution of one image's code"}
    assert "kl_per_dimension" not in found
    assert len(found["variance"]) == found["width"] == 4


def test_what_has_no_posterior_with_a_variance_is_refused(digits):
    point = plain_subject(autoencoder("ae", digits), digits)
    other = Subject(Random(Coded(lambda z: z, (1, 8, 8)).encoder), digits, "h")
    for subject in (point, other):
        with pytest.raises(UserError, match="only a Gaussian posterior"):
            Latents().check(subject)
