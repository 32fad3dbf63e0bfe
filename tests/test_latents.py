"""Posteriors and priors against torch.distributions, literal formulas and Monte Carlo, in float64."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from diabolo.errors import UserError
from diabolo.latents import Cluster, DiagonalGaussian, NoPrior, Point, StandardNormal

FORMS = ["uniform", "gaussian", "as-coded"]


def codes(B: int, J: int, d: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    mean = torch.randn(B, J, d, generator=rng, dtype=torch.float64)
    return mean, torch.rand(B, J, d, generator=rng, dtype=torch.float64) + 0.1


def posterior(n: int, d: int, seed: int = 0) -> tuple[DiagonalGaussian, Normal]:
    mean, variance = codes(n, 1, d, seed)
    return DiagonalGaussian(mean[:, 0], variance[:, 0].log()), Normal(mean[:, 0], variance[:, 0].sqrt())


def test_entropy_and_density_are_those_of_the_normal() -> None:
    q, normal = posterior(5, 3)
    z = q.sample(4)  # [5, 4, 3]
    expected = normal.log_prob(z.transpose(0, 1)).sum(2).T
    torch.testing.assert_close(q.entropy(), normal.entropy().sum(1))
    torch.testing.assert_close(q.log_prob(z), expected)


def test_kl_between_posteriors_is_that_of_normals() -> None:
    (p, normal_p), (q, normal_q) = posterior(5, 3, seed=1), posterior(5, 3, seed=2)
    torch.testing.assert_close(p.kl(q), kl_divergence(normal_p, normal_q).sum(1))


def test_point_has_no_entropy_and_samples_itself() -> None:
    mean = torch.randn(4, 3)
    q = Point(mean)
    assert torch.equal(q.sample(2), torch.stack([mean, mean], 1))
    assert torch.equal(q.entropy(), torch.zeros(4))


def test_samples_have_the_moments_of_the_posterior() -> None:
    torch.manual_seed(0)
    q = DiagonalGaussian(torch.full((2, 1), 2.0), torch.full((2, 1), math.log(0.25)))
    z = q.sample(100_000)
    assert z.shape == (2, 100_000, 1)
    assert z.mean().item() == pytest.approx(2.0, abs=0.01)
    assert z.var().item() == pytest.approx(0.25, abs=0.01)


def test_standard_normal_prior_minus_entropy_is_the_kl_divergence() -> None:
    mean, variance = codes(6, 1, 4)
    q, normal = posterior(6, 4)
    kl = -StandardNormal().expected_log_prob(mean, variance) - q.entropy()
    torch.testing.assert_close(kl, kl_divergence(normal, Normal(0.0, 1.0)).sum(1))
    torch.manual_seed(0)
    z = q.sample(100_000)
    draws = q.log_prob(z) - StandardNormal().log_marginal(z)
    assert ((draws.mean(1) - kl).abs() < 4 * draws.std(1) / math.sqrt(100_000)).all()


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
    torch.testing.assert_close(prior.log_marginal(mean), StandardNormal().log_marginal(mean))


@pytest.mark.parametrize("prior", [StandardNormal(), Cluster(form="gaussian", content_variance=0.5)])
def test_the_marginal_of_one_image_is_the_prior_of_one_view(prior: StandardNormal | Cluster) -> None:
    z, _ = codes(4, 1, 3)
    expected = prior.expected_log_prob(z, torch.zeros_like(z))
    torch.testing.assert_close(prior.log_marginal(z)[:, 0], expected)
    samples = prior.sample(50_000, 2, torch.Generator().manual_seed(0))
    assert samples.shape == (50_000, 2)
    assert samples.var(0).tolist() == pytest.approx([prior.marginal_variance()] * 2, rel=0.03)


@pytest.mark.parametrize("prior", [NoPrior(), Cluster(form="uniform"), Cluster(form="as-coded")])
def test_a_prior_that_is_no_distribution_says_so(prior: NoPrior | Cluster) -> None:
    with pytest.raises(UserError, match=r"gives no bound on log p\(x\): .*fitted to the latents"):
        prior.log_marginal(torch.zeros(2, 3))
    with pytest.raises(UserError, match="has no samples"):
        prior.sample(2, 3, torch.Generator())


@pytest.mark.parametrize("form", FORMS)
def test_expectation_and_its_gradient_agree_with_monte_carlo(form: str) -> None:
    """Through z̄ as well, without which ‖z̄‖² would have no gradient."""
    mean, variance = (x.requires_grad_() for x in codes(2, 4, 3))
    prior = Cluster(variance=0.3, form=form)
    expected = prior.expected_log_prob(mean, variance)
    torch.manual_seed(0)
    many = 50_000
    moved = mean.detach().expand(many, 2, 4, 3).clone().requires_grad_()
    noise = torch.randn(many, 2, 4, 3, dtype=torch.float64)
    z = moved + variance.detach().sqrt() * noise
    literal = literal_cluster(z, 0.3, form)
    assert_mean(literal, expected)
    (slope,) = torch.autograd.grad(literal.sum(), moved)  # of each draw
    to_mean, to_variance = torch.autograd.grad(expected.sum(), (mean, variance))
    assert_mean(slope, to_mean)
    assert_mean(slope * noise / (2 * variance.detach().sqrt()), to_variance)


def literal_cluster(z: Tensor, s2: float, form: str) -> Tensor:
    """log p(z_1..z_J) from its definition, [..., J, d] → [...]; for as-coded, as its code has it."""
    J, d = z.shape[-2:]
    centre = z.mean(-2)
    if form == "gaussian":
        covariance = s2 * torch.eye(J, dtype=z.dtype) + 1.0
        normal = MultivariateNormal(torch.zeros(J, dtype=z.dtype), covariance)
        return normal.log_prob(z.transpose(-1, -2)).sum(-1)
    spread = sum((z[..., j, :] - centre).square().sum(-1) for j in range(J)) / (2 * s2)
    if form == "as-coded":
        return -spread - 0.5 * centre.square().sum(-1)
    return -spread - 0.5 * (J - 1) * d * math.log(2 * math.pi * s2) - 0.5 * d * math.log(J)


def assert_mean(draws: Tensor, expected: Tensor) -> None:
    error = 5 * draws.std(0) / math.sqrt(len(draws))
    assert ((draws.mean(0) - expected).abs() < error + 1e-12).all()


def test_uniform_cluster_prior_is_the_gaussian_one_with_a_flat_content() -> None:
    """y ~ N(0, γ²I) with γ² → ∞, less the constant log N(0; 0, γ²I) that diverges."""
    mean, variance = codes(3, 4, 2)
    wide = Cluster(form="gaussian", content_variance=1e8).expected_log_prob(mean, variance)
    flat = Cluster(form="uniform").expected_log_prob(mean, variance)
    torch.testing.assert_close(wide + 0.5 * 2 * math.log(2 * math.pi * 1e8), flat, rtol=1e-6, atol=1e-6)


def test_the_flat_prior_of_one_view_is_refused() -> None:
    Cluster(form="uniform").check(views=2)
    Cluster(form="gaussian").check(views=1)
    with pytest.raises(UserError, match="the entropy alone diverges"):
        Cluster(form="uniform").check(views=1)
