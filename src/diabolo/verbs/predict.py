"""predict: the class of any image, by a probe on the run's frozen representation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from diabolo.console import Show
from diabolo.data.images import Images, Splits
from diabolo.data.parts import Parts
from diabolo.data.splits import split
from diabolo.errors import UserError
from diabolo.evaluation.duplicates import identical
from diabolo.evaluation.features import features_of, probe_images, targets_of
from diabolo.evaluation.suite import needing
from diabolo.generation import Array
from diabolo.recipe import Data
from diabolo.report.figures import short
from diabolo.report.grids import grid
from diabolo.runs.inputs import Looked, images_of, opened, own_origins, parts_of, splits_of
from diabolo.runs.outputs import Arrays, folder_for, pictured, write
from diabolo.runs.run import Run
from diabolo.tables import PROBES

ACROSS = 12  # images of a class in the picture
NAMED = 5  # of images, and of classes, on the terminal
CLASSIFY = "linear, mlp, knn, few-shot, gmm and kmeans do"


def predict(
    run: str | Path | Run,
    data: Looked = None,
    *,
    labelled: Looked = None,
    probe: str = "linear",
    space: str | None = None,
    out: str | Path | None = None,
    quiet: bool = False,
) -> Arrays:
    """Say which class each image is of.

    The probe is fitted on the run's train and chosen on its validation, as by `evaluate`: on the run's own
    test images its accuracy is that of `scores.json` (of few-shot, whose accuracy is the mean over draws of
    labels, it is that of the first draw). Where the run has no labels, or others than are asked for,
    `labelled` are images to fit it on: all of them, but their validation part, or else a tenth, by which it
    is chosen.

    data: what to classify, all parts of it, but of `Splits`, which stand for the run's, the test; by default
    the run's own test images. probe: one that reads features and gives classes, with the recipe's settings
    where it names it. space: "h", "z" or "map"; by default the one it was scored in.

    Arrays: `predictions` [N], positions in `classes` [K] (−1 for none); `probabilities` [N, K] where the
    probe gives any (of kNN, the shares of the vote); `labels` [N], −1 where there is none of these classes;
    `names` [N]; and where the probe may have been fitted on some of the images, `parts` [N]: train,
    validation, test, or "" for images from elsewhere.
    """
    run, show = opened(run), Show(quiet)
    folder = folder_for(run, out)
    spec = _spec(run, probe)
    images, parts = _images(run, data, show)
    if labelled is None:
        splits = splits_of(run, data if isinstance(data, Splits) else None)
    else:
        splits, parts = _labelled(run, labelled, images, show), None
    if "labels" not in targets_of(*probe_images(splits)[:2]):
        lacking = "no labels of two classes or more to fit a probe on"
        raise UserError(
            f"{run.folder}: its data has {lacking}: give images that have, with --labelled"
            if labelled is None
            else f"the labelled images have {lacking}"
        )
    parts = _parts_fitted(images, splits) if parts is None else parts
    predictions, probabilities, classes = _classified(run, splits, images, spec, space or run.space)
    arrays: Arrays = {
        "predictions": predictions,
        "labels": _labels(images, classes),
        "names": np.array(images.names),
        "classes": np.array(classes, dtype=str),
    }
    if probabilities is not None:
        arrays["probabilities"] = probabilities.astype(np.float32)
    if parts is not None:
        arrays["parts"] = parts
    own = _own_labels(images)
    if strange := sorted({*own} - {*classes, ""}):
        more = f" and {len(strange) - NAMED} more" if len(strange) > NAMED else ""
        show.note(f"not classes of the probe, they are not counted: {', '.join(strange[:NAMED])}{more}")
    _tell(arrays, show)
    picture = _picture(arrays, images, own) if pictured(run) else None
    return write(folder, "predict", arrays, picture, show, _list(arrays, own))


def _spec(run: Run, probe: str) -> dict[str, Any]:
    """The probe with its settings."""
    own = {spec["name"]: spec for spec in run.recipe.evaluation.probes or ()}
    spec = own.get(probe) or PROBES.complete(probe, "probe")
    if not needing("features", [spec]):
        raise UserError(f"probe '{probe}' does not read classes from features alone: {CLASSIFY}")
    return spec


def _labelled(run: Run, labelled: Looked, images: Images, show: Show) -> Splits:
    """Splits to fit the probe on images from elsewhere. images: what is classified, which stands for test."""
    parts = parts_of(run, labelled, show)
    fitted_on = replace(parts, validation=None).together()
    asked = images.without_labels()
    splits = split(Parts(fitted_on, parts.validation, asked), Data(name="the labelled images"))
    train, validation, _ = probe_images(splits)
    show.note(f"the probe has {len(train):,} images to fit on, {len(validation):,} to choose by")
    return splits


def _parts_fitted(images: Images, splits: Splits) -> Array | None:
    """The part of each image in the fitting of the probe, "" for none; None where it had no part for any."""
    parts = np.full(len(images), "", dtype="U10")
    train, validation, _ = probe_images(splits)
    for name, part in (("validation", validation), ("train", train)):
        parts[identical(images, part)] = name
    return parts if (parts != "").any() else None


def _images(run: Run, data: Looked, show: Show) -> tuple[Images, Array | None]:
    """What to classify, and of the run's own data the part that each image had in training."""
    if isinstance(data, str | Path | list):
        parts = parts_of(run, data, show)
        return parts.together(), own_origins(run, parts)
    images = images_of(run, data, show)
    return images, np.full(len(images), "test") if data is None else None


