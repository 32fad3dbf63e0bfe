"""Arrays that a user brings, put into the form of `Images`: layout, range, size, colour, labels."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from diabolo.data.decode import AS_IT_IS, Colour, Reading
from diabolo.data.decoded import Built, Make, decoded
from diabolo.data.rows import Pixels, Rows, held, is_mapped, position
from diabolo.errors import MemoryTooSmallError, UserError
from diabolo.memory import free_memory, resides

CHANNELS = (1, 3, 4)  # grey, RGB, RGB with alpha
LOOKED_AT = 1_000  # images, before all
CHUNK = 1 << 24  # bytes of an array that are converted at once


def to_pixels(array: NDArray[Any] | torch.Tensor, where: str, how: Reading = AS_IT_IS) -> Pixels:
    """uint8 [N, C, H, W] or float32 [N, F], from the layouts people use.

    Images are [N, H, W], [N, H, W, C] with C = 1, 3 or 4 (alpha is laid on white), or [N, C, H, W] with fewer
    channels than rows; integers from 0 to 255, floats from 0 to 1, or booleans. Vectors keep their values.
    They are resized and recoloured as `conform` does it. A memory map that is too large for memory stays on
    disk: as it is where that is what is wanted, else converted once, into the cache.
    """
    array = to_array(array)
    if array.dtype.kind not in "buif":
        raise UserError(f"{where}: expected numbers, found {array.dtype}")
    if array.ndim not in (2, 3, 4) or 0 in array.shape:
        raise UserError(
            f"{where}: shape {list(array.shape)} is neither images [N, H, W(, C)] nor vectors [N, F]"
        )

    def convert(some: NDArray[Any]) -> NDArray[Any]:
        _check_finite(some, where)
        if some.ndim == 2:
            return conform(
                torch.from_numpy(some.astype(np.float32)), size=how.size, colour=how.colour
            ).numpy()
        pixels = _channels_first(_to_bytes(some, where), where)
        return conform(to_tensor(pixels), size=how.size, colour=how.colour).numpy()

    def build(make: Make) -> Built:
        pixels = make(shape, first.dtype)
        for rows in _chunks(array):
            pixels[rows] = convert(array[rows])
        return pixels, None

    first = convert(array[:1])
    shape = (len(array), *first.shape[1:])
    if array.dtype == first.dtype and array.flags.c_contiguous and _is_final(array, shape):
        for rows in _chunks(array):
            _check_finite(array[rows], where)
        return held(array.reshape(shape), how.resident)
    if resides(first.nbytes * len(array), how.resident) or not is_mapped(array):
        return torch.from_numpy(build(np.zeros)[0])
    layout = (position(array), array.shape, array.strides, array.dtype.str)
    return Rows([decoded([Path(array.filename)], (layout, how.size, how.colour), build)[0]])  # type: ignore[attr-defined]


def to_array(data: Any) -> NDArray[Any]:
    """What a tensor, on whatever device, or an array holds. NumPy has no bfloat16, so it becomes float32."""
    if not isinstance(data, Tensor):
        return np.asanyarray(data)
    short = data.is_floating_point() and data.dtype.itemsize < torch.float32.itemsize
    return (data.float() if short else data).numpy(force=True)


def to_labels(raw: Mapping[str, NDArray[Any]], where: str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Positions int64 [N] in the sorted classes of all parts together; -1 where there is no label."""
    columns = {part: _column(array, f"{where}: {part} labels") for part, array in raw.items()}
    given = [column[known] for column, known in columns.values() if known.any()]
    if len({values.dtype.kind for values in given}) > 1:
        raise UserError(f"{where}: the labels of one part are numbers, those of another are names")
    values = np.unique(np.concatenate(given)) if given else np.array([], np.int64)
    labels = {}
    for part, (column, known) in columns.items():
        labels[part] = torch.full((len(column),), -1)
        if known.any():
            labels[part][torch.from_numpy(known)] = torch.from_numpy(np.searchsorted(values, column[known]))
    return labels, tuple(str(value) for value in values)


def to_attributes(array: NDArray[Any], where: str) -> Tensor:
    """int8 [N, A] of 0 and 1, from numbers or booleans."""
    if array.ndim != 2 or array.dtype.kind not in "buif" or not np.isin(array, (0, 1)).all():
        raise UserError(f"{where}: expected 0 and 1, [N, A], found {array.dtype} {list(array.shape)}")
    return torch.from_numpy(array.astype(np.int8))


def to_quantities(array: NDArray[Any], where: str) -> Tensor:
    """float64 [N, Q], from finite real numbers."""
    if array.ndim != 2 or array.dtype.kind not in "buif":
        raise UserError(f"{where}: expected real numbers [N, Q], found {array.dtype} {list(array.shape)}")
    _check_finite(array, where)
    return torch.from_numpy(array.astype(np.float64))


# What may stand beside the labels, a column each: how it is read, and the array that names its columns.
BESIDE: Mapping[str, tuple[Callable[[NDArray[Any], str], Tensor], str]] = {
    "attributes": (to_attributes, "attribute_names"),
    "quantities": (to_quantities, "quantity_names"),
}


def conform(pixels: Tensor, *, size: int | None, colour: Colour) -> Tensor:
    """Resize and recolour what was read as an array, as `decode` does for files.

    uint8 [N, C, H, W] → [N, C', size, size]: the central square, scaled bilinearly with antialiasing.
    """
    if pixels.ndim == 2:
        if size is not None or colour != "as-is":
            raise UserError(
                "data.size and data.colour are for images, but the data are vectors: leave them out"
            )
        return pixels
    if size is not None and tuple(pixels.shape[2:]) != (size, size):
        pixels = _resize(pixels, size)
    channels = pixels.shape[1]
    if colour == "as-is" or channels == {"grey": 1, "rgb": 3}[colour]:
        return pixels
    if channels not in (1, 3):
        raise UserError(f"data.colour '{colour}': no such conversion for images of {channels} channels")
    return _luma(pixels) if colour == "grey" else pixels.repeat(1, 3, 1, 1)


