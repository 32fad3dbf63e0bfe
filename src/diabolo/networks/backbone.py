"""Backbone: any network that maps an example to a feature, with the normalisation that belongs to it."""

import torch
from torch import Tensor, nn

from diabolo.errors import UserError
from diabolo.networks.shapes import feature_width


class Backbone(nn.Module):
    """Normalises each channel, then encodes: [n, *shape] → h [n, width].

    network: [n, *shape] → [n, D]; it may say D in an integer attribute `width`, else one evaluation finds it,
    and it may offer its last feature map by a method `map`.
    shape: (C, H, W) or (F,).
    mean, std: of each channel [C], or of each component [F]; None leaves the data as it is. A deviation of
    zero becomes one. They are buffers, so a saved model brings its own.
    Raises `UserError` for a network that cannot take the shape or does not return [n, D].
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        shape: tuple[int, ...],
        mean: Tensor | None = None,
        std: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        mean = torch.zeros(shape[0]) if mean is None else mean
        std = torch.ones(shape[0]) if std is None else std
        per_channel = (-1, *(1 for _ in shape[1:]))  # [C, 1, 1]
        self.register_buffer("mean", mean.clone().view(per_channel))
        self.register_buffer("std", torch.where(std == 0, 1, std).view(per_channel))
        width = getattr(network, "width", None)
        self.width = width if isinstance(width, int) else feature_width(network, shape)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(self.normalise(x))

    def map(self, x: Tensor) -> Tensor:
        """The last feature map, flattened: [n, *shape] → [n, C' · H' · W']."""
        feature_map = getattr(self.network, "map", None)
        if not callable(feature_map):
            raise UserError(
                f"space 'map': encoder {type(self.network).__name__} has no feature map, choose another space"
            )
        return feature_map(self.normalise(x)).flatten(1)

    def normalise(self, x: Tensor) -> Tensor:
        """From the units of the data to those the network sees: [..., *shape] → the same shape."""
        return (x - self.mean) / self.std

    def denormalise(self, x: Tensor) -> Tensor:
        """The inverse of `normalise`."""
        return x * self.std + self.mean
