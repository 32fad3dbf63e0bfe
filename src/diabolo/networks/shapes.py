"""The arithmetic of shapes that encoders and decoders share."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from diabolo.errors import UserError

Size = tuple[int, int]  # height and width, pixels


def image_shape(shape: tuple[int, ...], network: str) -> tuple[int, Size]:
    """(C, H, W) → C, (H, W). Raises `UserError` for vectors, which `network` cannot take."""
    if len(shape) != 3:
        raise UserError(
            f"{network} needs images, an example here is a vector of {shape[0]}: use 'mlp' or 'linear'"
        )
    return shape[0], (shape[1], shape[2])


def halvings(size: Size, times: int) -> list[Size]:
    """The sizes of feature maps from the image down: `times` + 1 entries, each half the last, rounded up.

    Every strided layer here rounds that way: 3×3 with padding 1, 7×7 with padding 3, 1×1 without. So a
    decoder that goes up the same list ends at exactly the image's size, whatever that is.
    """
    sizes = [size]
    for _ in range(times):
        height, width = sizes[-1]
        sizes.append(((height + 1) // 2, (width + 1) // 2))
    return sizes


def output_padding(before: Size, after: Size) -> Size:
    """What makes a stride-2 transposed convolution (3×3, padding 1; or 1×1) go from one size to the other."""
    return after[0] - (2 * before[0] - 1), after[1] - (2 * before[1] - 1)


def feature_width(network: nn.Module, shape: tuple[int, ...]) -> int:
    """D of a network that maps [n, *shape] to [n, D], by one evaluation of zeros.

    Raises `UserError` where it fails on that shape or returns something else.
    """
    like = next(network.parameters(), torch.empty(0))
    zeros = torch.zeros(2, *shape, dtype=like.dtype, device=like.device)
    with evaluating(network), torch.no_grad():
        try:
            h = network(zeros)
        except (RuntimeError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(
                f"the encoder cannot take a batch of shape {list(zeros.shape)}: {reason}"
            ) from None
    if not isinstance(h, torch.Tensor) or h.ndim != 2 or len(h) != 2:
        got = list(h.shape) if isinstance(h, torch.Tensor) else type(h).__name__
        raise UserError(f"the encoder must return features [n, D]: for a batch of 2 it returned {got}")
    return h.shape[1]


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, then each module's own mode again."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
