"""The representation of many examples, batch by batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from diabolo.data.ahead import at_once, in_order
from diabolo.data.images import Images, as_float
from diabolo.errors import UserError


@torch.inference_mode()
def extract(
    represent: Callable[[Tensor], Tensor],
    images: Images,
    *,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Represent every example: float32 [N, D]. A network is to be in evaluation mode already.

    Raises `UserError` where a representation is not one vector per example, or not finite.
    """
    if not len(images):
        raise UserError("features: there are no images to represent")
    values, start = torch.empty(0), 0
    for pixels in in_order(images.pixels, at_once(images.shape, device), device):
        x = as_float(pixels)
        z = represent(x)
        if z.ndim != 2 or len(z) != len(x):
            raise UserError(
                f"features: a representation must be [n, D], got {list(z.shape)} for {len(x)} examples: "
                "flatten or pool it"
            )
        if start == 0:
            values = torch.empty(len(images), z.shape[1])
        values[start : start + len(z)] = z  # as float32 on the CPU
        start += len(z)
    return finite(values.numpy(), "features")


def finite(values: np.ndarray, where: str) -> np.ndarray:
    if bad := int((~np.isfinite(values)).any(axis=1).sum()):
        raise UserError(
            f"{where}: {bad} of {len(values)} rows are not finite (diverged training, division by zero?)"
        )
    return values
