"""The data sets of the catalog, read from their published files."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diabolo.data import formats
from diabolo.data.arrays import to_pixels
from diabolo.data.catalog import DataSetEntry
from diabolo.data.decode import DEFAULT_SIZE, Reading, decode
from diabolo.data.decoded import Built, Make, decoded
from diabolo.data.fetch import find
from diabolo.data.images import Images
from diabolo.data.parts import Parts
from diabolo.data.rows import held
from diabolo.data.sources import ImageFile, folder_files, zip_files
from diabolo.errors import UserError

DIGITS_TEST = 360  # a fifth, always the same one, since the data set has no test part of its own


def digits(entry: DataSetEntry, folder: Path, how: Reading) -> Parts:
    """scikit-learn's digits; their values 0…16 become 0…255."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    values, labels = load_digits(return_X_y=True)
    pixels = (values * (255 / 16)).round().astype(np.uint8).reshape(-1, 1, 8, 8)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=DIGITS_TEST, stratify=labels, random_state=0
    )

    def part(rows: NDArray[np.int64]) -> Images:
        rows = np.sort(rows)
        return _images(entry, pixels[rows], labels[rows].astype(np.int64), how)

    return Parts(part(train), test=part(test))


def mnist(entry: DataSetEntry, folder: Path, how: Reading) -> Parts:
    """MNIST and Fashion-MNIST: IDX files of images and of labels."""

    def part(prefix: str) -> Images:
        images, labels = (
            _file(folder, f"{prefix}-images-idx3-ubyte"),
            _file(folder, f"{prefix}-labels-idx1-ubyte"),
        )
        pixels, y = (
            formats.idx(formats.contents(images), images),
            formats.idx(formats.contents(labels), labels),
        )
        if pixels.ndim != 3 or y.shape != pixels.shape[:1] or y.max(initial=0) >= len(entry.classes):
            raise UserError(
                f"{images}: images {list(pixels.shape)} and labels {list(y.shape)} do not belong together"
            )
        return _images(entry, pixels[:, None], y.astype(np.int64), how)

    return Parts(part("train"), test=part("t10k"))


def cifar10(entry: DataSetEntry, folder: Path, how: Reading) -> Parts:
    """CIFAR-10: five files of training records and one of test records."""
    train = [f"data_batch_{i}.bin" for i in range(1, 6)]
    return _cifar(entry, folder, train, "test_batch.bin", how, label_bytes=1)


def cifar100(entry: DataSetEntry, folder: Path, how: Reading) -> Parts:
    """CIFAR-100 with its fine labels."""
    return _cifar(entry, folder, ["train.bin"], "test.bin", how, label_bytes=2)


def stl10(entry: DataSetEntry, folder: Path, how: Reading) -> Parts:
    """STL-10: train is the unlabelled part; probes are fitted on the 5,000 labelled images."""

    def part(prefix: str) -> Images:
        images, y = _file(folder, f"{prefix}_X.bin"), _file(folder, f"{prefix}_y.bin")
        pixels = formats.stl10_images(formats.contents(images), images)
        labels = formats.stl10_labels(formats.contents(y), y)
        if len(labels) != len(pixels):
            raise UserError(f"{y}: {len(labels)} labels for the {len(pixels)} images of {images.name}")
        return _images(entry, pixels, labels, how)

    file = _file(folder, "unlabeled_X.bin")
    unlabelled = formats.stl10_images(formats.contents(file), file)
    train = _images(entry, unlabelled, None, how)
    return Parts(train, labelled=part("train"), test=part("test"))


def celeba(entry: DataSetEntry, folder: Path, how: Reading) -> Parts:
    """CelebA: the aligned 178×218 faces, their central 178×178, which keeps the hair, resized (to 64).

    The label is the hair colour; -1 for images with none of the five or several, which the SimVAE paper
    leaves out.
    """
    attribute_file, partition_file = (
        _file(folder, "list_attr_celeba.txt"),
        _file(folder, "list_eval_partition.txt"),
    )
    names, attribute_names, attributes = formats.celeba_attributes(attribute_file.read_text(), attribute_file)
    part_of = formats.celeba_partition(partition_file.read_text(), partition_file)
    if missing := [name for name in names if name not in part_of]:
        raise UserError(f"{partition_file}: has no line for {missing[0]}")
    images = _file(folder, "img_align_celeba.zip")
    files = _faces(images, names)

    def build(make: Make) -> Built:
        whole = replace(how, size=how.size or DEFAULT_SIZE, strict=True)
        return decode(files, whole, make=make)[0], None

    sources = [images / file.name for file in files] if images.is_dir() else [images]
    pixels = held(decoded(sources, (names, how.size, how.colour), build)[0], how.resident)
    if unknown := set(entry.classes) - set(attribute_names):
        raise UserError(f"{attribute_file}: has no attribute {min(unknown)}")
    labels = only_one(attributes[:, [attribute_names.index(name) for name in entry.classes]])
    partition = torch.tensor([part_of[name] for name in names])

    def part(number: int) -> Images:
        rows = (partition == number).nonzero()[:, 0]
        return Images(
            pixels,
            labels=labels,
            classes=entry.classes,
            attributes=torch.from_numpy(attributes),
            attribute_names=tuple(attribute_names),
            names=tuple(names),
        ).take(rows)

    return Parts(part(0), validation=part(1), test=part(2))


def only_one(attributes: NDArray[np.int8]) -> Tensor:
    """Which attribute of [N, A] applies: int64 [N], -1 where none or several do."""
    return torch.from_numpy(np.where(attributes.sum(1) == 1, attributes.argmax(1), -1))


def _faces(images: Path, names: Sequence[str]) -> list[ImageFile]:
    """The image files of these names, in their order."""
    found = folder_files(images) if images.is_dir() else zip_files(images)
    file_of = {file.name.rpartition("/")[2]: file for file in found}
    if missing := [name for name in names if name not in file_of]:
        raise UserError(f"{images}: {len(missing)} images missing, such as {missing[0]}")
    return [file_of[name] for name in names]


def _cifar(
    entry: DataSetEntry,
    folder: Path,
    train: Sequence[str],
    test: str,
    how: Reading,
    *,
    label_bytes: int,
) -> Parts:
    files = [_file(folder, name) for name in (*train, test)]
    with ThreadPoolExecutor() as pool:  # decompression lets go of the interpreter
        parsed = list(pool.map(lambda file: formats.cifar(_raw(file), file, label_bytes=label_bytes), files))

    def part(chosen: Sequence[tuple[NDArray[np.uint8], NDArray[np.int64]]]) -> Images:
        pixels, labels = (np.concatenate(arrays) for arrays in zip(*chosen, strict=True))
        return _images(entry, pixels, labels, how)

    return Parts(part(parsed[:-1]), test=part(parsed[-1:]))


def _raw(file: Path) -> NDArray[np.uint8]:
    """The bytes of a file; those of an .xz file, slow to decompress, are remembered."""
    if file.suffix != ".xz":
        return formats.contents(file)

    def build(make: Make) -> Built:
        raw = formats.contents(file)
        kept = make(raw.shape, raw.dtype)
        kept[:] = raw
        return kept, None

    return decoded([file], "contents", build)[0]


def _images(
    entry: DataSetEntry,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64] | None,
    how: Reading,
) -> Images:
    return Images(
        to_pixels(pixels, entry.folder, how),
        labels=None if labels is None else torch.from_numpy(labels),
        classes=entry.classes,
    )


def _file(folder: Path, name: str) -> Path:
    path = find(folder, name)
    if path is None:
        raise UserError(f"{folder / name}: not there")
    return path
