"""The scores of a run: each space, the references beside it, the verdict, and the page of them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from diabolo.console import Show
from diabolo.data.catalog import CATALOG
from diabolo.data.images import Splits
from diabolo.errors import UserError
from diabolo.evaluation.duplicates import identical
from diabolo.evaluation.features import features_of, probe_images, targets_of
from diabolo.evaluation.geometry import active_units
from diabolo.evaluation.measures import Subject
from diabolo.evaluation.suite import embedding, score, write_scores
from diabolo.evaluation.suites import Suite
from diabolo.evaluation.verdict import verdict
from diabolo.methods.autoencoder import Autoencoder
from diabolo.methods.base import Method
from diabolo.methods.build import views_at_hand
from diabolo.pages.run import write_report
from diabolo.recipe import Evaluation, Recipe, decoder_for
from diabolo.runs.inputs import DECODER, trained_on
from diabolo.runs.run import Own, Run
from diabolo.scoring.choice import applying, left_out, usual
from diabolo.scoring.reference_rows import (
    measured_scores,
    projected_rows,
    supervised_row,
    tuned_scores,
    untrained_rows,
)

Draw = Callable[[Path], Path]  # writes the page of some scores: an .html file, or into a folder


def score_run(run: Run, splits: Splits, show: Show) -> tuple[dict[str, Any], Draw]:
    """Score a trained run as its recipe says; write the report and `scores.json` into its folder.

    The scores come last: a run that has them is done.
    """
    scores, draw = scores_of(run, splits, run.recipe.evaluation, show)
    show.note(f"report: {draw(run.folder)}")
    write_scores(run.folder / "scores.json", scores)
    return scores, draw


def scores_of(
    run: Run,
    splits: Splits,
    settings: Evaluation,
    show: Show,
    *,
    strict: bool = True,
    other: str | None = None,
) -> tuple[dict[str, Any], Draw]:
    """The table of a run: its representation in each space, the references, and the verdict.

    strict: refuse what of the settings does not apply, instead of leaving it out. other: what the data are
    called where they are not the run's own.
    """
    space, seed = settings.space or run.space, run.recipe.seed
    subject = _trained(run, splits, space, own=other is None)
    targets = targets_of(*probe_images(splits))
    probes = usual(targets).probes if settings.probes is None else settings.probes
    suite = Suite(probes=probes, measures=settings.measures or [])
    suite = applying(suite, targets, subject, strict, show)
    specs, measures = suite.probes, suite.measures
    show.note(f"scoring {space}")
    features = features_of(partial(run.method.represent, space=space), splits, run.device)
    leave_out = None if strict else partial(left_out, show)
    scored = score(features, specs, seed, leave_out)
    own = {"space": space} | scored.scores | tuned_scores(subject, specs, show, leave_out)
    own |= {} if other is None else {"seen": _seen(run, splits, show)}
    specs = [spec for spec in specs if spec["name"] in own]
    scores: dict[str, Any] = {"encoder": own | measured_scores(measures, subject, show)}
    gaussian = isinstance(run.method, Autoencoder) and run.method.gaussian
    if space == "z" and gaussian:
        scores["encoder"]["active_units"] = active_units(features.test.values)
    elif "z" in run.method.spaces and (space != "z" or run.method.unit):  # where collapse can hide
        represent = partial(run.method.represent, space="z")
        unit = run.method.unit
        found = embedding(represent, splits, unit, run.device, gaussian=gaussian)
        scores["encoder"]["embedding"] = found
    for further in settings.also:
        represented = features_of(partial(run.method.represent, space=further), splits, run.device)
        scores[f"encoder.{further}"] = {"space": further} | score(represented, specs, seed).scores
    if settings.references:
        rows = {"random": space} | {f"random.{further}": further for further in settings.also}
        scores |= untrained_rows(run, subject, specs, measures, rows, show)
        scores |= projected_rows(subject, specs, measures, features.width, show)
        if settings.supervised:
            scores |= supervised_row(run, splits, specs, space, show)
    scores["verdict"] = verdict(scores)
    show.scores(scores)
    return scores, partial(write_report, run, splits, scores, features, scored.predictions, other=other)


def _trained(run: Run, splits: Splits, space: str, *, own: bool) -> Subject:
    """A run's method as measures look at it. What decodes the recipe's space is kept with the run.

    own: the splits are the run's: of these are its kept decoder, and the classes that it went without.
    """
    subject = subject_of(run.recipe, run.own, run.method, splits, space)
    if not own:
        return replace(subject, without=())
    return replace(subject, kept=run.folder / DECODER) if subject.space == run.space else subject


def _seen(run: Run, splits: Splits, show: Show) -> int | None:
    """How many of the test examples are among those of its training; None where these are not at hand."""
    from diabolo.data.fetch import is_there  # pooch and requests are slow to import

    name = run.recipe.data.name
    try:
        if run.own.splits is None and name in CATALOG and not is_there(CATALOG[name]):
            raise UserError(f"{name} is not on this machine")
        train = trained_on(run).train
    except UserError as error:
        show.note(f"whether it was trained on some of the test examples cannot be told: {error}")
        return None
    return int(identical(probe_images(splits)[2], train).sum())


def subject_of(recipe: Recipe, own: Own, method: Method, splits: Splits, space: str | None = None) -> Subject:
    """A method as measures look at it, in the recipe's space unless another is given."""
    return Subject(
        method,
        splits,
        space or recipe.evaluation.space or method.spaces[0],
        views_at_hand(recipe, own.transforms),
        recipe.data.without,
        recipe.seed,
        decoder=recipe.decoder or decoder_for(splits.train.shape, recipe.encoder),
        precision=recipe.training.precision,
    )
