"""evaluate: every score of a representation, beside its references, with a verdict and a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from diabolo.allocator import spare_page_faults
from diabolo.components import Table
from diabolo.data.catalog import CATALOG
from diabolo.data.images import Splits
from diabolo.data.splits import AtHand
from diabolo.errors import UserError
from diabolo.evaluation.duplicates import identical
from diabolo.evaluation.encoders import Encoder
from diabolo.evaluation.features import Features, Target, features_of, probe_images, targets_of
from diabolo.evaluation.geometry import active_units
from diabolo.evaluation.measures import Subject
from diabolo.evaluation.suite import embedding, score, write_scores
from diabolo.evaluation.suites import Spec, Suite, applicable, read_suite
from diabolo.evaluation.verdict import verdict
from diabolo.files import check_file, expanded
from diabolo.methods.autoencoder import Autoencoder
from diabolo.methods.base import Method
from diabolo.networks.shapes import evaluating
from diabolo.precision import flushed_denormals
from diabolo.recipe import Evaluation, Recipe, decoder_for
from diabolo.report.page import check_page
from diabolo.run import Own, Run, default_device
from diabolo.tables import MEASURES, PROBES
from diabolo.verbs.console import Show, sizes_of
from diabolo.verbs.outside import Outside, from_outside
from diabolo.verbs.page import write_page, write_report
from diabolo.verbs.reading import DECODER, is_own, opened, splits_like, trained_on
from diabolo.verbs.reference_rows import (
    measured_scores,
    projected_rows,
    supervised_row,
    tuned_scores,
    untrained_rows,
)
from diabolo.views.pipeline import views_at_hand

Draw = Callable[[Path], Path]  # writes the page of some scores: an .html file, or into a folder


@flushed_denormals()
def evaluate(
    what: str | Path | Run | Features | Encoder | nn.Module,
    *,
    data: str | Path | AtHand | None = None,
    test: float | None = None,
    suite: str | Path | None = None,
    probes: Sequence[str | Mapping[str, Any]] | None = None,
    measures: Sequence[str | Mapping[str, Any]] | None = None,
    space: str | None = None,
    supervised: bool = False,
    out: str | Path | None = None,
    report: str | Path | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Score a representation, and return the table as `scores.json` holds it.

    what: a run or its folder; features, or an `.npz` of them (see `load_features`); "timm:" and the name of a
    model; or a module, or any object with `represent`, from examples [n, C, H, W] in [0, 1] to [n, D] (see
    `Encoder`).
    data: what to score on, by name, path, as `Splits`, `Images` or an array; needed of a model or an object.
    By default a run is scored on what it was trained on (arrays are given again, here or to `Run.open`). On
    other data the probes, PCA and the untrained twin are fitted to these, in the run's size and colours, and
    the verdict says how many of the test examples the run was trained on. test: the share of such data to
    test on, where they bring no test part; by default a tenth.
    suite: of `diabolo suites`, or a YAML file; what of it does not apply is left out, with a line that says
    so. probes, measures: in place of a suite, each by its name or with settings, as {"name": "knn", "k": 5};
    what does not apply is refused.
    A run is scored as its recipe says, which renews its `scores.json` and `report.html`. On other data, with
    a suite, with probes or measures (with the recipe's settings where it names them), in another `space`
    ("h", "z", "map"), or with `supervised`, which trains the same encoder with labels to stand beside it, its
    folder is left as it is. Other representations are scored by the suite "fast". A module is in evaluation
    mode meanwhile, and gets its examples on the device of its weights.
    out: a JSON file to write the table to. report: an `.html` file for the page, or a folder for it and its
    figures.
    """
    if suite is not None and (probes is not None or measures is not None):
        raise UserError("score by a suite, or by single probes and measures: not by both")
    if test is not None and data is None:
        raise UserError("test is a share of other data: name them, with --data")
    if test is not None and not 0 < test < 1:
        raise UserError(f"test: a share is above 0 and below 1, got {test:g}")
    report = None if report is None else expanded(report)
    out = None if out is None else expanded(out)
    if report is not None:
        check_page(report)
    if out is not None:
        check_file(out)
    spare_page_faults(default_device())
    show = Show(quiet)
    named = probes is not None or measures is not None
    if isinstance(what, Run) or (isinstance(what, str | Path) and expanded(what).is_dir()):
        run = opened(what)
        chosen = _chosen(suite, probes, measures, run.recipe.evaluation)
        scores, draw = _of_run(run, data, test, chosen, space, supervised, named, show)
    elif supervised:
        raise UserError("the supervised reference trains the encoder: it needs a run")
    elif space is not None:
        raise UserError(f"space '{space}' is one of a run's: this is a single representation")
    else:
        chosen = _chosen(suite, probes, measures, Evaluation())
        scores, draw = _of_outside(from_outside(what, data, test, show), chosen, named, show)
    if report is not None:
        show.note(f"report: {draw(report)}")
    if out is not None:
        write_scores(out, scores)
    return scores


