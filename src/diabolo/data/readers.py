"""Readers of what a user brings: a folder, an archive, arrays, or one file in a published format."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diabolo.data import formats
from diabolo.data.arrays import BESIDE, check_levels, labels_of, to_labels, to_pixels
from diabolo.data.classes import FOLDER, PARTS, PATH, arrange, listed, merged
from diabolo.data.decode import AS_IT_IS, Reading, decode, first_few
from diabolo.data.decoded import Built, Make, decoded
from diabolo.data.images import Images
from diabolo.data.npz import members
from diabolo.data.parts import Parts
from diabolo.data.rows import held, select
from diabolo.data.sources import (
    ImageFile,
    folder_files,
    is_clutter,
    is_image_name,
    single_file,
    tar_files,
    zip_files,
)
from diabolo.errors import UnreadableError, UserError
from diabolo.files import expanded
from diabolo.suffixes import ARRAYS, IMAGES, PUBLISHED, TARS

PIXEL_KEYS = ("images", "pixels", "features", "data", "x", "X")
LABEL_KEYS = ("labels", "label", "y")
SMALL = 1 << 24  # bytes of image files that are decoded anew each time: a second or two


def read(path: Path, how: Reading = AS_IT_IS) -> Parts:
    """Read a folder of images, a .zip or .tar of one, an .npy or .npz, an IDX or CIFAR file, or one image.

    Subfolders are classes, see `arrange`, unless `how` names a table of them; images beside them, or in one
    named `unlabelled`, have no label (-1). Folders named `train`, `test`, `val` at the top are parts. Raises
    `UserError` for what cannot be read.
    """
    name = path.name.lower()
    if path.is_dir():
        files = [file for file in folder_files(path) if not is_clutter(file.name)]
        sources = sorted(path / file.name for file in files)
        return _images(path, sources, lambda: files, how)
    if name.endswith(".zip"):
        return _images(path, [path], lambda: zip_files(path), how)
    if name.endswith(TARS):
        return _images(path, [path], lambda: tar_files(path), how)
    if is_image_name(name):
        return _images(path, [path], lambda: single_file(path), replace(how, strict=True))
    if name.endswith(ARRAYS):
        return _arrays(path, how)
    if name.endswith((*PUBLISHED, "ubyte")):
        return _binary(path, how)
    raise UserError(
        f"{path}: not something that can be read: bring a folder, .zip or .tar of images, an .npy or "
        ".npz array, an IDX or a CIFAR file"
    )


# Folders and archives


def _images(
    path: Path,
    sources: Sequence[Path],
    found: Callable[[], Sequence[ImageFile]],
    how: Reading,
) -> Parts:
    """The images among the files that are `found`, which is not asked where they were decoded before."""

    def build(make: Make) -> Built:
        files, left_out = _chosen(path, found())
        pixels, failures, notes = decode(files, how, make=make)
        if left_out:
            notes.append(f"left out beside the images: {first_few(left_out)}")
        about = {"names": [file.name for file in files], "unreadable": sorted(failures.items())}
        return pixels, about | {"notes": notes}

    least = 0 if how.resident is False else SMALL
    array, about = decoded(sources, ("images", how.size, how.colour, how.strict), build, least)
    pixels, names, failures = held(array, how.resident), about["names"], dict(about["unreadable"])
    kept = [i for i in range(len(names)) if i not in failures]
    part_of, class_of = arrange(names, how.classes)
    notes = [*about["notes"]]
    if how.classes not in (FOLDER, PATH):
        class_of, said = listed(expanded(how.classes), names)
        notes += said
    elif how.classes == FOLDER and (said_of_folders := merged(names)):
        notes.append(said_of_folders)
    classes = sorted({name for i in kept if (name := class_of[i]) is not None})
    if len(classes) == 1:  # a single folder is a wrapping, no label
        class_of, classes = [None] * len(names), []

    def part(name: str) -> Images | None:
        rows = [i for i in kept if part_of[i] == name]
        if not rows:
            return None
        labels = labels_of([class_of[i] for i in rows], classes)
        return Images(
            pixels if len(rows) == len(names) else select(pixels, torch.tensor(rows)),
            labels=labels if classes and (labels >= 0).any() else None,
            classes=tuple(classes),
            names=tuple(names[i] for i in rows),
        )

    train = part("train")
    if train is None:
        raise UserError(f"{path}: none of the images under train/ can be read")
    unreadable = tuple(f"{names[i]}: {reason}" for i, reason in failures.items())
    return Parts(train, part("validation"), part("test"), notes=tuple(notes), unreadable=unreadable)


def _chosen(path: Path, files: Sequence[ImageFile]) -> tuple[list[ImageFile], list[str]]:
    """The images that belong to a part, by name, and the names of all other files but clutter."""
    files = sorted((file for file in files if not is_clutter(file.name)), key=lambda file: file.name)
    others = [file.name for file in files if not is_image_name(file.name)]
    images = [file for file in files if is_image_name(file.name)]
    if not images:
        beside = f" among its {len(others)} files ({first_few(others)})" if others else ""
        raise UserError(f"{path}: no image found{beside}; known are {', '.join(sorted(IMAGES))}")
    part_of, _ = arrange([file.name for file in images])
    left_out = [file.name for file, part in zip(images, part_of, strict=True) if part is None] + others
    return [file for file, part in zip(images, part_of, strict=True) if part is not None], left_out


# Arrays


def _arrays(path: Path, how: Reading) -> Parts:
    try:
        loaded = (
            {"images": np.load(path, mmap_mode="r")}
            if path.suffix.lower() == ".npy"
            else members(path, how.resident)
        )
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UnreadableError(f"{path}: not a readable array file ({str(error).splitlines()[0]})") from None
    arrays: dict[str, NDArray[Any]] = loaded
    prefixed = {part: key for key, part in _split_keys(arrays)}
    if "train" in prefixed:
        pixels = {part: arrays[f"x_{key}"] for part, key in prefixed.items()}
        labels = {part: arrays[f"y_{key}"] for part, key in prefixed.items() if f"y_{key}" in arrays}
    else:
        pixels = {"train": arrays[_pixel_key(arrays, path)]}
        label_key = next((key for key in LABEL_KEYS if key in arrays), None)
        labels = {} if label_key is None else {"train": arrays[label_key]}
    names = arrays["names"] if "names" in arrays and "train" not in prefixed else None
    parts = _from_arrays(pixels, labels, names, path, how)
    for kind in BESIDE:
        parts = _with_columns(parts, kind, arrays, prefixed, path)
    return parts


def _with_columns(
    parts: Parts, kind: str, arrays: Mapping[str, NDArray[Any]], prefixed: Mapping[str, str], path: Path
) -> Parts:
    """The parts with their attributes: `attributes`, or `attributes_train`, …, and `attribute_names`.

    kind: of `BESIDE`; quantities are read alike.
    """
    read_columns, key_of_names = BESIDE[kind]
    names = tuple(str(name) for name in arrays.get(key_of_names, ()))

    def one(part: str, images: Images) -> Images:
        key = f"{kind}_{prefixed[part]}" if part in prefixed else kind
        if key not in arrays:
            return images
        try:
            found: dict[str, Any] = {kind: read_columns(arrays[key], key), key_of_names: names}
            return replace(images, **found)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None

    changed: dict[str, Any] = {part: one(part, images) for part, images in parts.present().items()}
    return replace(parts, **changed)


def _split_keys(arrays: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The pairs (suffix, part) of the keras style: x_train, x_test, …"""
    return [(suffix, part) for suffix, part in PARTS.items() if f"x_{suffix}" in arrays]


