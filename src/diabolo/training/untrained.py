"""Batch norm of a method that is not trained, or hardly."""

from __future__ import annotations

import torch
from torch import Tensor

from diabolo.data.ahead import at_once
from diabolo.data.images import Images
from diabolo.methods.base import Generative, Method
from diabolo.networks import norm

MOST = 128  # examples of a batch


def estimate_statistics(method: Method, images: Images) -> None:
    """Running statistics in every space the method offers, and of its decoder, from one pass over the data.

    Each batch reaches over all of the data, which may be in the order of its classes.
    """

    def everything(x: Tensor) -> None:
        for space in method.spaces:
            if space != "map":  # its batch norm is the feature's
                method.represent(x, space)
        if isinstance(method, Generative):
            method.reconstruct(x)

    device = next(method.parameters()).device
    # Twice as many as are represented at once: how images differ, one by itself does not show.
    most = min(MOST, 2 * at_once(images.shape, "cpu"))  # on every device the same
    count = -(-len(images) // most)
    parts = [torch.arange(i, len(images), count) for i in range(count)]
    fewest = min(2, len(images))  # in pairs of an odd number, one is left over
    batches = (images.floats(part).to(device) for part in parts if len(part) >= fewest)
    norm.estimate(method, everything, batches)
