"""What a user has at hand in Python, as images: arrays, arrays with labels, data sets of PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from diabolo.data.arrays import conform, to_array, to_labels, to_pixels
from diabolo.data.decode import AS_IT_IS, GREY_MODES, Reading, to_colour
from diabolo.data.images import Images
from diabolo.errors import UserError

Unnamed = Images | np.ndarray | Tensor | tuple | Dataset  # data that are no name and no path, not yet split
WHERE = "data"  # what messages call them


def images_at_hand(data: Unnamed, how: Reading = AS_IT_IS) -> Images:
    """`Images` from themselves; from an array as `to_pixels` takes it, or from (images, labels), where labels
    are whole numbers or class names [N], −1 or None for none; or from a map-style data set of PyTorch or
    torchvision, whose items are images, or tuples of an image, its label and whatever else: all of them are
    read.

    Its images are Pillow's, or arrays and tensors as `to_pixels` takes them one by one, of one size where
    `how` gives none. Each is read once: a transform that is random has no place in it, views have
    (`transforms` of `fit`).
    """
    if isinstance(data, Images):
        check_form(data, how)
        return data
    if isinstance(data, Dataset):
        return _of_items(data, how)
    if not isinstance(data, tuple):
        return Images(to_pixels(data, WHERE, how))
    if len(data) != 2:
        raise UserError(f"{WHERE}: a tuple is (images, labels), this one has {len(data)} entries")
    pixels = to_pixels(data[0], WHERE, how)
    return _labelled(pixels, to_array(data[1]))


def check_form(images: Images, how: Reading) -> None:
    """Raise `UserError` where images, decoded already, are of another size or colour than asked for."""
    one = images.pixels[:1]
    if len(one) and conform(one, size=how.size, colour=how.colour).shape != one.shape:
        raise UserError(
            f"{WHERE}: `Images` and `Splits` stay as they are, here {images.shape}: for another data.size or "
            "data.colour give arrays"
        )


def _labelled(pixels: Any, labels: NDArray[Any]) -> Images:
    found, classes = to_labels({"train": labels}, WHERE)
    if len(found["train"]) != len(pixels):
        raise UserError(f"{WHERE}: {len(pixels)} images but {len(found['train'])} labels")
    return Images(pixels, found["train"], classes)


def _of_items(data: Dataset[Any], how: Reading) -> Images:
    if isinstance(data, IterableDataset) or not hasattr(data, "__len__"):
        raise UserError(f"{WHERE}: a data set without a length and positions cannot be split: give arrays")
    images: list[Tensor] = []
    labels: list[int | str | None] = []
    for image, label in _items(data):
        pixels = to_pixels(image[None], WHERE, how)[:]
        if images and pixels.shape != images[0].shape:
            sizes = f"{list(images[0].shape[1:])} and {list(pixels.shape[1:])}"
            raise UserError(f"{WHERE}: images of {sizes}: set data.size, or for the channels data.colour")
        images.append(pixels)
        labels.append(label)
    if not images:
        raise UserError(f"{WHERE}: the data set is empty")
    if all(label is None for label in labels):
        return Images(torch.cat(images))
    positions, classes = to_labels({"train": np.array(labels, object)}, WHERE)
    names = getattr(data, "classes", None)  # of torchvision's
    numbers = [label for label in labels if isinstance(label, int)]
    if numbers and isinstance(names, list | tuple) and max(numbers) < len(names):
        classes = tuple(str(names[int(number)]) for number in classes)
    return Images(torch.cat(images), positions["train"], classes)


def _items(data: Any) -> Iterator[tuple[NDArray[Any], int | str | None]]:
    """Each image as an array, a tensor's channels first, and its label."""
    for i in range(len(data)):
        item = data[i]
        image, *rest = item if isinstance(item, tuple | list) else (item,)
        label = _label(rest[0]) if rest else None
        if isinstance(image, Image.Image):
            yield np.asarray(to_colour(image, grey=image.mode in GREY_MODES)), label
        elif isinstance(image, np.ndarray | Tensor):
            yield to_array(image), label
        else:
            raise UserError(f"{WHERE}: item {i} is of type {type(image).__name__}, and no image or array")


def _label(label: Any) -> int | str | None:
    if label is None or isinstance(label, str):
        return label
    one = label.item() if isinstance(label, np.ndarray | np.generic | Tensor) and label.ndim == 0 else label
    if isinstance(one, int | float) and float(one).is_integer():
        return int(one)
    got = one if isinstance(one, float) else f"of type {type(label).__name__}"
    raise UserError(f"{WHERE}: labels are whole numbers or class names, not {got}")
