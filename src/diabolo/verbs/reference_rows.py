"""The reference rows beside a representation: its untrained and its supervised twin, PCA, raw pixels.

Below them, what of a row needs the method itself, be it trained or a twin.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from diabolo.data.images import Splits
from diabolo.evaluation.encoders import frozen
from diabolo.evaluation.features import features_of
from diabolo.evaluation.measures import Subject, beside, build_measures, measured
from diabolo.evaluation.references import Components, Pixels, cached, projected
from diabolo.evaluation.suite import as_score, needing, score
from diabolo.generation import device_of
from diabolo.methods.base import Method
from diabolo.revision import REVISION
from diabolo.run import Run
from diabolo.tables import PROBES
from diabolo.training.untrained import estimate_statistics
from diabolo.verbs.console import Show
from diabolo.verbs.supervised import own_parts, supervised_recipe, supervised_twin

Specs = list[dict[str, Any]]


def untrained_rows(
    run: Run, subject: Subject, specs: Specs, measures: Specs, rows: dict[str, str], show: Show
) -> dict[str, Any]:
    """The untrained twin in each space: row → scores. An untrained run is its own twin.

    measures: those of the run, of which some say something of its twin.
    """
    if run.recipe.training.epochs == 0:
        return {}
    splits, recipe = subject.splits, run.recipe.to_dict()
    architecture: dict[str, Any] = {key: recipe[key] for key in ("encoder", "decoder", "method", "views")}
    architecture |= {"normalise": run.recipe.data.normalise, "facts": asdict(run.facts)}
    scores = {}
    for row, space in rows.items():
        key = _key(splits, specs, run.recipe.seed) | {"row": row, "space": space, **architecture}
        here = beside(row, measures)
        if here:
            key |= {"measures": here, "without": list(subject.without)}

        def compute(row: str = row, space: str = space, here: Specs = here) -> dict[str, Any]:
            show.note(f"scoring the untrained encoder, {space}")
            twin = untrained(run, splits)
            features = features_of(partial(twin.represent, space=space), splits, run.device)
            tuned = tuned_scores(replace(subject, method=twin), specs) if row == "random" else {}
            scored = score(features, specs, run.recipe.seed).scores
            found = measured_scores(here, replace(subject, method=twin, kept=None), show)
            return {"space": space} | scored | tuned | found

        scores[row] = compute() if own_parts(run.recipe) else cached(key, compute)
    return scores


def projected_rows(subject: Subject, specs: Specs, measures: Specs, width: int, show: Show) -> dict[str, Any]:
    """PCA to the same width, and raw pixels. measures: of which some say something of these."""
    splits, shape = subject.splits, subject.splits.train.shape

    def row(
        name: str, says: str, reference: Callable[[], Pixels | Components], **more: Any
    ) -> dict[str, Any]:
        here = beside(name, measures)
        key = _key(splits, specs, subject.seed) | {"row": name} | more
        if here:
            key |= {"measures": here, "without": list(subject.without)}

        def compute() -> dict[str, Any]:
            show.note(f"scoring {says}")
            made = reference()
            scored = score(projected(made, splits), specs, subject.seed).scores
            alike = replace(subject, method=frozen(made, shape), space="h", kept=None)
            return scored | measured_scores(here, alike, show)

        return {name: cached(key, compute)}

    pca = row("pca", "PCA", lambda: Components(splits.train, width), width=width)
    return pca | row("pixels", "raw pixels (kept for other runs on these data)", lambda: Pixels(shape))


def supervised_row(run: Run, splits: Splits, specs: Specs, space: str, show: Show) -> dict[str, Any]:
    """The same encoder trained with labels. A run that is untrained, or supervised itself, has no such twin.

    It is scored in the run's space, or in h where that is z, which of the twin are the logits.
    """
    if run.recipe.training.epochs == 0 or run.recipe.method["name"] == "supervised":
        return {}
    space, seed = "h" if space == "z" else space, run.recipe.seed
    recipe = supervised_recipe(run.recipe, splits)

    def compute() -> dict[str, Any]:
        twin = supervised_twin(run, splits, show).method
        features = features_of(partial(twin.represent, space=space), splits, run.device)
        scored = score(features, specs, seed).scores
        tuned = tuned_scores(Subject(twin, splits, space, seed=seed), specs)
        return {"space": space} | scored | tuned

    key = _key(splits, specs, seed) | {"row": "supervised", "space": space, "recipe": recipe.to_dict()}
    return {"supervised": compute() if own_parts(recipe) else cached(key, compute)}


def _key(splits: Splits, specs: Specs, seed: int) -> dict[str, Any]:
    """What every reference row depends on."""
    return {"revision": REVISION, "digest": splits.digest(), "probes": specs, "seed": seed}


def untrained(run: Run, splits: Splits) -> Method:
    """The run's method as it was initialised, its batch norm fitted to the data."""
    method = run.build().to(run.device)
    estimate_statistics(method, splits.train)
    return method


def measured_scores(specs: Specs, subject: Subject, show: Show) -> dict[str, Any]:
    """The entry "measures" of a row, where there are any."""
    if not specs:
        return {}
    show.note(f"measuring {', '.join(spec['name'] for spec in specs)}")
    return {"measures": measured(build_measures(specs), subject)}


def tuned_scores(subject: Subject, specs: Specs) -> dict[str, Any]:
    """The probes that pass the images through the encoder, and may train it."""
    scores = {}
    for spec in needing("method", specs):
        started, device = time.perf_counter(), device_of(subject.method)
        probe = PROBES.build(spec)
        outcome = probe(subject.method, subject.space, subject.splits, subject.seed, device=device)
        scores[spec["name"]] = as_score(outcome, time.perf_counter() - started)
    return scores
