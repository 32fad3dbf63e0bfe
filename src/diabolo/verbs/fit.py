"""fit: from data to a trained, scored representation."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch import nn

from diabolo.allocator import spare_page_faults
from diabolo.components import CUSTOM
from diabolo.console import Show
from diabolo.data.catalog import CATALOG
from diabolo.data.images import Images, Splits
from diabolo.data.splits import AtHand, load, of_digest, splits_from
from diabolo.distributed import alone, missing_others, world_size
from diabolo.errors import Interrupted, UserError, blaming_settings
from diabolo.evaluation.features import probe_images, targets_of
from diabolo.evaluation.measures import build_measures, check_measures
from diabolo.evaluation.verdict import FEW
from diabolo.files import expanded
from diabolo.memory import TO_SCORE, TO_TRAIN, enough
from diabolo.methods.base import Method
from diabolo.methods.build import Facts, build_method, facts_of
from diabolo.networks import mirror
from diabolo.precision import flushed_denormals
from diabolo.recipe import Data, Recipe, complete_for, difference
from diabolo.runs.asked import asked_recipe, own_of
from diabolo.runs.preflight import preflight
from diabolo.runs.run import Own, Run, TakenError
from diabolo.runs.train import Watch, train_run, warm_start
from diabolo.scoring.run import score_run, subject_of
from diabolo.training.precision_trial import faster, step_times
from diabolo.views.base import View

T = TypeVar("T")
SHOWN = 5  # classes that are named
Begun = tuple[Path, str, Facts]  # the folder of a run, its precision, and what it knows of its data


@flushed_denormals()
def fit(
    data: str | Path | AtHand | None = None,
    method: str | None = None,
    *,
    recipe: str | Path | Mapping[str, Any] | None = None,
    epochs: int | None = None,
    limit: int | None = None,
    seed: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    init: str | Path | None = None,
    settings: Sequence[str] | Mapping[str, Any] = (),
    encoder: nn.Module | None = None,
    transforms: Sequence[View] | None = None,
    evaluate: bool = True,
    watch: Watch | None = None,
    accelerator: str = "auto",
    devices: int = 1,
    quiet: bool = False,
) -> Run:
    """Train an encoder, score its representation, and write a report.

    data: a name of the catalog, a path, `Splits`, or what `images_at_hand` takes: an array, (array, labels),
    a data set of PyTorch, `Images`.
    method: a name of `diabolo methods`.
    recipe: a named recipe, a YAML file, or a mapping. settings: `"key=value"` texts or a mapping, laid over
    the recipe. out: the run folder; by default a new one under `runs/`. resume: continue it.
    init: a run whose weights to start from. encoder, transforms: modules and augmentations of your own.
    watch: is given each row of metrics.jsonl as it is written; what it raises ends the training.
    accelerator, devices: as in lightning-fabric; torchrun says itself how many. Returns the run, whose folder
    holds everything.

    Raises `UserError` for what a user can put right, `Interrupted` after a clean stop on Ctrl-C.
    """
    show = Show(quiet)
    out = None if out is None else expanded(out)
    own = own_of(encoder, transforms)
    started = _to_resume(out, resume, named=any(one is not None for one in (data, method, recipe)))
    below = started.recipe.to_dict() if started else {}
    options: dict[str, Any] = {"data.limit": limit, "training.epochs": epochs, "seed": seed}
    options["init"] = None if init is None else str(init)
    asked = asked_recipe(data, method, recipe, settings, own, below, **options)
    fabric = _launched(accelerator, devices)
    _check_shares(asked)
    spare_page_faults(fabric.device)
    show.console.quiet = quiet or not fabric.is_global_zero
    if isinstance(data, AtHand):
        own = replace(own, splits=splits_from(data, asked.data))
    splits = own.splits or _read(asked.data, started)
    with blaming_settings():
        complete = complete_for(asked, splits.train.shape)
    _tell(asked, complete, splits, show)
    folder, precision, facts = _once(
        fabric, lambda: _begun(complete, splits, facts_of(splits), out, resume, own, fabric.device, show)
    )
    if complete.training.precision == "auto":
        complete = _in_precision(complete, precision)
    run = Run(folder, complete, facts, own)
    run.device = fabric.device
    show.note(f"{complete.method['name']} on {complete.data.name}, {len(splits.train):,} images → {folder}")
    with missing_others(), ExitStack() as stack:
        _once(fabric, lambda: stack.enter_context(run.lock()))
        if run.trained and run.scored:
            show.note("it is trained and scored already")
        if not run.trained:
            train_run(run, splits, fabric, show, watch)
        if evaluate and fabric.is_global_zero and not run.scored:
            _score(run, splits, show)
    return run


def _to_resume(out: Path | None, resume: bool, named: bool) -> Run | None:
    """The run in the folder, where it is to be resumed and is there.

    named: whether something else says what to train; without, there is to be a run.
    """
    if not resume or out is None or (named and not (out / "recipe.yaml").exists()):
        return None
    return Run.open(out)


def _check_shares(recipe: Recipe) -> None:
    """Raise `UserError` for what so many processes cannot share."""
    if recipe.training.batch_size % world_size():
        raise UserError(
            f"training.batch_size: {recipe.training.batch_size} cannot be shared by {world_size()} devices"
        )
    if recipe.training.compile == "graphs" and world_size() > 1:
        raise UserError("training.compile=graphs is for one process: set training.compile=true")


def _tell(asked: Recipe, complete: Recipe, splits: Splits, show: Show) -> None:
    """What the user should know of the data, and of what was chosen for want of a name."""
    for note in splits.notes:
        show.note(note)
    if asked.data.name not in CATALOG and splits.train.classes and splits.train.labels is not None:
        show.note(_classes(splits.train))
    test = probe_images(splits)[2]
    if "labels" in targets_of(*probe_images(splits)) and len(test) < FEW:
        count = f"{len(test)} labelled test image{'s' * (len(test) > 1)}"
        show.note(
            f"accuracy is read on {count}, which tells little: data.test holds out more, where data have no "
            "test of their own; 'diabolo evaluate --data' reads others later"
        )
    encoder, decoder = complete.encoder, complete.decoder
    if asked.decoder is None and decoder and encoder and not mirror(encoder):
        show.note(
            f"encoder '{encoder['name']}' has no mirror: its decoder is {decoder['name']}, as the recipe "
            "names none (key decoder)"
        )


@enough(TO_SCORE)
def _score(run: Run, splits: Splits, show: Show) -> None:
    """Score a trained run, in one process: the others are done."""
    with alone():
        try:
            score_run(run, splits, show)
        except KeyboardInterrupt:
            raise Interrupted(
                f"stopped while it was scored; continue with --out {run.folder} --resume"
            ) from None


def _launched(accelerator: str, devices: int) -> Fabric:
    """In as many processes as asked for, started here; or in those that torchrun started, on all nodes."""
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    nodes = 1
    if TorchElasticEnvironment.detect():
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    try:
        fabric = Fabric(accelerator=accelerator, devices=devices, num_nodes=nodes)
        fabric.launch()
    except (ValueError, RuntimeError) as error:  # such a device is not there
        raise UserError(
            f"--accelerator {accelerator} --devices {devices}: {str(error).splitlines()[0]}"
        ) from None
    return fabric


def _once(fabric: Fabric, choose: Callable[[], T]) -> T:
    """Let the first process choose, and tell the others, of its refusal too."""
    outcome: Any = None
    if fabric.is_global_zero:
        try:
            outcome = choose()
        except (UserError, OSError) as error:
            outcome = error
    outcome = fabric.broadcast(outcome)
    if isinstance(outcome, UserError | OSError):
        raise outcome
    return outcome


def _read(data: Data, started: Run | None) -> Splits:
    """The data; of a run that is resumed, from where its own are."""
    if data.name == CUSTOM:
        raise UserError("the run was trained on arrays: pass them again, as data=…")
    own = started and of_digest(started.facts.digest, data, started.folder)
    return own or load(data)


def _classes(train: Images) -> str:
    """What is taken for classes, and how many images each has, in words: folders may be none."""
    assert train.labels is not None
    counts = torch.bincount(train.labels[train.labels >= 0], minlength=len(train.classes)).tolist()
    named = [f"{name} ({count:,})" for name, count in zip(train.classes, counts, strict=True)]
    some = ", ".join(named[:SHOWN]) + ", …" * (len(named) > SHOWN)
    return f"{len(named)} classes to train on: {some} (data.labels=false leaves them out)"


@enough(TO_TRAIN)
def _begun(
    recipe: Recipe,
    splits: Splits,
    facts: Facts,
    out: Path | None,
    resume: bool,
    own: Own,
    device: torch.device,
    show: Show,
) -> Begun:
    """The run to resume, or a new one, made after everything that may fail was tried."""
    if resume and (found := _started(recipe, out)) is not None:
        run = Run.open(found)
        if recipe.training.precision == "auto":  # it was chosen when the run was started
            recipe = _in_precision(recipe, run.recipe.training.precision)
        if differs := difference(run.recipe, recipe):
            raise UserError(
                f"{found} was started with {differs}: resume with the same, remove it, or begin a new run "
                f"(--init {found} starts from its weights)"
            )
        if run.facts.digest != facts.digest:
            raise UserError(f"{found} was started with other data under the same name: choose another --out")
        return found, recipe.training.precision, run.facts  # another machine may round the mean otherwise
    if resume:
        show.note(f"nothing to resume in {out}: a new run begins there")
    with alone():
        method = preflight(recipe, splits, facts, own, device)
        measures = build_measures(recipe.evaluation.measures or ())
        check_measures(measures, subject_of(recipe, own, method, splits))  # one may lack a package
        if recipe.init is not None:
            show.note(_started_from(expanded(recipe.init), build_method(recipe, facts, own.encoder), facts))
    times: dict[str, float] = {}
    if recipe.training.precision == "auto":
        times = step_times(recipe, splits.train, facts, device, own.encoder, own.transforms)
        recipe = _in_precision(recipe, faster(times))
        tried = ", ".join(f"{name} {1000 * seconds:.3g} ms" for name, seconds in times.items())
        show.note(f"precision {recipe.training.precision}{tried and f': a step takes {tried}'}")
    for folder in [out] if out is not None else _names(recipe):
        try:
            Run.create(folder, recipe, facts, times)
        except TakenError:
            if out is not None:
                raise
        else:
            return folder, recipe.training.precision, facts
    raise AssertionError("names do not end")


def _started_from(init: Path, method: Method, facts: Facts) -> str:
    """What is taken over from another run, in words. Raises `UserError` where its encoder does not fit."""
    left = sorted({name.partition(".")[0] for name in warm_start(method, init)})
    other = Run.open(init).facts.shape
    but = f", but for {', '.join(left)}" if left else ""
    sizes = "" if other == facts.shape else f", of examples of shape {other}, where these are {facts.shape}"
    return f"weights of {init}{but}{sizes}"


def _in_precision(recipe: Recipe, precision: str) -> Recipe:
    training: Any = {"precision": precision}
    return replace(recipe, training=replace(recipe.training, **training))


def _names(recipe: Recipe) -> Iterator[Path]:
    """The default names that follow those taken: `runs/data-method-seed`, then with -2, -3, … behind it."""
    last = max(_taken(recipe), default=0)
    return (Path("runs") / f"{_stem(recipe)}{f'-{i}' * (i > 1)}" for i in count(last + 1))


def _taken(recipe: Recipe) -> dict[int, Path]:
    """What has a default name already, by its number; the first has none in its name."""
    pattern = re.compile(rf"{re.escape(_stem(recipe))}(?:-(\d+))?")
    found = ((pattern.fullmatch(path.name), path) for path in Path("runs").glob("*"))
    return {int(match[1] or 1): path for match, path in found if match}


def _stem(recipe: Recipe) -> str:
    return f"{recipe.data.stem}-{recipe.method['name']}-{recipe.seed}"


def _started(recipe: Recipe, out: Path | None) -> Path | None:
    """The run to resume: the one named, or the newest of the default name."""
    if out is not None:
        return out if (out / "recipe.yaml").exists() else None
    taken = _taken(recipe)
    if not taken:
        raise UserError(f"nothing to resume at {Path('runs') / _stem(recipe)}: name the run with --out")
    return taken[max(taken)]
