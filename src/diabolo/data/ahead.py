"""Reading ahead: batches of rows, fetched in the background before they are asked for."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from diabolo.data.rows import Pixels, Rows

AHEAD = 3  # batches
READERS = 2  # threads: one waits for the disk while the other copies


class Ahead:
    """Reads batches for a device from rows on disk, or from memory where the device cannot hold all."""

    def __init__(self, pixels: Pixels, device: torch.device) -> None:
        self.rows = pixels if isinstance(pixels, Rows) else Rows([pixels.numpy()])
        self.device = device
        self.readers = ThreadPoolExecutor(READERS, "read-ahead")
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


def in_order(pixels: Pixels, size: int, device: torch.device | str) -> Iterator[Tensor]:
    """All examples on a device, in batches [≤ size, …]."""
    device = torch.device(device)
    if isinstance(pixels, Tensor):
        yield from (part.to(device) for part in pixels.split(size))
        return
    read, parts = Ahead(pixels, device), torch.arange(len(pixels)).split(size)
    for i, part in enumerate(parts):
        yield read(part, parts[i + 1 : i + 1 + AHEAD])
