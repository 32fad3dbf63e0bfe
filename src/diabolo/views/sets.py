"""Named sets of augmentations, for images of a given shape."""

from collections.abc import Sequence
from typing import Any

Specs = list[dict[str, Any]]


def view_set(name: str, shape: Sequence[int]) -> Specs:
    """The augmentations behind a name: "none", "simclr" or "simvae".

    simclr: crop, flip, jitter and grayscale of Chen et al. 2020 at strength 0.5, as AAVAE uses them on
    CIFAR-10, with blur above 64 pixels. Digits and garments keep to crops: a mirrored 2 is no digit.
    simvae: SimVAE Table 2. Vectors, which have no geometry, lose a quarter of their entries.
    """
    if name == "none":
        return []
    if len(shape) == 1:
        return [{"name": "masking", "share": 0.25}]
    colour = shape[0] == 3
    return _simclr(colour, min(shape[1:])) if name == "simclr" else _simvae(colour)


def _simclr(colour: bool, side: int) -> Specs:
    if not colour:
        return [{"name": "random-resized-crop", "scale": [0.25, 1.0]}]
    views: Specs = [
        {"name": "random-resized-crop", "scale": [0.08, 1.0]},
        {"name": "horizontal-flip"},
        {
            "name": "colour-jitter",
            "brightness": 0.4,
            "contrast": 0.4,
            "saturation": 0.4,
            "hue": 0.1,
            "p": 0.8,
        },
        {"name": "grayscale", "p": 0.2},
    ]
    return [*views, {"name": "gaussian-blur", "kernel": 9, "p": 0.5}] if side > 64 else views


def _simvae(colour: bool) -> Specs:
    crop = {"name": "random-resized-crop", "scale": [0.6 if colour else 0.4, 1.0], "ratio": [0.75, 1.3]}
    jitter = {
        "name": "colour-jitter",
        "brightness": 0.8,
        "contrast": 0.8,
        "saturation": 0.8,
        "hue": 0.2,
        "p": 0.8,
    }
    return [crop, {"name": "vertical-flip"}, *([jitter] if colour else [])]
