"""Images as a page shows them: shrunk, coloured and side by side."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

TILE = 96  # largest side of a reconstruction, pixels


def shrink(images: Array, most: int) -> Array:
    """Average blocks of pixels until no side of [n, C, H, W] is longer than `most`."""
    n, channels, height, width = images.shape
    block = -(-max(height, width) // most)
    height, width = max(height // block, 1), max(width // block, 1)
    images = images[:, :, : height * block, : width * block]
    return images.reshape(n, channels, height, -1, width, images.shape[3] // width).mean(axis=(3, 5))


def picture(images: Array) -> Array:
    """Any number of channels as colour, their mean as grey unless C = 3: [n, C, H, W] → [n, H, W, 3]."""
    if images.shape[1] != 3:
        images = np.repeat(images.mean(axis=1, keepdims=True), 3, axis=1)
    return images.transpose(0, 2, 3, 1)


def strip(images: Array) -> Array:
    """Images [n, C, H, W] in [0, 1] side by side, clear gaps between: uint8 [H, n·(W + gap) − gap, 4]."""
    tiles = np.rint(picture(shrink(images, TILE)).clip(0, 1) * 255)
    n, height, width, _ = tiles.shape
    gap = max(1, width // 14)
    canvas = np.zeros((height, n, width + gap, 4), dtype=np.uint8)
    canvas[:, :, :width, :3] = tiles.transpose(1, 0, 2, 3)
    canvas[:, :, :width, 3] = 255
    return canvas.reshape(height, -1, 4)[:, :-gap]
