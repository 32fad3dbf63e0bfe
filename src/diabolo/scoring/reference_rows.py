"""The reference rows beside a representation: its untrained and its supervised twin, PCA, raw pixels.

Below them, what of a row needs the method itself, be it trained or a twin.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache, partial
from typing import Any

from diabolo.console import Show
from diabolo.data.images import Splits
from diabolo.errors import UserError
from diabolo.evaluation.encoders import given
from diabolo.evaluation.features import features_of
from diabolo.evaluation.measures import Subject, beside, build_measures, measured
from diabolo.evaluation.references import Components, Pixels, cached, projected
from diabolo.evaluation.suite import as_score, needing, score
from diabolo.generation import device_of
from diabolo.methods.base import Method
from diabolo.revision import REVISION
from diabolo.runs.run import Run
from diabolo.runs.supervised import own_parts, supervised_recipe, supervised_twin
from diabolo.tables import MEASURES, PROBES
from diabolo.training.untrained import estimate_statistics

Specs = list[dict[str, Any]]


def untrained_rows(
    run: Run, subject: Subject, specs: Specs, measures: Specs, rows: dict[str, str], show: Show
) -> dict[str, Any]:
    """The untrained twin in each space: row → scores. A run without training or `init` is its own twin.

    measures: those of the run, of which some say something of its twin.
    """
    if run.recipe.training.epochs == 0 and run.recipe.init is None:
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
            tuned = tuned_scores(replace(subject, method=twin), specs, show) if row == "random" else {}
            scored = score(features, specs, run.recipe.seed).scores
            found = measured_scores(here, replace(subject, method=twin, kept=None), show)
            return {"space": space} | scored | tuned | found

        scores[row] = compute() if own_parts(run.recipe) else _kept(key, compute, specs, here)
    return scores


def projected_rows(subject: Subject, specs: Specs, measures: Specs, width: int, show: Show) -> dict[str, Any]:
    """PCA to the same width, and raw pixels. measures: of which some say something of these.

    Probes depend on the seed and are kept with it, all in one; each measure is kept by itself.
    """
    train = subject.splits.train
    pca = _projected_row(
        "pca", lambda: Components(train, width), {"width": width}, subject, specs, measures, show
    )
    raw = _projected_row("pixels", lambda: Pixels(train.shape), {}, subject, specs, measures, show)
    return {"pca": pca, "pixels": raw}


def _projected_row(
    row: str,
    make: Callable[[], Pixels | Components],
    about: dict[str, Any],
    subject: Subject,
    specs: Specs,
    measures: Specs,
    show: Show,
) -> dict[str, Any]:
    """about: what the row depends on beside the data."""
    splits, seed, title = subject.splits, subject.seed, {"pca": "PCA", "pixels": "raw pixels"}[row]
    probes = [spec for spec in specs if not needing("method", [spec])]
    key: dict[str, Any] = {"revision": REVISION, "digest": splits.digest(), "row": row} | about
    made = cache(make)

    def scored() -> dict[str, Any]:
        show.note(f"scoring {title}, once for all runs on these data")
        return score(projected(made(), splits), probes, seed).scores

    def found(spec: dict[str, Any]) -> dict[str, Any]:
        show.note(f"measuring {spec['name']} of {title}")
        alike = Subject(given(made(), splits.train.shape), splits, "h", without=subject.without)
        return measured(build_measures([spec]), alike)[spec["name"]]

    scores = _kept(key | {"probes": probes, "seed": seed}, scored, probes, [])
    without = {"without": list(subject.without)}
    results = {
        spec["name"]: _kept(key | without | {"measure": spec}, partial(found, spec), [], [spec])
        for spec in beside(row, measures)
    }
    return scores | ({"measures": results} if results else {})


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
        tuned = tuned_scores(Subject(twin, splits, space, seed=seed), specs, show)
        return {"space": space} | scored | tuned

    key = _key(splits, specs, seed) | {"row": "supervised", "space": space, "recipe": recipe.to_dict()}
    return {"supervised": compute() if own_parts(recipe) else _kept(key, compute, specs, [])}


def _key(splits: Splits, specs: Specs, seed: int) -> dict[str, Any]:
    """What every reference row depends on."""
    return {"revision": REVISION, "digest": splits.digest(), "probes": specs, "seed": seed}


def _kept(
    key: dict[str, Any], compute: Callable[[], dict[str, Any]], probes: Specs, measures: Specs
) -> dict[str, Any]:
    """As `cached`; but what the user's own probes and measures find may change without their names."""
    own = any(PROBES.foreign(spec["name"]) for spec in probes)
    own = own or any(MEASURES.foreign(spec["name"]) for spec in measures)
    return compute() if own else cached(key, compute)


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


def tuned_scores(
    subject: Subject, specs: Specs, show: Show, leave_out: Callable[[UserError], None] | None = None
) -> dict[str, Any]:
    """The probes that pass the images through the encoder, and may train it.

    leave_out: is told why one has no answer; without it the `UserError` is raised.
    """
    scores = {}
    for spec in needing("method", specs):
        started, device = time.perf_counter(), device_of(subject.method)
        show.note(f"training {spec['name']}, through the encoder")
        probe = PROBES.build(spec)
        try:
            outcome = probe(subject.method, subject.space, subject.splits, subject.seed, device=device)
        except UserError as error:
            if leave_out is None:
                raise
            leave_out(error)
            continue
        scores[spec["name"]] = as_score(outcome, time.perf_counter() - started)
    return scores
