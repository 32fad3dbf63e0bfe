"""evaluate: every score of a representation, beside its references, with a verdict and a page."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from diabolo.data.images import Splits
from diabolo.errors import UserError
from diabolo.evaluation import references
from diabolo.evaluation.features import Features, features_of, load_features
from diabolo.evaluation.suite import as_score, needing, score, write_scores
from diabolo.evaluation.verdict import verdict
from diabolo.methods.base import Method
from diabolo.networks import norm
from diabolo.run import Run, default_device
from diabolo.tables import PROBES
from diabolo.verbs.console import Show
from diabolo.verbs.page import write_report
from diabolo.verbs.reading import opened, splits_of

DEFAULT_PROBES = ("linear", "mlp", "knn")


def evaluate(
    what: str | Path | Run | Features,
    *,
    out: str | Path | None = None,
    probes: Sequence[str] | None = None,
    space: str | None = None,
    data: Splits | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Score a run, or anyone's features, and return the table as `scores.json` holds it.

    what: a run or its folder, which gets `scores.json` and `report.html`; or features, or an `.npz` of them
    (see `load_features`). probes: names, instead of the recipe's. space: of a run, "h", "z" or "map".
    data: the splits of a run that was trained on arrays. out: a JSON file to write the table to as well.
    """
    show = Show(quiet)
    if isinstance(what, Run) or (isinstance(what, str | Path) and Path(what).is_dir()):
        run = opened(what)
        chosen = run.recipe.evaluation
        if probes is not None:
            chosen = replace(chosen, probes=[PROBES.complete(name, "probe") for name in probes])
        run.recipe = replace(run.recipe, evaluation=replace(chosen, space=space or chosen.space))
        scores = score_run(run, splits_of(run, data), show)
    else:
        features = what if isinstance(what, Features) else load_features(str(what))
        specs = _specs([PROBES.complete(name, "probe") for name in probes] if probes else None, features)
        scores = {"encoder": score(features, specs, seed=0).scores}
        scores["verdict"] = verdict(scores)
        show.scores(scores)
    if out is not None:
        write_scores(Path(out), scores)
    return scores


def score_run(run: Run, splits: Splits, show: Show) -> dict[str, Any]:
    """Score a trained run and its references; write `scores.json` and the report into its folder."""
    recipe, method, settings = run.recipe, run.method, run.recipe.evaluation
    features = features_of(partial(method.represent, space=settings.space), splits, default_device())
    specs = _specs(settings.probes, features)
    scored = score(features, specs, recipe.seed)
    scores: dict[str, Any] = {
        "encoder": scored.scores | _method_scores(method, settings.space, specs, splits, recipe.seed)
    }
    for space in settings.also:
        other = features_of(partial(method.represent, space=space), splits, default_device())
        scores[f"encoder.{space}"] = score(other, specs, recipe.seed).scores
    if settings.references:
        scores |= reference_scores(run, splits, specs, features.width)
    scores["verdict"] = verdict(scores)
    write_scores(run.folder / "scores.json", scores)
    show.scores(scores)
    path = write_report(run, splits, features, scored.predictions)
    show.note(f"report: {path}")
    return scores


def reference_scores(
    run: Run, splits: Splits, probes: Sequence[dict[str, Any]], width: int
) -> dict[str, Any]:
    """The rows that stand beside a result: the untrained twin, PCA to the same width, raw pixels.

    They are kept in a cache, by data, split, architecture, seed and probes.
    """
    recipe = run.recipe
    common = {
        "version": version("diabolo"),
        "data": recipe.to_dict()["data"],
        "facts": asdict(run.facts),
        "sizes": [len(part) for part in (splits.validation, splits.test, splits.labelled or ())],
        "probes": [dict(spec) for spec in needing("features", probes)],
        "seed": recipe.seed,
    }
    network = recipe.to_dict()
    architecture = {key: network[key] for key in ("encoder", "decoder", "method")}
    rows: dict[str, Any] = {}
    if recipe.training.epochs > 0:
        key = common | {"row": "random", "space": recipe.evaluation.space, **architecture}
        rows["random"] = references.cached(
            key, lambda: score(_untrained(run, splits), probes, recipe.seed).scores
        )
    key = common | {"row": "pca", "width": width}
    rows["pca"] = references.cached(
        key, lambda: score(references.pca(splits, width), probes, recipe.seed).scores
    )
    rows["pixels"] = references.cached(
        common | {"row": "pixels"}, lambda: score(references.pixels(splits), probes, recipe.seed).scores
    )
    return rows


def _specs(chosen: Sequence[dict[str, Any]] | None, features: Features) -> list[dict[str, Any]]:
    """The probes to run: those asked for, or the usual ones where there are labels."""
    if chosen is None:
        return [PROBES.complete(name, "probe") for name in DEFAULT_PROBES] if features.labelled else []
    if chosen and not features.labelled:
        raise UserError(
            f"probe '{chosen[0]['name']}' needs labels, and these features have none: leave it out"
        )
    return list(chosen)


def _method_scores(
    method: Method, space: str | None, probes: Sequence[dict[str, Any]], splits: Splits, seed: int
) -> dict[str, Any]:
    """The probes that train the encoder as well."""
    scores = {}
    for spec in needing("method", probes):
        started = time.perf_counter()
        outcome = PROBES.build(spec)(method, space, splits, seed, device=default_device())
        scores[spec["name"]] = as_score(outcome, time.perf_counter() - started)
    return scores


def _untrained(run: Run, splits: Splits) -> Features:
    """The features of the run's architecture as it was initialised, its batch norm fitted to the data."""
    method = run.build().to(default_device())
    batches = (
        splits.train.floats(slice(i, i + 256)).to(default_device()) for i in range(0, len(splits.train), 256)
    )
    norm.estimate(method, method.represent, batches)
    return features_of(partial(method.represent, space=run.recipe.evaluation.space), splits, default_device())
