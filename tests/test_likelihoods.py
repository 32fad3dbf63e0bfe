"""Likelihoods against torch.distributions, in float64."""

import pytest
import torch
from torch import distributions as D

from diabolo.likelihoods import Bernoulli, Gaussian


def pair(channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    out = torch.randn(3, channels, 4, 5, generator=rng, dtype=torch.float64)
    return out, torch.rand(3, 2, 4, 5, generator=rng, dtype=torch.float64)


def test_gaussian_with_fixed_variance() -> None:
    out, target = pair(2)
    expected = D.Normal(out, 0.02**0.5).log_prob(target).flatten(1).sum(1)
    torch.testing.assert_close(Gaussian(variance=0.02).log_prob(out, target), expected)


def test_gaussian_with_learned_variance_learns_the_residual_s() -> None:
    out, target = pair(2)
    likelihood = Gaussian(variance="learned").double()
    optimiser = torch.optim.Adam(likelihood.parameters(), lr=0.05)
    for _ in range(400):
        optimiser.zero_grad()
        (-likelihood.log_prob(out, target).mean()).backward()
        optimiser.step()
    residual = (out - target).square().mean()
    assert likelihood.log_variance.exp().item() == pytest.approx(residual.item(), rel=1e-3)


def test_gaussian_with_pixel_variance() -> None:
    out, target = pair(4)
    likelihood = Gaussian(variance="pixel")
    mean, log_variance = out[:, :2], out[:, 2:]
    expected = D.Normal(mean, (0.5 * log_variance).exp()).log_prob(target).flatten(1).sum(1)
    assert likelihood.channels == 2
    torch.testing.assert_close(likelihood.log_prob(out, target), expected)
    torch.testing.assert_close(likelihood.mean(out), mean)


def test_bernoulli() -> None:
    out, target = pair(2)
    bits = (target > 0.5).double()
    expected = D.Bernoulli(logits=out).log_prob(bits).flatten(1).sum(1)
    torch.testing.assert_close(Bernoulli().log_prob(out, bits), expected)
    torch.testing.assert_close(Bernoulli().mean(out), out.sigmoid())
