"""The loss on validation: what training minimises, of images that it does not see."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from diabolo.data.images import Images, Splits
from diabolo.distributed import alone
from diabolo.methods.base import Method
from diabolo.networks import norm
from diabolo.precision import in_precision
from diabolo.recipe import Recipe
from diabolo.seeds import generator
from diabolo.training.loop import Feed
from diabolo.views.pipeline import Batch, Pipeline

IMAGES = 2_000  # at most: as many as the live kNN takes
PASSES = 16_000  # through a network, at most: ten views, or 16 draws of a code, leave fewer images
FITTED = 512  # training images whose views batch norm that lags is fitted to


@torch.no_grad()
def validation_loss(
    method: Method, recipe: Recipe, pipelines: Sequence[Pipeline], splits: Splits, progress: float
) -> dict[str, float]:
    """The loss and its terms on a sample of validation, in evaluation mode, under the names of training.

    Every call takes the same images through the same views and noise, so that its results differ by the
    weights alone. It works on a copy: queues, slow networks and statistics stay as they are.
    pipelines: eager ones. progress: the share of training done.

    Nothing where the loss is about the training examples themselves, where it needs labels that validation
    lacks, and where it compares the examples of a batch and validation does not fill one: that of fewer
    examples is another loss. A term that is not finite is left out.
    """
    images = splits.validation
    if method.needs.labels:
        images = _labelled(images, len(splits.train.classes))
    fills = len(images) >= recipe.training.batch_size or method.needs.batch == 1
    if not (method.needs.held_out and len(images) and fills):
        return {}
    twin, device = copy.deepcopy(method).eval(), next(method.parameters()).device
    batches = partial(_batches, recipe=recipe, pipelines=pipelines, device=device, progress=progress)
    most = min(IMAGES, PASSES // (recipe.encodings * twin.draws))
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
    recipe: Recipe,
    pipelines: Sequence[Pipeline],
    device: torch.device,
    progress: float,
) -> Iterator[Batch]:
    """Whole batches of at most so many images, always the same; one of all where they fill none."""
    size = min(recipe.training.batch_size, len(images))
    count = max(1, min(most, len(images)) // size)
    order = torch.randperm(len(images), generator=generator("validation", recipe.seed))
    feed = Feed(images.take(order[: count * size]), pipelines, size, recipe.seed, device)
    for position in range(count):
        yield feed(0, position, progress)


def _labelled(images: Images, classes: int) -> Images:
    """Those with a label that train knows."""
    if images.labels is None:
        return images.take(torch.arange(0))
    return images.take(((images.labels >= 0) & (images.labels < classes)).nonzero().flatten())
