"""evaluate: every score of a representation, beside its references, with a verdict and a page."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from diabolo.components import CUSTOM
from diabolo.data.images import Splits
from diabolo.errors import UserError
from diabolo.evaluation import references
from diabolo.evaluation.features import Features, features_of, load_features
from diabolo.evaluation.measures import Subject, build_measures, check_measures, measured, on_random
from diabolo.evaluation.suite import Scored, as_score, embedding, lacking, needing, score, write_scores
from diabolo.evaluation.verdict import verdict
from diabolo.methods.base import Method
from diabolo.recipe import Evaluation, Recipe
from diabolo.run import Own, Run
from diabolo.tables import MEASURES, PROBES
from diabolo.training.loop import Feed
from diabolo.training.untrained import estimate_statistics
from diabolo.verbs.console import Show
from diabolo.verbs.page import write_report
from diabolo.verbs.reading import opened, splits_of
from diabolo.verbs.supervised import own_parts, supervised_recipe, supervised_twin
from diabolo.views.pipeline import views_at_hand

DEFAULT_PROBES = ("linear", "mlp", "knn")
Specs = list[dict[str, Any]]


def evaluate(
    what: str | Path | Run | Features,
    *,
    out: str | Path | None = None,
    probes: Sequence[str] | None = None,
    measures: Sequence[str] | None = None,
    space: str | None = None,
    supervised: bool = False,
    data: Splits | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Score a run, or anyone's features, and return the table as `scores.json` holds it.

    what: a run or its folder; or features, or an `.npz` of them (see `load_features`).
    A run is scored as its recipe says, which renews its `scores.json` and `report.html`. With `probes` or
    `measures`, by name, it is scored by these alone, a measure with the recipe's settings where that has it;
    this, another `space` ("h", "z", "map"), or `supervised`, which trains the same encoder with labels to
    stand beside it, leaves the folder as it is. data: the splits of a run that was trained on arrays. out: a
    JSON file to write the table to.
    """
    show = Show(quiet)
    chosen = None if probes is None else [PROBES.complete(name, "probe") for name in probes]
    if isinstance(what, Run) or (isinstance(what, str | Path) and Path(what).is_dir()):
        run = opened(what)
        splits = splits_of(run, data)
        settings = run.recipe.evaluation
        if chosen is not None or measures is not None:
            settings = replace(settings, probes=chosen or [], measures=_named(measures or (), settings))
        if supervised:
            settings = replace(settings, supervised=True)
        if settings is run.recipe.evaluation and space is None:
            with run.lock():
                scores = score_run(run, splits, show)
        else:
            settings = replace(settings, space=space or settings.space, also=())
            scores, _ = _scores(run, splits, settings, show)
    else:
        if supervised:
            raise UserError("the supervised reference trains the encoder: it needs a run, not features")
        if measures:
            raise UserError(f"measure '{measures[0]}' reads a trained method: it needs a run, not features")
        features = what if isinstance(what, Features) else load_features(str(what))
        specs = _specs(chosen, features)
        if training := needing("method", specs):
            raise UserError(f"probe '{training[0]['name']}' trains the encoder: it needs a run, not features")
        scores = {"encoder": score(features, specs, seed=0).scores}
        scores["verdict"] = verdict(scores)
        show.scores(scores)
    if out is not None:
        write_scores(Path(out), scores)
    return scores


def score_run(run: Run, splits: Splits, show: Show) -> dict[str, Any]:
    """Score a trained run as its recipe says; write `scores.json` and the report into its folder."""
    scores, own = _scores(run, splits, run.recipe.evaluation, show)
    write_scores(run.folder / "scores.json", scores)
    path = write_report(run, splits, own.features, own.scored.predictions)
    show.note(f"report: {path}")
    return scores


@dataclass(frozen=True)
class _Own:
    """The run's own row: its features, and what they scored."""

    features: Features
    scored: Scored


def _scores(run: Run, splits: Splits, settings: Evaluation, show: Show) -> tuple[dict[str, Any], _Own]:
    """The table of a run: its representation in each space, the references, and the verdict."""
    space, seed = settings.space or run.method.spaces[0], run.recipe.seed
    measures = settings.measures or []
    subject = subject_of(run.recipe, run.own, run.method, splits, space)
    check_measures(build_measures(measures), subject)
    show.note(f"scoring {space}")
    features = features_of(partial(run.method.represent, space=space), splits, run.device)
    specs = _specs(settings.probes, features)
    own = _Own(features, score(features, specs, seed))
    scores: dict[str, Any] = {
        "encoder": {"space": space}
        | own.scored.scores
        | _tuned(run.method, space, specs, splits, run)
        | _measured(measures, subject, show)
    }
    if "z" in run.method.spaces[1:]:  # the loss acts on another space than the one to use
        represent = partial(run.method.represent, space="z")
        scores["encoder"]["embedding"] = embedding(represent, splits, run.method.unit, run.device)
    for other in settings.also:
        represented = features_of(partial(run.method.represent, space=other), splits, run.device)
        scores[f"encoder.{other}"] = {"space": other} | score(represented, specs, seed).scores
    if settings.references:
        show.note("scoring the references: the untrained encoder, PCA, raw pixels")
        rows = {"random": space} | {f"random.{o}": o for o in settings.also}
        scores |= _references(run, subject, specs, on_random(measures), rows, show)
        scores |= _projections(run, splits, specs, features.width)
        if settings.supervised:
            scores |= _supervised(run, splits, specs, space, show)
    scores["verdict"] = verdict(scores)
    show.scores(scores)
    return scores, own


