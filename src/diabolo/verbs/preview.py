"""preview: what a training would see, before it is begun: the examples of each class, and views of a few."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from diabolo.console import Show
from diabolo.data.images import Images, Splits
from diabolo.data.splits import AtHand, load, splits_from
from diabolo.errors import UserError, blaming_settings
from diabolo.files import check_file, expanded, write_bytes
from diabolo.generation import Array
from diabolo.methods.build import build_pipelines
from diabolo.pages.gallery import DRAWS, class_names, resized, spread
from diabolo.recipe import complete_for
from diabolo.report.figures import save, short
from diabolo.report.grids import MOST_ROWS, grid, square
from diabolo.runs.asked import NamedRecipe, Settings, asked_recipe, own_of
from diabolo.runs.outputs import at_least
from diabolo.seeds import generator
from diabolo.views.base import View

EACH = 12  # images of a class, where there are no views
COUNTED = 40  # classes that are counted one by one
BARE = {"method": {"name": "random"}}  # the recipe of data alone


def preview(
    data: str | Path | AtHand,
    method: str | None = None,
    *,
    recipe: NamedRecipe | None = None,
    settings: Settings = (),
    transforms: Sequence[View] | None = None,
    n: int = 10,
    out: str | Path | None = None,
    quiet: bool = False,
) -> dict[str, Array]:
    """Count the examples of each part and class, name every file that cannot be read, and draw a picture.

    With augmentations, of a method, a recipe, the settings or your own `transforms`, it shows `n` training
    images of different classes, each beside eight of its views; without, images of each class. data, method,
    recipe, settings, transforms: as in `fit`. out: the .png, by default under `previews/`.

    Returns `images` [n, C, H, W] in [0, 1] and, where there are augmentations, `views` [n, 8, C, h, w] and
    those of the smaller size, `local_views`; of examples that are no images, nothing.
    """
    show = Show(quiet)
    at_least(1, n=n)
    own = own_of(transforms=transforms)
    asked = asked_recipe(data, method, recipe, settings, own, BARE)
    named = [asked.data.stem, *([asked.method["name"]] if method or recipe else [])]
    file = Path("previews", f"{'-'.join(named)}.png") if out is None else expanded(out)
    if file.suffix != ".png":
        raise UserError(f"{file}: the picture is a .png: name it so")
    splits = load(asked.data) if isinstance(data, str | Path) else splits_from(data, asked.data)
    _count(splits, asked.data.name, show)
    shape = splits.train.shape
    if len(shape) != 3:
        return {}
    check_file(file)
    with blaming_settings():
        pipelines = build_pipelines(complete_for(asked, shape), transforms)
    few = splits.train.take(torch.from_numpy(spread(splits.train)[:n]))
    arrays = {"images": few.floats().numpy()}
    for key, pipeline in zip(("views", "local_views"), pipelines, strict=False):
        if not pipeline.transforms:
            continue
        rng = generator("preview", key, asked.seed)
        arrays[key] = pipeline.several(few.floats(), DRAWS, rng).numpy()
        show.note(f"{pipeline.count} {key.replace('_', ' ')} of each image, by")
        for view in pipeline.transforms:
            show.note(f"  {view}")
    seen = len(arrays) > 1
    if not seen and (method or recipe):
        show.note(f"{asked.method['name']} has no augmentations: it is trained on the images as they are")
    write_bytes(file, save(_beside(arrays, few) if seen else _by_class(splits.train), "png"))
    show.note(f"→ {file}")
    return arrays


def _count(splits: Splits, name: str, show: Show) -> None:
    """How many examples each part has, of each class; what should be known of them."""
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    parts |= {} if splits.labelled is None else {"labelled": splits.labelled}
    train = splits.train
    what = "images" if len(train.shape) == 3 else "examples"
    show.note(f"{name}: {what} of {'×'.join(map(str, train.shape))}")
    lines = [["", *parts], ["all", *(f"{len(part):,}" for part in parts.values())]]
    classes = max((part.classes for part in parts.values()), key=len)
    counts = np.stack([_of_class(part, len(classes)) for part in parts.values()], 1)
    for title, row in zip([*classes, "without label"], counts, strict=True):
        if title in classes[:COUNTED] or (classes and title not in classes and row.any()):
            lines.append([title, *(f"{count:,}" for count in row)])
    show.table(lines)
    if len(classes) > COUNTED:
        least, most = counts[:-1, 0].min(), counts[:-1, 0].max()
        show.note(f"and {len(classes) - COUNTED} classes more, of {least:,} to {most:,} in train each")
    for note in splits.notes:
        show.note(note)
    for one in splits.unreadable:
        show.note(f"  {one}")


def _of_class(part: Images, classes: int) -> Array:
    """How many examples are of each class, and of none: [classes + 1]."""
    labels = np.full(len(part), -1) if part.labels is None else part.labels.numpy()
    return np.bincount(np.where(labels < 0, classes, labels), minlength=classes + 1)


def _beside(arrays: dict[str, Array], images: Images) -> Figure:
    """Each image and its views in a row; views of another size are scaled to the image's."""
    tiles, titles = [arrays["images"][:, None]], ["image"]
    for key in ("views", "local_views"):
        if key in arrays:
            tiles.append(resized(arrays[key], images.shape))
            height, width = arrays[key].shape[-2:]
            other = "" if (height, width) == images.shape[1:] else f"\n{width}×{height}"
            titles += [f"views{other}", *[""] * (DRAWS - 1)]
    return grid(list(np.concatenate(tiles, 1)), list(map(short, class_names(images))), titles)


def _by_class(images: Images) -> Figure:
    """A row of images of each class, of as many as a picture holds; of images without, a square."""
    labels = torch.full((len(images),), -1) if images.labels is None else images.labels
    found = {name: (labels == k).nonzero().flatten()[:EACH] for k, name in enumerate(images.classes)}
    rows = {name: index for name, index in list(found.items())[:MOST_ROWS] if len(index)}
    if not rows:
        return grid(square(images.take(torch.arange(min(len(images), EACH * EACH))).floats().numpy()))
    return grid([images.take(index).floats().numpy() for index in rows.values()], list(map(short, rows)))
