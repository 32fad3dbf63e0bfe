"""Representations from outside: features in a file, a timm model, any object that represents."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from diabolo.components import CUSTOM
from diabolo.console import Show, sizes_of
from diabolo.data.splits import AtHand, load, splits_from
from diabolo.errors import UserError
from diabolo.evaluation.encoders import Encoder, given
from diabolo.evaluation.feature_files import load_features
from diabolo.evaluation.features import Features, Target, features_of, probe_images, targets_of
from diabolo.evaluation.measures import Subject
from diabolo.evaluation.suite import score
from diabolo.evaluation.suites import Suite
from diabolo.evaluation.verdict import verdict
from diabolo.files import expanded
from diabolo.generation import device_of
from diabolo.networks.shapes import evaluating
from diabolo.networks.timm import TIMM, TimmFeatures
from diabolo.pages.run import write_page
from diabolo.recipe import Data
from diabolo.runs.environment import default_device
from diabolo.scoring.choice import applying, left_out, usual
from diabolo.scoring.reference_rows import measured_scores, projected_rows, tuned_scores
from diabolo.scoring.run import Draw


@dataclass(frozen=True)
class Outside:
    """A representation from outside: what to call it, and how to come by its features.

    subject: the encoder as what measures look at, and the data; None where there are features alone.
    """

    title: str
    targets: set[Target]
    features: Callable[[], Features]
    subject: Subject | None = None


def from_outside(
    what: str | Path | Features | Encoder | nn.Module,
    data: str | Path | AtHand | None,
    test: float | None,
    show: Show,
) -> Outside:
    """What the user names or brings; `data` are what a model or an object is to represent.

    test: the share of them to test on, where they bring no test part; by default a tenth.
    """
    if isinstance(what, str) and what.startswith(TIMM):
        model = what.removeprefix(TIMM)
        return _made_of(
            data, test, lambda shape: TimmFeatures(shape, model).to(default_device()), model, show
        )
    if isinstance(what, Encoder | nn.Module) and not isinstance(what, type):
        return _made_of(data, test, lambda shape: what, type(what).__name__, show)
    if not isinstance(what, str | Path | Features) or isinstance(what, type):
        raise UserError(
            f"of type {type(what).__name__}: what is evaluated is a run, features, a module, or an object "
            "with represent(x)"
        )
    if data is not None:
        raise UserError("features are scored on what they were made of: leave --data out")
    features = what if isinstance(what, Features) else load_features(expanded(what))
    title = "features" if isinstance(what, Features) else Path(what).name
    show.note(f"{title}: {sizes_of(features.train, features.validation, features.test)}")
    return Outside(title, features.targets, lambda: features)


def _made_of(
    data: str | Path | AtHand | None,
    test: float | None,
    encoder: Callable[[tuple[int, ...]], Encoder | nn.Module],
    name: str,
    show: Show,
) -> Outside:
    """What an encoder makes of the data. encoder: for the shape of an example."""
    if data is None:
        raise UserError(f"{name}: of which data? name a data set or a path with --data, or data=…")
    share = Data.test if test is None else test
    title, settings = name, Data(name=CUSTOM, test=share)
    if isinstance(data, str | Path):
        title, settings = f"{name} on {Path(data).name}", Data(name=str(data), test=share)
    splits = load(settings) if isinstance(data, str | Path) else splits_from(data, settings)
    for note in splits.notes:
        show.note(note)
    shape = splits.train.shape
    method = given(encoder(shape), shape)

    def features() -> Features:
        show.note(f"{title}: representing train, validation and test")
        return features_of(method.represent, splits, device_of(method))

    return Outside(title, targets_of(*probe_images(splits)), features, Subject(method, splits, "h"))


def scores_of_outside(
    outside: Outside, chosen: Suite | None, strict: bool, show: Show
) -> tuple[dict[str, Any], Draw]:
    """A representation from outside; where its examples are known, beside PCA and raw pixels of them."""
    chosen = usual(outside.targets) if chosen is None else chosen
    subject, seed = outside.subject, 0
    with evaluating(subject.method) if subject else nullcontext():
        suite = applying(chosen, outside.targets, subject, strict, show)
        leave_out = None if strict else partial(left_out, show)
        features = outside.features()
        scored = score(features, suite.probes, seed, leave_out)
        scores: dict[str, Any] = {"encoder": scored.scores}
        if subject is not None:
            specs = [spec for spec in suite.probes if spec["name"] in scored.scores]
            scores["encoder"] |= tuned_scores(subject, suite.probes, show, leave_out)
            scores["encoder"] |= measured_scores(suite.measures, subject, show)
            scores |= projected_rows(subject, specs, suite.measures, features.width, show)
    splits = None if subject is None else subject.splits
    scores["verdict"] = verdict(scores)
    show.scores(scores)
    return scores, partial(write_page, outside.title, splits, scores, features, scored.predictions)
