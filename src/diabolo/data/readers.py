"""Readers of what a user brings: a folder, an archive, arrays, or one file in a published format."""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diabolo.data import formats
from diabolo.data.arrays import conform, labels_of, to_attributes, to_labels, to_pixels
from diabolo.data.decode import Colour, decode, first_few
from diabolo.data.images import Images
from diabolo.data.sources import (
    SUFFIXES,
    ImageFile,
    folder_files,
    is_clutter,
    is_image_name,
    single_file,
    tar_files,
    zip_files,
)
from diabolo.errors import UserError

# The folders, or prefixes of array names, that make a part.
PARTS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
PIXEL_KEYS = ("images", "pixels", "features", "data", "x", "X")
LABEL_KEYS = ("labels", "label", "y")
ATTRIBUTES = "attributes"
TARS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2")


@dataclass(frozen=True)
class Parts:
    """What a data set brings, before anything is held out: at least train."""

    train: Images
    validation: Images | None = None
    test: Images | None = None
    labelled: Images | None = None
    notes: tuple[str, ...] = ()

    def present(self) -> dict[str, Images]:
        """The parts that are there, by name, train first."""
        found = {
            "train": self.train,
            "labelled": self.labelled,
            "validation": self.validation,
            "test": self.test,
        }
        return {name: part for name, part in found.items() if part is not None}

    def together(self) -> Images:
        """All images in one, in the order of `present`; those of a part without labels get −1.

        Attributes are kept where every part has them.
        """
        parts = self.present()
        classes = next((part.classes for part in parts.values() if part.labels is not None), ())
        labels = [torch.full((len(p),), -1) if p.labels is None else p.labels for p in parts.values()]
        attributes = [part.attributes for part in parts.values()]
        return Images(
            pixels=torch.cat([part.pixels for part in parts.values()]),
            labels=torch.cat(labels) if classes else None,
            classes=classes,
            attributes=None if None in attributes else torch.cat(attributes),  # type: ignore[arg-type]
            attribute_names=self.train.attribute_names,
            names=tuple(
                n for name, p in parts.items() for n in p.names or [f"{name}/{i}" for i in range(len(p))]
            ),
        )


def read(path: Path, *, size: int | None = None, colour: Colour = "as-is", strict: bool = False) -> Parts:
    """Read a folder of images, a .zip or .tar of one, an .npy or .npz, an IDX or CIFAR file, or one image.

    Subfolders are classes, and images beside them have no label (-1). Folders named `train`, `test`, `val` at
    the top are parts. `size`, `colour` and `strict` are those of `diabolo.recipe.Data`. Raises `UserError`
    for what cannot be read.
    """
    name = path.name.lower()
    if path.is_dir():
        return _images(folder_files(path), path, size, colour, strict)
    if name.endswith(".zip"):
        return _images(zip_files(path), path, size, colour, strict)
    if name.endswith(TARS):
        return _images(tar_files(path), path, size, colour, strict)
    if is_image_name(name):
        return _images(single_file(path), path, size, colour, strict=True)
    if name.endswith((".npy", ".npz")):
        parts = _arrays(path)
    elif name.endswith((".bin", ".idx", ".gz", ".xz", "ubyte")):
        parts = _binary(path)
    else:
        raise UserError(
            f"{path}: not something that can be read: bring a folder, .zip or .tar of images, an .npy or "
            ".npz array, an IDX or a CIFAR file"
        )
    return _conform(parts, size, colour)


def _conform(parts: Parts, size: int | None, colour: Colour) -> Parts:
    def one(part: Images) -> Images:
        return replace(part, pixels=conform(part.pixels, size=size, colour=colour))

    return replace(
        parts,
        train=one(parts.train),
        validation=None if parts.validation is None else one(parts.validation),
        test=None if parts.test is None else one(parts.test),
    )


# Folders and archives


def _images(files: Sequence[ImageFile], path: Path, size: int | None, colour: Colour, strict: bool) -> Parts:
    files = sorted((file for file in files if not is_clutter(file.name)), key=lambda file: file.name)
    others = [file.name for file in files if not is_image_name(file.name)]
    files = [file for file in files if is_image_name(file.name)]
    if not files:
        beside = f" among its {len(others)} files ({first_few(others)})" if others else ""
        raise UserError(f"{path}: no image found{beside}; known are {', '.join(sorted(SUFFIXES))}")
    part_of, class_of = arrange([file.name for file in files])
    left_out = [file.name for file, part in zip(files, part_of, strict=True) if part is None] + others
    chosen = [i for i, part in enumerate(part_of) if part is not None]
    pixels, kept, notes = decode([files[i] for i in chosen], size=size, colour=colour, strict=strict)
    kept = [chosen[i] for i in kept]
    if left_out:
        notes.append(f"{len(left_out)} files beside the images left out: {first_few(left_out)}")
    classes = sorted({name for i in kept if (name := class_of[i]) is not None})
    if len(classes) == 1:  # a single folder is a wrapping, no label
        class_of, classes = [None] * len(files), []

    def part(name: str) -> Images | None:
        rows = [row for row, i in enumerate(kept) if part_of[i] == name]
        if not rows:
            return None
        labels = labels_of([class_of[kept[row]] for row in rows], classes)
        return Images(
            pixels=torch.from_numpy(pixels if len(rows) == len(kept) else pixels[rows]),
            labels=labels if classes and (labels >= 0).any() else None,
            classes=tuple(classes),
            names=tuple(files[kept[row]].name for row in rows),
        )

    train = part("train")
    if train is None:
        raise UserError(f"{path}: none of the images under train/ can be read")
    return Parts(train, part("validation"), part("test"), notes=tuple(notes))


