"""Reading ahead, and how many are represented at once."""

import numpy as np
import pytest
import torch

from diabolo.data.ahead import READERS, Ahead, at_once, fewer, in_order
from diabolo.data.rows import Rows

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("shape", "cpu", "gpu"),
    [
        ((1000,), 128, 1024),
        ((3, 32, 32), 128, 1024),
        ((1, 64, 64), 128, 1024),
        ((1, 128, 128), 16, 128),
        ((3, 512, 512), 1, 8),
        ((3, 5000, 4000), 1, 1),
    ],
)
def test_fewer_large_images_at_once(shape, cpu, gpu):
    assert (at_once(shape, CPU), at_once(shape, "cuda")) == (cpu, gpu)


def test_of_large_images_as_many_as_hold_no_more_pixels():
    shapes = (10,), (3, 28, 28), (1, 64, 64), (1, 128, 128), (3, 512, 512), (1, 9000, 9000)
    assert [fewer(2000, shape) for shape in shapes] == [2000, 2000, 2000, 500, 31, 1]


@pytest.mark.parametrize("size", [1, 3, 7, 10])
def test_in_order_from_disk_as_from_memory(size):
    array = np.arange(14, dtype=np.float32).reshape(7, 2)
    disk, memory = (list(in_order(p, size, CPU)) for p in (Rows([array]), torch.from_numpy(array)))
    assert [len(part) for part in disk] == [len(part) for part in memory]
    assert torch.equal(torch.cat(disk), torch.cat(memory))


def test_all_that_is_read_shares_the_readers():
    """Also while other readings are not at their end."""
    rows = Rows([np.arange(14, dtype=np.float32).reshape(7, 2)])
    begun = [in_order(rows, 1, CPU) for _ in range(5)]
    assert [next(one)[0, 1].item() for one in begun] == [1] * 5
    readers = {Ahead(rows, CPU).readers for _ in begun}
    assert len(readers) == 1
    assert len(readers.pop()._threads) <= READERS
