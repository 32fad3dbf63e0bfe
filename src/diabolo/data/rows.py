"""Rows: examples that stay in memory-mapped files and are read by index."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diabolo.memory import resides

Index = Tensor | slice | NDArray[Any]


class Rows:
    """Examples [N, …] in arrays on disk. Indexing reads what is asked for, into a new tensor.

    stores: contiguous arrays [n, …] of one dtype and shape, as a rule memory maps. rows: which of them these
    are, int64 [N], positions in all stores one behind the other; by default every one.
    """

    def __init__(self, stores: Sequence[NDArray[Any]], rows: NDArray[np.int64] | None = None) -> None:
        self.stores = tuple(stores)
        self.starts = np.cumsum([0, *(len(store) for store in stores)])
        self.rows = np.arange(self.starts[-1]) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self.stores[0].shape[1:])

    @property
    def ndim(self) -> int:
        return self.stores[0].ndim

    @property
    def dtype(self) -> torch.dtype:
        return torch.from_numpy(np.empty(0, self.stores[0].dtype)).dtype

    @property
    def nbytes(self) -> int:
        return len(self) * self.stores[0][:1].nbytes

    def take(self, index: Index) -> Rows:
        """The examples at these positions, still on disk."""
        return Rows(self.stores, self.rows[_positions(index)])

    def __getitem__(self, index: Index) -> Tensor:
        rows = self.rows[_positions(index)]
        return self._read(rows, torch.empty((len(rows), *self.shape[1:]), dtype=self.dtype))

    def read(self, index: Index, into: Tensor) -> Tensor:
        """The examples at these positions, read `into` a tensor [n, …], which is returned."""
        return self._read(self.rows[_positions(index)], into)

    def _read(self, rows: NDArray[np.int64], into: Tensor) -> Tensor:
        out = into.numpy()
        if len(self.stores) == 1:
            _gather(self.stores[0], rows, out)
            return into
        which = np.searchsorted(self.starts, rows, side="right") - 1
        for i in np.unique(which):
            mine = which == i
            out[mine] = _gather(self.stores[i], rows[mine] - self.starts[i], np.empty_like(out[mine]))
        return into

    def __reduce__(self) -> tuple[Any, ...]:
        """Maps go to another process by the name of their file, not by their content."""
        return _reopened, ([_where(store) for store in self.stores], self.rows)


Pixels = Tensor | Rows


def select(pixels: Pixels, index: Index) -> Pixels:
    """Some of the examples: copied in memory, left on disk where they are there."""
    return pixels.take(index) if isinstance(pixels, Rows) else pixels[index]


def join(parts: Sequence[Pixels]) -> Pixels:
    """All examples, one part behind the other; nothing is read."""
    if all(isinstance(part, Tensor) for part in parts):
        return torch.cat(parts)  # type: ignore[arg-type]
    whole = [part if isinstance(part, Rows) else Rows([part.numpy()]) for part in parts]
    before = np.cumsum([0, *(part.starts[-1] for part in whole)])
    rows = [part.rows + start for part, start in zip(whole, before, strict=False)]
    return Rows([store for part in whole for store in part.stores], np.concatenate(rows))


def held(array: NDArray[Any], resident: bool | None) -> Pixels:
    """An array as pixels: in memory, or left on disk if it is a memory map and too large.

    resident: see `diabolo.memory.resides`.
    """
    if is_mapped(array) and not resides(array.nbytes, resident):
        return Rows([array])
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def is_mapped(array: NDArray[Any]) -> bool:
    return isinstance(array, np.memmap) and array.filename is not None


def position(array: Any) -> int:
    """Where in its file a memory map, or a view of one, begins: bytes."""
    return array.offset - array.offset % mmap.ALLOCATIONGRANULARITY + _offset(array)


def _offset(array: Any) -> int:
    """Where in its mapping an array begins, bytes."""
    return array.ctypes.data - np.frombuffer(array._mmap, np.uint8).ctypes.data


def _positions(index: Index) -> Any:
    return index.cpu().numpy() if isinstance(index, Tensor) else index


def _gather(store: NDArray[Any], rows: NDArray[np.int64], out: NDArray[Any]) -> NDArray[Any]:
    """out[i] = store[rows[i]], without holding the interpreter."""
    if is_mapped(store) and hasattr(mmap, "MADV_WILLNEED"):
        _expect(store, rows)
    # Another mode than "raise", whose checks buffer `out`.
    return np.take(np.asarray(store), rows, axis=0, out=out, mode="clip")


def _expect(store: Any, rows: NDArray[np.int64]) -> None:
    """Ask for all rows at once: the disk serves them together, and not one page fault after the other."""
    size, page = store[:1].nbytes, mmap.PAGESIZE
    starts = _offset(store) + rows * size
    for start in (starts - starts % page).tolist():
        store._mmap.madvise(mmap.MADV_WILLNEED, start, size + page)


def _where(store: Any) -> Any:
    if not is_mapped(store):
        return store
    return Path(store.filename), store.dtype.str, position(store), store.shape


def _reopened(places: Sequence[Any], rows: NDArray[np.int64]) -> Rows:
    stores = [
        place if isinstance(place, np.ndarray) else np.memmap(place[0], place[1], "r", *place[2:])
        for place in places
    ]
    return Rows(stores, rows)
