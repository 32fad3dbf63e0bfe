"""A decoder for what has none: trained on a frozen representation, to see what that representation kept.

SimVAE, A.7.6, shows reconstructions of discriminative methods in this way. The decoder is the one that a
generative method of the same encoder has.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diabolo.data.images import Images
from diabolo.errors import UserError
from diabolo.evaluation.features import FLOOR
from diabolo.files import read_tensors, write_tensors
from diabolo.generation import Coder, device_of
from diabolo.methods.base import Method
from diabolo.precision import in_precision
from diabolo.representation import extract
from diabolo.seeds import generator, seeded
from diabolo.tables import DECODERS

EPOCHS, BATCH_SIZE, LR = 20, 128, 1e-3


class Decoded(nn.Module):
    """A frozen method whose representation is a code that can be decoded.

    The decoder sees each dimension with mean 0 and deviation 1 on train. One that hardly varies there keeps
    less, lest the few images that excite it be far from all that the decoder knows; a dead one stays 0.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, method: Method, space: str, decoder: nn.Module, width: int) -> None:
        super().__init__()
        self.method, self.space, self.decoder = method, space, decoder
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def represent(self, x: Tensor, space: str | None = None) -> Tensor:
        """[n, *shape] → [n, D], whatever space is asked for: the decoded one is the code."""
        return self.method.represent(x, self.space)

    def decode(self, z: Tensor) -> Tensor:
        """[n, D] → [n, *shape], in the units of the data."""
        return self.decoder((z - self.mean) * self.scale)

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.decode(self.represent(x))

    @property
    def learned(self) -> dict[str, Tensor]:
        """The state that is not the method's."""
        return {k: v for k, v in self.state_dict().items() if not k.startswith("method.")}

    def load(self, learned: Mapping[str, Tensor]) -> None:
        """Take over what `learned` was. Raises `UserError` where it does not fit."""
        try:
            self.load_state_dict(self.state_dict() | dict(learned))
        except RuntimeError as error:
            raise UserError(f"the kept decoder does not fit: {' '.join(str(error).split())[:200]}") from None


def with_decoder(
    method: Method, space: str, spec: Mapping[str, Any], shape: tuple[int, ...], seed: int
) -> Decoded:
    """The method with an untrained decoder, on the method's device and in evaluation mode."""
    device = device_of(method)
    with torch.inference_mode():
        width = method.represent(torch.zeros(1, *shape, device=device), space).shape[1]
    with seeded("cpu", "decoder", seed):
        decoder = DECODERS.build(spec, latent=width, shape=shape)
    decoder.to(memory_format=torch.channels_last)
    return Decoded(method, space, decoder, width).to(device).eval()


def coder_for(
    method: Method,
    space: str,
    shape: tuple[int, ...],
    spec: Mapping[str, Any],
    train: Callable[[], Images],
    seed: int,
    kept: Path | None = None,
    note: Callable[[str], None] = lambda _: None,
    *,
    precision: str = "float32",
) -> Coder:
    """The method itself, if it can decode; else with a decoder trained on its representation of train.

    shape: of an example. spec: the complete specification of the decoder. kept: the file where it is kept,
    so that it is trained only once; where nothing can be written, it is not. note: is told of the training.
    precision: it is trained in, float32 or bf16; it decodes in float32.
    """
    if isinstance(method, Coder):
        return method
    if kept is not None and (known := kept_coder(method, space, shape, spec, kept)) is not None:
        return known
    decoded = with_decoder(method, space, spec, shape, seed)
    note(f"{method.title} has no decoder: training one ({spec['name']}) on its frozen representation {space}")
    error = fit_decoder(decoded, train(), seed, precision=precision)
    note(f"mean squared error on train {error:.4g}")
    if kept is not None and os.access(kept.parent, os.W_OK):
        write_tensors(kept, decoded.learned, _made(space, spec))
    return decoded


def kept_coder(
    method: Method, space: str, shape: tuple[int, ...], spec: Mapping[str, Any], kept: Path
) -> Decoded | None:
    """The method with the decoder that was kept; None where there is none, or one of another kind."""
    if not kept.exists():
        return None
    learned, metadata = read_tensors(kept)
    if metadata != _made(space, spec):
        return None
    decoded = with_decoder(method, space, spec, shape, 0)
    decoded.load(learned)
    return decoded


def _made(space: str, spec: Mapping[str, Any]) -> dict[str, str]:
    """What a kept decoder says of itself."""
    return {"made": json.dumps({"decoder": dict(spec), "space": space})}


def fit_decoder(
    decoded: Decoded,
    train: Images,
    seed: int,
    *,
    epochs: int = EPOCHS,
    lr: float = LR,
    batch_size: int = BATCH_SIZE,
    precision: str = "float32",
) -> float:
    """Minimise the mean squared error of train's reconstructions with Adam, its rate falling as a cosine.

    The representation is computed once and stays. Returns the error over the last epoch, per dimension.
    """
    device = decoded.mean.device
    z = torch.from_numpy(extract(decoded.represent, train, device=device)).to(device)
    std, mean = torch.std_mean(z, 0, correction=0)
    decoded.mean.copy_(mean)
    floor = FLOOR * std.square().mean().sqrt()
    decoded.scale.copy_(torch.where(std > 0, 1 / std.maximum(floor), 0))
    optimiser = torch.optim.Adam(decoded.decoder.parameters(), lr=lr, fused=True)
    steps = epochs * -(-len(train) // batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    order, error = generator("decoder", seed), torch.zeros((), device=device)
    decoded.decoder.train()
    for _ in range(epochs):
        error.zero_()
        for index in torch.randperm(len(train), generator=order).split(batch_size):
            with in_precision(precision, device):
                rebuilt = decoded.decode(z[index])
            loss = (rebuilt - train.floats(index).to(device)).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            error += loss.detach() * len(index) / len(train)
    decoded.eval()
    return float(error)
