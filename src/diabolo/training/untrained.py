"""Batch norm of a method that is not trained."""

from __future__ import annotations

from torch import Tensor

from diabolo.methods.base import Method
from diabolo.networks import norm
from diabolo.training.loop import Feed


def estimate_statistics(method: Method, feed: Feed) -> None:
    """Running statistics in every space the method offers, from one pass over the data."""

    def every_space(x: Tensor) -> None:
        for space in method.spaces:
            if space != "map":  # its batch norm is the feature's
                method.represent(x, space)

    norm.estimate(method, every_space, feed.clean())
