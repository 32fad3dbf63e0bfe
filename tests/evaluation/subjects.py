"""What measures are tried on: methods whose answers are known, and real digits."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from diabolo.data.images import Images, Splits
from diabolo.evaluation.measures import Subject
from diabolo.methods.autoencoder import Autoencoder
from diabolo.methods.base import Method
from diabolo.methods.build import build_method, facts_of
from diabolo.networks.backbone import Backbone
from diabolo.recipe import complete_for, compose
from diabolo.seeds import generator
from diabolo.views.pipeline import Pipeline


class Coded(Method):
    """Codes are the flattened examples; decoding is any function of them."""

    spaces = ("z", "h", "map")

    def __init__(self, decode: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> None:
        super().__init__(Backbone(nn.Flatten(), shape))
        self.function, self.shape = decode, shape

    def embed(self, h: Tensor) -> Tensor:
        return h

    def decode(self, z: Tensor) -> Tensor:
        return self.function(z).unflatten(1, self.shape)

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.decode(self.encoder(x))


def noise_splits(shape: tuple[int, ...], train: int = 60, validation: int = 20, test: int = 30) -> Splits:
    """Random pixels, or random vectors."""

    def part(name: str, n: int) -> Images:
        rng = generator("noise splits", name)
        if len(shape) == 1:
            return Images(torch.randn(n, *shape, generator=rng))
        return Images(torch.randint(256, (n, *shape), generator=rng).to(torch.uint8))

    return Splits(part("train", train), part("validation", validation), part("test", test))


def plain_subject(method: Method, splits: Splits, views: Pipeline | None = None) -> Subject:
    return Subject(method.eval(), splits, method.spaces[0], views)


def autoencoder(method: str, splits: Splits, *settings: str) -> Autoencoder:
    """An untrained preset with small networks for the data, in evaluation mode."""
    small = ["encoder.name=mlp", "encoder.widths=[16]", "method.latent=4"]
    recipe = compose([{"data": {"name": "digits"}, "method": method}], [*small, *settings])
    built = build_method(complete_for(recipe, splits.train.shape), facts_of(splits)).eval()
    assert isinstance(built, Autoencoder)
    return built