def _classified(
    run: Run, splits: Splits, images: Images, spec: dict[str, Any], space: str
) -> tuple[Array, Array | None, tuple[str, ...]]:
    """What the probe says where the images stand for test, without labels to be read; and the classes."""
    represent = partial(run.method.represent, space=space)
    features = features_of(represent, replace(splits, test=Images(images.pixels)), run.device)
    unread = replace(features.test, labels=np.full(len(images), -1))
    outcome = PROBES.build(spec)(replace(features, test=unread), run.recipe.seed)
    if outcome.predictions is None:
        raise UserError(f"probe '{spec['name']}' gives no class: {CLASSIFY}")
    return outcome.predictions, outcome.probabilities, features.classes


def _labels(images: Images, classes: tuple[str, ...]) -> Array:
    """The images' own labels as positions in the run's classes, by name."""
    if images.labels is None:
        return np.full(len(images), -1)
    places = [classes.index(name) if name in classes else -1 for name in images.classes]
    return np.array([*places, -1])[images.labels.numpy()]


def _tell(arrays: Arrays, show: Show) -> None:
    """The accuracy where labels are known, and the surest mistakes; else the classes that were found."""
    predictions, labels, classes = arrays["predictions"], arrays["labels"], arrays["classes"]
    known = labels >= 0
    if not known.any():
        for i in range(min(NAMED, len(labels))):
            show.note(f"{arrays['names'][i]}: {_said(arrays, i)}")
        counts = Counter(classes[predictions[predictions >= 0]].tolist()).most_common(NAMED)
        if len(labels) > NAMED:
            show.note(
                f"of {len(labels):,} images as many are: {', '.join(f'{n:,} {name}' for name, n in counts)}"
            )
        if seen := int((arrays.get("parts", np.array([])) == "train").sum()):
            show.note(f"the probe was fitted on {seen:,} of these images")
        return
    parts = arrays.get("parts", np.full(len(labels), ""))
    for part in dict.fromkeys(parts[known].tolist()):
        here = known & (parts == part)
        right = 100 * (predictions[here] == labels[here]).mean()
        fitted = {"": "", "test": "", "validation": ", by which the probe was chosen"}
        says = fitted.get(part, ", on which the probe was fitted")
        where = f"{part}: " if part else ""
        show.note(f"{where}{right:.1f} % of {here.sum():,} images of known class are right{says}")
    wrong = np.flatnonzero(known & (predictions != labels) & (predictions >= 0))
    sure = _sureness(arrays)
    for i in wrong[np.argsort(-sure[wrong], kind="stable")][:NAMED]:
        show.note(f"{arrays['names'][i]}: {classes[labels[i]]} → {_said(arrays, i)}")


def _said(arrays: Arrays, i: int) -> str:
    """The prediction for an image, and its probability."""
    label, probabilities = arrays["predictions"][i], arrays.get("probabilities")
    name = arrays["classes"][label] if label >= 0 else "no class"
    return name if probabilities is None else f"{name} ({probabilities[i, label]:.2f})"


def _sureness(arrays: Arrays) -> Array:
    """The probability of each prediction [N]; NaN from a probe that gives none."""
    probabilities = arrays.get("probabilities")
    if probabilities is None:
        return np.full(len(arrays["predictions"]), np.nan)
    return np.take_along_axis(probabilities, arrays["predictions"][:, None], axis=1)[:, 0]


def _picture(arrays: Arrays, images: Images, own: Sequence[str]) -> Figure:
    """A row for each class: the images surest to be of it, framed where they are called otherwise."""
    predictions, sure, called = arrays["predictions"], _sureness(arrays), np.array(own)
    order = np.argsort(-sure, kind="stable")
    rows, names, wrong = [], [], []
    for label, name in enumerate(arrays["classes"].tolist()):
        if len(members := order[predictions[order] == label][:ACROSS]):
            rows.append(images.floats(torch.from_numpy(members)).numpy())
            names.append(short(name))
            wrong.append((called[members] != "") & (called[members] != name))
    return grid(rows, names, framed=wrong)


def _own_labels(images: Images) -> list[str]:
    """What each image is called by its own data, "" where it has no label."""
    names = [*images.classes, ""]  # the last for −1
    return [""] * len(images) if images.labels is None else [names[i] for i in images.labels.tolist()]


def _list(arrays: Arrays, own: list[str]) -> Iterator[tuple[Any, ...]]:
    names = [*arrays["classes"].tolist(), ""]
    more = {"part": arrays["parts"]} if "parts" in arrays else {}
    yield "name", "prediction", "probability", "label", *more
    columns = (arrays["names"], arrays["predictions"], _sureness(arrays), own, *more.values())
    for name, found, sure, label, *rest in zip(*columns, strict=True):
        yield name, names[found], "" if np.isnan(sure) else f"{sure:.4f}", label, *rest