def arrange(names: Sequence[str]) -> tuple[list[str | None], list[str | None]]:
    """The part and the class of each file, from its path; None where it has none.

    A folder that wraps all others is passed over. `train` beside `test`, or beside nothing but parts, makes
    parts, and what lies outside them belongs to none. Below, the first folder is the class.
    """
    folders = [PurePosixPath(name).parts[:-1] for name in names]
    while len(tops := {folder[:1] for folder in folders}) == 1 and () not in tops:
        folders = [folder[1:] for folder in folders]
    top_names = {top[0].lower() for top in tops if top}
    in_parts = "train" in top_names and (
        "test" in top_names or (() not in tops and top_names <= PARTS.keys())
    )
    if not in_parts:
        return ["train"] * len(names), [folder[0] if folder else None for folder in folders]
    parts = [PARTS.get(folder[0].lower()) if folder else None for folder in folders]
    return parts, [folder[1] if len(folder) > 1 else None for folder in folders]


# Arrays


def _arrays(path: Path) -> Parts:
    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = {"images": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: not a readable array file ({str(error).splitlines()[0]})") from None
    prefixed = {part: key for key, part in _split_keys(arrays)}
    if "train" in prefixed:
        pixels = {part: arrays[f"x_{key}"] for part, key in prefixed.items()}
        labels = {part: arrays[f"y_{key}"] for part, key in prefixed.items() if f"y_{key}" in arrays}
    else:
        pixels = {"train": arrays[_pixel_key(arrays, path)]}
        label_key = next((key for key in LABEL_KEYS if key in arrays), None)
        labels = {} if label_key is None else {"train": arrays[label_key]}
    names = arrays["names"] if "names" in arrays and "train" not in prefixed else None
    return _attributed(_from_arrays(pixels, labels, names, path), arrays, prefixed, path)


def _attributed(
    parts: Parts, arrays: Mapping[str, NDArray[Any]], prefixed: Mapping[str, str], path: Path
) -> Parts:
    """The parts with their attributes: `attributes`, or `attributes_train`, …, and `attribute_names`."""
    names = tuple(str(name) for name in arrays.get("attribute_names", ()))

    def one(part: str, images: Images) -> Images:
        key = f"{ATTRIBUTES}_{prefixed[part]}" if part in prefixed else ATTRIBUTES
        if key not in arrays:
            return images
        try:
            attributes = to_attributes(arrays[key], key)
            return replace(images, attributes=attributes, attribute_names=names)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None

    changed: dict[str, Any] = {part: one(part, images) for part, images in parts.present().items()}
    return replace(parts, **changed)


def _split_keys(arrays: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The pairs (suffix, part) of the keras style: x_train, x_test, …"""
    return [(suffix, part) for suffix, part in PARTS.items() if f"x_{suffix}" in arrays]


def _pixel_key(arrays: Mapping[str, NDArray[Any]], path: Path) -> str:
    known = [key for key in PIXEL_KEYS if key in arrays]
    others = [key for key, array in arrays.items() if array.ndim > 1 and key not in (*LABEL_KEYS, ATTRIBUTES)]
    if known or len(others) == 1:
        return (known or others)[0]
    raise UserError(
        f"{path}: which array holds the images? Name it 'images' (found: {', '.join(arrays) or 'none'})"
    )


def _from_arrays(
    pixels: Mapping[str, NDArray[Any]],
    labels: Mapping[str, NDArray[Any]],
    names: NDArray[Any] | None,
    path: Path,
) -> Parts:
    tensors = {part: to_pixels(array, str(path)) for part, array in pixels.items()}
    positions, classes = to_labels(labels, str(path)) if labels else ({}, ())
    for part, tensor in tensors.items():
        if tensor.shape[1:] != tensors["train"].shape[1:]:
            raise UserError(f"{path}: {part} has images of {list(tensor.shape[1:])}, train of another shape")
        for what, column in (("labels", positions.get(part)), ("names", names)):
            if column is not None and len(column) != len(tensor):
                raise UserError(f"{path}: {len(tensor)} images but {len(column)} {what}")
    made = {
        part: Images(
            tensor,
            labels=positions.get(part),
            classes=classes,
            names=() if names is None else tuple(str(name) for name in names),
        )
        for part, tensor in tensors.items()
    }
    return Parts(made["train"], made.get("validation"), made.get("test"))


# Published formats


def _binary(path: Path) -> Parts:
    raw = formats.contents(path)
    if formats.is_idx(raw):
        beside = _idx_labels(path)
        labels = {} if beside is None else {"train": formats.idx(formats.contents(beside), beside)}
        return _from_arrays({"train": formats.idx(raw, path)}, labels, None, path)
    record = formats.CIFAR_PIXELS + 1
    ten = len(raw) % record == 0 and len(raw) > 0 and raw[::record].max() < 10
    pixels, labels_ = formats.cifar(raw, path, label_bytes=1 if ten else 2)
    return _from_arrays({"train": pixels}, {"train": labels_}, None, path)


def _idx_labels(path: Path) -> Path | None:
    """The label file that MNIST's naming puts beside an image file."""
    name = path.name.replace("images", "labels").replace("idx3", "idx1")
    beside = path.with_name(name)
    return beside if name != path.name and beside.exists() else None
