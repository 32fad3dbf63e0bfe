"""Reading ahead: batches of rows, fetched in the background before they are asked for."""

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache

import torch
from torch import Tensor

from diabolo.data.rows import Pixels, Rows

AHEAD = 3  # batches
READERS = 2  # threads: one waits for the disk while the other copies
SMALL = 64 * 64  # pixels up to which an image is not large


class Ahead:
    """Reads batches for a device from rows on disk, or from memory where the device cannot hold all."""

    def __init__(self, pixels: Pixels, device: torch.device) -> None:
        self.rows = pixels if isinstance(pixels, Rows) else Rows([pixels.numpy()])
        self.device = device
        self.readers = _readers(os.getpid())
        self.coming: dict[bytes, Future[Tensor]] = {}

    def __call__(self, index: Tensor, following: Sequence[Tensor] = ()) -> Tensor:
        """The examples at `index` [n], on the device; those of each of `following` are fetched meanwhile."""
        wanted = {one.numpy().tobytes(): one for one in (index, *following)}
        self.coming = {
            key: self.coming.get(key) or self.readers.submit(self.rows.read, one, self._empty(len(one)))
            for key, one in wanted.items()
        }
        return self.coming.pop(next(iter(wanted))).result().to(self.device, non_blocking=True)

    def _empty(self, count: int) -> Tensor:
        """Room for so many examples; pinned where a GPU copies from it by itself.

        It is taken here and not by the readers: threads that take what another one frees keep much of it.
        """
        shape = (count, *self.rows.shape[1:])
        return torch.empty(shape, dtype=self.rows.dtype, pin_memory=self.device.type == "cuda")


def fewer(count: int, shape: Sequence[int]) -> int:
    """So many examples of a shape, but of large images only as many as hold no more pixels."""
    pixels = math.prod(shape[1:])  # of vectors, [F], one
    return max(1, count * SMALL // max(SMALL, pixels))


def at_once(shape: Sequence[int], device: torch.device | str) -> int:
    """How many examples of a shape a network represents at once: fewer of large images, to bound its memory.

    On a CPU also few of small ones: activations that fit its caches are several times faster. Large ones get
    half the pixels, as the heap keeps about as much as is in use: activations of megabytes leave gaps in it.
    """
    most = 128 if torch.device(device).type == "cpu" else 1024
    few = fewer(most, shape)
    return few if few == most else max(1, few // 2)


def in_order(pixels: Pixels, size: int, device: torch.device | str) -> Iterator[Tensor]:
    """All examples on a device, in batches [≤ size, …]."""
    device = torch.device(device)
    if isinstance(pixels, Tensor):
        yield from (part.to(device) for part in pixels.split(size))
        return
    read, parts = Ahead(pixels, device), torch.arange(len(pixels)).split(size)
    for i, part in enumerate(parts):
        yield read(part, parts[i + 1 : i + 1 + AHEAD])


@cache
def _readers(process: int) -> ThreadPoolExecutor:
    """Of a process, for all that it reads: each takes the memory of a thread. A fork has its own."""
    return ThreadPoolExecutor(READERS, "read-ahead")
