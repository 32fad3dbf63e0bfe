"""The pre-flight check: what of a recipe can be known to fail on its data, before anything is written."""

from __future__ import annotations

import torch

from diabolo.data.batches import Batches
from diabolo.data.images import Splits
from diabolo.errors import UserError, blaming_settings
from diabolo.evaluation.features import lacking, probe_images, targets_of
from diabolo.evaluation.suite import target
from diabolo.methods.base import Method
from diabolo.methods.build import Facts, build_method, build_pipelines
from diabolo.recipe import Recipe
from diabolo.runs.run import Own
from diabolo.runs.supervised import supervised_recipe
from diabolo.tables import METHODS
from diabolo.training.loop import Feed
from diabolo.training.step import check_compiler


@blaming_settings()
def preflight(recipe: Recipe, splits: Splits, facts: Facts, own: Own, device: torch.device) -> Method:
    """Pass a first batch through a recipe's untrained method, which is returned.

    Raises `SettingsError` for what cannot be trained or scored.
    """
    training, evaluation = recipe.training, recipe.evaluation
    if training.compile:
        check_compiler(device)
    check_labels(recipe, splits)
    check_batches(recipe, len(splits.train))
    method = build_method(recipe, facts, own.encoder).to(device)
    pipelines = build_pipelines(recipe, own.transforms)
    feed = Feed(splits.train, pipelines, training.batch_size, recipe.seed, device)
    try:
        with torch.no_grad():
            if training.epochs > 0:
                method(feed(0, 0, 0.0))
            for space in (evaluation.space, *evaluation.also):
                method.eval().represent(splits.train.floats(slice(0, 2)).to(device), space)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        others = [shape for p in pipelines if (shape := p.shape(facts.shape)) != facts.shape]
        hint = f"; views of {others[0]} need an encoder that takes them, such as a resnet" if others else ""
        raise UserError(
            f"a first batch does not pass through method '{recipe.method['name']}': {reason}{hint}"
        ) from None
    return method


def check_batches(recipe: Recipe, images: int) -> None:
    """Raises `UserError` where so many training images make no step of the recipe's, or nothing to score."""
    if images < 2:
        raise UserError(f"{recipe.data.name}: a single image is left to train on: bring more images")
    training = recipe.training
    batches = Batches(images, training.batch_size, recipe.seed).steps_per_epoch
    if training.accumulate > batches:
        raise UserError(
            f"training.accumulate: an epoch has {batches} batches, "
            f"fewer than the {training.accumulate} of one step"
        )


def check_labels(recipe: Recipe, splits: Splits) -> None:
    """Raises `UserError` where the method or a probe needs labels or attributes that are not there."""
    name, data = recipe.method["name"], recipe.data.name
    needs_labels = METHODS.load(name).needs.labels
    if needs_labels and "labels" not in targets_of(splits.train):
        raise UserError(f"method '{name}' needs labels of two classes or more, and {data} has none")
    if recipe.evaluation.supervised:
        supervised_recipe(recipe, splits)
    targets = targets_of(*probe_images(splits))
    for probe in recipe.evaluation.probes or ():
        if (wanted := target(probe)) not in targets:
            lacks = f"probe '{probe['name']}' {lacking(wanted)}, and {data} has none"
            raise UserError(f"evaluation.probes: {lacks}: leave it out")
