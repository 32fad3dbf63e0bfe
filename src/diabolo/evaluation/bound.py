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
from diabolo.generation import BATCH, density, device_of
from diabolo.seeds import generator
from diabolo.views.noise import SampledBinarisation

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
    binarise: score binary images, each pixel drawn once as a Bernoulli of its grey level. The draw is the
    same for every run.

    "nats": the mean of −log p(x), an upper bound; "standard_error" of that mean over the images;
    "negative_elbo": the same by one draw; "bits_per_dimension" of "nats", where they exist.
    """

    def __init__(
        self, *, samples: Positive = 200, images: Positive | None = None, binarise: bool = False
    ) -> None:
        self.samples, self.images, self.binarise = samples, images, binarise

    def check(self, subject: Subject) -> None:
        few = self._prepared(subject.splits.test.take(torch.arange(min(2, len(subject.splits.test)))))
        negative_log_prob(density(subject.method), few, 1)

    def __call__(self, subject: Subject) -> dict[str, Any]:
        method, test = density(subject.method), self._prepared(subject.splits.test)
        test = test.take(torch.from_numpy(sample(len(test), self.images or len(test))))
        nats = negative_log_prob(method, test, self.samples, subject.seed)
        found = {
            "nats": float(nats.mean()),
            "standard_error": float(nats.std() / math.sqrt(len(nats))),
            "negative_elbo": float(negative_log_prob(method, test, 1, subject.seed).mean()),
        }
        # Bits are linear in nats: those of the mean are the mean of theirs.
        one, mean = test.floats(slice(0, 1)).to(device_of(method)), torch.tensor([-found["nats"]])
        bits = method.bits_per_dimension(one, mean)
        if bits is not None:
            found["bits_per_dimension"] = float(bits)
        found |= {"samples": self.samples, "images": len(test)}
        return found | (
            {"note": "of binary images, drawn once from the grey levels"} if self.binarise else {}
        )

    def _prepared(self, images: Images) -> Images:
        return binarised(images) if self.binarise else images
