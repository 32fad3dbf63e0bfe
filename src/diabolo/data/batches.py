"""Batches: which examples each step sees."""

import torch
from torch import Tensor

from diabolo.errors import UserError
from diabolo.seeds import generator


class Batches:
    """Every epoch goes once through a new permutation of n examples, in whole batches; the rest is dropped.

    The order depends on (seed, epoch) alone: not on processes, nor on where training was resumed.
    Raises `UserError` when a batch is larger than the data.
    """

    def __init__(self, n: int, batch_size: int, seed: int) -> None:
        if batch_size > n:
            raise UserError(
                f"training.batch_size is {batch_size}, but there are only {n} training images: "
                f"set training.batch_size={n} or less, or bring more images"
            )
        self.n = n
        self.batch_size = batch_size
        self.seed = seed
        self._orders: dict[int, Tensor] = {}

    @property
    def steps_per_epoch(self) -> int:
        return self.n // self.batch_size

    def indices(self, epoch: int, step: int) -> Tensor:
        """Positions of the examples in the global batch: int64 [batch_size]. Both counts start at 0."""
        if not 0 <= step < self.steps_per_epoch:
            raise IndexError(f"step {step} of an epoch of {self.steps_per_epoch}")
        if epoch not in self._orders:  # two are kept, since reading ahead looks into the next one
            self._orders = {last: self._orders[last] for last in list(self._orders)[-1:]}
            self._orders[epoch] = torch.randperm(self.n, generator=generator("batches", self.seed, epoch))
        return self._orders[epoch][step * self.batch_size : (step + 1) * self.batch_size]
