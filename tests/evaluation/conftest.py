"""Real images for the tests of this folder."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from diabolo.data.images import Images, Splits


def _idx(path: Path, header: int) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header).copy())


@pytest.fixture(scope="session")
def mnist() -> Splits:
    """10,000 training, 2,000 validation and 10,000 test digits."""
    folder = Path(os.environ["DIABOLO_DATA"]) / "mnist"

    def part(name: str) -> Images:
        pixels = _idx(folder / f"{name}-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)
        labels = _idx(folder / f"{name}-labels-idx1-ubyte.gz", 8).long()
        return Images(pixels, labels, tuple("0123456789"))

    train = part("train")
    return Splits(train.take(torch.arange(10_000)), train.take(torch.arange(50_000, 52_000)), part("t10k"))


@pytest.fixture(scope="session")
def digits() -> Splits:
    """scikit-learn's 8×8 digits: 1,797 real images that need no download."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    images = Images(
        torch.from_numpy((pixels[order] * 255 / 16).round().astype(np.uint8)).reshape(-1, 1, 8, 8),
        torch.from_numpy(labels[order]),
        tuple("0123456789"),
    )
    cut = [torch.arange(0, 1000), torch.arange(1000, 1300), torch.arange(1300, 1797)]
    return Splits(*(images.take(index) for index in cut))