def labels_of(names: Sequence[str | None], classes: Sequence[str]) -> Tensor:
    """Positions [N] of class names; -1 for None."""
    position = {name: i for i, name in enumerate(classes)}
    return torch.tensor([-1 if name is None else position[name] for name in names])


def _chunks(array: NDArray[Any] | Pixels) -> Iterator[slice]:
    """Slices that cover an array, some megabytes each."""
    rows = max(1, CHUNK // array[:1].nbytes)
    yield from (slice(start, start + rows) for start in range(0, len(array), rows))


def _check_finite(array: NDArray[Any], where: str) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UserError(f"{where}: holds NaN or infinite values")


def _is_final(array: NDArray[Any], shape: tuple[int, ...]) -> bool:
    """Whether the numbers lie in their order in [N, C, H, W] or [N, F] already."""
    if array.ndim == 3:
        return (len(array), 1, *array.shape[1:]) == shape
    return array.shape == shape and (array.ndim == 2 or array.shape[3] not in CHANNELS)


def _to_bytes(array: NDArray[Any], where: str) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    low, high = array.min(), array.max()
    limit = 1 if array.dtype.kind in "bf" else 255
    if low < 0 or high > limit:
        raise UserError(
            f"{where}: values from {low:g} to {high:g}, but images hold integers from 0 to 255, "
            "or floats from 0 to 1: store uint8, or divide"
        )
    return (array * np.float32(255)).round().astype(np.uint8) if limit == 1 else array.astype(np.uint8)


def check_levels(pixels: Pixels, where: str) -> None:
    """Refuse images of a data set that hold the levels 0 and 1 alone: of 255 both are black."""
    if pixels.ndim != 4:
        return
    few = torch.arange(0, len(pixels), max(1, len(pixels) // LOOKED_AT))
    if pixels[few].max() == 1 and all(pixels[rows].max() <= 1 for rows in _chunks(pixels)):
        raise UserError(
            f"{where}: only 0 and 1, as integers: of levels up to 255 both are black. Store booleans, or "
            "multiply by 255"
        )


def _channels_first(pixels: NDArray[np.uint8], where: str) -> NDArray[np.uint8]:
    """[N, H, W] or [N, H, W, C] → [N, C, H, W], without alpha."""
    if pixels.ndim == 3:
        return pixels[:, None]
    if pixels.shape[3] in CHANNELS:
        return (_on_white(pixels) if pixels.shape[3] == 4 else pixels).transpose(0, 3, 1, 2)
    if pixels.shape[1] < pixels.shape[2]:
        return pixels
    raise UserError(
        f"{where}: shape {list(pixels.shape)} has no channels, first or last: use [N, H, W, 3] or [N, H, W]"
    )


def _on_white(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[N, H, W, 4] → [N, H, W, 3]."""
    alpha = pixels[..., 3:].astype(np.uint32)
    return ((pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def to_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """Contiguous and writable, copying only what is not."""
    return torch.from_numpy(np.require(pixels, requirements=["C", "W"]))


def _resize(pixels: Tensor, size: int) -> Tensor:
    height, width = pixels.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    if (needed := len(pixels) * pixels.shape[1] * size**2) > free_memory():
        raise MemoryTooSmallError(
            f"data.size: {size}×{size} pixels of {len(pixels):,} images take {needed / 1e9:.3g} GB, "
            "more than is free: lower it"
        )
    square = pixels[:, :, top : top + side, left : left + side]
    return F.interpolate(square, size=(size, size), mode="bilinear", antialias=True)


def _luma(pixels: Tensor) -> Tensor:
    """ITU-R 601 luma, in the fixed-point arithmetic of Pillow's mode L."""
    red, green, blue = pixels.to(torch.int32).unbind(1)
    return ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16).to(torch.uint8)[:, None]


def _column(array: NDArray[Any], where: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Labels as one dimension of integers or strings, and which of them are there: -1 is none.

    None and NaN are none either, as in a column of pandas.
    """
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if array.ndim != 1:
        raise UserError(f"{where}: expected one per image, found shape {list(array.shape)}")
    known = np.ones(len(array), bool)
    if array.dtype.kind == "O":
        known = np.array([not _is_missing(label) for label in array], bool)
        array = _filled(array, known, where)
    if array.dtype.kind == "f":
        known &= ~np.isnan(array)
        array = np.where(known, array, -1)
    if array.dtype.kind == "U":
        return array, known
    if array.dtype.kind not in "buif" or (array != np.round(array)).any():
        raise UserError(f"{where}: expected whole numbers or class names, found {array.dtype}")
    return array.astype(np.int64), known & (array != -1)


def _is_missing(label: object) -> bool:
    return label is None or (isinstance(label, float) and math.isnan(label))


def _filled(array: NDArray[Any], known: NDArray[np.bool_], where: str) -> NDArray[Any]:
    """Objects that are all names or all numbers, in an array of that type; anything where there is none."""
    for kind, none in ((str, ""), (Real, -1)):
        if all(isinstance(label, kind) for label in array[known]):
            return np.array(np.where(known, array, none).tolist())
    raise UserError(f"{where}: expected whole numbers or class names, and not both")
