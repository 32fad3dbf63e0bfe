"""The importance-weighted bound on log p(x), against its definition and a model whose answer is known."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, Normal

from diabolo.errors import UserError
from diabolo.latents import DiagonalGaussian
from diabolo.methods.autoencoder import Autoencoder
from tests.methods.autoencoders import VECTORS, batch, build, loss


def test_the_importance_weighted_objective_is_its_definition() -> None:
    """Jointly over two views, whose codes the gaussian cluster prior ties together."""
    K, examples = 3, batch(J=2)
    prior = {"name": "cluster", "form": "gaussian", "variance": 0.3, "content_variance": 0.7}
    method = build("simvae", method__prior=prior, views__count=2, method__objective="iwae", method__samples=K)
    torch.manual_seed(0)
    noise = torch.randn(6, 2, K, 4, dtype=torch.float64)
    covariance = 0.3 * torch.eye(2, dtype=torch.float64) + 0.7
    joint = MultivariateNormal(torch.zeros(2, dtype=torch.float64), covariance)
    literal = 0.0
    for n in range(6):
        q = method.posterior(examples.views[0][n])  # of its two views
        assert isinstance(q, DiagonalGaussian)
        normal = Normal(q.mean, (0.5 * q.log_variance).exp())
        weights = []
        for k in range(K):
            z = q.mean + normal.stddev * noise[n, :, k]
            log_p = Normal(method.decoder(z), 0.02**0.5).log_prob(examples.views[0][n]).sum()
            weights.append((log_p + joint.log_prob(z.T).sum() - normal.log_prob(z).sum()).item())
        highest = max(weights)
        literal += highest + math.log(sum(math.exp(w - highest) for w in weights) / K)
    assert loss(method, examples).item() == pytest.approx(-literal / 6)


class Linear(nn.Module):
    """x = W z + b, with orthogonal columns of W, so that the exact posterior is a diagonal Gaussian."""

    def __init__(self, method: Autoencoder, prior_variance: float) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.W = torch.linalg.qr(torch.randn(6, 4, generator=rng, dtype=torch.float64)).Q * torch.tensor(
            [2.0, 1.0, 0.5, 0.1], dtype=torch.float64
        )
        self.b = torch.randn(6, generator=rng, dtype=torch.float64)
        self.variance = 0.3
        self.prior_variance = prior_variance
        covariance = prior_variance * self.W @ self.W.T + self.variance * torch.eye(6, dtype=torch.float64)
        self.exact = MultivariateNormal(self.b, covariance)
        method.decoder = self

    def forward(self, z: Tensor) -> Tensor:
        return z @ self.W.T + self.b

    def posterior(self, x: Tensor) -> DiagonalGaussian:
        """The exact one: precision 1/v₀ + ‖w_i‖²/v in each dimension."""
        variance = 1 / (1 / self.prior_variance + self.W.square().sum(0) / self.variance)
        mean = variance * ((x - self.b) @ self.W) / self.variance
        return DiagonalGaussian(mean, variance.log().expand_as(mean))


def linear_gaussian(prior: Any, prior_variance: float) -> tuple[Autoencoder, Linear, Tensor]:
    method = build(
        "vae", VECTORS, method__prior=prior, method__likelihood={"name": "gaussian", "variance": 0.3}
    )
    model = Linear(method, prior_variance)
    torch.manual_seed(0)
    return method, model, model.exact.sample((512,))


@pytest.mark.parametrize(
    ("prior", "variance"),
    [("standard-normal", 1.0), ({"name": "cluster", "form": "gaussian", "content_variance": 0.5}, 0.65)],
)
def test_the_bound_is_exact_with_the_exact_posterior(
    prior: Any, variance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, model, x = linear_gaussian(prior, variance)
    monkeypatch.setattr(method, "posterior", model.posterior)
    for samples, block in ((1, 4096), (7, 4096), (7, 3 * 512)):
        torch.testing.assert_close(method.log_prob(x, samples, block), model.exact.log_prob(x))


def test_the_bound_tightens_with_k_towards_the_exact_log_likelihood(monkeypatch: pytest.MonkeyPatch) -> None:
    method, model, x = linear_gaussian("standard-normal", 1.0)

    def off(x: Tensor) -> DiagonalGaussian:
        exact = model.posterior(x)
        return DiagonalGaussian(exact.mean + 0.2, exact.log_variance + 1.0)

    monkeypatch.setattr(method, "posterior", off)
    exact = model.exact.log_prob(x).mean().item()
    gaps = [exact - method.log_prob(x, K).mean().item() for K in (1, 4, 16, 2_000)]
    kl = off(x).kl(model.posterior(x)).mean().item()  # the gap of the evidence lower bound
    assert gaps[0] == pytest.approx(kl, rel=0.1)
    assert gaps[0] > gaps[1] > gaps[2] > gaps[3]
    assert abs(gaps[3]) < 1e-2
    losses = []
    for K in (1, 16):
        method.objective, method.samples = "iwae", K
        losses.append(loss(method, replace(batch(facts=VECTORS), views=[x[:, None]])).item())
    assert losses[0] > losses[1] > -exact - 1e-2


def test_bits_of_a_trained_method_are_in_the_units_of_its_targets() -> None:
    x = batch().clean
    method = build("vae", method__likelihood={"name": "gaussian", "variance": 1.0, "space": "normalised"})
    log_p = method.log_prob(x, 5)
    bits = method.bits_per_dimension(x, log_p, dequantised=True)
    scale = (math.log2(255 * 0.2) + math.log2(255 * 0.5)) / 2
    assert bits is not None
    torch.testing.assert_close(bits, -log_p / (18 * math.log(2)) + scale)
    assert method.bits_per_dimension(x, log_p) is None


def test_no_bound_is_given_where_there_is_none() -> None:
    x = batch().clean
    with pytest.raises(UserError, match="a point posterior gives no bound"):
        build("ae", method__prior="standard-normal").log_prob(x, 5)
    with pytest.raises(UserError, match=r"prior 'none' .* gives no bound"):
        build("aavae").log_prob(x, 5)
    with pytest.raises(UserError, match="uniform form of the cluster prior"):
        build("simvae").log_prob(x, 5)
    with pytest.raises(UserError, match="a loss and no density"):
        build("vae", method__likelihood="cross-entropy-as-coded").log_prob(x, 5)
    bernoulli = build("vae", method__likelihood="bernoulli")
    with pytest.raises(UserError, match="binarise them"):
        bernoulli.log_prob(x, 5)
    assert bernoulli.log_prob(x.round(), 5).isfinite().all()
