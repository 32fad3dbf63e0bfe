"""Denoising: a method beside PCA of the same width and a Wiener filter, on the same noisy images.

Every estimate of an image is clipped to [0, 1], the baselines' too; what is noisy is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Gt

from diabolo.data.images import Images, Splits
from diabolo.evaluation.measures import Measure, Subject
from diabolo.evaluation.subspace import fit_pca, project
from diabolo.generation import (
    BATCH,
    Array,
    Coder,
    batches,
    code_width,
    coder,
    psnr,
    reconstruct,
    squared_error,
)
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


@dataclass(frozen=True)
class Bench:
    """A method and what it must beat, by name: "noisy", "denoised", "pca" and, of images, "wiener".

    width: of the code, and of PCA where there are as many components. window: of the Wiener filter, pixels.
    """

    denoisers: dict[str, Denoiser]
    width: int
    window: int | None


def bench(method: Coder, splits: Splits, noise: float, seed: int = 0) -> Bench:
    """PCA is fitted on train; the Wiener filter is told the noise, and its window is chosen on validation."""
    width = min(code_width(method, splits.train.shape), len(splits.train), prod(splits.train.shape))
    denoisers: dict[str, Denoiser] = {
        "noisy": lambda noisy: noisy,
        "denoised": method_denoiser(method),
        "pca": pca_denoiser(splits.train, width),
    }
    if len(splits.train.shape) != 3:
        return Bench(denoisers, width, None)
    window = choose_window(splits.validation, noise, seed)
    return Bench(denoisers | {"wiener": wiener_denoiser(window, noise)}, width, window)


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


class Denoising(Measure):
    """What reconstructing noisy test images gains, beside PCA and a Wiener filter (see `bench`).

    noise: its standard deviation, in the units of the data.

    PSNR in dB, of the mean squared error over all images: "psnr_in" of the noisy images themselves,
    "psnr_method", "psnr_pca", "psnr_wiener"; "gain" is psnr_method − psnr_in. Of vectors "mse_…" instead.
    """

    def __init__(self, *, noise: Annotated[float, Gt(0)] = 0.3) -> None:
        self.noise = noise

    def check(self, subject: Subject) -> None:
        coder(subject.method)

    def __call__(self, subject: Subject) -> dict[str, Any]:
        on = bench(coder(subject.method), subject.splits, self.noise, subject.seed)
        errors = denoising_errors(on.denoisers, subject.splits.test, self.noise, subject.seed)
        names = {"noisy": "in", "denoised": "method", "pca": "pca", "wiener": "wiener"}
        mse = {names[name]: float(of.mean()) for name, of in errors.items()}
        if on.window is None:
            return {f"mse_{name}": value for name, value in mse.items()} | {"noise": self.noise}
        found = {f"psnr_{name}": psnr(value) for name, value in mse.items()}
        gain = found["psnr_method"] - found["psnr_in"]
        return found | {"gain": gain, "noise": self.noise, "window": on.window}


def _in_range(estimate: Array) -> Array:
    return estimate.clip(0, 1) if estimate.ndim == 4 else estimate
