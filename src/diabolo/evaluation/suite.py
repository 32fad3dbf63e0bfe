"""The suite: every score of one representation from its features, and the file that keeps them."""

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from diabolo.data.images import Images, Splits
from diabolo.errors import UserError
from diabolo.evaluation.features import Features, Part, Target, probe_images, sample
from diabolo.evaluation.geometry import active_units, effective_rank, geometry, spread
from diabolo.evaluation.probes import KNN, Explained, Needs, Outcome, count_classes, known
from diabolo.files import write_json
from diabolo.representation import extract
from diabolo.tables import PROBES

FORMAT_VERSION = 1
RANK_ROWS = 25_600  # examples the ranks are read on, as in RankMe
QUICK_TRAIN, QUICK_VALIDATION, QUICK_K = 10_000, 2_000, 20  # the live curve: a second or two at any size


@dataclass(frozen=True)
class Scored:
    """scores: plain numbers, ready for JSON. predictions: int64 [N] on test, by probe."""

    scores: dict[str, Any]
    predictions: dict[str, np.ndarray]


def needing(needs: Needs, probes: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The completed specs of the probes that are called with this (see `probes`)."""
    chosen = []
    for spec in probes:
        probe: Any = PROBES.load(spec["name"])
        if probe.needs == needs:
            chosen.append(spec)
    return chosen


def target(probe: Mapping[str, Any]) -> Target:
    """What a probe predicts, by its completed spec."""
    if needing("attributes", [probe]):
        return "attributes"
    return "quantities" if needing("quantities", [probe]) else "labels"


def score(
    features: Features,
    probes: Sequence[Mapping[str, Any]],
    seed: int,
    leave_out: Callable[[UserError], None] | None = None,
) -> Scored:
    """Every score of one representation: geometry, and the probes that its targets allow.

    Geometry is read on train, a sample of at most 25,600 rows, so that test is left to the probes.
    leave_out: is told why a probe has no answer on these features; without it the `UserError` is raised.
    """
    z = features.train.values[sample(len(features.train), RANK_ROWS)]
    sizes = {"train_size": len(features.train), "test_size": len(features.test)}
    scores: dict[str, Any] = {"width": features.width} | sizes | geometry(z)
    if features.note:
        scores["note"] = features.note
    if "labels" in features.targets:
        scores |= _of_labels(known(features.train), known(features.test))
    predictions = {}
    allowed = needing("features", probes) if "labels" in features.targets else []
    allowed += needing("attributes", probes) if "attributes" in features.targets else []
    allowed += needing("quantities", probes) if "quantities" in features.targets else []
    for spec in allowed:
        probe = PROBES.build(spec)
        started = time.perf_counter()
        try:
            beside = features.beside if target(spec) != "labels" else None
            outcome = probe(beside or features, seed)
        except UserError as error:
            if leave_out is None:
                raise
            leave_out(error)
            continue
        scores[spec["name"]] = as_score(outcome, time.perf_counter() - started)
        if outcome.predictions is not None:
            predictions[spec["name"]] = outcome.predictions
    return Scored(scores, predictions)


def _of_labels(train: np.ndarray, test: np.ndarray) -> dict[str, Any]:
    """What labels alone say: the accuracy of always giving the class commonest on train, as "majority"; and
    as "unseen", where there are any, how many test examples are of classes that train lacks.
    """
    found: dict[str, Any] = {"majority": float((test == np.bincount(train).argmax()).mean())}
    unseen = int((~np.isin(test, train)).sum())  # no probe can get them right
    return found | ({"unseen": unseen} if unseen else {})


def embedding(
    represent: Callable[[Tensor], Tensor],
    splits: Splits,
    unit: Literal["length", "deviation"] | None,
    device: torch.device | str = "cpu",
    *,
    gaussian: bool = False,
) -> dict[str, Any]:
    """Geometry of the embedding or code that a loss acts on, as the loss sees it: collapse can hide there.

    represent: to the embedding. unit: see `Method.unit`; "length" divides each embedding by its own, and
    either adds "spread". gaussian: the embeddings are means of a posterior, of which "active_units" are
    counted. It is read on a sample of train, as in `score`.
    """
    z = _part(represent, probe_images(splits)[0], RANK_ROWS, device).values
    if unit == "length":
        z = z / np.linalg.norm(z, axis=1, keepdims=True).clip(min=np.finfo(np.float32).tiny)
    found: dict[str, Any] = {"width": z.shape[1]} | geometry(z)
    found |= {"spread": spread(z, unit)} if unit else {}
    return found | ({"active_units": active_units(z)} if gaussian else {})


def as_score(outcome: Outcome | Explained, seconds: float) -> dict[str, Any]:
    """A probe's entry in the scores."""
    return {
        **outcome.figures,
        "chosen": outcome.chosen,
        "seconds": round(seconds, 2),
    }


def quick(
    represent: Callable[[Tensor], Tensor], splits: Splits, device: torch.device | str = "cpu"
) -> dict[str, float]:
    """A point of the live curve, from the validation split alone: {"effective_rank", "knn"}.

    Both look at 2,000 of its images. "knn" is the accuracy of 20 neighbours by cosine, among 10,000 of train,
    where labels are known; it is left out where they are missing.
    """
    train, validation, _ = probe_images(splits)
    part = _part(represent, validation, QUICK_VALIDATION, device)
    whole = splits.validation
    partly = splits.labelled is None and len(validation) < len(whole)  # a few labels: their rank is low
    spread = _part(represent, whole, QUICK_VALIDATION, device) if partly else part
    result = {"effective_rank": effective_rank(spread.values)}
    if train.labels is not None and part.labels is not None:
        among = _part(represent, train, QUICK_TRAIN, device)
        k, classes = min(QUICK_K, len(among)), count_classes(train.classes, known(among))
        *_, votes = KNN().votes(among, part.values, k, classes)
        result["knn"] = float((votes.argmax(axis=1) == part.labels).mean())
    return result


def _part(
    represent: Callable[[Tensor], Tensor], images: Images, limit: int, device: torch.device | str
) -> Part:
    some = images.take(torch.from_numpy(sample(len(images), limit)))
    labels = None if some.labels is None else some.labels.cpu().numpy()
    return Part(extract(represent, some, device=device), labels)


def write_scores(path: Path, scores: Mapping[str, Any]) -> None:
    """Write `scores.json`: an entry for each representation ("encoder", "random", "pca", …) and "verdict".

    Each entry is what `score` returns. Raises `UserError` where a score is out of its range.
    """
    whole = dict(scores) | {"format_version": FORMAT_VERSION}
    _check(whole, str(path))
    write_json(path, whole)


def read_scores(path: Path) -> dict[str, Any]:
    """Read `scores.json`, or raise `UserError` where it is missing, damaged or of another version."""
    try:
        scores = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no scores yet; run `diabolo evaluate` on the run") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: unreadable scores ({error}); run `diabolo evaluate` again") from None
    _check(scores, str(path))
    return scores