def _pixel_key(arrays: Mapping[str, NDArray[Any]], path: Path) -> str:
    known = [key for key in PIXEL_KEYS if key in arrays]
    others = [key for key, array in arrays.items() if array.ndim > 1 and key not in (*LABEL_KEYS, *BESIDE)]
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
    how: Reading,
) -> Parts:
    made = {part: to_pixels(array, str(path), how) for part, array in pixels.items()}
    check_levels(made["train"], str(path))
    positions, classes = to_labels(labels, str(path)) if labels else ({}, ())
    for part, one in made.items():
        if one.shape[1:] != made["train"].shape[1:]:
            raise UserError(f"{path}: {part} has images of {list(one.shape[1:])}, train of another shape")
        for what, column in (("labels", positions.get(part)), ("names", names)):
            if column is not None and len(column) != len(one):
                raise UserError(f"{path}: {len(one)} images but {len(column)} {what}")
    parts = {
        part: Images(
            one,
            labels=positions.get(part),
            classes=classes,
            names=() if names is None else tuple(str(name) for name in names),
        )
        for part, one in made.items()
    }
    return Parts(parts["train"], parts.get("validation"), parts.get("test"))


# Published formats


def _binary(path: Path, how: Reading) -> Parts:
    raw = formats.contents(path)
    if formats.is_idx(raw):
        beside = _idx_labels(path)
        labels = {} if beside is None else {"train": formats.idx(formats.contents(beside), beside)}
        return _from_arrays({"train": formats.idx(raw, path)}, labels, None, path, how)
    record = formats.CIFAR_PIXELS + 1
    ten = len(raw) % record == 0 and len(raw) > 0 and raw[::record].max() < 10
    pixels, labels_ = formats.cifar(raw, path, label_bytes=1 if ten else 2)
    return _from_arrays({"train": pixels}, {"train": labels_}, None, path, how)


def _idx_labels(path: Path) -> Path | None:
    """The label file that MNIST's naming puts beside an image file."""
    name = path.name.replace("images", "labels").replace("idx3", "idx1")
    beside = path.with_name(name)
    return beside if name != path.name and beside.exists() else None
