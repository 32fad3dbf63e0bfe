"""Posteriors q(z|x) and priors p(z) of the autoencoder family. All quantities are in nats, summed over d."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Gt
from torch import Tensor

from diabolo.distributed import normal_like
from diabolo.errors import UserError

LOG_2PI = math.log(2 * math.pi)
FITTED = "sample from a Gaussian fitted to the latents instead"


class NotSampledError(UserError):
    """There is no prior, or none that is a distribution to draw from."""


@dataclass(frozen=True)
class Point:
    """A deterministic code. Its entropy counts as zero, so that a prior acts on it as a penalty."""

    mean: Tensor  # [..., d]

    def sample(self, count: int = 1) -> Tensor:
        """The code itself, `count` times: [..., count, d]."""
        return _repeat(self.mean, count)

    def entropy(self) -> Tensor:
        return self.mean.new_zeros(self.mean.shape[:-1])

    def variance(self) -> Tensor:
        return torch.zeros_like(self.mean)

    def unflatten(self, sizes: tuple[int, ...]) -> Point:
        """The first axis as several."""
        return Point(self.mean.unflatten(0, sizes))


@dataclass(frozen=True)
class DiagonalGaussian:
    """N(mean, diag σ²)."""

    mean: Tensor  # [..., d]
    log_variance: Tensor  # [..., d]

    def sample(self, count: int = 1) -> Tensor:
        """`count` reparameterised draws each, [..., count, d]."""
        mean = _repeat(self.mean, count)
        return mean + (0.5 * self.log_variance).exp()[..., None, :] * normal_like(mean)

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z|x) of z [..., count, d]: [..., count]."""
        mean, log_variance = self.mean[..., None, :], self.log_variance[..., None, :]
        squares = (z - mean).square() * (-log_variance).exp()
        return -0.5 * (squares + log_variance + LOG_2PI).sum(-1)

    def entropy(self) -> Tensor:
        """½ Σ_i (log σ²_i + log 2πe): [...]."""
        return 0.5 * (self.log_variance + LOG_2PI + 1).sum(-1)

    def kl(self, other: DiagonalGaussian) -> Tensor:
        """KL(self ‖ other) = ½ Σ_i [log σ'²_i/σ²_i + (σ²_i + (μ_i − μ'_i)²)/σ'²_i − 1]: [...]."""
        ratio = self.log_variance - other.log_variance
        distance = (self.mean - other.mean).square() * (-other.log_variance).exp()
        return 0.5 * (ratio.exp() + distance - ratio - 1).sum(-1)

    def variance(self) -> Tensor:
        return self.log_variance.exp()

    def unflatten(self, sizes: tuple[int, ...]) -> DiagonalGaussian:
        """The first axis as several."""
        return DiagonalGaussian(self.mean.unflatten(0, sizes), self.log_variance.unflatten(0, sizes))


Posterior = Point | DiagonalGaussian


class Prior:
    """p(z_1, …, z_J) over the J views of one example."""

    def check(self, views: int) -> None:
        """Raise `UserError` where the prior of J = `views` views leaves the objective without a minimum."""

    def expected_log_prob(self, mean: Tensor, variance: Tensor) -> Tensor:
        """E_q[log p(z_1, …, z_J)] for independent Gaussians q: mean, variance [B, J, d] → [B]."""
        raise NotImplementedError

    def marginal_variance(self) -> float:
        """v of the prior of one image's z, N(0, vI). Raises `UserError` where that is no distribution."""
        raise NotImplementedError

    def log_marginal(self, z: Tensor) -> Tensor:
        """log p(z) of one image: [..., d] → [...]. Raises `UserError` where there is no such density."""
        v = self.marginal_variance()
        return -0.5 * (z.square() / v + LOG_2PI + math.log(v)).sum(-1)

    def sample(self, n: int, d: int, rng: torch.Generator) -> Tensor:
        """z of n images, [n, d]. Raises `NotSampledError` where there is no distribution to draw from."""
        return math.sqrt(self.marginal_variance()) * torch.randn(n, d, generator=rng)


class NoPrior(Prior):
    """No prior, and so no entropy either: entropy alone diverges. The objective leaves both out."""

    def marginal_variance(self) -> float:
        raise NotSampledError(f"prior 'none' has no samples and gives no bound on log p(x): {FITTED}")


class StandardNormal(Prior):
    """Each view's z on its own: N(0, I)."""

    def expected_log_prob(self, mean: Tensor, variance: Tensor) -> Tensor:
        return -0.5 * (mean.square() + variance + LOG_2PI).sum((1, 2))

    def marginal_variance(self) -> float:
        return 1.0


class Cluster(Prior):
    """The views of an example gather about its content: z_j ~ N(y, s²I) with y integrated out (SimVAE eq. 9).

    variance: s². content_variance: γ² of y ~ N(0, γ²I), for the gaussian form.
    form: "uniform", flat y and improper, as in the paper; "gaussian", which is N(0, s²I + γ²11ᵀ) over the
    views; "as-coded", what the paper's public code computes, without constants.
    """

    def __init__(
        self,
        *,
        variance: Annotated[float, Gt(0)] = 0.15,
        form: Literal["uniform", "gaussian", "as-coded"] = "uniform",
        content_variance: Annotated[float, Gt(0)] = 1.0,
    ) -> None:
        self.variance = variance
        self.form = form
        self.content_variance = content_variance

    def check(self, views: int) -> None:
        if views == 1 and self.form == "uniform":
            raise UserError(
                "method.prior: the uniform cluster prior of a single view is flat, and the entropy alone "
                "diverges: use more views, or method.prior.form=gaussian"
            )

    def expected_log_prob(self, mean: Tensor, variance: Tensor) -> Tensor:
        _, J, d = mean.shape
        s2 = self.variance
        centre = mean.mean(1)  # z̄, [B, d]; gradient flows through it
        # E Σ_j ‖z_j − z̄‖² and E ‖z̄‖², exactly, for independent z_j.
        spread = (mean - centre[:, None]).square().sum((1, 2)) + (1 - 1 / J) * variance.sum((1, 2))
        centre_square = centre.square().sum(1) + variance.mean(1).sum(1) / J
        if self.form == "as-coded":
            return -spread / (2 * s2) - 0.5 * centre_square
        log_p = -spread / (2 * s2) - 0.5 * d * ((J - 1) * (LOG_2PI + math.log(s2)) + math.log(J))
        if self.form == "gaussian":
            v = self.content_variance + s2 / J
            log_p = log_p - 0.5 * (centre_square / v + d * (LOG_2PI + math.log(v)))
        return log_p

    def marginal_variance(self) -> float:
        if self.form != "gaussian":
            raise NotSampledError(
                f"the {self.form} form of the cluster prior is no distribution of one image's z, so it has "
                f"no samples and gives no bound on log p(x): {FITTED}, or train with "
                "method.prior.form=gaussian"
            )
        return self.content_variance + self.variance


def _repeat(mean: Tensor, count: int) -> Tensor:
    return mean[..., None, :].expand(*mean.shape[:-1], count, mean.shape[-1])