def representations(scores: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The entries of `scores.json` that are scores of a representation."""
    return {key: value for key, value in scores.items() if key not in ("verdict", "format_version")}


def _check(scores: Any, where: str) -> None:
    """Refuse what is not in the format of `scores.json`."""
    if not isinstance(scores, dict) or scores.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"{where}: not scores of format version {FORMAT_VERSION}; run `diabolo evaluate` again"
        )
    verdict = scores.get("verdict", [])
    if not isinstance(verdict, list) or not all(isinstance(line, str) for line in verdict):
        raise UserError(f"{where}: 'verdict' is not a list of sentences; run `diabolo evaluate` again")
    for name, entry in representations(scores).items():
        if not isinstance(entry, dict) or not _number(entry.get("effective_rank"), 0, float("inf")):
            raise UserError(f"{where}: '{name}' has no effective_rank; run `diabolo evaluate` again")
        measures = entry.get("measures", {})
        if not isinstance(measures, dict) or not all(isinstance(found, dict) for found in measures.values()):
            raise UserError(
                f"{where}: 'measures' of '{name}' are not one object each; run `diabolo evaluate` again"
            )
        for probe in filter(PROBES.__contains__, entry):
            key, low, said = "accuracy", 0.0, "accuracy from 0 to 1"
            if target({"name": probe}) == "quantities":
                key, low, said = "r2", -math.inf, "R² up to 1"
            if not isinstance(entry[probe], dict) or not _number(entry[probe].get(key), low, 1):
                raise UserError(f"{where}: '{name}' has no {said} for {probe}; run `diabolo evaluate` again")


def _number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and low <= value <= high
