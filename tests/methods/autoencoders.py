"""Tiny autoencoders in float64, and a batch for them."""

from typing import Any

import torch
from torch import Tensor

from diabolo.methods.autoencoder import Autoencoder
from diabolo.methods.build import Facts, build_method
from diabolo.recipe import Recipe, complete_for, compose
from diabolo.views.pipeline import Batch

SMALL = {"encoder": {"name": "mlp", "widths": [16]}, "method.latent": 4}
VECTORS = Facts((6,), (), 100, (0.0,) * 6, (1.0,) * 6)
TINY = Facts((2, 3, 3), (), 100, (0.4, 0.6), (0.2, 0.5))


def recipe_for(method: str, facts: Facts, **settings: Any) -> Recipe:
    """A preset on tiny networks; a double underscore in a setting's name stands for a dot."""
    dotted = {key.replace("__", "."): value for key, value in settings.items()}
    composed = compose([{"data": {"name": "digits"}, "method": method}], SMALL | dotted)
    return complete_for(composed, facts.shape)


def build(method: str, facts: Facts = TINY, **settings: Any) -> Autoencoder:
    built = build_method(recipe_for(method, facts, **settings), facts).double()
    assert isinstance(built, Autoencoder)
    return built


def batch(J: int = 1, facts: Facts = TINY, B: int = 6) -> Batch:
    rng = torch.Generator().manual_seed(0)
    clean = torch.rand(B, *facts.shape, generator=rng, dtype=torch.float64)
    noise = 0.1 * torch.rand(B, J, *facts.shape, generator=rng, dtype=torch.float64)
    views = 0.9 * clean[:, None] + noise
    return Batch([views], [[]], clean, torch.arange(B), None, torch.tensor(0.0))


def loss(method: Autoencoder, examples: Batch, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return method(examples).total
