"""Batch norm of a method that is not trained, or hardly."""

from __future__ import annotations

import torch
from torch import Tensor

from diabolo.data.images import Images
from diabolo.methods.base import Generative, Method
from diabolo.networks import norm

MOST = 128  # examples of a batch: as many as are represented at once on a CPU


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
    count = -(-len(images) // MOST)
    batches = (images.floats(torch.arange(i, len(images), count)).to(device) for i in range(count))
    norm.estimate(method, everything, batches)
