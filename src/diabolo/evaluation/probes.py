"""Probes: what a simple classifier reads out of frozen features.

A probe is built with its settings and called with features and a seed. It is fitted on train, makes every
choice on validation, and reads test once. `needs` says what it is called with: features with labels, with
attributes or with quantities, or the method itself.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Gt, MinLen
from torch import Tensor, nn
from torch.optim import Optimizer

from diabolo.errors import UserError
from diabolo.evaluation import heads
from diabolo.evaluation.features import Features, Part, sample, standards
from diabolo.evaluation.heads import Chosen, Labelled, Rates, Select
from diabolo.evaluation.neighbours import Metric, nearest
from diabolo.seeds import seeded
from diabolo.training.optimisers import adam, sgd
from diabolo.training.schedules import Constant, Cosine

Needs = Literal["features", "attributes", "quantities", "method"]
Positive = Annotated[int, Gt(0)]
PositiveFloat = Annotated[float, Gt(0)]

SELECTION_ROWS = 10_000  # training rows on which the linear probe compares its regularisations


@dataclass(frozen=True)
class Outcome:
    """accuracy: on test, in [0, 1]. chosen: the choices made on validation, and the accuracy there.

    predictions: int64 [N], the class given to each test example, or −1; None where a probe gives no class.
    probabilities: [N, K], of classes 0 to K − 1, where a probe gives any; of kNN, the shares of the vote.
    more: other figures, by name.
    """

    accuracy: float
    chosen: dict[str, Any]
    predictions: np.ndarray | None = None
    more: dict[str, Any] = field(default_factory=dict)
    probabilities: np.ndarray | None = None

    @property
    def figures(self) -> dict[str, Any]:
        return {"accuracy": self.accuracy, **self.more}


@dataclass(frozen=True)
class Explained:
    """What a regression found. r2: on test, at most 1. chosen, more: as of an `Outcome`."""

    r2: float
    chosen: dict[str, Any]
    more: dict[str, Any] = field(default_factory=dict)
    predictions: ClassVar[None] = None  # of classes

    @property
    def figures(self) -> dict[str, Any]:
        return {"r2": self.r2, **self.more}


class Linear:
    """Multinomial logistic regression on standardised features.

    The weight penalty is ½‖w‖² beside `C` × the summed negative log-likelihood. `C` is chosen on at most
    10,000 sampled training rows, the strongest penalty among equals; the fit that counts sees all of
    train. It stops after `max_iter` steps of L-BFGS: on raw CIFAR-10 pixels, the slowest case at hand, a
    hundred steps cost 0.1 points of accuracy.
    """

    needs: ClassVar[Needs] = "features"

    def __init__(
        self,
        *,
        C: Annotated[tuple[PositiveFloat, ...], MinLen(1)] = (0.001, 0.01, 0.1, 1.0),
        max_iter: Positive = 100,
        tolerance: PositiveFloat = 1e-4,  # of the largest partial derivative of the mean loss
    ) -> None:
        self.C, self.max_iter, self.tolerance = C, max_iter, tolerance

    def __call__(self, features: Features, seed: int) -> Outcome:
        train, validation, test = labelled_parts("linear", standardised(features))
        return self.read(train, validation, test, count_classes(features.classes, known(train)))

    def read(self, train: Part, validation: Part, test: Part, classes: int) -> Outcome:
        """The outcome on standardised features with labels, of so many classes."""
        few = train.take(sample(len(train), SELECTION_ROWS))
        if len(np.unique(known(few))) < 2:  # every other class is too rare to be sampled
            few = train
        accuracy = {C: self._fit(few, C).score(validation.values, validation.labels) for C in sorted(self.C)}
        best = max(accuracy, key=lambda C: accuracy[C])
        model = self._fit(train, best)
        chosen = {
            "C": best,
            "validation": float(model.score(validation.values, validation.labels)),
            "iterations": int(model.n_iter_.max()),
        }
        probabilities = np.zeros((len(test), classes), np.float32)
        probabilities[:, model.classes_] = model.predict_proba(test.values)
        return outcome(model.predict(test.values), known(test), chosen, probabilities=probabilities)

    def _fit(self, part: Part, C: float) -> Any:
        from sklearn.linear_model import LogisticRegression

        with warnings.catch_warnings():  # of the cap on iterations, which is reported, and of many classes
            warnings.simplefilter("ignore", UserWarning)
            return LogisticRegression(C=C, max_iter=self.max_iter, tol=self.tolerance).fit(
                part.values, part.labels
            )


EPOCHS, STEPS = 20, 2_000  # of the MLP: at least so many of each
OPTIMISERS: dict[str, Callable[..., Optimizer]] = {"adam": adam, "sgd": partial(sgd, weight_decay=0.0)}


class MLP:
    """A small network: hidden layers with ReLU, negative log-likelihood, Adam or SGD with Nesterov momentum.

    With `hidden=[128], epochs=20, select="last"` it is Mancini's head; with `hidden=[512], batch_norm=True`
    Goncharov & Soboleva's; with `hidden=["width"]`, as wide as the representation, SimVAE's. Without `epochs`
    it takes 20, or on small data as many as 2,000 steps need. With `hidden=[]` it is a linear layer:
    "adam-linear" is SimVAE's (A.7.5; the rate is its code's), "sgd-linear" AAVAE's (§4), whose rate of
    0.1 · batch size / 256 falls along a cosine. Both papers take features as they are (`standardise=False`),
    and so does "adam-linear". AAVAE trains on crops, this on cached features of whole images; "crop-linear"
    does as AAVAE. `lr` may be several rates: the one that is best on validation is kept.
    """

    needs: ClassVar[Needs] = "features"

    def __init__(
        self,
        *,
        hidden: tuple[Positive | Literal["width"], ...] = (256,),
        batch_norm: bool = False,
        epochs: Positive | None = None,
        optimiser: Literal["adam", "sgd"] = "adam",
        lr: Rates = 1e-3,
        cosine: bool = False,
        batch_size: Annotated[int, Gt(1)] = 256,
        standardise: bool = True,
        select: Select = "best",
    ) -> None:
        self.hidden, self.batch_norm, self.standardise = hidden, batch_norm, standardise
        self.epochs, self.batch_size, self.select = epochs, batch_size, select
        self.optimiser, self.lr, self.cosine = optimiser, lr, cosine

    def __call__(self, features: Features, seed: int) -> Outcome:
        features = standardised(features) if self.standardise else features
        name = "mlp" if self.hidden else "linear layer"
        train, validation, test = labelled_parts(name, features)
        classes = count_classes(features.classes, known(train))
        model, chosen = heads.best_of(self.lr, partial(self._fit, train, validation, classes, seed))
        probabilities = heads.probabilities(model, _labelled(test))
        return outcome(probabilities.argmax(axis=1), known(test), chosen, probabilities=probabilities)

    def _fit(
        self, train: Part, validation: Part, classes: int, seed: int, lr: float
    ) -> tuple[nn.Module, Chosen]:
        width = train.values.shape[1]
        hidden = [width if units == "width" else units for units in self.hidden]
        with seeded("cpu", "mlp", seed):
            model = heads.classifier(width, hidden, classes, batch_norm=self.batch_norm)
        chosen = heads.train(
            model,
            _labelled(train),
            _labelled(validation),
            epochs=self.epochs or max(EPOCHS, math.ceil(STEPS / math.ceil(len(train) / self.batch_size))),
            lr=lr,
            batch_size=self.batch_size,
            select=self.select,
            seed=seed,
            optimiser=OPTIMISERS[self.optimiser],
            schedule=Cosine() if self.cosine else Constant(),
        )
        return model, chosen


class KNN:
    """Vote of the k nearest training examples; ties go to the class that comes first.

    `k` is fixed, or None and chosen on validation from 1 to `k_max`, the smallest among equals. With
    `weighted`, a neighbour counts exp(cosine / temperature), or 1 / distance for the Euclidean metric.
    """

    needs: ClassVar[Needs] = "features"

    def __init__(
        self,
        *,
        metric: Metric = "cosine",
        k: Positive | None = None,
        k_max: Positive = 20,
        weighted: bool = False,
        temperature: PositiveFloat = 0.1,
    ) -> None:
        self.metric, self.k, self.k_max = metric, k, k_max
        self.weighted, self.temperature = weighted, temperature

    def __call__(self, features: Features, seed: int) -> Outcome:
        train, validation, test = labelled_parts("knn", features)
        if self.k is not None and self.k > len(train):
            raise UserError(f"knn: k is {self.k}, but there are only {len(train)} training examples")
        most = self.k or min(self.k_max, len(train))
        candidates = range(self.k or 1, most + 1)
        classes = count_classes(features.classes, known(train))
        cast = self.votes(train, validation.values, most, classes)
        on_validation = [votes.argmax(axis=1) for votes in cast]
        accuracy = {k: float((on_validation[k - 1] == validation.labels).mean()) for k in candidates}
        best = max(accuracy, key=lambda k: accuracy[k])
        *_, votes = self.votes(train, test.values, best, classes)
        chosen = {"k": best, "validation": accuracy[best]}
        shares = votes / votes.sum(axis=1, keepdims=True)
        return outcome(votes.argmax(axis=1), known(test), chosen, probabilities=shares)

    def votes(self, train: Part, queries: np.ndarray, most: int, classes: int) -> Iterator[np.ndarray]:
        """The votes [n, K] of the first k = 1, 2, … `most` neighbours of the queries [n, D], from one search.

        It is the same array each time, with the votes of one more neighbour. classes: K.
        """
        distances, neighbours = nearest(train.values, queries, most, self.metric)
        labels, weights = known(train)[neighbours], self._weights(distances)
        votes = np.zeros((len(queries), classes))
        rows = np.arange(len(queries))
        for k in range(most):
            votes[rows, labels[:, k]] += weights[:, k]
            yield votes

    def _weights(self, distances: np.ndarray) -> np.ndarray:
        if not self.weighted:
            return np.ones_like(distances)
        if self.metric == "cosine":
            squares = distances.astype(np.float64) ** 2
            # ∝ exp(cosine / τ), the nearest having 1, so that a small τ leaves a vote
            return np.exp(0.5 * (squares[:, :1] - squares) / self.temperature)
        return 1 / np.maximum(distances, np.finfo(np.float32).tiny)


def standardised(features: Features) -> Features:
    """Each dimension with mean 0 and deviation 1 on train; a constant dimension becomes 0 there."""
    shift, scale = standards(features.train.values)
    return features.map(lambda values: (values - shift) / scale)


def labelled_parts(probe: str, features: Features) -> tuple[Part, Part, Part]:
    """Train, validation and test, or a `UserError` that names the probe and says which labels it lacks."""
    parts = {"train": features.train, "validation": features.validation, "test": features.test}
    if missing := [name for name, part in parts.items() if part.labels is None]:
        raise UserError(f"{probe}: it needs labels, and {', '.join(missing)} has none; leave this probe out")
    check_classes(probe, known(features.train))
    return features.train, features.validation, features.test


def check_classes(probe: str, labels: np.ndarray) -> None:
    """Refuse a classification problem with fewer than two classes."""
    if len(np.unique(labels)) < 2:
        raise UserError(
            f"{probe}: every training example has the same label; a probe needs two classes or more"
        )


def count_classes(names: tuple[str, ...], labels: np.ndarray) -> int:
    """K of labels [N]: as many as have names, or more where a label says so."""
    return max(len(names), int(labels.max()) + 1)


def outcome(
    predictions: np.ndarray,
    labels: np.ndarray,
    chosen: dict[str, Any],
    more: dict[str, float] | None = None,
    probabilities: np.ndarray | None = None,
) -> Outcome:
    """Read test's labels, once."""
    accuracy = float((predictions == labels).mean())
    return Outcome(accuracy, chosen, predictions.astype(np.int64), more or {}, probabilities)


def known(part: Part) -> np.ndarray:
    """The labels of a part that `labelled_parts` has let through."""
    assert part.labels is not None
    return part.labels


def _labelled(part: Part) -> Labelled:
    values: Tensor = torch.from_numpy(part.values)
    return Labelled(lambda index: values[index], torch.from_numpy(known(part)))