def _of_run(
    run: Run,
    data: str | Path | AtHand | None,
    test: float | None,
    chosen: Suite | None,
    space: str | None,
    supervised: bool,
    strict: bool,
    show: Show,
) -> tuple[dict[str, Any], Draw]:
    """strict: refuse what does not apply, instead of leaving it out."""
    splits, settings = splits_like(run, data, test, show), run.recipe.evaluation
    own, other = is_own(run, splits), None
    if own and chosen is None and space is None and not supervised:
        with run.lock():
            return score_run(run, splits, show)
    if not own:
        if supervised:
            raise UserError(
                "the supervised reference has the data and the cost of the training: on other data, "
                "--probe finetune trains the encoder, and its untrained twin, with labels"
            )
        other = Path(data).resolve().name if isinstance(data, str | Path) else "data at hand"
        show.note(f"scored on {other}: {sizes_of(*probe_images(splits))}")
        settings = replace(settings, supervised=False)
    settings = replace(settings, space=space or settings.space, also=())
    settings = replace(settings, supervised=supervised or settings.supervised)
    if chosen is not None:
        settings = replace(settings, probes=chosen.probes, measures=chosen.measures)
    return _scores(run, splits, settings, show, strict=strict, other=other)


def _of_outside(
    outside: Outside, chosen: Suite | None, strict: bool, show: Show
) -> tuple[dict[str, Any], Draw]:
    """A representation from outside; where its examples are known, beside PCA and raw pixels of them."""
    chosen = _usual(outside.targets) if chosen is None else chosen
    subject, seed = outside.subject, 0
    with evaluating(subject.method) if subject else nullcontext():
        suite = _applicable(chosen, outside.targets, subject, strict, show)
        leave_out = None if strict else partial(_left_out, show)
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


def score_run(run: Run, splits: Splits, show: Show) -> tuple[dict[str, Any], Draw]:
    """Score a trained run as its recipe says; write the report and `scores.json` into its folder.

    The scores come last: a run that has them is done.
    """
    scores, draw = _scores(run, splits, run.recipe.evaluation, show)
    show.note(f"report: {draw(run.folder)}")
    write_scores(run.folder / "scores.json", scores)
    return scores, draw


def _scores(
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
    probes = _usual(targets).probes if settings.probes is None else settings.probes
    suite = Suite(probes=probes, measures=settings.measures or [])
    suite = _applicable(suite, targets, subject, strict, show)
    specs, measures = suite.probes, suite.measures
    show.note(f"scoring {space}")
    features = features_of(partial(run.method.represent, space=space), splits, run.device)
    leave_out = None if strict else partial(_left_out, show)
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


def _chosen(
    suite: str | Path | None,
    probes: Sequence[str | Mapping[str, Any]] | None,
    measures: Sequence[str | Mapping[str, Any]] | None,
    settings: Evaluation,
) -> Suite | None:
    """What the user asks to be scored by: by name as the settings have it, else with defaults."""
    if suite is not None:
        return read_suite(str(suite))
    if probes is None and measures is None:
        return None

    def named(wanted: Any, table: Table, own: Sequence[Spec] | None) -> list[Spec]:
        known = {spec["name"]: spec for spec in own or ()}
        wanted = [wanted] if isinstance(wanted, str | Mapping) else wanted or ()
        return [
            known[spec] if isinstance(spec, str) and spec in known else table.complete(spec, table.kind)
            for spec in wanted
        ]

    return Suite(
        probes=named(probes, PROBES, settings.probes),
        measures=named(measures, MEASURES, settings.measures),
    )


def _usual(targets: set[Target]) -> Suite:
    """What a representation is scored by unless something is asked for; without labels by its rank alone."""
    return read_suite("fast") if "labels" in targets else Suite(probes=[], measures=[])


def _applicable(
    suite: Suite, targets: set[Target], subject: Subject | None, strict: bool, show: Show
) -> Suite:
    """What of the suite applies; the rest is refused, or left out with a line that says why."""
    kept, against = applicable(suite, targets, subject)
    for reason, names in against.items():
        if strict:
            raise UserError(f"{names[0]}: {reason}")
        show.note(f"left out {', '.join(names)}: {reason}")
    return kept


def _left_out(show: Show, why: UserError) -> None:
    show.note(f"left out {why}")


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
