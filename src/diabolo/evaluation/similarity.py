"""Similarity: how alike a method represents the views of one example, and those of different ones."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

import torch
from annotated_types import Gt
from torch import Tensor
from torch.nn.functional import normalize, pdist

from diabolo.errors import UserError
from diabolo.evaluation.features import sample
from diabolo.evaluation.measures import Measure, Subject
from diabolo.generation import BATCH, device_of
from diabolo.seeds import generator
from diabolo.tables import VIEWS
from diabolo.views.pipeline import Pipeline
from diabolo.views.sets import view_set

USUAL = "simclr"  # the views of a method that was trained without any
OWN = "of the training"
Several = Annotated[int, Gt(1)]


def alignment(u: Tensor, v: Tensor) -> float:
    """E ‖u − v‖² over positive pairs of unit vectors [n, d] (Wang & Isola 2020, with α = 2): 0 to 4."""
    return float((u - v).square().sum(1).mean())


def uniformity(u: Tensor) -> float:
    """log E exp(−2 ‖u − u'‖²) over the pairs of different unit vectors of [n, d] (Wang & Isola 2020, t = 2).

    From 0, where all are the same, down to about −4 where they fill the sphere.
    """
    energies = -2 * pdist(u).square()
    return float(energies.logsumexp(0)) - math.log(len(energies))


class Similarity(Measure):
    """Cosines between the representations of views of test images (AAVAE, Fig. 5), and what sums them up.

    images, each: how many are in the matrix, and views of each of them. pairs: how many images give two views
    to alignment and uniformity. views: a set of augmentations; by default those of the training, or "simclr"
    where none are at hand. The images, and the random choices of the views, are the same for every run.

    "same": the mean cosine of two views of one example, and "different": of two examples. "alignment" and
    "uniformity", less of which is better; the latter is the mean over both views. "matrix": [images · each,
    images · each], the views of an example in a row, rounded to three decimals. "z": the four figures of the
    embedding or code that the loss acts on, where another space is scored.
    """

    beside = ("random",)

    def __init__(
        self,
        *,
        images: Several = 16,
        each: Several = 8,
        pairs: Several = 2000,
        views: Literal["simclr", "simvae"] | None = None,
    ) -> None:
        self.images, self.each, self.pairs, self.views = images, each, pairs, views

    def check(self, subject: Subject) -> None:
        if len(subject.splits.test) < 2:
            raise UserError("it compares test images, and there is only one")
        self._directions(subject, 2, 2)

    def __call__(self, subject: Subject) -> dict[str, Any]:
        cosines = self.cosines(subject)
        found = self._figures(subject, cosines) | {
            "views": self.of(subject),
            "images": len(cosines) // self.each,
            "each": self.each,
            "matrix": [[round(value, 3) for value in row] for row in cosines.tolist()],
        }
        if subject.space != "z" and "z" in subject.method.spaces:  # what the loss acts on
            behind = replace(subject, space="z")
            found["z"] = self._figures(behind, self.cosines(behind))
        return found

    def of(self, subject: Subject) -> str:
        """What the views are called."""
        return self._named(subject)[0]

    def cosines(self, subject: Subject) -> Tensor:
        """The matrix: float64 [images · each, images · each]."""
        z = self._directions(subject, self.images, self.each).flatten(0, 1)
        return z @ z.T

    def _figures(self, subject: Subject, cosines: Tensor) -> dict[str, float]:
        """What sums up the cosines [n · J, n · J], and the pairs."""
        J = self.each
        n = len(cosines) // J
        same = torch.block_diag(*[torch.ones(J, J, dtype=cosines.dtype)] * n)
        u, v = self._directions(subject, self.pairs, 2).unbind(1)
        return {
            "same": float(((cosines * same).sum() - cosines.trace()) / (n * J * (J - 1))),
            "different": float((cosines * (1 - same)).sum() / (n * (n - 1) * J * J)),
            "alignment": alignment(u, v),
            "uniformity": (uniformity(u) + uniformity(v)) / 2,
        }

    def _named(self, subject: Subject) -> tuple[str, list[Any]]:
        """The augmentations, under the name of their set."""
        if self.views is None and subject.views is not None:
            return OWN, subject.views.transforms
        name, shape = self.views or USUAL, subject.splits.test.shape
        return name, [VIEWS.build(VIEWS.complete(spec, name)) for spec in view_set(name, shape)]

    @torch.inference_mode()
    def _directions(self, subject: Subject, most: int, each: int) -> Tensor:
        """The unit representations of `each` views of at most `most` test images: float64 [n, each, d]."""
        test = subject.splits.test
        test = test.take(torch.from_numpy(sample(len(test), most)))
        pipeline, rng = Pipeline(self._named(subject)[1], each), generator("similarity")
        device = device_of(subject.method)
        represent = partial(subject.method.represent, space=subject.space)
        blocks = []
        for start in range(0, len(test), BATCH):
            x = test.floats(slice(start, start + BATCH)).to(device)
            drawn = pipeline.draw(len(x), test.shape, rng)
            drawn = [{key: value.to(device) for key, value in of.items()} for of in drawn]
            z = represent(pipeline.apply(x, drawn).flatten(0, 1))
            blocks.append(normalize(z.cpu().double(), dim=1).unflatten(0, (-1, each)))
        return torch.cat(blocks)