def _references(
    run: Run, subject: Subject, specs: Specs, measures: Specs, rows: dict[str, str], show: Show
) -> dict[str, Any]:
    """The untrained twin in each space: row → scores. An untrained run is its own twin."""
    if run.recipe.training.epochs == 0:
        return {}
    splits, recipe = subject.splits, run.recipe.to_dict()
    architecture = {key: recipe[key] for key in ("encoder", "decoder", "method", "views")}
    scores = {}
    for row, space in rows.items():
        key = _key(run, splits, specs) | {"row": row, "space": space, **architecture}
        here = measures if row == "random" else []
        if here:
            key |= {"measures": here, "without": list(subject.without)}

        def compute(row: str = row, space: str = space, here: Specs = here) -> dict[str, Any]:
            twin = untrained(run, splits)
            features = features_of(partial(twin.represent, space=space), splits, run.device)
            tuned = _tuned(twin, space, specs, splits, run) if row == "random" else {}
            scored = score(features, specs, run.recipe.seed).scores
            found = _measured(here, replace(subject, method=twin), show)
            return {"space": space} | scored | tuned | found

        # What the user's own modules and views are cannot be told from their names.
        own_views = bool(here) and {"name": CUSTOM} in recipe["views"]["transforms"]
        known = recipe["encoder"]["name"] != CUSTOM and not own_views
        scores[row] = references.cached(key, compute) if known else compute()
    return scores


def _projections(run: Run, splits: Splits, specs: Specs, width: int) -> dict[str, Any]:
    """PCA to the same width, and raw pixels."""
    key, seed = _key(run, splits, specs), run.recipe.seed

    def pca() -> dict[str, Any]:
        return score(references.pca(splits, width), specs, seed).scores

    def pixels() -> dict[str, Any]:
        return score(references.pixels(splits), specs, seed).scores

    return {
        "pca": references.cached(key | {"row": "pca", "width": width}, pca),
        "pixels": references.cached(key | {"row": "pixels"}, pixels),
    }


def _supervised(run: Run, splits: Splits, specs: Specs, space: str, show: Show) -> dict[str, Any]:
    """The same encoder trained with labels. A run that is untrained, or supervised itself, has no such twin.

    It is scored in the run's space, or in h where that is z, which of the twin are the logits.
    """
    if run.recipe.training.epochs == 0 or run.recipe.method["name"] == "supervised":
        return {}
    space = "h" if space == "z" else space
    recipe = supervised_recipe(run.recipe, splits)

    def compute() -> dict[str, Any]:
        twin = supervised_twin(run, splits, show).method
        features = features_of(partial(twin.represent, space=space), splits, run.device)
        scored = score(features, specs, run.recipe.seed).scores
        return {"space": space} | scored | _tuned(twin, space, specs, splits, run)

    key = _key(run, splits, specs) | {"row": "supervised", "space": space, "recipe": recipe.to_dict()}
    return {"supervised": compute() if own_parts(recipe) else references.cached(key, compute)}


def _key(run: Run, splits: Splits, specs: Specs) -> dict[str, Any]:
    """What every reference row depends on."""
    facts = asdict(run.facts) | {"digest": splits.digest()}
    return {
        "version": version("diabolo"),
        "normalise": run.recipe.data.normalise,
        "facts": {key: list(value) if isinstance(value, tuple) else value for key, value in facts.items()},
        "probes": specs,
        "seed": run.recipe.seed,
    }


def untrained(run: Run, splits: Splits) -> Method:
    """The run's method as it was initialised, its batch norm fitted to the data."""
    method = run.build().to(run.device)
    estimate_statistics(method, Feed(splits.train, [], 1, run.recipe.seed, run.device))
    return method


def subject_of(recipe: Recipe, own: Own, method: Method, splits: Splits, space: str | None = None) -> Subject:
    """A method as measures look at it, in the recipe's space unless another is given."""
    return Subject(
        method,
        splits,
        space or recipe.evaluation.space or method.spaces[0],
        views_at_hand(recipe, own.transforms),
        recipe.data.without,
        recipe.seed,
    )


def _named(names: Sequence[str], settings: Evaluation) -> Specs:
    """The measures to run: as the recipe has them, else with their defaults."""
    own = {spec["name"]: spec for spec in settings.measures or ()}
    return [own.get(name) or MEASURES.complete(name, "measure") for name in names]


def _measured(specs: Specs, subject: Subject, show: Show) -> dict[str, Any]:
    """The entry "measures" of a row, where there are any."""
    if not specs:
        return {}
    show.note(f"measuring {', '.join(spec['name'] for spec in specs)}")
    return {"measures": measured(build_measures(specs), subject)}


def _specs(chosen: Specs | None, features: Features) -> Specs:
    """The probes to run: those asked for, or the usual ones where there are labels."""
    if chosen is None:
        return [PROBES.complete(name, "probe") for name in DEFAULT_PROBES] if features.labelled else []
    if lacks := lacking(chosen, labelled=features.labelled, attributed=features.attributed):
        raise UserError(f"{lacks}, and these features have none: leave it out")
    return list(chosen)


def _tuned(method: Method, space: str, specs: Specs, splits: Splits, run: Run) -> dict[str, Any]:
    """The probes that train the encoder as well."""
    scores = {}
    for spec in needing("method", specs):
        started = time.perf_counter()
        outcome = PROBES.build(spec)(method, space, splits, run.recipe.seed, device=run.device)
        scores[spec["name"]] = as_score(outcome, time.perf_counter() - started)
    return scores
