"""Encoders and decoders, and which of them goes with what."""

from collections.abc import Mapping
from typing import Any


def default_encoder(shape: tuple[int, ...]) -> dict[str, Any]:
    """The encoder for data of a shape, (C, H, W) or (F,), when the recipe names none."""
    if len(shape) == 1 or min(shape[1:]) < 16:
        return {"name": "mlp", "widths": [256, 256]}
    channels, side = shape[0], max(shape[1:])
    if channels == 1 and side <= 32:
        return {"name": "mlp", "widths": [500, 500, 2000]}
    return {"name": "resnet18", "width": 0.25, "stem": "cifar" if side <= 64 else "imagenet"}


def mirror(encoder: Mapping[str, Any]) -> dict[str, Any] | None:
    """The decoder that mirrors an encoder, from the encoder's completed specification.

    A vision transformer, which has none of its own, gets a convolutional one. A timm backbone and a module of
    the user's have none.
    """
    match encoder["name"]:
        case "linear":
            return {"name": "linear"}
        case "mlp":
            return {"name": "mlp", "widths": list(reversed(encoder["widths"]))}
        case "conv" | "simvae-resnet" | "simvae-resnet-as-coded":
            return dict(encoder)
        case "resnet18" | "resnet34" | "resnet50":
            return {"name": "resnet"} | {key: encoder[key] for key in ("depth", "width", "stem")}
        case "vit":
            return {"name": "resize-conv"}
        case _:
            return None
