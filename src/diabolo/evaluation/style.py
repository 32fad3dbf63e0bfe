"""The style suite: what of a known change to an image can be read back from its frozen representation.

Style is what a label does not determine. SimVAE's second hypothesis is that discriminative methods lose it
where generative ones keep it. No labels are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Gt

from diabolo.data.images import Images
from diabolo.errors import UserError
from diabolo.evaluation.features import sample
from diabolo.evaluation.measures import Measure, Subject
from diabolo.evaluation.regression import determine
from diabolo.generation import BATCH, Array, device_of
from diabolo.seeds import generator
from diabolo.views.base import Drawn, View
from diabolo.views.colour import ColourJitter, GaussianBlur
from diabolo.views.geometry import RandomResizedCrop, Rotation, Translation

Positive = Annotated[int, Gt(0)]


@dataclass(frozen=True)
class Factor:
    """One way to change an image. read: what was drawn → the numbers to read back, [n] each."""

    view: View
    read: Callable[[Drawn], list[torch.Tensor]]


def _only(**strength: float) -> View:
    return ColourJitter(**({"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0} | strength), p=1)


def _drawn(*names: str) -> Callable[[Drawn], list[torch.Tensor]]:
    return lambda drawn: [drawn[name] for name in names]


FACTORS: Mapping[str, Factor] = {
    "rotation": Factor(Rotation(degrees=30), _drawn("degrees")),
    "translation": Factor(Translation(share=0.15), _drawn("down", "right")),
    "scale": Factor(RandomResizedCrop(scale=(0.4, 1), ratio=(1, 1)), _drawn("height")),
    "brightness": Factor(_only(brightness=0.5), _drawn("brightness")),
    "contrast": Factor(_only(contrast=0.5), _drawn("contrast")),
    "blur": Factor(GaussianBlur(kernel=7, sigma=(0.1, 2.0), p=1), _drawn("sigma")),
    "saturation": Factor(_only(saturation=0.8), _drawn("saturation")),
    "hue": Factor(_only(hue=0.2), _drawn("hue")),
}
OF_COLOUR = ("saturation", "hue")


class Style(Measure):
    """R² of a ridge regression from the representation to the parameter of a known change, for each change.

    Images turn by up to 30°, shift by up to 0.15 of the side, are cropped to 0.4 of their area or more and
    enlarged, become brighter or darker and flatter or steeper by up to a half, blurred by up to 2 pixels; on
    colours also saturation by up to 0.8 and hue by up to 0.2 turns. One change at a time; the images and what
    is drawn for them are the same for every run. train, test: how many images of those parts; the penalty is
    chosen on as many of validation as of test.

    For "h" and "z", as far as the method has them, R² by the name of the change, and "mean"; beside them the
    "mean" of the scored space. 0: nothing can be read back linearly; 1: everything.
    """

    beside = ("random", "pca", "pixels")

    def __init__(self, *, train: Positive = 10_000, test: Positive = 2_000) -> None:
        self.train, self.test = train, test

    def check(self, subject: Subject) -> None:
        shape = subject.splits.test.shape
        if len(shape) != 3:
            raise UserError("it turns and blurs images, and these are vectors")
        splits = subject.splits
        if min(map(len, (splits.train, splits.validation, splits.test))) < 2:
            raise UserError("it needs two images or more in each of train, validation and test")
        for factor in factors(shape).values():
            factor.view.shape(shape)

    def __call__(self, subject: Subject) -> dict[str, Any]:
        spaces = list(dict.fromkeys([subject.space, *(s for s in ("h", "z") if s in subject.method.spaces)]))
        found: dict[str, Any] = {space: {} for space in spaces}
        for name, factor in factors(subject.splits.test.shape).items():
            parts = [
                _changed(subject, factor, images, n, (name, part), spaces)
                for part, images, n in (
                    ("train", subject.splits.train, self.train),
                    ("validation", subject.splits.validation, self.test),
                    ("test", subject.splits.test, self.test),
                )
            ]
            for space in spaces:
                train, validation, test = ((z[space], y) for z, y in parts)
                found[space][name] = float(determine(train, validation, test).r2.mean())
        for space in spaces:
            found[space]["mean"] = float(np.mean(list(found[space].values())))
        return {"mean": found[subject.space]["mean"], **found}


def factors(shape: tuple[int, ...]) -> dict[str, Factor]:
    """Those that apply to images of this shape: hue and saturation are of three channels."""
    return {name: factor for name, factor in FACTORS.items() if shape[0] == 3 or name not in OF_COLOUR}


@torch.inference_mode()
def _changed(
    subject: Subject, factor: Factor, images: Images, most: int, seed: tuple[str, str], spaces: list[str]
) -> tuple[dict[str, Array], Array]:
    """Representations [n, D] of at most `most` changed images by space, and what was drawn, [n, T]."""
    images = images.take(torch.from_numpy(sample(len(images), most)))
    device, rng = device_of(subject.method), generator("style", *seed)
    z: dict[str, list[torch.Tensor]] = {space: [] for space in spaces}
    y = []
    for start in range(0, len(images), BATCH):
        x = images.floats(slice(start, start + BATCH)).to(device)
        drawn = factor.view.draw(len(x), images.shape, rng)
        x = factor.view.apply(x, {key: value.to(device) for key, value in drawn.items()})
        for space in spaces:
            z[space].append(subject.method.represent(x, space).float().cpu())
        y.append(torch.stack([value.double() for value in factor.read(drawn)], 1))
    return {space: torch.cat(of).numpy() for space, of in z.items()}, torch.cat(y).numpy()
