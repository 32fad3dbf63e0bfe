"""Small heads on top of a feature: projectors, predictors, latent heads."""

from itertools import pairwise

from torch import nn


def hidden_layer(before: int, after: int) -> nn.Sequential:
    """Linear–BN–ReLU; the norm brings the bias."""
    return nn.Sequential(nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU())


def mlp_head(*widths: int, bias: bool = True) -> nn.Sequential:
    """A hidden layer for each inner width, then a linear layer: [n, widths[0]] → [n, widths[-1]].

    bias: of the last layer, for losses that see it.
    """
    hidden = [hidden_layer(before, after) for before, after in pairwise(widths[:-1])]
    return nn.Sequential(*hidden, nn.Linear(widths[-2], widths[-1], bias=bias))
