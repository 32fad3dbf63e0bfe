"""Likelihoods p(t|z): what the decoder's output means. Log-probabilities are nats, summed over the target."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Gt
from torch import Tensor, nn

from diabolo.errors import UserError
from diabolo.latents import LOG_2PI

LEVELS = 256
Space = Literal["pixels", "normalised"]
Support = Literal["real", "levels", "binary"]


class Likelihood(nn.Module):
    """A family of distributions over targets t [n, C, H, W] (or [n, F]).

    space: where the target lives, "pixels" in [0, 1] or "normalised" as the network sees them.
    support: over what its exponential integrates or sums to one: "real" targets, for a density; the 256
    "levels" k/255 of a pixel, or "binary" targets of 0 and 1, for a mass function. None: it is a
    reconstruction loss, and no nats or bits may be printed.
    """

    space: Space = "pixels"
    support: Support | None = None
    channels: int = 1  # decoder outputs for each channel of the target

    def log_prob(self, out: Tensor, target: Tensor) -> Tensor:
        """log p(t|z) of decoder outputs [n, channels · C, …] and targets [n, C, …]: [n], nats."""
        raise NotImplementedError

    def mean(self, out: Tensor) -> Tensor:
        """The expected target: [n, channels · C, …] → [n, C, …]."""
        raise NotImplementedError

    def supports(self, target: Tensor) -> bool:
        """Whether all of these targets lie where this is a density or a mass function."""
        if self.support == "binary":
            return bool(((target == 0) | (target == 1)).all())
        return self.support == "real" or (self.support == "levels" and bool(_within(target).all()))

    def bits_per_dimension(
        self, log_prob: Tensor, target: Tensor, std: Tensor | None = None, *, dequantised: bool = False
    ) -> Tensor | None:
        """−log₂ p(t) for each dimension of t, as pixels of 256 levels (or of 2): [n] → [n].

        log_prob: log p(t), or a bound on it, in nats, of targets [n, C, …]. std: s_c, the deviation [C, 1, 1]
        that normalised targets were divided by. dequantised: whether targets are `Dequantisation`s of pixels;
        a density then gains mean_c log₂(255 · s_c). None where bits per dimension do not exist: for a loss, a
        density of pixels that were not dequantised, and Bernoulli of soft targets.
        """
        density = self.support == "real"
        if not self.supports(target) or (density and not dequantised):
            return None
        bits = -log_prob / (math.log(2) * target[0].numel())
        if density:
            bits = bits + math.log2(LEVELS - 1) + (0 if std is None else std.log2().mean())
        return bits


class Gaussian(Likelihood):
    """N(t̂, v): −½[(t − t̂)²/v + log 2πv] per dimension.

    variance: v, fixed; or "learned", one scalar; or "pixel", a log-variance from the decoder for each
    dimension. A learned one has no lower bound where a decoder can be exact, such as on pixels that never
    vary: train it on `dequantisation`.
    """

    support = "real"

    def __init__(
        self,
        *,
        variance: Annotated[float, Gt(0)] | Literal["learned", "pixel"] = 0.02,
        space: Space = "pixels",
    ) -> None:
        super().__init__()
        self.space = space
        self.variance = variance
        self.channels = 2 if variance == "pixel" else 1
        if variance == "learned":
            self.log_variance = nn.Parameter(torch.zeros(()))

    def log_prob(self, out: Tensor, target: Tensor) -> Tensor:
        if not isinstance(self.variance, str):
            squares = (target - out).square() / self.variance
            return -0.5 * (squares + math.log(self.variance) + LOG_2PI).flatten(1).sum(1)
        mean, log_variance = self._moments(out)
        squares = (target - mean).square() * (-log_variance).exp()
        return -0.5 * (squares + log_variance + LOG_2PI).flatten(1).sum(1)

    def mean(self, out: Tensor) -> Tensor:
        return self._moments(out)[0] if self.variance == "pixel" else out

    def _moments(self, out: Tensor) -> tuple[Tensor, Tensor]:
        if self.variance == "pixel":
            mean, log_variance = out.chunk(2, dim=1)
            return mean, log_variance
        return out, self.log_variance


class SquaredErrorAsCoded(Likelihood):
    """−½‖t − t̂‖² / v without the Gaussian's constant, as SimVAE's public code has it: a loss, no density.

    divide_by: v. output: t̂ is the decoder's output, "linear", or its "sigmoid", as the code has it.
    """

    def __init__(
        self,
        *,
        divide_by: Annotated[float, Gt(0)] = 0.01,
        output: Literal["linear", "sigmoid"] = "linear",
        space: Space = "pixels",
    ) -> None:
        super().__init__()
        if output == "sigmoid" and space != "pixels":
            raise UserError(
                "method.likelihood.output: a sigmoid stays in [0, 1], which normalised targets leave: use "
                "output=linear, or space=pixels"
            )
        self.space = space
        self.divide_by = divide_by
        self.output = output

    def log_prob(self, out: Tensor, target: Tensor) -> Tensor:
        return -0.5 * (target - self.mean(out)).square().flatten(1).sum(1) / self.divide_by

    def mean(self, out: Tensor) -> Tensor:
        return out.sigmoid() if self.output == "sigmoid" else out


class Bernoulli(Likelihood):
    """Bernoulli from logits, for targets in {0, 1}. With soft targets it is a loss, not a density.

    Outside [0, 1], where that loss has no minimum, it is −∞.
    """

    support: Support | None = "binary"

    def __init__(self, *, space: Space = "pixels") -> None:
        super().__init__()
        _refuse_normalised("bernoulli", space)

    def log_prob(self, out: Tensor, target: Tensor) -> Tensor:
        log_p = -F.binary_cross_entropy_with_logits(out, target, reduction="none")
        return _supported(log_p, target).flatten(1).sum(1)

    def mean(self, out: Tensor) -> Tensor:
        return out.sigmoid()


class CrossEntropyAsCoded(Bernoulli):
    """Binary cross-entropy divided by v, as SimVAE's public code has it: a loss, whatever its targets.

    divide_by: v.
    """

    support = None

    def __init__(self, *, divide_by: Annotated[float, Gt(0)] = 0.01) -> None:
        super().__init__()
        self.divide_by = divide_by

    def log_prob(self, out: Tensor, target: Tensor) -> Tensor:
        return super().log_prob(out, target) / self.divide_by


class Categorical(Likelihood):
    """A softmax over the 256 levels round(255 t) of each pixel, for convolutional decoders.

    The decoder gives the logits of level 0 for every channel, then those of level 1, and so on.
    """

    support = "levels"
    channels = LEVELS

    def __init__(self, *, space: Space = "pixels") -> None:
        super().__init__()
        _refuse_normalised("categorical", space)

    def log_prob(self, out: Tensor, target: Tensor) -> Tensor:
        level = _level(target).clamp(0, LEVELS - 1).long()
        log_p = -F.cross_entropy(self._logits(out), level, reduction="none")
        return _supported(log_p, target).flatten(1).sum(1)

    def mean(self, out: Tensor) -> Tensor:
        levels = torch.linspace(0, 1, LEVELS, dtype=out.dtype, device=out.device)
        return torch.einsum("nkc...,k->nc...", self._logits(out).softmax(1), levels)

    def _logits(self, out: Tensor) -> Tensor:
        return out.unflatten(1, (LEVELS, -1))  # [n, 256, C, …]


class DiscretisedLogistic(Likelihood):
    """A logistic distribution whose mass is gathered in 256 levels (Salimans et al. 2017, eq. 2).

    P(t) = σ((t + 1/510 − μ)/s) − σ((t − 1/510 − μ)/s) at t = k/255; the first and the last level are open
    outwards.
    scale: "learned", one s; or "pixel", a log s from the decoder for each dimension.
    """

    support = "levels"

    def __init__(self, *, scale: Literal["learned", "pixel"] = "learned", space: Space = "pixels") -> None:
        super().__init__()
        _refuse_normalised("discretised-logistic", space)
        self.scale = scale
        self.channels = 2 if scale == "pixel" else 1
        if scale == "learned":
            self.log_scale = nn.Parameter(torch.tensor(math.log(0.1)))

    def log_prob(self, out: Tensor, target: Tensor) -> Tensor:
        location, log_scale = self._located(out)
        level, step = _level(target), (-log_scale).exp() / (LEVELS - 1)  # between levels, in units of s
        lower = (level - 0.5 - (LEVELS - 1) * location) * step
        upper = lower + step
        # σ(upper) − σ(lower) = σ(upper) · σ(−lower) · (1 − e^−step), without cancellation
        below, above = F.logsigmoid(upper), F.logsigmoid(-lower)
        log_p = below + above + (-torch.expm1(-step)).log()
        log_p = torch.where(level == 0, below, torch.where(level == LEVELS - 1, above, log_p))
        return _supported(log_p, target).flatten(1).sum(1)

    def mean(self, out: Tensor) -> Tensor:
        """The logistic's location, held in [0, 1]: the mean, but for the asymmetry of cut tails."""
        return self._located(out)[0].clamp(0, 1)

    def _located(self, out: Tensor) -> tuple[Tensor, Tensor]:
        if self.scale == "pixel":
            location, log_scale = out.chunk(2, dim=1)
            return location, log_scale
        return out, self.log_scale


def _level(target: Tensor) -> Tensor:
    return (target * (LEVELS - 1)).round()


def _within(target: Tensor) -> Tensor:
    """Which entries round to one of the levels of [0, 1]."""
    level = _level(target)
    return (level >= 0) & (level < LEVELS)


def _supported(log_p: Tensor, target: Tensor) -> Tensor:
    """−∞ where the target lies outside [0, 1], by half a level or more."""
    return torch.where(_within(target), log_p, -math.inf)


def _refuse_normalised(name: str, space: Space) -> None:
    if space != "pixels":
        raise UserError(
            f"method.likelihood.space: '{name}' is a distribution of pixels in [0, 1], which normalised "
            "targets leave: use space=pixels, or likelihood=gaussian"
        )
