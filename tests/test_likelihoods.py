"""Likelihoods against torch.distributions and literal formulas, in float64."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch import distributions as D

from diabolo.errors import UserError
from diabolo.likelihoods import (
    Bernoulli,
    Categorical,
    CrossEntropyAsCoded,
    DiscretisedLogistic,
    Gaussian,
    Likelihood,
    SquaredErrorAsCoded,
)
from diabolo.tables import LIKELIHOODS
from diabolo.views.noise import Dequantisation

LEVELS = torch.arange(256, dtype=torch.float64) / 255


def pair(channels: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    out = torch.randn(3, channels, 4, 5, generator=rng, dtype=torch.float64)
    return out, torch.rand(3, 2, 4, 5, generator=rng, dtype=torch.float64)


def everywhere(likelihood: Likelihood, out: Tensor, targets: Tensor) -> Tensor:
    """exp log p of one-dimensional targets [m] given one decoder output [channels]."""
    return likelihood.log_prob(out.expand(len(targets), -1), targets[:, None]).exp()


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


@pytest.mark.parametrize("variance", [0.02, "learned", "pixel"])
def test_gaussian_integrates_to_one(variance: Any) -> None:
    likelihood = Gaussian(variance=variance).double()
    t = torch.linspace(-20, 20, 100_001, dtype=torch.float64)
    out = torch.tensor([0.3, -1.0], dtype=torch.float64)[: likelihood.channels]
    assert torch.trapezoid(everywhere(likelihood, out, t), t).item() == pytest.approx(1, abs=1e-9)


def test_bernoulli() -> None:
    out, target = pair(2)
    bits = (target > 0.5).double()
    expected = D.Bernoulli(logits=out).log_prob(bits).flatten(1).sum(1)
    torch.testing.assert_close(Bernoulli().log_prob(out, bits), expected)
    torch.testing.assert_close(Bernoulli().mean(out), out.sigmoid())
    both = everywhere(
        Bernoulli(), torch.tensor([0.7], dtype=torch.float64), torch.tensor([0.0, 1.0]).double()
    )
    assert both.sum().item() == pytest.approx(1, abs=1e-12)


def test_categorical_is_a_softmax_over_levels() -> None:
    out, target = pair(2 * 256)
    logits = out.view(3, 256, 2, 4, 5).permute(0, 2, 3, 4, 1)
    distribution = D.Categorical(logits=logits)
    expected = distribution.log_prob((255 * target).round()).flatten(1).sum(1)
    torch.testing.assert_close(Categorical().log_prob(out, target), expected)
    torch.testing.assert_close(Categorical().mean(out), (distribution.probs * LEVELS).sum(-1))
    assert everywhere(Categorical(), out[0, :256, 0, 0], LEVELS).sum().item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("location", [-0.2, 0.0, 0.4, 1.0, 3.0])
@pytest.mark.parametrize("log_scale", [-9.0, -6.0, -3.0, 0.0, 4.0])
def test_discretised_logistic_is_the_logistic_s_mass_between_levels(
    location: float, log_scale: float
) -> None:
    out = torch.tensor([location, log_scale], dtype=torch.float64)
    mass = everywhere(DiscretisedLogistic(scale="pixel"), out, LEVELS)
    cumulative = ((LEVELS[:-1] + 0.5 / 255 - location) / math.exp(log_scale)).sigmoid()
    edges = torch.cat([torch.zeros(1).double(), cumulative, torch.ones(1).double()])
    torch.testing.assert_close(mass, edges.diff(), rtol=1e-9, atol=1e-12)
    assert mass.sum().item() == pytest.approx(1, abs=1e-12)


def test_discretised_logistic_stays_finite_far_from_the_target_and_learns_its_scale() -> None:
    likelihood = DiscretisedLogistic()
    out = torch.tensor([[-40.0], [0.5], [60.0]], requires_grad=True)
    log_p = likelihood.log_prob(out, torch.tensor([[1.0], [0.5], [0.0]]))
    log_p.sum().backward()
    assert log_p.isfinite().all()
    assert out.grad is not None
    assert out.grad.isfinite().all()
    assert likelihood.log_scale.grad is not None
    assert likelihood.log_scale.grad.isfinite()
    torch.testing.assert_close(likelihood.mean(out), torch.tensor([[0.0], [0.5], [1.0]]))


def test_the_coded_variants_are_what_the_code_computes_and_no_densities() -> None:
    out, target = pair(2)
    squares = (out - target).square().flatten(1).sum(1)
    torch.testing.assert_close(SquaredErrorAsCoded().log_prob(out, target), -0.5 * squares / 0.01)
    p = out.sigmoid()
    sigmoid = SquaredErrorAsCoded(output="sigmoid")
    squares = (1 / (1 + (-out).exp()) - target).square().flatten(1).sum(1)
    torch.testing.assert_close(sigmoid.log_prob(out, target), -0.5 * squares / 0.01)
    torch.testing.assert_close(sigmoid.mean(out), p)
    entropy = -(target * p.log() + (1 - target) * (1 - p).log()).flatten(1).sum(1)
    torch.testing.assert_close(CrossEntropyAsCoded(divide_by=0.1).log_prob(out, target), -entropy / 0.1)
    for likelihood in (SquaredErrorAsCoded(), CrossEntropyAsCoded()):
        assert likelihood.support is None
        assert not likelihood.supports((target > 0.5).double())


@pytest.mark.parametrize("likelihood", [Bernoulli(), Categorical(), DiscretisedLogistic()])
def test_pixels_outside_their_range_have_no_mass(likelihood: Likelihood) -> None:
    out = torch.zeros(3, likelihood.channels)
    log_p = likelihood.log_prob(out, torch.tensor([[-0.1], [1.0 + 1e-6], [1.1]]))
    assert log_p.isfinite().tolist() == [False, True, False]
    assert (log_p[[0, 2]] == -math.inf).all()


@pytest.mark.parametrize("likelihood", [Bernoulli, Categorical, DiscretisedLogistic])
def test_distributions_of_pixels_refuse_normalised_targets(likelihood: type[Likelihood]) -> None:
    with pytest.raises(UserError, match=r"a distribution of pixels in \[0, 1\], which normalised"):
        likelihood(space="normalised")  # type: ignore[call-arg]


def test_a_sigmoid_refuses_normalised_targets() -> None:
    with pytest.raises(UserError, match="which normalised targets leave: use output=linear"):
        SquaredErrorAsCoded(output="sigmoid", space="normalised")


def test_a_squared_error_whose_recipe_names_no_output_is_linear() -> None:
    spec = LIKELIHOODS.complete({"name": "squared-error-as-coded", "divide_by": 0.1}, "method.likelihood")
    out, target = pair(2)
    squares = (out - target).square().flatten(1).sum(1)
    torch.testing.assert_close(LIKELIHOODS.build(spec).log_prob(out, target), -0.5 * squares / 0.1)


def test_bits_of_a_mass_function() -> None:
    target = LEVELS[torch.arange(40) * 6].view(1, 2, 4, 5)
    flat = Categorical().log_prob(torch.zeros(1, 512, 4, 5, dtype=torch.float64), target)
    bits = Categorical().bits_per_dimension(flat, target)
    assert bits is not None
    assert bits.item() == pytest.approx(8)
    coin = Bernoulli().log_prob(torch.zeros(1, 2, 4, 5, dtype=torch.float64), target.round())
    bits = Bernoulli().bits_per_dimension(coin, target.round())
    assert bits is not None
    assert bits.item() == pytest.approx(1)


def dequantised(x: Tensor) -> Tensor:
    view = Dequantisation()
    return view.apply(x, view.draw(len(x), tuple(x.shape[1:]), torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("normalised", [False, True])
def test_bits_of_a_density_are_those_of_dequantised_levels(normalised: bool) -> None:
    """By a change of variable to u = 255 (s t + m), whose levels are 1 apart."""
    out, pixels = pair(2)
    std = torch.tensor([0.2, 0.5], dtype=torch.float64).view(2, 1, 1)
    mean = torch.tensor([0.4, 0.6], dtype=torch.float64).view(2, 1, 1)
    u = 255 * dequantised((255 * pixels).round() / 255)
    target = (u / 255 - mean) / std if normalised else u / 255
    likelihood = Gaussian(variance=0.3, space="normalised" if normalised else "pixels")
    log_p = likelihood.log_prob(out, target)
    bits = likelihood.bits_per_dimension(log_p, target, std if normalised else None, dequantised=True)
    to_levels = [D.AffineTransform(mean, std)] if normalised else []
    levels = D.TransformedDistribution(
        D.Normal(out, math.sqrt(0.3)), [*to_levels, D.AffineTransform(0.0, 255.0)]
    )
    assert bits is not None
    torch.testing.assert_close(bits, -levels.log_prob(u).flatten(1).mean(1) / math.log(2))


def test_dequantised_pixels_stay_in_their_level() -> None:
    noisy = 255 * dequantised(LEVELS[None])[0]
    torch.testing.assert_close((noisy + 1e-9).floor(), 255 * LEVELS)
    assert noisy.frac().std().item() == pytest.approx(12**-0.5, rel=0.1)


def test_no_bits_where_there_are_none() -> None:
    _, soft = pair(2)
    log_p = torch.zeros(3, dtype=torch.float64)
    for likelihood in (Gaussian(), Bernoulli(), SquaredErrorAsCoded(), CrossEntropyAsCoded()):
        assert likelihood.bits_per_dimension(log_p, soft) is None
    assert CrossEntropyAsCoded().bits_per_dimension(log_p, soft.round()) is None
    assert SquaredErrorAsCoded().bits_per_dimension(log_p, soft, dequantised=True) is None
    assert Categorical().bits_per_dimension(log_p, soft - 1) is None
