"""What a page shows, gathered from a run and its data, or from a representation from outside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import confusion_matrix

from diabolo.console import in_two_units, sizes_of
from diabolo.data.images import Images, Splits
from diabolo.evaluation.features import Features, probe_images, sample
from diabolo.evaluation.measures import Subject, objection
from diabolo.evaluation.similarity import Similarity
from diabolo.generation import Coder
from diabolo.methods.build import views_at_hand
from diabolo.pages import gallery
from diabolo.report import page
from diabolo.report.measures import measures_of
from diabolo.runs.environment import environment, machine_in
from diabolo.runs.inputs import coder_at_hand, view_of
from diabolo.runs.run import Run
from diabolo.studies.results import cost_of

POINTS = 2_000  # in the maps of the latents


def write_report(
    run: Run,
    splits: Splits,
    scores: dict[str, Any],
    features: Features,
    predictions: dict[str, np.ndarray],
    where: Path,
    *,
    other: str | None = None,
) -> Path:
    """Write the page of a run's scores, into a folder or as an `.html` file; returns its path.

    other: what the data are called where the run was trained on others.
    """
    recipe = run.recipe
    parts = probe_images(splits)
    title = f"{recipe.method['name']} on {Path(recipe.data.name).name}, seed {recipe.seed}"
    return page.write(
        where,
        page.Content(
            title=title if other is None else f"{title}, scored on {other}",
            summary=_summary(run) | ({} if other is None else {"scored on": f"{other}: {sizes_of(*parts)}"}),
            verdict=scores["verdict"],
            scores=scores,
            measures=measures_of(scores),
            metrics=run.metrics,
            reconstructions=_reconstructions(run, splits, parts[2]),
            latents=_latents(features, parts[2]),
            similarity=_similarity(scores["encoder"].get("measures", {}).get("similarity"))
            or _cosines(run, splits, scores["encoder"]["space"]),
            confusion=_confusion(features, predictions),
            views=[] if other else gallery.views(run, splits),
            samples=gallery.samples(run, splits),
            neighbours=gallery.neighbours(splits, features),
            worst=gallery.worst(run.method, splits, features),
            recipe=recipe.to_dict(),
            environment=json.loads((run.folder / "environment.json").read_text("utf-8")),
        ),
    )


def write_page(
    title: str,
    splits: Splits | None,
    scores: dict[str, Any],
    features: Features,
    predictions: dict[str, np.ndarray],
    where: Path,
) -> Path:
    """As `write_report`, of a representation that no run made. splits: what it is of, where that is known."""
    parts = {"train": features.train, "validation": features.validation, "test": features.test}
    return page.write(
        where,
        page.Content(
            title=title,
            summary={name: f"{len(part):,} examples" for name, part in parts.items()},
            verdict=scores["verdict"],
            scores=scores,
            measures=measures_of(scores),
            similarity=_similarity(scores["encoder"].get("measures", {}).get("similarity")),
            latents=_latents(features, None if splits is None else probe_images(splits)[2]),
            confusion=_confusion(features, predictions),
            neighbours=None if splits is None else gallery.neighbours(splits, features),
            worst=None if splits is None else gallery.worst(None, splits, features),
            environment=environment(),
        ),
    )


def _summary(run: Run) -> dict[str, str]:
    recipe, facts = run.recipe, run.facts
    environment = json.loads((run.folder / "environment.json").read_text("utf-8"))
    cost = cost_of(run)
    parameters = sum(p.numel() for p in run.method.encoder.parameters())
    return {
        "data": f"{recipe.data.name}: {facts.size:,} images of {'×'.join(map(str, facts.shape))}",
        "method": recipe.method["name"],
        "encoder": f"{recipe.encoder['name'] if recipe.encoder else '–'}, {parameters:,} parameters",
        "budget": f"{recipe.training.epochs} epoch{'s' * (recipe.training.epochs != 1)}, "
        f"{cost.steps:,} step{'s' * (cost.steps != 1)} "
        f"of {recipe.training.batch_size * recipe.training.accumulate} images, each encoded "
        f"{'once' if recipe.encodings == 1 else f'{recipe.encodings} times'}: {cost.examples:,} in all",
        "training time": in_two_units(run.seconds),
        "hardware": machine_in(environment),
    }


@torch.no_grad()
def _reconstructions(run: Run, splits: Splits, test: Images) -> page.Reconstructions | None:
    """A few test images of different classes, as the encoder saw them and as they came back.

    A method that cannot decode has them if a decoder is kept in the run folder.
    """
    if len(test.shape) != 3:
        return None
    method = coder_at_hand(run)
    if method is None:
        return None
    few = test.take(torch.from_numpy(gallery.spread(test)[: gallery.ACROSS]))
    view = view_of(run, few, run.recipe.seed)
    seen = few.floats() if view is None else torch.from_numpy(view)
    output = method.reconstruct(seen.to(run.device)).cpu().numpy()
    return page.Reconstructions(few.floats().numpy(), output, view, isinstance(run.method, Coder))


def _latents(features: Features, test: Images | None) -> page.Latents:
    few = sample(len(features.test), POINTS)
    return page.Latents(
        features.test.values[few],
        None if features.test.labels is None else features.test.labels[few],
        features.classes,
        test.pixels[few].numpy() if test is not None and len(test.shape) == 3 else None,
    )


def _similarity(found: dict[str, Any] | None) -> page.Similarity | None:
    """What the measure of that name found, if the run has it."""
    if found is None:
        return None
    return page.Similarity(np.array(found["matrix"]), found["each"], f"views: {found['views']}")


def _cosines(run: Run, splits: Splits, space: str) -> page.Similarity | None:
    """The matrix that the measure of that name draws, where it was not asked for."""
    subject = Subject(run.method, splits, space, views_at_hand(run.recipe, run.own.transforms))
    measure = Similarity()
    if objection(measure, subject) is not None:
        return None
    matrix = measure.cosines(subject).numpy()
    return page.Similarity(matrix, measure.each, f"views: {measure.of(subject)}")


def _confusion(features: Features, predictions: dict[str, np.ndarray]) -> page.Confusion | None:
    if not predictions or features.test.labels is None:
        return None
    usual = [name for name in ("finetune", "linear") if name in predictions]
    probe = next(iter(usual or predictions))
    counts = confusion_matrix(features.test.labels, predictions[probe], labels=range(len(features.classes)))
    return page.Confusion(counts, features.classes, probe)
