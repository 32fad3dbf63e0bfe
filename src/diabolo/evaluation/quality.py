"""How good an image is beside another: the structural similarity, and the measure of reconstructions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from diabolo.evaluation.features import sample
from diabolo.evaluation.measures import Measure, Subject
from diabolo.generation import Array, Coder, batches, coder, psnr, reconstruct, squared_error
from diabolo.seeds import generator

AVERAGED = 10_000  # train images, at most
RADIUS, SIGMA = 5, 1.5  # of the Gaussian window, 11 pixels wide
K1, K2 = 0.01, 0.03


def ssim(a: Array, b: Array) -> Array:
    """The mean structural similarity of images [n, C, H, W] in [0, 1] (Wang et al. 2004, eq. 13 and 17): [n].

    Means, variances and covariance are weighted by a Gaussian window of 11 × 11 pixels, σ = 1.5, with
    K₁ = 0.01 and K₂ = 0.03. Every window that lies within the image counts, in each channel, all alike; so
    sides are 11 pixels or more. The images are not scaled down first.
    """
    from scipy.ndimage import gaussian_filter

    def windowed(x: Array) -> Array:
        blurred = gaussian_filter(x, SIGMA, radius=RADIUS, axes=(2, 3))
        return blurred[:, :, RADIUS:-RADIUS, RADIUS:-RADIUS]

    a, b = a.astype(np.float64), b.astype(np.float64)
    mean_a, mean_b = windowed(a), windowed(b)
    variances = windowed(a * a) - mean_a**2 + windowed(b * b) - mean_b**2
    covariance = windowed(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + K1**2) / (mean_a**2 + mean_b**2 + K1**2)
    contrast_and_structure = (2 * covariance + K2**2) / (variances + K2**2)
    return (luminance * contrast_and_structure).mean(axis=(1, 2, 3))


class Reconstruction(Measure):
    """How near the reconstructions of test, as they come out, are to the images.

    "mse": mean squared error per pixel in [0, 1] (of vectors per dimension, in their units). Of images also
    "psnr", in decibels, of that mean error; and "ssim", the mean over images, where both sides have the 11
    pixels of its window. "mse_of_mean": the error of the mean image of train, of at most 10,000, which a
    decoder gives that knows nothing of its code. "decoder": the method's "own"; or "ad hoc", trained on its
    frozen representation.
    """

    def __call__(self, subject: Subject) -> dict[str, Any]:
        own, test = isinstance(subject.method, Coder), subject.splits.test
        method = subject.coder
        images = len(test.shape) == 3
        windows = images and min(test.shape[1:]) > 2 * RADIUS
        errors, similarities = [], []
        for x in batches(test):
            y = reconstruct(method, x)
            errors.append(squared_error(x, y))
            if windows:
                similarities.append(ssim(x, y))
        mse = float(np.concatenate(errors).mean())
        found: dict[str, Any] = {"mse": mse, "mse_of_mean": _error_of_mean(subject)}
        found["decoder"] = "own" if own else "ad hoc"
        if images:
            found["psnr"] = psnr(mse)
        if windows:
            found["ssim"] = float(np.concatenate(similarities).mean())
        return found


def _error_of_mean(subject: Subject) -> float:
    train, test = subject.splits.train, subject.splits.test
    train = train.take(torch.from_numpy(sample(len(train), AVERAGED)))
    total = sum(x.sum(0, dtype=np.float64) for x in batches(train))
    mean = (total / len(train)).astype(np.float32)[None]
    return float(np.concatenate([squared_error(x, mean) for x in batches(test)]).mean())


class Copying(Measure):
    """How well test images come back once their pixels are shuffled, all by one permutation.

    Nothing of the kind was trained on, and nothing but the order of the pixels is new. A code that holds what
    images have in common cannot rebuild them; one with room for everything copies them too.

    "mse": mean squared error per pixel. "mse_straight": of the same images as they are.
    """

    def check(self, subject: Subject) -> None:
        coder(subject.method)

    def __call__(self, subject: Subject) -> dict[str, Any]:
        method, test = coder(subject.method), subject.splits.test
        order = torch.randperm(math.prod(test.shape), generator=generator("copying")).numpy()
        errors: dict[str, list[Array]] = {"mse": [], "mse_straight": []}
        for x in batches(test):
            shuffled = x.reshape(len(x), -1)[:, order].reshape(x.shape)
            for name, image in (("mse", shuffled), ("mse_straight", x)):
                errors[name].append(squared_error(image, reconstruct(method, image)))
        return {name: float(np.concatenate(parts).mean()) for name, parts in errors.items()}
