"""diabolo: learn representations from unlabelled data, and know how good they are.

    run = diabolo.fit("mnist", method="simvae", epochs=50)
    z = run.embed(images)
    run.scores

Everything public is imported on first use, so that `import diabolo` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diabolo.data.images import Images, Splits
    from diabolo.errors import UserError
    from diabolo.recipe import Recipe
    from diabolo.runs.run import Run
    from diabolo.verbs.anomalies import anomalies
    from diabolo.verbs.compare import compare
    from diabolo.verbs.duplicates import duplicates
    from diabolo.verbs.embed import embed
    from diabolo.verbs.evaluate import evaluate
    from diabolo.verbs.fit import fit
    from diabolo.verbs.generate import denoise, interpolate, reconstruct, sample, traverse
    from diabolo.verbs.neighbours import neighbours
    from diabolo.verbs.predict import predict
    from diabolo.verbs.preview import preview
    from diabolo.verbs.reproduce import reproduce
    from diabolo.verbs.search import search

_HOMES = {
    "fit": "diabolo.verbs.fit",
    "evaluate": "diabolo.verbs.evaluate",
    "compare": "diabolo.verbs.compare",
    "reproduce": "diabolo.verbs.reproduce",
    "search": "diabolo.verbs.search",
    "embed": "diabolo.verbs.embed",
    "reconstruct": "diabolo.verbs.generate",
    "denoise": "diabolo.verbs.generate",
    "sample": "diabolo.verbs.generate",
    "interpolate": "diabolo.verbs.generate",
    "traverse": "diabolo.verbs.generate",
    "anomalies": "diabolo.verbs.anomalies",
    "duplicates": "diabolo.verbs.duplicates",
    "neighbours": "diabolo.verbs.neighbours",
    "predict": "diabolo.verbs.predict",
    "preview": "diabolo.verbs.preview",
    "Run": "diabolo.runs.run",
    "Recipe": "diabolo.recipe",
    "Images": "diabolo.data.images",
    "Splits": "diabolo.data.images",
    "UserError": "diabolo.errors",
}

__all__ = [
    "Images",
    "Recipe",
    "Run",
    "Splits",
    "UserError",
    "anomalies",
    "compare",
    "denoise",
    "duplicates",
    "embed",
    "evaluate",
    "fit",
    "interpolate",
    "neighbours",
    "predict",
    "preview",
    "reconstruct",
    "reproduce",
    "sample",
    "search",
    "traverse",
]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'diabolo' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
