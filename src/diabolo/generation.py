"""What a generative model makes: reconstructions, samples, and walks through its latent space.

Functions of a trained method in evaluation mode and of examples in the units of the data (images in [0, 1]).
A code is the mean of q(z|x).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from diabolo.data.ahead import at_once
from diabolo.data.images import Images
from diabolo.errors import UserError
from diabolo.latents import FITTED, NotSampledError, Prior
from diabolo.methods.base import Generative, Method
from diabolo.representation import extract

Array = npt.NDArray[Any]

BATCH = 256


@runtime_checkable
class Coder(Generative, Protocol):
    """A method that encodes and decodes."""

    def represent(self, x: Tensor, space: str | None = None) -> Tensor: ...

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]: ...


@runtime_checkable
class Density(Protocol):
    """A method with a prior, and a bound on log p(x) where that prior gives one."""

    prior: Prior

    def log_prob(self, x: Tensor, samples: int) -> Tensor: ...

    def bits_per_dimension(
        self, x: Tensor, log_prob: Tensor, *, dequantised: bool = False
    ) -> Tensor | None: ...

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]: ...


def coder(method: Method) -> Coder:
    """The method, if it can decode; else a `UserError` that says so."""
    if not isinstance(method, Coder):
        raise UserError(
            f"{method.title} has no decoder, so it makes no images: "
            "train a method that has one, such as ae or vae"
        )
    return method


def density(method: Method) -> Density:
    """The method, if it models the density of what it sees; else a `UserError` that says so."""
    if not isinstance(method, Density):
        raise UserError(f"{method.title} is no model of the density of images")
    return method


def codes(method: Coder, images: Images) -> Array:
    """The code of each example: float32 [N, d]."""
    return extract(partial(method.represent, space="z"), images, device=device_of(method))


@torch.inference_mode()
def code_width(method: Coder, shape: tuple[int, ...]) -> int:
    """The width d of the code of an example of this shape."""
    return method.represent(torch.zeros(1, *shape, device=device_of(method)), "z").shape[1]


@torch.inference_mode()
def decode(method: Coder, z: Array) -> Array:
    """Codes [..., d] → images [..., *shape], float32."""
    flat = torch.from_numpy(z.reshape(-1, z.shape[-1]).astype(np.float32))
    decoded = torch.cat(
        [method.decode(part.to(device_of(method))).float().cpu() for part in flat.split(BATCH)]
    )
    return decoded.unflatten(0, z.shape[:-1]).numpy()


@torch.inference_mode()
def reconstruct(method: Coder, x: Array) -> Array:
    """Examples [n, *shape] → their reconstructions, float32."""
    device = device_of(method)
    parts = torch.from_numpy(x).split(at_once(x.shape[1:], device))
    return torch.cat([method.reconstruct(part.to(device)).float().cpu() for part in parts]).numpy()


def reconstruction_errors(method: Coder, images: Images) -> Array:
    """The mean squared error per dimension of each example's reconstruction: [N]."""
    return np.concatenate([squared_error(x, reconstruct(method, x)) for x in batches(images)])


def squared_error(a: Array, b: Array) -> Array:
    """The mean square of a − b over all dimensions but the first: [n, …] → float64 [n]."""
    return np.square(a - b, dtype=np.float64).reshape(len(a), -1).mean(axis=1)


def psnr(mse: float) -> float:
    """The peak signal-to-noise ratio of images in [0, 1]: 10 log₁₀(1 / MSE), decibels.

    The MSE of many images is their mean, so theirs is one ratio and not a mean of ratios, which is higher.
    """
    return float("inf") if mse == 0 else float(-10 * np.log10(mse))


@dataclass(frozen=True)
class Gaussian:
    """N(mean [d], covariance [d, d])."""

    mean: Array
    covariance: Array

    @classmethod
    def fit(cls, z: Array) -> Gaussian:
        """The Gaussian most likely to have given the codes [n, d]."""
        z = z.astype(np.float64)
        return cls(z.mean(axis=0), np.cov(z, rowvar=False, bias=True).reshape(z.shape[1], z.shape[1]))

    def sample(self, n: int, rng: torch.Generator) -> Array:
        """n draws [n, d]. The covariance may be singular, as that of fewer than d codes is."""
        values, vectors = np.linalg.eigh(self.covariance)
        root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T  # symmetric, so that signs do not matter
        noise = torch.randn(n, len(self.mean), generator=rng, dtype=torch.float64).numpy()
        return self.mean + noise @ root


def sample_prior(method: Coder, n: int, width: int, rng: torch.Generator) -> Array:
    """n codes [n, width] from the prior. Raises `NotSampledError` where it cannot be sampled."""
    if not isinstance(method, Density):
        raise NotSampledError(f"{type(method).__name__} has no prior: {FITTED}")
    return method.prior.sample(n, width, rng).numpy()


def per_class(z: Array, labels: Array) -> dict[int, Gaussian]:
    """A Gaussian for the codes [N, d] of each class, by its label (SimVAE, A.7.6)."""
    return {int(label): Gaussian.fit(z[labels == label]) for label in np.unique(labels)}


def interpolation(a: Array, b: Array, steps: int) -> Array:
    """Straight lines from codes a to codes b, ends included: [n, d] twice → [n, steps, d]."""
    t = np.linspace(0, 1, steps)[:, None]
    return (1 - t) * a[:, None] + t * b[:, None]


def traversal(base: Array, dimensions: Array, reach: Array, steps: int) -> Array:
    """A code [d] moved along one dimension at a time: [len(dimensions), steps, d].

    reach: how far each of the dimensions goes to either side. An odd number of steps has the code itself in
    the middle.
    """
    z = np.tile(base, (len(dimensions), steps, 1))
    for row, (dimension, far) in enumerate(zip(dimensions, reach, strict=True)):
        z[row, :, dimension] += np.linspace(-far, far, steps)
    return z


def batches(images: Images) -> Iterator[Array]:
    """The examples as floats, some at a time: [≤ 256, *shape]."""
    for start in range(0, len(images), BATCH):
        yield images.floats(slice(start, start + BATCH)).numpy()


def device_of(method: Coder | Density | Method) -> torch.device:
    """Where it takes its examples."""
    return method.encoder.mean.device if isinstance(method, Method) else next(method.parameters()).device
