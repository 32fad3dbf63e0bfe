"""anomalies: the images that are least like those a run was trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diabolo import generation
from diabolo.console import Show
from diabolo.data.images import Images
from diabolo.errors import UserError
from diabolo.evaluation.anomaly import anomaly_scores, held_out_auroc, held_out_labels
from diabolo.generation import Array, Coder
from diabolo.report.figures import reconstructions
from diabolo.runs.inputs import Looked, images_of, opened, splits_of
from diabolo.runs.outputs import Arrays, at_least, folder_for, pictured, write
from diabolo.runs.run import Run

SHOWN = 12  # images in a row of the picture
NAMED = 5  # images named on the terminal
TITLES = {"reconstruction": "reconstruction error", "nll": "−log p", "knn": "distance to the codes of train"}


def anomalies(
    run: str | Path | Run,
    data: Looked = None,
    *,
    held_out: Sequence[str] = (),
    samples: int = 16,
    neighbours: int = 5,
    out: str | Path | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> Arrays:
    """Score how unlike the run's train images each image is; more is stranger.

    held_out: classes of the data that training did not see, by default those of the recipe's `data.without`
    that the data have beside others; the AUROC says how well each score finds them.
    samples: draws behind −log p. neighbours: train images behind the distance.

    Arrays: of `reconstruction`, `nll` and `knn` (see `diabolo.evaluation.anomaly.anomaly_scores`) those that
    exist for the method, [N] each; `names` [N], `labels` [N] (−1 where there is none), `classes`; and with
    held_out `auroc_<score>`.
    """
    at_least(1, samples=samples, neighbours=neighbours)
    run, show = opened(run), Show(quiet)
    folder = folder_for(run, out)
    images, train = images_of(run, data, show), splits_of(run, data).train
    if neighbours > len(train):
        raise UserError(f"neighbours: {neighbours} are asked for, and there are {len(train):,} train images")
    held_out = held_out or _left_out(run, images)
    left_out = held_out_labels(held_out, images, train)
    scores, missing = anomaly_scores(
        run.method, train, images, samples=samples, neighbours=neighbours, seed=seed
    )
    labels = np.full(len(images), -1) if images.labels is None else images.labels.numpy()
    names = np.array(images.names)
    arrays: Arrays = {
        **scores,
        "names": names,
        "labels": labels,
        "classes": np.array(images.classes, dtype=str),
    }
    found = held_out_auroc(scores, labels, left_out) if held_out else {}
    for name, score in scores.items():
        strangest = ", ".join(names[np.argsort(-score)[:NAMED]])
        quality = f"AUROC {found[name]:.3f}, " if found else ""
        show.note(f"{TITLES[name]}: {quality}most anomalous {strangest}")
    for name, reason in missing.items():
        show.note(f"no score by {TITLES[name]}: {reason}")
    arrays |= {f"auroc_{name}": np.array(value) for name, value in found.items()}
    picture = reconstructions(_rows(run, images, scores, found)) if pictured(run) else None
    return write(folder, "anomalies", arrays, picture, show, _list(arrays, scores))


def _list(arrays: Arrays, scores: dict[str, Array]) -> Iterator[tuple[Any, ...]]:
    yield "name", "label", *scores
    for name, label, *row in zip(arrays["names"], arrays["labels"], *scores.values(), strict=True):
        yield name, arrays["classes"][label] if label >= 0 else "", *(f"{score:.6g}" for score in row)


def _left_out(run: Run, images: Images) -> Sequence[str]:
    """The classes that training went without, where the images are of these and of others."""
    if images.labels is None:
        return ()
    names = [name for name in run.recipe.data.without if name in images.classes]
    known = images.labels[images.labels >= 0].numpy()
    strange = np.isin(known, [images.classes.index(name) for name in names])
    return names if strange.any() and not strange.all() else ()


def _rows(run: Run, images: Images, scores: dict[str, Array], found: dict[str, float]) -> dict[str, Array]:
    """The most anomalous images by each score, and under those by reconstruction what became of them."""
    rows = {}
    for name, score in scores.items():
        most = images.take(torch.from_numpy(np.argsort(-score)[:SHOWN].copy())).floats().numpy()
        quality = f", AUROC {found[name]:.3f}" if found else ""
        rows[f"most anomalous by {TITLES[name]}{quality}"] = most
        if name == "reconstruction" and isinstance(run.method, Coder):
            rows["their reconstructions"] = generation.reconstruct(run.method, most)
    return rows
