"""Small heads on top of a feature: projectors, predictors, latent heads."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diabolo.losses import cosine_scores


def hidden_layer(before: int, after: int) -> nn.Sequential:
    """Linear–BN–ReLU; the norm brings the bias."""
    return nn.Sequential(nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU())


def mlp_head(*widths: int, bias: bool = True) -> nn.Sequential:
    """A hidden layer for each inner width, then a linear layer: [n, widths[0]] → [n, widths[-1]].

    bias: of the last layer, for losses that see it.
    """
    hidden = [hidden_layer(before, after) for before, after in pairwise(widths[:-1])]
    return nn.Sequential(*hidden, nn.Linear(widths[-2], widths[-1], bias=bias))


class Prototypes(nn.Module):
    """K learned directions: embeddings [..., width] → their cosines with them, [..., K].

    frozen: a bool, 0-d: where true, the directions get no gradient.
    """

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.directions = nn.Parameter(F.normalize(torch.randn(count, width), dim=1))

    def forward(self, z: Tensor, frozen: Tensor | None = None) -> Tensor:
        w = self.directions
        return cosine_scores(z, w if frozen is None else torch.where(frozen, w.detach(), w))
