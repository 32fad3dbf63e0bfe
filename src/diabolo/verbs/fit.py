"""fit: from data to a trained, scored representation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from diabolo.components import CUSTOM
from diabolo.data.images import Images, Splits
from diabolo.data.readers import Parts
from diabolo.data.splits import load, split
from diabolo.errors import UserError
from diabolo.methods.build import Facts, build_method, facts_of
from diabolo.recipe import Data, Recipe, complete_for, compose, read_recipe
from diabolo.run import Run
from diabolo.tables import METHODS
from diabolo.training.loop import Feed
from diabolo.verbs.console import Show
from diabolo.verbs.evaluate import score_run
from diabolo.verbs.sitting import train_run, warm_start
from diabolo.views.base import View
from diabolo.views.pipeline import build_pipelines


def fit(
    data: str | Path | Images | Splits | None = None,
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
    accelerator: str = "auto",
    devices: int = 1,
    quiet: bool = False,
) -> Run:
    """Train an encoder, score its representation, and write a report.

    data: a name of the catalog, a path, `Images`, or `Splits`. method: a name of `diabolo methods`.
    recipe: a named recipe, a YAML file, or a mapping. settings: `"key=value"` texts or a mapping, laid over
    the recipe. out: the run folder; by default a new one under `runs/`. resume: continue it.
    init: a run whose weights to start from. encoder, transforms: modules and augmentations of your own.
    accelerator, devices: as in lightning-fabric. Returns the run, whose folder holds everything.

    Raises `UserError` for what a user can put right, `Interrupted` after a clean stop on Ctrl-C.
    """
    show = Show(quiet)
    if data is None and resume and out is not None:
        composed = Run.open(out, encoder).recipe
    else:
        values = recipe if isinstance(recipe, Mapping) else {} if recipe is None else read_recipe(str(recipe))
        composed = compose([values, _options(data, method, epochs, limit, seed, init, encoder)], settings)
    precision: Any = "bf16-mixed" if composed.training.precision == "bf16" else "32-true"
    fabric = Fabric(accelerator=accelerator, devices=devices, precision=precision)
    fabric.launch()
    show.console.quiet = quiet or not fabric.is_global_zero
    splits = _splits(data, composed.data)
    for note in splits.notes:
        show.note(note)
    composed = complete_for(composed, splits.train.shape)
    facts = facts_of(splits.train)
    folder = Path(out) if out is not None else _folder(composed, resume)
    if resume and (folder / "recipe.yaml").exists():
        run = _continued(folder, composed, encoder)
    else:
        _check(composed, splits, facts, encoder, transforms)
        if fabric.is_global_zero:
            Run.create(folder, composed, facts)
        fabric.barrier()
        run = Run(folder, composed, facts, encoder)
    show.note(
        f"{composed.method['name']} on {composed.data.name}, {len(splits.train):,} images → {run.folder}"
    )
    with run.lock() if fabric.is_global_zero else nullcontext():
        if not run.trained:
            train_run(run, splits, fabric, transforms, show)
        if evaluate and fabric.is_global_zero and not run.scored:
            score_run(run, splits, show)
    fabric.barrier()
    return run


def _splits(data: Any, settings: Data) -> Splits:
    if isinstance(data, Splits):
        return data
    return split(Parts(data), settings) if isinstance(data, Images) else load(settings)


def _options(
    data: Any,
    method: str | None,
    epochs: int | None,
    limit: int | None,
    seed: int | None,
    init: str | Path | None,
    encoder: nn.Module | None,
) -> dict[str, Any]:
    """The arguments of `fit` as a partial recipe."""
    name = str(data) if isinstance(data, str | Path) else None if data is None else CUSTOM
    given = {
        "data": _set(name=name, limit=limit),
        "method": _set(name=method),
        "encoder": _set(name=None if encoder is None else CUSTOM),
        "training": _set(epochs=epochs),
    }
    return {k: v for k, v in given.items() if v} | _set(seed=seed, init=None if init is None else str(init))


def _set(**values: Any) -> dict[str, Any]:
    """Those that were given."""
    return {key: value for key, value in values.items() if value is not None}


def _continued(folder: Path, recipe: Recipe, encoder: nn.Module | None) -> Run:
    """The run in a folder, if it was started with the same recipe."""
    run = Run.open(folder, encoder)
    if differs := _difference(run.recipe.to_dict(), recipe.to_dict()):
        raise UserError(f"{folder} was started with {differs}: resume with the same, or choose another --out")
    return run


def _check(
    recipe: Recipe, splits: Splits, facts: Facts, encoder: nn.Module | None, transforms: Sequence[View] | None
) -> None:
    """Everything that can be known to fail is refused here, before anything is written."""
    _check_labels(recipe, splits)
    method = build_method(recipe, facts, encoder)
    if recipe.init is not None:
        warm_start(method, Path(recipe.init))
    cpu = torch.device("cpu")
    feed = Feed(
        splits.train, build_pipelines(recipe, transforms), recipe.training.batch_size, recipe.seed, cpu
    )
    with torch.no_grad():
        if recipe.training.epochs > 0:
            method(feed(0, 0, 0.0))
        for space in (recipe.evaluation.space, *recipe.evaluation.also):
            method.eval().represent(splits.train.floats(slice(0, 2)), space)


def _check_labels(recipe: Recipe, splits: Splits) -> None:
    labels = (splits.labelled or splits.train).labels
    classes = 0 if labels is None else len(labels[labels >= 0].unique())
    name, probes = recipe.method["name"], recipe.evaluation.probes
    if METHODS.load(name).needs.labels and splits.train.labels is None:  # type: ignore[attr-defined]
        raise UserError(f"method '{name}' needs labels, and {recipe.data.name} has none")
    if probes and classes == 0:
        raise UserError(
            f"evaluation.probes: {recipe.data.name} has no labels to probe with: leave probes out"
        )
    if probes != [] and classes == 1:
        raise UserError(
            f"{recipe.data.name} has labels of one class only: set evaluation.probes=[] to go without"
        )


def _folder(recipe: Recipe, resume: bool) -> Path:
    """`runs/data-method-seed`: a new one, or, to resume, the newest of that name."""
    stem = f"{Path(recipe.data.name).stem or 'data'}-{recipe.method['name']}-{recipe.seed}"
    candidates = [Path("runs") / (stem if i == 1 else f"{stem}-{i}") for i in range(1, 10_000)]
    first_free = next(i for i, folder in enumerate(candidates) if not folder.exists())
    if resume and first_free == 0:
        raise UserError(f"nothing to resume at {candidates[0]}: name the run with --out")
    return candidates[first_free - 1 if resume else first_free]


def _difference(old: Any, new: Any, where: str = "") -> str | None:
    """The first key in which two recipes differ, in words."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [*old, *(key for key in new if key not in old)]
        found = (_difference(old.get(k), new.get(k), f"{where}.{k}" if where else k) for k in keys)
        return next((text for text in found if text), None)
    return None if old == new else f"{where} = {old!r}, not {new!r}"
