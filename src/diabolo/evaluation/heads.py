"""A small classifier on top of a representation, and the loop that trains it, alone or with its encoder."""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Gt, MinLen
from torch import Tensor, nn
from torch.optim import Optimizer

from diabolo.errors import UserError
from diabolo.networks.heads import hidden_layer
from diabolo.seeds import generator
from diabolo.training.optimisers import adam
from diabolo.training.schedules import Constant

Select = Literal["best", "last"]
Rate = Annotated[float, Gt(0)]
Rates = Rate | Annotated[tuple[Rate, ...], MinLen(1)]  # one, or several to choose from on validation
Chosen = dict[str, float]
CONSTANT = Constant()
BLOCK = 1024  # examples that are classified at once


class Labelled(NamedTuple):
    """Examples by their position: `inputs(index)` gives float [n, …], on the device, for the model."""

    inputs: Callable[[Tensor], Tensor]
    labels: Tensor  # int64 [N], on the device


def classifier(width: int, hidden: Sequence[int], classes: int, *, batch_norm: bool) -> nn.Sequential:
    """[n, width] → logits [n, classes], through hidden layers with ReLU."""
    layers: list[nn.Module] = []
    for before, after in zip([width, *hidden], hidden, strict=False):
        layers += [hidden_layer(before, after)] if batch_norm else [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear([width, *hidden][-1], classes))


def best_of(lr: Rates, fit: Callable[[float], tuple[nn.Module, Chosen]]) -> tuple[nn.Module, Chosen]:
    """What `fit` makes of the rate that is best on validation, the first of equals; "lr" names it."""
    tried = [(*fit(rate), rate) for rate in (lr if isinstance(lr, tuple) else (lr,))]
    model, chosen, rate = max(tried, key=lambda one: one[1]["validation"])
    return model, chosen | ({"lr": rate} if len(tried) > 1 else {})


def train(
    model: nn.Module,
    data: Labelled,
    validation: Labelled,
    *,
    epochs: int,
    lr: float,
    batch_size: int,
    select: Select,
    seed: int,
    optimiser: Callable[..., Optimizer] = adam,
    schedule: Constant = CONSTANT,
) -> Chosen:
    """Minimise the negative log-likelihood.

    "best" keeps the epoch with the highest validation accuracy, the first of equals; "last" keeps the last.
    Returns what was kept: {"epoch", "validation"}. An epoch is cut into batches of near-equal size, at most
    `batch_size`, so that batch norm meets no single example left over from larger batches.
    """
    stepper = optimiser([{"params": [p for p in model.parameters() if p.requires_grad]}], lr=lr)
    order = generator("classifier", seed)
    batches = math.ceil(len(data.labels) / batch_size)
    chosen: Chosen = {}
    best: dict[str, Tensor] = {}
    for epoch in range(1, epochs + 1):
        model.train()
        shuffled = torch.randperm(len(data.labels), generator=order).tensor_split(batches)
        for step, index in enumerate(shuffled, start=(epoch - 1) * batches):
            for group in stepper.param_groups:
                group["lr"] = lr * schedule.factor(step, epochs * batches, batches)
            loss = F.cross_entropy(model(data.inputs(index)), data.labels[index])
            stepper.zero_grad()
            loss.backward()
            stepper.step()
        if not torch.isfinite(loss):  # once an epoch: reading it waits for the device
            raise UserError(f"probe: its loss is {loss.item()} after epoch {epoch}; lower lr, now {lr}")
        if select == "best" and (accuracy := score(model, validation)) > chosen.get("validation", -1):
            chosen = {"epoch": epoch, "validation": accuracy}
            best = copy.deepcopy(model.state_dict())
    if select == "last":
        return {"epoch": epochs, "validation": score(model, validation)}
    model.load_state_dict(best)
    return chosen


def score(model: nn.Module, data: Labelled) -> float:
    """The accuracy, in [0, 1]."""
    return float((predict(model, data) == data.labels.cpu().numpy()).mean())


def predict(model: nn.Module, data: Labelled) -> np.ndarray:
    """The most likely class of every example, in evaluation mode: int64 [N]."""
    return _each(model, data, lambda logits: logits.argmax(dim=1))


def probabilities(model: nn.Module, data: Labelled) -> np.ndarray:
    """Of every example those of the classes, in evaluation mode: float32 [N, K]."""
    return _each(model, data, lambda logits: logits.float().softmax(dim=1))


@torch.inference_mode()
def _each(model: nn.Module, data: Labelled, read: Callable[[Tensor], Tensor]) -> np.ndarray:
    model.eval()
    blocks = torch.arange(len(data.labels)).split(BLOCK)
    return torch.cat([read(model(data.inputs(index))).cpu() for index in blocks]).numpy()
