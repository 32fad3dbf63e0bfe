"""Published binary formats, as functions of their bytes.

Sources: IDX, http://yann.lecun.com/exdb/mnist; CIFAR, https://www.cs.toronto.edu/~kriz/cifar.html;
STL-10, https://cs.stanford.edu/~acoates/stl10; CelebA, https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html.
Each function takes the path only to name it in its `UserError`.
"""

import gzip
import lzma
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diabolo.errors import UnreadableError, UserError

Bytes = NDArray[np.uint8]

IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
CIFAR_PIXELS = 3 * 32 * 32
STL_SHAPE = (3, 96, 96)


def contents(path: Path) -> Bytes:
    """The bytes of a file, as a memory map; decompressed when its name ends in `.gz` or `.xz`."""
    try:
        if path.suffix == ".gz":
            return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8)
        if path.suffix == ".xz":
            return np.frombuffer(lzma.decompress(path.read_bytes()), np.uint8)
        return np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise UnreadableError(f"{path}: cannot be read ({error}): is the file complete?") from None


def is_idx(raw: Bytes) -> bool:
    """Whether these bytes start like an IDX file: 0, 0, a type, a number of dimensions."""
    return len(raw) >= 4 and raw[0] == raw[1] == 0 and int(raw[2]) in IDX_TYPES and 1 <= raw[3] <= 4


def idx(raw: Bytes, path: Path) -> NDArray:
    """An IDX array of any type and shape, in the machine's byte order."""
    if not is_idx(raw):
        raise UserError(f"{path}: not an IDX file (its first four bytes are {list(map(int, raw[:4]))})")
    start = 4 + 4 * int(raw[3])
    shape = tuple(int(side) for side in raw[4:start].view(">u4")) if len(raw) >= start else ()
    kind = np.dtype(IDX_TYPES[int(raw[2])])
    expected = start + math.prod(shape) * kind.itemsize
    if len(raw) != expected:
        raise UserError(
            f"{path}: {len(raw)} bytes where its IDX header says {expected}: is the file complete?"
        )
    return raw[start:].view(kind).reshape(shape).astype(kind.newbyteorder("="), copy=False)


def cifar(raw: Bytes, path: Path, *, label_bytes: int) -> tuple[Bytes, NDArray[np.int64]]:
    """CIFAR binary records: pixels uint8 [N, 3, 32, 32], labels [N].

    CIFAR-10 has one label byte; CIFAR-100 has a coarse and a fine one, and the fine one is taken.
    """
    length, classes = label_bytes + CIFAR_PIXELS, {1: 10, 2: 100}[label_bytes]
    if len(raw) == 0 or len(raw) % length:
        raise UserError(
            f"{path}: {len(raw)} bytes are no whole number of CIFAR-{classes} records ({length} bytes)"
        )
    records = raw.reshape(-1, length)
    labels = records[:, label_bytes - 1].astype(np.int64)
    if labels.max() >= classes:
        raise UserError(f"{path}: label {labels.max()} in a CIFAR-{classes} file: it holds something else")
    return records[:, label_bytes:].reshape(-1, 3, 32, 32), labels


def stl10_images(raw: Bytes, path: Path) -> Bytes:
    """STL-10 pixels uint8 [N, 3, 96, 96]: a view, since the file stores each channel column by column."""
    if len(raw) == 0 or len(raw) % math.prod(STL_SHAPE):
        raise UserError(f"{path}: {len(raw)} bytes are no whole number of STL-10 images (3×96×96 bytes)")
    return raw.reshape(-1, *STL_SHAPE).swapaxes(2, 3)


def stl10_labels(raw: Bytes, path: Path) -> NDArray[np.int64]:
    """STL-10 labels [N], counted from 0 (in the file from 1 to 10)."""
    if len(raw) == 0 or raw.min() < 1 or raw.max() > 10:
        raise UserError(f"{path}: not STL-10 labels, which go from 1 to 10")
    return raw.astype(np.int64) - 1


def celeba_attributes(text: str, path: Path) -> tuple[list[str], list[str], NDArray[np.int8]]:
    """`list_attr_celeba.txt`: file names, attribute names, and attributes int8 {0, 1} [N, A]."""
    count, header, *lines = text.split("\n") if text.count("\n") >= 2 else ("", "")
    names, rows = header.split(), [line.split() for line in lines if line.strip()]
    if not names or not count.strip().isdigit() or int(count) != len(rows):
        raise UserError(
            f"{path}: {len(rows)} lines where its first one says {count.strip()!r}: is the file complete?"
        )
    for row in rows:
        if len(row) != len(names) + 1 or not {"1", "-1"}.issuperset(row[1:]):
            raise UserError(
                f"{path}: the line {row[0]!r} is not a file name and {len(names)} values of 1 or -1"
            )
    return (
        [row[0] for row in rows],
        names,
        np.array([[value == "1" for value in row[1:]] for row in rows], np.int8),
    )


def celeba_partition(text: str, path: Path) -> dict[str, int]:
    """`list_eval_partition.txt`: file name → 0 (train), 1 (validation) or 2 (test)."""
    rows = [line.split() for line in text.splitlines() if line.strip()]
    for row in rows:
        if len(row) != 2 or row[1] not in ("0", "1", "2"):
            raise UserError(f"{path}: the line {' '.join(row)!r} is not a file name and 0, 1 or 2")
    return {name: int(part) for name, part in rows}
