"""Posteriors and priors against torch.distributions, literal formulas and Monte Carlo, in float64."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from diabolo.latents import Cluster, DiagonalGaussian, Point, StandardNormal


def codes(B: int, J: int, d: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    mean = torch.randn(B, J, d, generator=rng, dtype=torch.float64)
    return mean, torch.rand(B, J, d, generator=rng, dtype=torch.float64) + 0.1


def test_entropy_is_that_of_the_normal() -> None:
    mean, variance = codes(5, 1, 3)
    q = DiagonalGaussian(mean[:, 0], variance[:, 0].log())
    expected = Normal(mean[:, 0], variance[:, 0].sqrt()).entropy().sum(1)
    torch.testing.assert_close(q.entropy(), expected)


def test_point_has_no_entropy_and_samples_itself() -> None:
    mean = torch.randn(4, 3)
    q = Point(mean)
    assert torch.equal(q.sample(), mean)
    assert torch.equal(q.entropy(), torch.zeros(4))


def test_samples_have_the_moments_of_the_posterior() -> None:
    torch.manual_seed(0)
    q = DiagonalGaussian(torch.full((200_000, 1), 2.0), torch.full((200_000, 1), math.log(0.25)))
    z = q.sample()
    assert z.mean().item() == pytest.approx(2.0, abs=0.01)
    assert z.var().item() == pytest.approx(0.25, abs=0.01)


def test_standard_normal_prior_minus_entropy_is_the_kl_divergence() -> None:
    mean, variance = codes(6, 1, 4)
    q = DiagonalGaussian(mean[:, 0], variance[:, 0].log())
    kl = -StandardNormal().expected_log_prob(mean, variance) - q.entropy()
    expected = kl_divergence(Normal(mean[:, 0], variance[:, 0].sqrt()), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(kl, expected)


@given(st.integers(1, 6), st.integers(1, 3), st.floats(0.05, 2.0), st.floats(0.1, 3.0))
def test_gaussian_cluster_prior_is_one_multivariate_normal(J: int, d: int, s2: float, g2: float) -> None:
    mean, _ = codes(4, J, d)
    prior = Cluster(variance=s2, form="gaussian", content_variance=g2)
    covariance = s2 * torch.eye(J, dtype=torch.float64) + g2
    normal = MultivariateNormal(torch.zeros(J, dtype=torch.float64), covariance)
    expected = normal.log_prob(mean.transpose(1, 2)).sum(1)  # each dimension on its own
    torch.testing.assert_close(prior.expected_log_prob(mean, torch.zeros_like(mean)), expected)


def test_one_view_of_the_gaussian_cluster_prior_is_the_vae_s() -> None:
    mean, variance = codes(4, 1, 3)
    prior = Cluster(variance=0.15, form="gaussian", content_variance=0.85)
    torch.testing.assert_close(
        prior.expected_log_prob(mean, variance), StandardNormal().expected_log_prob(mean, variance)
    )


@pytest.mark.parametrize("form", ["uniform", "gaussian", "as-coded"])
def test_expectation_agrees_with_monte_carlo(form: str) -> None:
    mean, variance = codes(2, 4, 3)
    prior = Cluster(variance=0.3, form=form)
    torch.manual_seed(0)
    z = mean + variance.sqrt() * torch.randn(100_000, 2, 4, 3, dtype=torch.float64)
    draws = prior.expected_log_prob(z.flatten(0, 1), torch.zeros_like(z).flatten(0, 1)).view(-1, 2)
    error = 4 * draws.std(0) / math.sqrt(len(draws))
    assert ((draws.mean(0) - prior.expected_log_prob(mean, variance)).abs() < error).all()


def test_uniform_cluster_prior_is_the_paper_s_formula_with_gradient_through_the_mean() -> None:
    mean, _ = codes(1, 3, 2)
    mean.requires_grad_()
    s2 = 0.15
    log_p = Cluster(variance=s2).expected_log_prob(mean, torch.zeros_like(mean))
    z = mean.detach()[0]
    literal = 0.0
    for i in range(2):
        centre = sum(z[j, i].item() for j in range(3)) / 3
        literal -= sum((z[j, i].item() - centre) ** 2 for j in range(3)) / (2 * s2)
        literal -= 0.5 * 2 * math.log(2 * math.pi * s2) + 0.5 * math.log(3)
    assert log_p.item() == pytest.approx(literal, abs=1e-12)
    assert torch.autograd.gradcheck(
        lambda m: Cluster(variance=s2, form="gaussian").expected_log_prob(m, torch.zeros_like(m)), mean
    )
