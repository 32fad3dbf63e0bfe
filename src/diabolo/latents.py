"""Posteriors q(z|x) and priors p(z) of the autoencoder family. All quantities are in nats, summed over d."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Gt
from torch import Tensor

from diabolo.distributed import normal_like

LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Point:
    """A deterministic code. Its entropy counts as zero, so that a prior acts on it as a penalty."""

    mean: Tensor  # [n, d]

    def sample(self) -> Tensor:
        return self.mean

    def entropy(self) -> Tensor:
        return self.mean.new_zeros(len(self.mean))

    def variance(self) -> Tensor:
        return torch.zeros_like(self.mean)


@dataclass(frozen=True)
class DiagonalGaussian:
    """N(mean, diag σ²)."""

    mean: Tensor  # [n, d]
    log_variance: Tensor  # [n, d]

    def sample(self) -> Tensor:
        """One reparameterised draw each, [n, d]."""
        return self.mean + (0.5 * self.log_variance).exp() * normal_like(self.mean)

    def entropy(self) -> Tensor:
        """½ Σ_i (log σ²_i + log 2πe): [n]."""
        return 0.5 * (self.log_variance + LOG_2PI + 1).sum(-1)

    def variance(self) -> Tensor:
        return self.log_variance.exp()


Posterior = Point | DiagonalGaussian


class Prior:
    """p(z_1, …, z_J) over the J views of one example."""

    def expected_log_prob(self, mean: Tensor, variance: Tensor) -> Tensor:
        """E_q[log p(z_1, …, z_J)] for independent Gaussians q: mean, variance [B, J, d] → [B]."""
        raise NotImplementedError


class NoPrior(Prior):
    """No prior, and so no entropy either: entropy alone diverges. The objective leaves both out."""


class StandardNormal(Prior):
    """Each view's z on its own: N(0, I)."""

    def expected_log_prob(self, mean: Tensor, variance: Tensor) -> Tensor:
        return -0.5 * (mean.square() + variance + LOG_2PI).sum((1, 2))


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
