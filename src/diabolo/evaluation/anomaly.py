"""Anomalies: how unlike the training images an image is, by what a method makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Gt
from torch import Tensor

from diabolo.data.images import Images
from diabolo.errors import UserError, unknown
from diabolo.evaluation.measures import Measure, Subject
from diabolo.generation import Array, Coder, Density, batches, density, device_of, reconstruction_errors
from diabolo.methods.base import Method
from diabolo.representation import extract
from diabolo.seeds import seeded


def anomaly_scores(
    method: Method, train: Images, images: Images, *, samples: int = 16, neighbours: int = 5, seed: int = 0
) -> tuple[dict[str, Array], dict[str, str]]:
    """How unlike train each image is, by every score that exists: float64 [N] each; more is stranger.

    "reconstruction": mean squared error per dimension. "nll": −log p(x) in nats, by the importance-weighted
    bound with `samples` draws. "knn": mean Euclidean distance to the codes of the nearest `neighbours` train
    images, in the method's own space where there is no code.
    Also returned: why a score is missing, by its name.
    """
    scores, missing = {}, {}
    if isinstance(method, Coder):
        scores["reconstruction"] = reconstruction_errors(method, images)
    else:
        missing["reconstruction"] = f"{method.title} has no decoder"
    try:
        scores["nll"] = negative_log_prob(density(method), images, samples, seed)
    except UserError as reason:
        missing["nll"] = str(reason)
    space = "z" if isinstance(method, Coder) else None
    represent = partial(method.represent, space=space)
    known, new = (extract(represent, of, device=device_of(method)) for of in (train, images))
    scores["knn"] = neighbour_distance(known, new, neighbours)
    return scores, missing


@torch.inference_mode()
def negative_log_prob(
    method: Density,
    images: Images,
    samples: int,
    seed: int = 0,
    change: Callable[[Tensor], Tensor] = lambda x: x,
) -> Array:
    """An upper bound on −log p(x) of each example: [N], nats. Raises `UserError` where there is none.

    change: what is done to a batch of examples [n, *shape] before it is scored.
    """
    device = device_of(method)
    with seeded(device, "log p", seed):
        examples = (change(torch.from_numpy(x)).to(device) for x in batches(images))
        bounds = [method.log_prob(x, samples) for x in examples]
    return -torch.cat(bounds).cpu().double().numpy()


def neighbour_distance(known: Array, new: Array, k: int) -> Array:
    """Mean Euclidean distance of new codes [n, d] to their k nearest known ones [N, d]: [n]."""
    from sklearn.neighbors import NearestNeighbors

    nearest = NearestNeighbors(n_neighbors=min(k, len(known))).fit(known)
    return nearest.kneighbors(new)[0].astype(np.float64).mean(axis=1)


def auroc(scores: Array, anomalous: Array) -> float:
    """The chance that an anomaly scores above a normal example: scores [n], anomalous bool [n]."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(anomalous, scores))


def held_out_labels(held_out: Sequence[str], images: Images, train: Images) -> list[int]:
    """The labels of classes that training did not see. Raises `UserError` where it saw one of them."""
    seen = set() if train.labels is None else {train.classes[i] for i in train.labels.unique() if i >= 0}
    for name in held_out:
        if name not in images.classes:
            raise unknown("class", name, images.classes)
        if name in seen:
            raise UserError(
                f"class '{name}' is among the training images: train without it (data.without) to find it "
                "anomalous"
            )
    return [images.classes.index(name) for name in held_out]


def held_out_auroc(scores: Mapping[str, Array], labels: Array, held_out: Sequence[int]) -> dict[str, float]:
    """The AUROC of each score for the classes that were held out of training, by the score's name.

    labels: [N], −1 where there is none: such examples do not count. Raises `UserError` where no example, or
    every example, is of a held-out class.
    """
    known = labels >= 0
    anomalous = np.isin(labels[known], held_out)
    if anomalous.all() or not anomalous.any():
        what = "every labelled image is" if anomalous.any() else "no image is"
        raise UserError(f"anomalies: {what} of a held-out class, so there is nothing to tell apart")
    return {name: auroc(of[known], anomalous) for name, of in scores.items()}


class Anomaly(Measure):
    """The AUROC of each score of `anomaly_scores` on test, for the classes that training went without.

    samples: draws behind −log p. neighbours: train images behind the distance.
    """

    beside = ("random", "pca", "pixels")

    def __init__(self, *, samples: Annotated[int, Gt(0)] = 16, neighbours: Annotated[int, Gt(0)] = 5) -> None:
        self.samples, self.neighbours = samples, neighbours

    def check(self, subject: Subject) -> None:
        labels, held_out = self._labels(subject)
        held_out_auroc({}, labels, held_out)

    def __call__(self, subject: Subject) -> dict[str, Any]:
        labels, held_out = self._labels(subject)
        scores, missing = anomaly_scores(
            subject.method,
            subject.splits.train,
            subject.splits.test,
            samples=self.samples,
            neighbours=self.neighbours,
            seed=subject.seed,
        )
        found: dict[str, Any] = held_out_auroc(scores, labels, held_out)
        return found | {"held_out": list(subject.without)} | ({"missing": missing} if missing else {})

    def _labels(self, subject: Subject) -> tuple[Array, list[int]]:
        """The labels of test, and which of them training did not see."""
        train, test = subject.splits.train, subject.splits.test
        if not subject.without:
            raise UserError("no class was held out of training, by data.without of a recipe: leave it out")
        if test.labels is None or train.labels is None or (train.labels < 0).any():
            raise UserError(
                "it needs the labels of test, and of all of train, which may else hold what is held out"
            )
        return test.labels.numpy(), held_out_labels(subject.without, test, train)
