"""Denoising: a method beside PCA of the same width and a Wiener filter, on the same noisy images.

Every estimate of an image is clipped to [0, 1], the baselines' too; what is noisy is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch

from diabolo.data.images import Images
from diabolo.evaluation.subspace import fit_pca, project
from diabolo.generation import BATCH, Array, Coder, batches, reconstruct, squared_error
from diabolo.seeds import generator

Denoiser = Callable[[Array], Array]  # noisy [n, *shape] → an estimate of the same shape

WINDOWS = (3, 5, 7, 9, 11)  # sides of the Wiener filter to choose from, pixels


def method_denoiser(method: Coder) -> Denoiser:
    """Reconstruct what is noisy."""
    return lambda noisy: _in_range(reconstruct(method, noisy))


def pca_denoiser(train: Images, width: int) -> Denoiser:
    """Project on the first principal components of clean train examples, `width` or as many as there are.

    See `fit_pca`.
    """
    model = fit_pca(train, width)
    return lambda noisy: _in_range(project(model, noisy))


def wiener_denoiser(window: int, noise: float) -> Denoiser:
    """The adaptive Wiener filter (Lee 1980) on each channel, told the deviation of the noise.

    window: side of the square in which it estimates the local mean and variance, pixels.
    """
    from scipy.signal import wiener

    def denoise(noisy: Array) -> Array:
        return _in_range(wiener(noisy, (1, 1, window, window), noise=noise**2).astype(np.float32))

    return denoise


def choose_window(validation: Images, noise: float, seed: int = 0) -> int:
    """The window of the Wiener filter with the least error on validation."""
    windows = [window for window in WINDOWS if window <= min(validation.shape[1:])] or [1]
    filters = {str(window): wiener_denoiser(window, noise) for window in windows}
    errors = denoising_errors(filters, validation, noise, seed)
    return int(min(filters, key=lambda name: errors[name].mean()))


def denoising_errors(
    denoisers: Mapping[str, Denoiser], images: Images, noise: float, seed: int = 0
) -> dict[str, Array]:
    """The squared error of each denoiser on the same noisy images, by name: [N] each."""
    errors: dict[str, list[Array]] = {name: [] for name in denoisers}
    for clean, noisy in noisy_batches(images, noise, seed):
        for name, denoise in denoisers.items():
            errors[name].append(squared_error(clean, denoise(noisy)))
    return {name: np.concatenate(parts) for name, parts in errors.items()}


def noisy_batches(images: Images, noise: float, seed: int = 0) -> Iterator[tuple[Array, Array]]:
    """Examples x and x + noise · N(0, I), not clipped, [≤ 256, *shape] at a time.

    The noise depends on the seed and the position alone: the first examples of more keep theirs.
    """
    rng = generator("denoise", seed)
    for clean in batches(images):
        drawn = torch.randn(BATCH, *images.shape, generator=rng)[: len(clean)]
        yield clean, clean + noise * drawn.numpy()


def _in_range(estimate: Array) -> Array:
    return estimate.clip(0, 1) if estimate.ndim == 4 else estimate
