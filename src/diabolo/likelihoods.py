"""Likelihoods p(t|z): what the decoder's output means. Log-probabilities are nats, summed over the target."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Gt
from torch import Tensor, nn

from diabolo.latents import LOG_2PI


class Likelihood(nn.Module):
    """A family of distributions over targets t [n, C, H, W] (or [n, F]).

    space: where the target lives, "pixels" in [0, 1] or "normalised" as the network sees them.
    """

    space: Literal["pixels", "normalised"] = "pixels"
    channels: int = 1  # decoder outputs for each channel of the target

    def log_prob(self, out: Tensor, target: Tensor) -> Tensor:
        """log p(t|z) of decoder outputs [n, channels · C, …] and targets [n, C, …]: [n], nats."""
        raise NotImplementedError

    def mean(self, out: Tensor) -> Tensor:
        """The expected target: [n, channels · C, …] → [n, C, …]."""
        raise NotImplementedError


class Gaussian(Likelihood):
    """N(t̂, v): −½[(t − t̂)²/v + log 2πv] per dimension.

    variance: v, fixed; or "learned", one scalar; or "pixel", a log-variance from the decoder for each
    dimension.
    """

    def __init__(
        self,
        *,
        variance: Annotated[float, Gt(0)] | Literal["learned", "pixel"] = 0.02,
        space: Literal["pixels", "normalised"] = "pixels",
    ) -> None:
        super().__init__()
        self.space = space
        self.variance = variance
        self.channels = 2 if variance == "pixel" else 1
        if variance == "learned":
            self.log_variance = nn.Parameter(torch.zeros(()))

    def log_prob(self, out: Tensor, target: Tensor) -> Tensor:
        mean, log_variance = self._moments(out)
        squares = (target - mean).square() * (-log_variance).exp()
        return -0.5 * (squares + log_variance + LOG_2PI).flatten(1).sum(1)

    def mean(self, out: Tensor) -> Tensor:
        return self._moments(out)[0]

    def _moments(self, out: Tensor) -> tuple[Tensor, Tensor]:
        if self.variance == "pixel":
            mean, log_variance = out.chunk(2, dim=1)
            return mean, log_variance
        if self.variance == "learned":
            return out, self.log_variance
        return out, torch.tensor(self.variance, dtype=out.dtype, device=out.device).log()


class Bernoulli(Likelihood):
    """Bernoulli from logits, for targets in {0, 1}. With soft targets it is a loss, not a density."""

    def log_prob(self, out: Tensor, target: Tensor) -> Tensor:
        return -F.binary_cross_entropy_with_logits(out, target, reduction="none").flatten(1).sum(1)

    def mean(self, out: Tensor) -> Tensor:
        return out.sigmoid()
