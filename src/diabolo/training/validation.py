"""The loss on validation: what training minimises, of images that it does not see."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from diabolo.data.images import Images, Splits
from diabolo.distributed import alone, world_size
from diabolo.methods.base import Method
from diabolo.networks import norm
from diabolo.precision import in_precision
from diabolo.recipe import Recipe
from diabolo.seeds import generator
from diabolo.training.loop import Feed
from diabolo.views.pipeline import Batch, Pipeline

IMAGES = 2_000  # at most: as many as the live kNN takes, and as an epoch has
PASSES = 8_000  # through a network, at most: ten views, or 16 draws of a code, leave fewer images
FITTED = 512  # training images whose views batch norm that lags is fitted to


@torch.no_grad()
def validation_loss(
    twin: Method, recipe: Recipe, pipelines: Sequence[Pipeline], splits: Splits, progress: float
) -> dict[str, float]:
    """The loss and its terms on a sample of validation, in evaluation mode, under the names of training.

    Every call takes the same images through the same views and noise, so that its results differ by the
    weights alone. twin: a copy of the method, whose queues, slow networks and statistics may change.
    pipelines: eager ones, copies too. progress: the share of training done.

    Nothing where the loss is about the training examples themselves, where it needs labels that validation
    lacks, and where it compares the examples of a batch and validation does not fill one: that of fewer
    examples is another loss. A term that is not finite is left out.
    """
    images = splits.validation
    if twin.needs.labels:
        images = _labelled(images, len(splits.train.classes))
    size = recipe.training.batch_size
    fills = len(images) >= size or not twin.needs.compares
    if not (twin.needs.held_out and len(images) and fills):
        return {}
    twin.eval()
    most = min(IMAGES, len(splits.train), PASSES // (recipe.encodings * twin.draws))
    if not twin.needs.compares:  # then a batch may be as small as this process holds, or smaller
        size = max(1, min(size // world_size(), most))
    device = next(twin.parameters()).device
    batches = partial(
        _batches, size=size, seed=recipe.seed, pipelines=pipelines, device=device, progress=progress
    )
    with alone(), in_precision(recipe.training.precision, device):
        if not norm.settled(twin):
            norm.estimate(twin, twin.forward, batches(splits.train, FITTED))
        rows: list[Tensor] = []
        for batch in batches(images, most):
            terms = twin.forward(batch)  # not the call, which may be compiled for training
            rows.append(torch.stack([terms.total, *terms.parts.values()]).detach())
    means = torch.stack(rows).cpu().double().mean(0).tolist()
    named = zip(["loss", *terms.parts], means, strict=True)
    return {name: value for name, value in named if math.isfinite(value)}


def _batches(
    images: Images,
    most: int,
    *,
    size: int,
    seed: int,
    pipelines: Sequence[Pipeline],
    device: torch.device,
    progress: float,
) -> Iterator[Batch]:
    """Whole batches of at most so many images, always the same, but at least one; of fewer, one of all."""
    size = min(size, len(images))
    count = max(1, min(most, len(images)) // size)
    order = torch.randperm(len(images), generator=generator("validation", seed))
    feed = Feed(images.take(order[: count * size]), pipelines, size, seed, device)
    for position in range(count):
        yield feed(0, position, progress)


def _labelled(images: Images, classes: int) -> Images:
    """Those with a label that train knows."""
    if images.labels is None:
        return images.take(torch.arange(0))
    return images.take(((images.labels >= 0) & (images.labels < classes)).nonzero().flatten())
