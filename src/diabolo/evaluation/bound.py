"""The bound on log p(x): how many nats, and bits, a generative model needs for an unseen image."""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
from annotated_types import Gt

from diabolo.data.images import Images
from diabolo.errors import UserError
from diabolo.evaluation.anomaly import negative_log_prob
from diabolo.evaluation.features import sample
from diabolo.evaluation.measures import Measure, Subject
from diabolo.generation import BATCH, Array, Density, density, device_of
from diabolo.seeds import generator
from diabolo.views.noise import Dequantisation, SampledBinarisation

Positive = Annotated[int, Gt(0)]


def binarised(images: Images) -> Images:
    """Each pixel drawn once as a Bernoulli of its grey level: 0 or 255, the same for every run.

    A draw depends on the image's position alone: the first images of more keep theirs.
    """
    if len(images.shape) != 3:
        raise UserError("binarise: vectors have no grey levels to draw from: leave it out")
    view, rng = SampledBinarisation(), generator("binarised once")
    pixels = torch.empty(images.pixels.shape, dtype=torch.uint8)
    for start in range(0, len(images), BATCH):
        x = images.floats(slice(start, start + BATCH))
        drawn = view.draw(BATCH, images.shape, rng)["uniform"][: len(x)]
        pixels[start : start + BATCH] = 255 * view.apply(x, {"uniform": drawn}).to(torch.uint8)
    return Images(pixels)


class Bound(Measure):
    """The importance-weighted bound on log p(x) of test images (Burda et al. 2016), as nats: less is better.

    samples: K draws of z for each image. images: how many, always the same; by default all of test.
    binarise: score binary images, each pixel drawn once as a Bernoulli of its grey level. dequantise: score
    pixels with noise within their level, for a density to have bits; it should be trained on such. What is
    drawn is the same for every run.

    "nats": the mean of −log p(x), an upper bound; "standard_error" of that mean over the images;
    "negative_elbo": the same by one draw; "bits_per_dimension" of "nats", where they exist.
    """

    def __init__(
        self,
        *,
        samples: Positive = 200,
        images: Positive | None = None,
        binarise: bool = False,
        dequantise: bool = False,
    ) -> None:
        if binarise and dequantise:
            raise UserError("binarise, dequantise: binary images have no levels to add noise to: drop one")
        self.samples, self.images, self.binarise, self.dequantise = samples, images, binarise, dequantise

    def check(self, subject: Subject) -> None:
        method = density(subject.method)
        few = self._prepared(subject.splits.test.take(torch.arange(min(2, len(subject.splits.test)))))
        if self.dequantise and (len(few.shape) != 3 or self._bits(method, few, 0.0) is None):
            raise UserError("dequantise: it is for the density of an image's pixels: leave it out")
        self._nats(method, few, 1, subject.seed)

    def __call__(self, subject: Subject) -> dict[str, Any]:
        method, test = density(subject.method), self._prepared(subject.splits.test)
        test = test.take(torch.from_numpy(sample(len(test), self.images or len(test))))
        nats = self._nats(method, test, self.samples, subject.seed)
        found: dict[str, Any] = {
            "nats": float(nats.mean()),
            "standard_error": float(nats.std(ddof=min(1, len(nats) - 1)) / math.sqrt(len(nats))),
            "negative_elbo": float(self._nats(method, test, 1, subject.seed).mean()),
        }
        bits = self._bits(method, test, found["nats"])
        if bits is not None:
            found["bits_per_dimension"] = bits
        found |= {"samples": self.samples, "images": len(test)}
        if self.binarise:
            found["note"] = "of binary images, drawn once from the grey levels"
        if self.dequantise:
            found["note"] = "of pixels with noise within their level"
        return found

    def _nats(self, method: Density, images: Images, samples: int, seed: int) -> Array:
        if not self.dequantise:
            return negative_log_prob(method, images, samples, seed)
        view, rng = Dequantisation(), generator("dequantised once")
        return negative_log_prob(
            method, images, samples, seed, lambda x: view.apply(x, view.draw(len(x), images.shape, rng))
        )

    def _bits(self, method: Density, images: Images, nats: float) -> float | None:
        """Bits are linear in nats: those of the mean are the mean of theirs."""
        device = device_of(method)
        one, mean = images.floats(slice(0, 1)).to(device), torch.tensor([-nats], device=device)
        if not self.dequantise:
            bits = method.bits_per_dimension(one, mean)
        elif method.bits_per_dimension(one, mean) is None:
            bits = method.bits_per_dimension(one, mean, dequantised=True)
        else:
            bits = None  # a mass function of the levels themselves
        return None if bits is None else float(bits)

    def _prepared(self, images: Images) -> Images:
        return binarised(images) if self.binarise else images
