"""Methods side by side: what each makes of the same images, for the page of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch

from diabolo import generation
from diabolo.data.images import Images, Splits
from diabolo.evaluation.features import features_of, probe_images, sample
from diabolo.generation import Coder
from diabolo.pages import gallery
from diabolo.report import projection
from diabolo.report.comparison import Side, Sides
from diabolo.runs.inputs import coder_at_hand, splits_of
from diabolo.runs.outputs import pictured
from diabolo.runs.run import Run

KNOWN = 5_000  # training images among which neighbours are looked for
POINTS = 500  # test images in the planes
QUERIES = 4  # images with neighbours


def side_by_side(runs: Mapping[str, Run]) -> Sides:
    """The same few images through runs that were trained on the same data."""
    if not runs:
        return Sides({})
    first = next(iter(runs.values()))
    few = _few(splits_of(first))
    images = (
        few.test.take(torch.from_numpy(gallery.spread(few.test)[: gallery.ACROSS]))
        if pictured(first)
        else None
    )
    labels = few.test.labels
    return Sides(
        {name: _side(run, few, images) for name, run in runs.items()},
        None if images is None else images.floats().numpy(),
        None if labels is None else labels.numpy(),
        few.test.classes,
        len(few.train),
    )


def _side(run: Run, few: Splits, images: Images | None) -> Side:
    represent = partial(run.method.represent, space=run.space)
    features = features_of(represent, few, run.device)
    components, share = projection.pca(features.test.values)
    drawable = share.any() and len(few.test) >= projection.FEWEST
    coder = None if images is None else coder_at_hand(run)
    rebuilt = generation.reconstruct(coder, images.floats().numpy()) if coder and images else None
    return Side(
        projection.tsne(features.test.values, components) if drawable else None,
        gallery.neighbours(few, features, QUERIES),
        rebuilt,
        coder is not None and not isinstance(run.method, Coder),
    )


def _few(splits: Splits) -> Splits:
    """Some images of each part that probes use; validation is not looked at."""
    train, validation, test = probe_images(splits)
    return Splits(
        train.take(torch.from_numpy(sample(len(train), KNOWN))),
        validation.take(torch.arange(1)),
        test.take(torch.from_numpy(sample(len(test), POINTS))),
    )
