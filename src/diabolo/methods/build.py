"""From a recipe, and what is known of the data, to a method with its networks, and to its views."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor, nn

from diabolo.components import CUSTOM
from diabolo.data.ahead import in_order
from diabolo.data.images import Splits
from diabolo.data.rows import Pixels
from diabolo.errors import UserError
from diabolo.methods.base import Method
from diabolo.networks.backbone import Backbone
from diabolo.recipe import Recipe
from diabolo.seeds import seeded
from diabolo.tables import DECODERS, ENCODERS, METHODS, VIEWS
from diabolo.views.base import View
from diabolo.views.pipeline import Pipeline

CHUNK = 1 << 20  # bytes of pixels that are counted at once


@dataclass(frozen=True)
class Facts:
    """What a method must know of its data, kept in the run folder so that it can be rebuilt without them."""

    shape: tuple[int, ...]  # of one example
    classes: tuple[str, ...]  # empty where there are no labels
    size: int  # training examples
    mean: tuple[float, ...]  # of each channel (or entry of a vector), over train, as the networks see it
    std: tuple[float, ...]
    digest: str = ""  # of all parts' pixels and labels


def facts_of(splits: Splits) -> Facts:
    """Count, and measure each channel's mean and standard deviation."""
    train = splits.train
    mean, std = (tuple(moments.tolist()) for moments in _moments(train.pixels))
    return Facts(train.shape, train.classes, len(train), mean, std, splits.digest())


def facts_from(values: Mapping[str, Any]) -> Facts:
    """The facts that `dataclasses.asdict` made plain."""
    shape, classes, mean, std = (tuple(values[key]) for key in ("shape", "classes", "mean", "std"))
    return Facts(shape, classes, values["size"], mean, std, values["digest"])


def build_method(recipe: Recipe, facts: Facts, encoder: nn.Module | None = None) -> Method:
    """Construct the method of a complete recipe, initialised from its seed.

    encoder: the user's own module, where the recipe says so; it is copied.
    """
    assert recipe.encoder is not None, "complete the recipe first"
    moments = (torch.tensor(facts.mean), torch.tensor(facts.std)) if recipe.data.normalise else (None, None)

    def decoder(latent: int, channels: int) -> nn.Module:
        assert recipe.decoder is not None, "complete the recipe first"
        return DECODERS.build(recipe.decoder, latent=latent, shape=(channels, *facts.shape[1:]))

    with seeded(torch.get_default_device(), recipe.seed, "initialisation"):  # where parameters are drawn
        method: Method = METHODS.build(
            recipe.method,
            encoder=Backbone(_network(recipe.encoder, facts, encoder), facts.shape, *moments),
            decoder=decoder,
            shape=facts.shape,
            views=recipe.views.count,
            classes=len(facts.classes),
            size=facts.size,
        )
    return method


def _network(spec: Mapping[str, Any], facts: Facts, own: nn.Module | None) -> nn.Module:
    """The encoder's network: a new one, or a copy of the user's."""
    if spec["name"] != CUSTOM:
        return ENCODERS.build(spec, shape=facts.shape)
    if own is None:
        raise UserError("this run's encoder is a module of yours: give it again in Python, as encoder=…")
    return deepcopy(own)


def _moments(pixels: Pixels) -> tuple[Tensor, Tensor]:
    """Per channel of uint8 images [N, C, H, W] in units of [0, 1], or per entry of vectors [N, F]."""
    parts = partial(in_order, pixels, max(1, CHUNK // pixels[:1].nbytes), "cpu")
    if pixels.dtype != torch.uint8:
        mean = _total(part.double().sum(0) for part in parts()) / len(pixels)
        squares = _total((part.double() - mean).square().sum(0) for part in parts())
        return mean, (squares / len(pixels)).sqrt()
    counts = _total(_counts(part) for part in parts()).double()
    levels = torch.arange(256, dtype=torch.float64) / 255
    share = counts / counts.sum(1, keepdim=True)
    mean = share @ levels
    return mean, (share @ levels.square() - mean.square()).clamp(min=0).sqrt()


def _counts(pixels: Tensor) -> Tensor:
    """How often each level occurs in each channel: [N, C, H, W] → [C, 256]."""
    return torch.stack([torch.bincount(c.flatten(), minlength=256) for c in pixels.unbind(1)])


def _total(terms: Iterable[Tensor]) -> Tensor:
    """Added up as they come: a list of small tensors among large ones would keep the memory apart."""
    return reduce(torch.add, terms)


def build_pipelines(recipe: Recipe, custom: Sequence[View] | None = None) -> list[Pipeline]:
    """The pipelines of a complete recipe: the views, and the smaller ones where it has them.

    custom: the user's own augmentations, where the recipe says so.
    """
    pipelines = []
    for group in (recipe.views, recipe.local_views):
        if group is not None:
            assert isinstance(group.transforms, list), "complete the recipe first"
            if {"name": CUSTOM} not in group.transforms:
                views = [VIEWS.build(spec) for spec in group.transforms]
            elif custom is None:
                raise UserError("this run's views are objects of yours: pass them again as transforms=…")
            else:
                views = list(custom)
            pipelines.append(Pipeline(views, group.count))
    return pipelines


def views_at_hand(recipe: Recipe, custom: Sequence[View] | None = None) -> Pipeline | None:
    """The views of a complete recipe, to look at; `custom` as for `build_pipelines`.

    None where it has no augmentations, or where they are objects of the user's that were not passed again.
    """
    if {"name": CUSTOM} in recipe.views.transforms and custom is None:
        return None
    [pipeline, *_] = build_pipelines(recipe, custom)
    return pipeline if pipeline.transforms else None
