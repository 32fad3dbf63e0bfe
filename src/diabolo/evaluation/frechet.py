"""Fréchet distance between generated and test images, in the features of an extractor.

It is named after its extractor: figures of different ones do not compare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor, nn

from diabolo.data.images import Images, Splits
from diabolo.errors import UserError
from diabolo.evaluation import heads
from diabolo.evaluation.features import probe_images
from diabolo.evaluation.heads import Labelled
from diabolo.evaluation.measures import Measure, Subject
from diabolo.files import cache_folder, expanded, read_tensors, write_tensors
from diabolo.generation import Array, Coder, Gaussian, codes, decode, device_of, per_class
from diabolo.networks.timm import TIMM, TimmFeatures
from diabolo.representation import extract
from diabolo.revision import REVISION
from diabolo.seeds import generator, seeded
from diabolo.tables import ENCODERS

CLASSIFIER = "classifier"
NETWORK = {"name": "conv", "filters": [32, 64, 128], "hidden": 128, "batch_norm": True}
EPOCHS, BATCH_SIZE, LR = 5, 128, 1e-3
AT_ONCE = 1024  # generated images


def frechet_distance(a: Array, b: Array) -> float:
    """‖μ_a − μ_b‖² + Tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^½) of features a [n, D] and b [m, D] (Heusel et al. 2017).

    The covariances are unbiased. Tr (Σ_a Σ_b)^½ is the sum of the square roots of the eigenvalues of the
    symmetric Σ_a^½ Σ_b Σ_a^½, so that nothing complex appears.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    covariance_a, covariance_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(covariance_a)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ covariance_b @ root).clip(min=0)).sum()
    offset = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    return float(offset + np.trace(covariance_a) + np.trace(covariance_b) - 2 * cross)


@dataclass(frozen=True)
class Extractor:
    """Features of images. represent: [n, *shape] → [n, D]. name: what a distance is named after."""

    represent: Callable[[Tensor], Tensor]
    name: str


def extractor_for(splits: Splits, device: torch.device) -> Extractor:
    """A small convolutional classifier of the data's own classes, trained once and kept in the cache folder.

    Raises `UserError` where the data have no labels to train it with.
    """
    train, validation, test = (_labelled(part, device) for part in probe_images(splits))
    shape, classes = splits.train.shape, int(train.labels.max()) + 1
    with seeded("cpu", "extractor"):
        encoder = ENCODERS.build(ENCODERS.complete(NETWORK, "extractor"), shape=shape)
        model = nn.Sequential(encoder, heads.classifier(128, (), classes, batch_norm=False)).to(device)
    settings: Any = {"epochs": EPOCHS, "lr": LR, "batch_size": BATCH_SIZE, "select": "best", "seed": 0}
    key = repr((REVISION, splits.digest(), NETWORK, settings)).encode()
    path = cache_folder() / "extractors" / f"{blake2b(key, digest_size=16).hexdigest()}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):  # another process may be training it: distances must share one
        if path.exists():
            model.load_state_dict(read_tensors(path)[0])
        else:
            heads.train(model, train, validation, **settings)
            write_tensors(path, model.state_dict())
    model.eval()
    accuracy = heads.score(model, test)
    return Extractor(encoder.eval(), f"convolutional classifier, {100 * accuracy:.1f} % on test")


def timm_extractor(
    model: str, weights: Path | None, shape: tuple[int, ...], device: torch.device
) -> Extractor:
    """A timm model's pooled features, of images in its own size and normalisation; see `TimmFeatures`.

    A file of weights stands in the name with 8 digits of its digest.
    """
    features = TimmFeatures(shape, model, weights).to(device).eval()
    name = f"{model} of timm"
    if weights is not None:
        name += f", weights {weights.name} ({blake2b(weights.read_bytes(), digest_size=4).hexdigest()})"
    return Extractor(features.represent, name)


class Frechet(Measure):
    """How near generated images are to test, as distributions of features (SimVAE, A.7.6).

    Codes are drawn from a Gaussian with full covariance fitted to the train codes of each class, as many of a
    class as test has, and decoded by the method's own decoder or one trained ad hoc.

    extractor: "classifier", a small one trained on train; or "timm:" and the name of a model, such as
    timm:inception_v3. weights: of that model, a safetensors file in place of timm's own.

    "distance", less is better; "floor", that of as many train images; "extractor", which must be the
    same where two distances are compared; "width", of its features.
    """

    def __init__(self, *, extractor: str = CLASSIFIER, weights: str | None = None) -> None:
        self.model = extractor.removeprefix(TIMM) if extractor.startswith(TIMM) else None
        self.weights = None if weights is None else expanded(weights)
        if self.model is None and extractor != CLASSIFIER:
            raise UserError(
                f"frechet: unknown extractor '{extractor}': '{CLASSIFIER}', or '{TIMM}' and a model's name"
            )
        if self.model is None and weights is not None:
            raise UserError(f"frechet: weights are of a model: name it, extractor: {TIMM}NAME")

    def check(self, subject: Subject) -> None:
        shape = subject.splits.test.shape
        if len(shape) != 3:
            raise UserError("it compares images, and these are vectors")
        if any(part.labels is None for part in probe_images(subject.splits)):
            raise UserError("it needs labels, for its classifier and for a Gaussian of each class")
        if self.model is not None:
            self._extractor(subject.splits, torch.device("cpu"))

    def __call__(self, subject: Subject) -> dict[str, Any]:
        own = isinstance(subject.method, Coder)
        device = device_of(subject.method)
        extractor = self._extractor(subject.splits, device)
        train, _, test = probe_images(subject.splits)
        real = extract(extractor.represent, test, device=device)
        rows = torch.randperm(len(train), generator=generator("frechet"))[: len(test)]
        floor = extract(extractor.represent, train.take(rows), device=device)
        drawn = _conditional(subject.coder, train, test, subject.seed)
        made = np.concatenate([_features(extractor, few, device) for few in drawn])
        return {
            "distance": frechet_distance(made, real),
            "floor": frechet_distance(floor, real),
            "extractor": extractor.name,
            "width": real.shape[1],
            "decoder": "own" if own else "ad hoc",
        }

    def _extractor(self, splits: Splits, device: torch.device) -> Extractor:
        if self.model is None:
            return extractor_for(splits, device)
        return timm_extractor(self.model, self.weights, splits.train.shape, device)


def _conditional(method: Coder, train: Images, test: Images, seed: int) -> Iterator[Array]:
    """Generated images [n, *shape], clipped to [0, 1], of each class as many as test has: a few at a time."""
    assert train.labels is not None
    assert test.labels is not None
    fitted: dict[int, Gaussian] = per_class(codes(method, train), train.labels.numpy())
    counts = torch.bincount(test.labels.long(), minlength=max(fitted) + 1)
    rng = generator("frechet", seed)
    z = np.concatenate([gaussian.sample(int(counts[label]), rng) for label, gaussian in fitted.items()])
    for start in range(0, len(z), AT_ONCE):
        yield decode(method, z[start : start + AT_ONCE]).clip(0, 1)


@torch.inference_mode()
def _features(extractor: Extractor, x: Array, device: torch.device) -> Array:
    return extractor.represent(torch.from_numpy(x).to(device)).cpu().numpy()


def _labelled(images: Images, device: torch.device) -> Labelled:
    assert images.labels is not None
    return Labelled(lambda index: images.floats(index).to(device), images.labels.long().to(device))
