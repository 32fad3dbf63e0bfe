"""What a verb is asked for, as a recipe: names, files and settings, and objects of the user's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from diabolo.components import CUSTOM
from diabolo.data.splits import AtHand
from diabolo.errors import UserError
from diabolo.recipe import Recipe, compose, nested, read_recipe
from diabolo.runs.run import NOTHING, Own
from diabolo.views.base import View

Settings = Sequence[str] | Mapping[str, Any]
NamedRecipe = str | Path | Mapping[str, Any]  # a recipe: its name, its file, or its values
Asked = str | Path | AtHand | None  # the data


def own_of(encoder: nn.Module | None = None, transforms: Sequence[View] | None = None) -> Own:
    """A user's objects. Raises `UserError` for what is not of its kind."""
    if encoder is not None and not isinstance(encoder, nn.Module):
        raise UserError("encoder: give a module, an object of a subclass of nn.Module")
    for view in transforms or ():
        if not isinstance(view, View):
            raise UserError(
                f"transforms: of type {type(view).__name__}: give objects of a subclass of "
                "diabolo.views.base.View, as docs/adding-a-method.md shows"
            )
    return Own(encoder, transforms)


def asked_recipe(
    data: Asked,
    method: str | None,
    recipe: NamedRecipe | None,
    settings: Settings,
    own: Own = NOTHING,
    below: Mapping[str, Any] | None = None,
    **options: Any,
) -> Recipe:
    """The recipe, a named one or a file, under the method and the options, and these under the settings.

    below: a partial recipe under all of them. options: keys of the recipe with their values, None for what
    was not given. Raises `UserError` where the settings speak of other data than are given.
    """
    if data is not None and not isinstance(data, str | Path | AtHand):
        raise UserError(
            f"data: of type {type(data).__name__}: give a name, a path, an array, (array, labels), a data "
            "set of PyTorch, Images or Splits"
        )
    if method is not None and not isinstance(method, str):
        raise UserError("method: give its name; a class of your own gets one by diabolo.tables.METHODS.add")
    name = str(data) if isinstance(data, str | Path) else None if data is None else CUSTOM
    keys = {
        "data.name": name,
        "method.name": method,
        "encoder.name": None if own.encoder is None else CUSTOM,
        "views.transforms": None if own.transforms is None else [{"name": CUSTOM}],
        **options,
    }
    given = [nested(key, value) for key, value in keys.items() if value is not None]
    values = {} if recipe is None else recipe if isinstance(recipe, Mapping) else read_recipe(str(recipe))
    composed = compose([below or {}, values, *given], settings)
    if name is not None and composed.data.name != name:
        raise UserError(f"data.name: the settings say {composed.data.name}, but the data given are {name}")
    return composed


def path_of(data: Any, verb: str) -> str:
    """What data are called. Raises `UserError` for objects, which the processes of a verb cannot share."""
    if not isinstance(data, str | Path):
        raise UserError(
            f"{verb}: data of type {type(data).__name__}: give a name or a path, of arrays that of an .npz: "
            "its trainings may be processes of their own"
        )
    return str(data)
