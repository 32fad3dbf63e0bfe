"""Small runs on the digits that ship with scikit-learn, for tests of training and of the verbs."""

from diabolo.data.images import Splits
from diabolo.data.splits import load
from diabolo.methods.build import Facts, facts_of
from diabolo.recipe import Recipe, complete_for, compose

SPINE = ("vae", "simvae", "simclr", "moco", "supervised")  # each stresses the contract in another way


def digits_recipe(method: str, *settings: str) -> Recipe:
    """A small run with a convolutional encoder with batch norm, so that statistics of the batch matter."""
    layer = {
        "data": {"name": "digits"},
        "method": method,
        "encoder": {"name": "conv", "filters": [4, 8], "hidden": 16, "batch_norm": True},
        "views": {"count": 3} if method == "simvae" else {},
        "training": {"epochs": 2, "batch_size": 32, "log_every": 7},
        "evaluation": {"live": 1},
    }
    small = ["method.queue=64", "method.group=8"] if method == "moco" else []
    return complete_for(compose([layer], [*small, *settings]), (1, 8, 8))


def digits(recipe: Recipe) -> tuple[Splits, Facts]:
    splits = load(recipe.data)
    return splits, facts_of(splits)
