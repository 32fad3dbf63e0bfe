"""evaluate: every score of a representation, beside its references, with a verdict and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from diabolo.allocator import spare_page_faults
from diabolo.console import Show, sizes_of
from diabolo.data.splits import AtHand
from diabolo.errors import UserError
from diabolo.evaluation.encoders import Encoder
from diabolo.evaluation.features import Features, probe_images
from diabolo.evaluation.suite import write_scores
from diabolo.evaluation.suites import Suite
from diabolo.files import check_file, expanded
from diabolo.precision import flushed_denormals
from diabolo.recipe import Evaluation
from diabolo.report.page import check_page
from diabolo.runs.environment import default_device
from diabolo.runs.inputs import is_own, opened, splits_like
from diabolo.runs.run import Run
from diabolo.scoring.choice import chosen
from diabolo.scoring.outside import from_outside, scores_of_outside
from diabolo.scoring.run import Draw, score_run, scores_of


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
        wanted = chosen(suite, probes, measures, run.recipe.evaluation)
        scores, draw = _of_run(run, data, test, wanted, space, supervised, named, show)
    elif supervised:
        raise UserError("the supervised reference trains the encoder: it needs a run")
    elif space is not None:
        raise UserError(f"space '{space}' is one of a run's: this is a single representation")
    else:
        wanted = chosen(suite, probes, measures, Evaluation())
        scores, draw = scores_of_outside(from_outside(what, data, test, show), wanted, named, show)
    if report is not None:
        show.note(f"report: {draw(report)}")
    if out is not None:
        write_scores(out, scores)
    return scores


def _of_run(
    run: Run,
    data: str | Path | AtHand | None,
    test: float | None,
    wanted: Suite | None,
    space: str | None,
    supervised: bool,
    strict: bool,
    show: Show,
) -> tuple[dict[str, Any], Draw]:
    """strict: refuse what does not apply, instead of leaving it out."""
    splits, settings = splits_like(run, data, test, show), run.recipe.evaluation
    own, other = is_own(run, splits), None
    if own and wanted is None and space is None and not supervised:
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
    if wanted is not None:
        settings = replace(settings, probes=wanted.probes, measures=wanted.measures)
    return scores_of(run, splits, settings, show, strict=strict, other=other)
