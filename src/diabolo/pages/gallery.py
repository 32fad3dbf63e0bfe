"""The pictures of a run's page: views, samples, walks between codes, neighbours, worst cases."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import interpolate

from diabolo import generation
from diabolo.data.images import Images, Splits
from diabolo.evaluation.features import Features, probe_images, sample
from diabolo.evaluation.neighbours import nearest
from diabolo.generation import Array, Coder, Gaussian
from diabolo.latents import NotSampledError
from diabolo.methods.build import views_at_hand
from diabolo.report.gallery import Gallery, Neighbours, Worst
from diabolo.report.table import number
from diabolo.runs.outputs import pictured
from diabolo.runs.run import Run
from diabolo.seeds import generator

VIEWED, DRAWS = 6, 8  # images that views are shown of, and views of each in each size
ACROSS = 9  # images in a row; odd, so that a traversal passes through the mean code
ROWS = 3  # of samples
CODED = 5_000  # train images behind the Gaussians and the traversals
CLASSES = 10  # that samples are shown of
PAIRS, DIMENSIONS, SPAN = 5, 8, 3.0  # of interpolations and traversals; in deviations over train
QUERIES, NEAREST = 8, 8  # neighbours
WORST, VOTERS = 12, 20  # worst cases; neighbours that disagree


def views(run: Run, splits: Splits) -> list[Gallery]:
    """Training images of different classes, each beside its views; nothing where none are at hand."""
    if not pictured(run) or views_at_hand(run.recipe, run.own.transforms) is None:
        return []
    few, found = splits.train.take(torch.from_numpy(spread(splits.train)[:VIEWED])), []
    images, names = few.floats(), class_names(few)
    for kind, pipeline in zip(("views", "smaller views"), run.pipelines(), strict=False):
        rng = generator("views", kind, run.recipe.seed)
        drawn = resized(pipeline.several(images, DRAWS, rng).numpy(), few.shape)
        rows = np.concatenate([images.numpy()[:, None], drawn], axis=1)
        title = f"{pipeline.count} {kind if pipeline.count > 1 else kind[:-1]} of each image in a step"
        by = ", ".join(type(view).__name__ for view in pipeline.transforms)
        named = list(zip(names, rows, strict=True))
        found.append(Gallery(kind.replace(" ", "-"), title, named, f"By {by}." if by else ""))
    return found


def samples(run: Run, splits: Splits) -> list[Gallery]:
    """Samples, interpolations and traversals of a run whose method decodes images; else nothing."""
    method = run.method
    if not isinstance(method, Coder) or not pictured(run):
        return []
    train = probe_images(splits)[0]
    train = train.take(torch.from_numpy(sample(len(train), CODED)))
    codes, rng = generation.codes(method, train), generator("sample", run.recipe.seed)
    found = [_drawn(method, codes, rng)]
    if train.labels is not None:
        found.append(_of_classes(method, codes, train, rng))
    if len(splits.test) > 1:
        found.append(_interpolations(run, method, splits.test))
    return [*found, _traversals(method, codes)]


def neighbours(splits: Splits, features: Features, n: int = QUERIES) -> Neighbours | None:
    """A few test images of different classes, and the train images nearest to them."""
    train, _, test = probe_images(splits)
    if len(test.shape) != 3:
        return None
    queries = spread(test)[:n]
    k = min(NEAREST, len(train))
    _, found = nearest(features.train.values, features.test.values[queries], k, "cosine")
    images = [train.floats(torch.from_numpy(row)).numpy() for row in found]
    labels = None
    if train.labels is not None and test.labels is not None:
        labels = np.concatenate([test.labels.numpy()[queries][:, None], train.labels.numpy()[found]], 1)
    chosen = test.floats(torch.from_numpy(queries)).numpy()
    return Neighbours(chosen, np.stack(images), labels, features.classes)


def worst(method: object, splits: Splits, features: Features) -> Worst | None:
    """The test images rebuilt worst; without a decoder, those whose neighbours disagree with their label."""
    train, _, test = probe_images(splits)
    if len(test.shape) != 3:
        return None
    if isinstance(method, Coder):
        return _worst_rebuilt(method, test)
    if train.labels is None or test.labels is None:
        return None
    return _worst_placed(features, test)


def _drawn(method: Coder, codes: Array, rng: torch.Generator) -> Gallery:
    """From the prior, or where that is no distribution from a Gaussian fitted to the codes."""
    n = ACROSS * ROWS
    try:
        z, title = generation.sample_prior(method, n, codes.shape[1], rng), "From the prior"
        note = "Codes drawn from the prior, decoded."
    except NotSampledError:
        z, title = Gaussian.fit(codes).sample(n, rng), "From a Gaussian"
        note = "The prior cannot be sampled: codes drawn from a Gaussian fitted to those of training images."
    rows = np.split(generation.decode(method, z), ROWS)
    return Gallery("samples", title, [("", row) for row in rows], note)


def _of_classes(method: Coder, codes: Array, train: Images, rng: torch.Generator) -> Gallery:
    assert train.labels is not None
    fitted = list(generation.per_class(codes, train.labels.numpy()).items())[:CLASSES]
    rows = [
        (train.classes[label], generation.decode(method, gaussian.sample(ACROSS, rng)))
        for label, gaussian in fitted
    ]
    note = "Codes drawn from a Gaussian fitted to those of each class's training images."
    return Gallery("samples-by-class", "By class", rows, note)


def _interpolations(run: Run, method: Coder, test: Images) -> Gallery:
    pairs = min(PAIRS, len(test) // 2)
    order = torch.randperm(len(test), generator=generator("interpolate", run.recipe.seed))
    ends = [test.take(order[i * pairs : (i + 1) * pairs]) for i in (0, 1)]
    first, second = (generation.codes(method, images) for images in ends)
    line = generation.decode(method, generation.interpolation(first, second, ACROSS - 2))
    images = [images.floats().numpy()[:, None] for images in ends]
    rows = np.concatenate([images[0], line, images[1]], axis=1)
    note = "At both ends, test images; between them, the straight line between their codes."
    return Gallery("interpolations", "From image to image", [("", row) for row in rows], note)


def _traversals(method: Coder, codes: Array) -> Gallery:
    deviation = codes.std(axis=0)
    chosen = np.argsort(-deviation)[:DIMENSIONS]
    walked = generation.traversal(codes.mean(axis=0), chosen, SPAN * deviation[chosen], ACROSS)
    rows = [(f"z{i}", row) for i, row in zip(chosen, generation.decode(method, walked), strict=True)]
    note = f"The mean code moved along the dimensions that vary most, by {SPAN:g} deviations to either side."
    return Gallery("traversals", "Along one dimension", rows, note)


def spread(images: Images) -> Array:
    """Positions in an order that takes one image of each class, then a second of each, and so on."""
    if images.labels is None:
        return np.arange(len(images))
    labels = images.labels.numpy()
    turn = np.zeros(len(labels), dtype=int)
    for label in np.unique(labels):
        turn[labels == label] = np.arange((labels == label).sum())
    return np.lexsort((labels, turn))


def resized(views: Array, shape: tuple[int, ...]) -> Array:
    """Views [n, k, C, h, w] in the size of the images of a shape (C, H, W)."""
    several = torch.from_numpy(views)
    return interpolate(several.flatten(0, 1), size=shape[1:]).unflatten(0, several.shape[:2]).numpy()


def class_names(images: Images) -> list[str]:
    """Of each image; nothing where it has no label."""
    labels = [-1] * len(images) if images.labels is None else images.labels.tolist()
    return [images.classes[label] if label >= 0 else "" for label in labels]


def _worst_rebuilt(method: Coder, test: Images) -> Worst:
    errors = generation.reconstruction_errors(method, test)
    chosen = np.argsort(-errors, kind="stable")[:WORST]
    images = test.floats(torch.from_numpy(chosen)).numpy()
    return Worst(
        {"input": images, "output": generation.reconstruct(method, images)},
        [number(errors[i]) for i in chosen],
        f"Of {len(test):,} test images those that are rebuilt worst: above the image, below what the decoder "
        "makes of it, and their mean squared difference per pixel.",
    )


def _worst_placed(features: Features, test: Images) -> Worst | None:
    """Of images among whose neighbours another class is most common, those with the fewest of their own.

    Among equals, those whose neighbours are nearest. None where no image is placed wrongly.
    """
    assert features.train.labels is not None
    assert features.test.labels is not None
    k = min(VOTERS, len(features.train))
    distances, found = nearest(features.train.values, features.test.values, k, "cosine")
    around, own = features.train.labels[found], features.test.labels
    agree = (around == own[:, None]).sum(axis=1)
    taken = np.array([np.bincount(labels).argmax() for labels in around])
    order = np.lexsort((distances.mean(axis=1), agree))
    chosen = order[taken[order] != own[order]][:WORST]
    if not len(chosen):
        return None
    names = features.classes
    return Worst(
        {"image": test.floats(torch.from_numpy(chosen)).numpy()},
        [f"{names[own[i]]}\n→ {names[label]}" for i, label in zip(chosen, taken[chosen], strict=True)],
        f"Of {len(test):,} test images those whose {k} nearest training images disagree most with their "
        "label: what they are → the class that is most common around them.",
    )
