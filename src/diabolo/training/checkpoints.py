"""Checkpoints: everything that a training needs to go on as if it had never stopped, in one safetensors file.

What is random or scheduled is a function of seed, epoch and step, so a checkpoint holds only weights,
buffers, the optimiser's moments, the step, and the losses not yet logged.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from diabolo.errors import UserError
from diabolo.files import read_tensors, write_tensors
from diabolo.training.meter import Meter, Position

KEPT = 2  # the newest, and the one before it


def save(folder: Path, method: nn.Module, optimiser: Optimizer, position: Position) -> None:
    """Write the checkpoint of this step, then drop all but the newest two, and what a kill left half."""
    tensors = {f"method/{name}": tensor for name, tensor in method.state_dict().items()}
    for index, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser/{index}/{k}": v for k, v in moments.items() if isinstance(v, Tensor)}
    state = {
        "step": position.step,
        "seconds": position.seconds,
        "terms": position.meter.names,
        "unlogged": position.meter.unlogged(position.step),
    }
    write_tensors(folder / f"{position.step:09d}.safetensors", tensors, {"position": json.dumps(state)})
    for old in [*sorted(folder.glob("*.safetensors"))[:-KEPT], *folder.glob(".*.tmp")]:
        old.unlink()


def load(
    folder: Path, method: nn.Module, optimiser: Optimizer, note: Callable[[str], None] = lambda _: None
) -> Position:
    """Bring method and optimiser to the newest checkpoint; the beginning if there is none.

    note: is told of one that cannot be read, in whose place the one before it is taken. Raises `UserError`
    where none can be read, or the one that is does not fit.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return Position()
    path, tensors, metadata = _newest(files, note)
    weights = {k.removeprefix("method/"): v for k, v in tensors.items() if k.startswith("method/")}
    try:
        method.load_state_dict(weights)
        state = json.loads(metadata["position"])
        position = Position(state["step"], state["seconds"], Meter(state["terms"], state["unlogged"]))
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} does not fit this run: {' '.join(str(error).split())[:200]}") from None
    moments: dict[int, dict[str, Tensor]] = {}
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for name, tensor in tensors.items():
        if name.startswith("optimiser/"):
            _, index, key = name.split("/")
            moments.setdefault(int(index), {})[key] = _laid_out_like(parameters[int(index)], tensor)
    groups: Any = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": moments, "param_groups": groups})
    return position


def _newest(
    files: Sequence[Path], note: Callable[[str], None]
) -> tuple[Path, dict[str, Tensor], dict[str, str]]:
    """The last of the files that can be read."""
    *earlier, path = files
    try:
        return path, *read_tensors(path)
    except UserError as error:
        if not earlier:
            raise
        note(f"{error}: going on from the checkpoint before it")
        return _newest(earlier, note)


def _laid_out_like(parameter: Tensor, tensor: Tensor) -> Tensor:
    """In the parameter's memory format: fused optimisers expect moments laid out as their weights are."""
    return torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor
