"""Penalties against literal loops, torch.func and torch.distributions, in float64."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.func import jacrev, vmap

from diabolo.latents import DiagonalGaussian, Point, Posterior
from diabolo.penalties import L1, Consistency, Contraction, KLSparsity

B, J, d = 5, 2, 3


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def unused(x: Tensor) -> Posterior:
    raise AssertionError("only a contraction encodes again")


def encoder(width: int) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, width)).double()


def squared_jacobians(network: nn.Module, x: Tensor) -> Tensor:
    """‖∂z/∂x‖²_F of each x [n, *shape], by automatic differentiation of one example at a time."""
    rows = vmap(jacrev(lambda one: network(one[None])[0]))(x)
    return rows.square().flatten(1).sum(1)


def test_l1_sums_over_views_and_dimensions() -> None:
    z = normal(B, J, d)
    literal = sum(abs(z[b, j, i].item()) for b in range(B) for j in range(J) for i in range(d)) / B
    assert L1()(Point(z), z, unused).item() == pytest.approx(literal)


def test_kl_sparsity_is_that_of_bernoullis_at_the_batch_mean() -> None:
    z = normal(B, J, d).sigmoid()
    literal = 0.0
    for j in range(J):
        for i in range(d):
            mean = sum(z[b, j, i].item() for b in range(B)) / B
            literal += 0.1 * math.log(0.1 / mean) + 0.9 * math.log(0.9 / (1 - mean))
    assert KLSparsity(activation=0.1)(Point(z), z, unused).item() == pytest.approx(literal)
    assert KLSparsity(activation=0.1)(Point(torch.full_like(z, 0.1)), z, unused).item() == pytest.approx(0)
    saturated = Point(torch.full_like(z, 20.0).float().sigmoid())  # which rounds to 1
    assert 1 < KLSparsity()(saturated, z, unused).item() / (J * d) < 20


def test_contraction_of_a_narrow_code_is_the_exact_jacobian_with_gradient() -> None:
    network, x = encoder(d), normal(B, J, 2, 4)
    q = Point(network(x.flatten(0, 1)).unflatten(0, (B, J)))
    value = Contraction()(q, x, lambda x: Point(network(x)))
    expected = squared_jacobians(network, x.flatten(0, 1)).sum() / B
    torch.testing.assert_close(value, expected)
    ours = torch.autograd.grad(value, network[1].weight)
    torch.testing.assert_close(ours, torch.autograd.grad(expected, network[1].weight))


def test_contraction_of_a_wide_code_is_estimated_without_bias() -> None:
    torch.manual_seed(1)
    width, many = 24, 4_000
    network, x = encoder(width), normal(1, 1, 2, 4)
    q = Point(network(x[0])[None])
    draws = torch.stack([Contraction()(q, x, lambda x: Point(network(x))).detach() for _ in range(many)])
    exact = squared_jacobians(network, x[0]).item()
    assert draws.std() > 0, "one probe is an estimate"
    assert abs(draws.mean() - exact) < 4 * draws.std() / math.sqrt(many)
    better = torch.stack(
        [Contraction(probes=8)(q, x, lambda x: Point(network(x))).detach() for _ in range(many // 8)]
    )
    assert better.std() < draws.std() / 2
    assert abs(better.mean() - exact) < 4 * better.std() / math.sqrt(many // 8)


def test_contraction_is_the_same_where_no_gradient_is_recorded() -> None:
    network, x = encoder(d), normal(B, J, 2, 4)
    q = Point(network(x.flatten(0, 1)).unflatten(0, (B, J)))
    with torch.no_grad():
        value = Contraction()(q, x, lambda x: Point(network(x)))
    torch.testing.assert_close(value, Contraction()(q, x, lambda x: Point(network(x))))


def test_consistency_is_the_kl_to_the_original_s_posterior_with_gradient_through_both() -> None:
    mean, log_variance = normal(B, 3, d).requires_grad_(), normal(B, 3, d, seed=1)
    value = Consistency()(DiagonalGaussian(mean, log_variance), mean, unused)
    q = Normal(mean, (0.5 * log_variance).exp())
    original = Normal(q.mean[:, :1], q.stddev[:, :1])
    views = Normal(q.mean[:, 1:], q.stddev[:, 1:])
    torch.testing.assert_close(value, kl_divergence(views, original).sum((1, 2)).mean())
    (slope,) = torch.autograd.grad(value, mean)
    assert (slope.abs().sum((0, 2)) > 0).all()
