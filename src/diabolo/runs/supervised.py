"""The supervised twin: a run's encoder trained with labels at the same cost, the upper reference."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from filelock import FileLock
from lightning_fabric import Fabric

from diabolo.components import Table
from diabolo.console import Show
from diabolo.data.images import Splits
from diabolo.distributed import alone
from diabolo.errors import Interrupted, UserError
from diabolo.evaluation.features import probe_images
from diabolo.files import cache_folder
from diabolo.recipe import Recipe, compose
from diabolo.revision import REVISION
from diabolo.runs.run import Run
from diabolo.runs.train import train_run
from diabolo.tables import DECODERS, ENCODERS, MEASURES, METHODS, PROBES, VIEWS


def supervised_recipe(recipe: Recipe, splits: Splits) -> Recipe:
    """That of `diabolo fit --method supervised` with the data, encoder, views, batches and seed of a run.

    Its epochs are as many as encode the same number of images, on the training images that have labels.
    Raises `UserError` where there are none.
    """
    train, _, _ = probe_images(splits)
    if train.labels is None:
        raise UserError(
            f"evaluation.supervised: {recipe.data.name} has no labels to train with: leave it out"
        )
    values = recipe.to_dict()
    layer = {key: values[key] for key in ("data", "views", "encoder", "training", "seed")}
    encoded = recipe.training.epochs * recipe.encodings * len(splits.train)
    budget = {
        "training.epochs": max(1, round(encoded / (recipe.views.count * len(train)))),
        "training.batch_size": min(recipe.training.batch_size, len(train)),
        "training.lr_batch": None,  # it is of the run's own rate
        "evaluation.live": 0,
    }
    return compose([layer, {"method": "supervised"}], budget)


def supervised_twin(run: Run, splits: Splits, show: Show) -> Run:
    """The trained twin of a run, kept in the cache folder, so that the runs of a comparison share it.

    Where encoder or views are the user's own, which no name tells apart, it is kept in the run folder. A
    training that was stopped goes on where it stopped.
    """
    recipe = supervised_recipe(run.recipe, splits)
    train, _, _ = probe_images(splits)
    facts = replace(run.facts, classes=train.classes, size=len(train))
    folder = run.folder / "supervised" if own_parts(recipe) else _shared(run, recipe)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"), alone():  # another run may be training it: wait
        if not (folder / "recipe.yaml").exists():
            Run.create(folder, recipe, facts)
        twin = Run(folder, recipe, facts, run.own)
        twin.device = run.device
        if not twin.trained:
            show.note(f"training the supervised reference: {recipe.training.epochs} epochs")
            fabric = Fabric(accelerator=run.device.type, devices=1)
            try:
                train_run(twin, replace(splits, train=train), fabric, show)
            except Interrupted:
                raise Interrupted(
                    f"stopped while training the supervised reference; evaluate {run.folder} to go on"
                ) from None
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # a short training has none
    return twin


def own_parts(recipe: Recipe) -> bool:
    """Whether a part of a recipe is the user's own: what came of it may change without its name."""
    views, scored = recipe.views.transforms, recipe.evaluation
    parts: list[tuple[Table, Any]] = [
        (METHODS, [recipe.method]),
        (ENCODERS, [recipe.encoder]),
        (DECODERS, [recipe.decoder]),
    ]
    parts += [(VIEWS, views), (PROBES, scored.probes), (MEASURES, scored.measures)]
    return any(table.foreign(spec["name"]) for table, specs in parts for spec in specs or () if spec)


def _shared(run: Run, recipe: Recipe) -> Path:
    key = json.dumps([REVISION, recipe.to_dict(), run.facts.digest])
    return cache_folder() / "supervised" / blake2b(key.encode(), digest_size=16).hexdigest()
