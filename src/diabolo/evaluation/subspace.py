"""The principal subspace: what a linear code of some width can keep at best, and how near a method comes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from diabolo.data.images import Images
from diabolo.evaluation.features import sample
from diabolo.evaluation.measures import Measure, Subject
from diabolo.generation import (
    BATCH,
    Array,
    Coder,
    batches,
    code_width,
    coder,
    device_of,
    reconstruction_errors,
    squared_error,
)
from diabolo.methods.autoencoder import Autoencoder
from diabolo.methods.base import Method
from diabolo.seeds import generator

PCA_VALUES = 50_000 * 3072  # pixels that PCA is fitted on: 50,000 images of CIFAR's size, fewer larger ones
EXACT_WIDTH = 3072  # dimensions up to which it is found exactly, from the covariance
AFFINE = 1e-4  # departure from a straight line, as a share of the largest value, that is rounding


def fit_pca(train: Images, width: int) -> Any:
    """scikit-learn's PCA of flattened examples as floats, with `width` components or as many as there are.

    It is fitted on all of train, or on a fixed sample where that would be more than 50,000 images of CIFAR's
    size.
    """
    from sklearn.decomposition import PCA

    rows = sample(len(train), PCA_VALUES // prod(train.shape))
    clean = train.floats(torch.from_numpy(rows)).flatten(1).numpy()
    solver = "covariance_eigh" if clean.shape[1] <= EXACT_WIDTH else "auto"
    return PCA(min(width, *clean.shape), svd_solver=solver, random_state=0).fit(clean)


def project(model: Any, x: Array) -> Array:
    """Examples [n, *shape] → the nearest points of the subspace of a fitted PCA."""
    projected = model.inverse_transform(model.transform(x.reshape(len(x), -1)))
    return projected.reshape(x.shape).astype(np.float32)


@torch.inference_mode()
def is_affine(function: Callable[[Tensor], Tensor], shape: tuple[int, ...], device: torch.device) -> bool:
    """Whether a function of [n, *shape] keeps straight lines straight, tried on lines far beyond the data."""
    rng = generator("affine")
    a, b = (10 * torch.randn(2, 64, *shape, generator=rng)).to(device)
    ends = function(a), function(b)
    between = function(0.3 * a + 0.7 * b) - (0.3 * ends[0] + 0.7 * ends[1])
    return bool(between.abs().max() <= AFFINE * torch.cat(ends).abs().max())


@torch.inference_mode()
def matrix_of(function: Callable[[Tensor], Tensor], shape: tuple[int, ...], device: torch.device) -> Array:
    """A of an affine function x → Ax + b of examples of a shape, flattened: float64 [out, in]."""
    size = prod(shape)
    offset = function(torch.zeros(1, *shape, device=device))
    columns = []
    for start in range(0, size, BATCH):
        units = one_hot(torch.arange(start, min(start + BATCH, size), device=device), size).float()
        columns.append((function(units.unflatten(1, shape)) - offset).flatten(1).cpu().double())
    return torch.cat(columns).numpy().T


def principal_angles(a: Array, b: Array) -> Array:
    """Those between the spans of the columns of a [D, k] and b [D, k], in degrees, the largest first: [k]."""
    from scipy.linalg import subspace_angles

    return np.degrees(subspace_angles(a, b))


def span(method: Coder, shape: tuple[int, ...], k: int) -> Array:
    """The k directions in which an affine method's reconstructions move most: orthonormal [D, k].

    Of the reconstruction's matrix, decoder · encoder, whose rank is that of the narrower; so these are the
    columns of the decoder as far as codes reach them.
    """
    device = device_of(method)
    decoder = matrix_of(method.decode, (code_width(method, shape),), device)
    encoder = matrix_of(partial(method.represent, space="z"), shape, device)
    root = np.linalg.qr(encoder.T)[1]  # the encoder is rootᵀ times orthonormal rows, which turn nothing
    return np.linalg.svd(decoder @ root.T, full_matrices=False)[0][:, :k]


class PCASubspace(Measure):
    """A method's reconstructions of test beside those of PCA of the same width, fitted on train.

    The width is the code's, or the encoder's feature's where that is narrower. PCA is that of the data as
    they are, so images in [0, 1], and neither's reconstructions are clipped.

    "mse" and "mse_pca" per dimension, "ratio" of the first to the second, "components" of PCA. Where encoder
    and decoder are affine, "angle": the largest principal angle between the span of the reconstructions and
    that of the components, in degrees (0: a linear autoencoder at its optimum, Bourlard & Kamp 1988); and
    "shared", the mean cos² of all of these angles. A component whose variance is nearly that of the first
    one left out can be exchanged for it at no cost: that alone makes the angle large, and not the share
    small. The optimum belongs to the space in which the error is minimised: where that is normalised by
    several deviations, neither is given.
    """

    def check(self, subject: Subject) -> None:
        coder(subject.method)

    def __call__(self, subject: Subject) -> dict[str, Any]:
        method, shape = coder(subject.method), subject.splits.test.shape
        code, feature = code_width(method, shape), subject.method.encoder.width
        model = fit_pca(subject.splits.train, min(code, feature))
        k, test = int(model.n_components_), subject.splits.test
        mse = float(reconstruction_errors(method, test).mean())
        mse_pca = float(np.concatenate([squared_error(x, project(model, x)) for x in batches(test)]).mean())
        found: dict[str, Any] = {"mse": mse, "mse_pca": mse_pca, "components": k}
        missing = {}
        if k < prod(shape):
            found["ratio"] = mse / mse_pca
        else:
            missing["ratio"] = "with a component for each dimension PCA loses nothing"
        if reason := _no_angle(subject.method, method, shape):
            missing["angle"] = reason
        else:
            angles = principal_angles(span(method, shape, k), model.components_.T.astype(np.float64))
            found["angle"] = float(angles.max())
            found["shared"] = float(np.square(np.cos(np.radians(angles))).mean())
        if feature < code:
            found["note"] = f"the code has width {code}, but the encoder's feature only {feature}"
        return found | ({"missing": missing} if missing else {})


def _no_angle(method: Method, coding: Coder, shape: tuple[int, ...]) -> str | None:
    """Why there is no angle to PCA, if there is none."""
    device = device_of(coding)
    encoding = partial(coding.represent, space="z")
    if not is_affine(encoding, shape, device) or not is_affine(
        coding.decode, (code_width(coding, shape),), device
    ):
        return "encoder and decoder are not linear"
    scaled = isinstance(method, Autoencoder) and method.likelihood.space == "normalised"
    if scaled and len(method.encoder.std.unique()) > 1:
        return "the error is minimised on normalised channels, which have another principal subspace"
    return None
