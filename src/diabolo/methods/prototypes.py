"""Prototypes: directions that embeddings are compared with, learned with the network."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diabolo.losses import cosine_scores


class Prototypes(nn.Module):
    """K learned directions: embeddings [..., width] → their cosines with them, [..., K].

    frozen: a bool, 0-d: where true, the directions get no gradient.

    A method leaves them out of weight decay: their length means nothing, and where decay is added to the
    gradient, as by Adam, it would turn frozen ones.
    """

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.directions = nn.Parameter(F.normalize(torch.randn(count, width), dim=1))

    def forward(self, z: Tensor, frozen: Tensor | None = None) -> Tensor:
        w = self.directions
        return cosine_scores(z, w if frozen is None else torch.where(frozen, w.detach(), w))
