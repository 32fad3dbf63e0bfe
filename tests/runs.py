"""Small runs on the digits that ship with scikit-learn, for tests of training and of the verbs."""

from diabolo.data.images import Splits
from diabolo.data.splits import load
from diabolo.methods.build import Facts, facts_of
from diabolo.recipe import Recipe, complete_for, compose

SPINE = ("vae", "simvae", "simclr", "moco", "supervised")  # each stresses the contract in another way
RESUMED = (*SPINE, "byol", "deepcluster", "dino", "swav", "instance-discrimination")
IN_PARALLEL = (
    *SPINE,
    "vicreg",
    "barlow-twins",
    "byol",
    "simsiam",
    "lejepa",
    "swav",
    "dino",
    "deepcluster",
    "instance-discrimination",
    "rotnet",
    "mae",
    "sparse-ae",
)

SMALL: dict[str, tuple[str, ...]] = {
    "moco": ("method.queue=64", "method.group=8"),
    "vicreg": ("method.width=24",),
    "barlow-twins": ("method.width=24",),
    "byol": ("method.hidden=24", "method.width=16"),
    "simsiam": ("method.width=24", "method.hidden=8"),
    "lejepa": ("method.hidden=24", "method.width=16", "method.directions=32"),
    "swav": ("method.prototypes=16", "method.width=8", "method.frozen=0"),
    "dino": ("method.prototypes=16", "method.hidden=16", "method.width=8", "method.frozen=0"),
    "deepcluster": ("method.clusters=[8, 12]", "method.width=8"),
    "sparse-ae": ("method.penalties=[kl-sparsity]", "method.code=sigmoid"),
    "mae": ("encoder={name: vit, patch: 2, width: 16, depth: 1, heads: 2}", "method.width=12"),
}


def digits_recipe(method: str, *settings: str) -> Recipe:
    """A small run with a convolutional encoder with batch norm, so that statistics of the batch matter."""
    layer = {
        "data": {"name": "digits"},
        "method": method,
        "encoder": {
            "name": "conv",
            "filters": [4, 8],
            "hidden": 16,
            "batch_norm": method != "contractive-ae",
        },
        "views": {"count": 3} if method == "simvae" else {},
        "training": {"epochs": 2, "batch_size": 32, "log_every": 7},
        "evaluation": {"live": 1},
    }
    return complete_for(compose([layer], [*SMALL.get(method, ()), *settings]), (1, 8, 8))


def digits(recipe: Recipe) -> tuple[Splits, Facts]:
    splits = load(recipe.data)
    return splits, facts_of(splits)
