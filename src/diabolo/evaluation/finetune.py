"""Fine-tuning: the head of the MLP probe, training the whole encoder from its pretrained weights."""

import copy
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt
from torch import Tensor, nn

from diabolo.data.images import Images, Splits
from diabolo.errors import UserError
from diabolo.evaluation import heads
from diabolo.evaluation.features import probe_images
from diabolo.evaluation.heads import Labelled, Select
from diabolo.evaluation.probes import (
    Needs,
    Outcome,
    Positive,
    PositiveFloat,
    check_classes,
    count_classes,
    outcome,
)
from diabolo.methods.base import Method
from diabolo.networks import norm
from diabolo.seeds import seed_for


class Finetune:
    """Train a copy of a method's encoder and a head on it; the defaults are Mancini's transfer protocol."""

    needs: ClassVar[Needs] = "method"

    def __init__(
        self,
        *,
        hidden: tuple[Positive, ...] = (128,),
        batch_norm: bool = False,
        epochs: Positive = 20,
        lr: PositiveFloat = 1e-3,
        batch_size: Annotated[int, Gt(1)] = 128,
        select: Select = "last",
    ) -> None:
        self.hidden, self.batch_norm, self.epochs = hidden, batch_norm, epochs
        self.lr, self.batch_size, self.select = lr, batch_size, select

    def __call__(
        self,
        method: Method,
        space: str | None,
        splits: Splits,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> Outcome:
        """Read test once with the tuned copy; `method` stays as it was.

        `method.represent(x, space)` gives [n, D], with gradient.
        """
        train, validation, test = (_labelled(part, device) for part in probe_images(splits))
        labels = train.labels.cpu().numpy()
        check_classes("finetune", labels)
        classes = count_classes(splits.train.classes, labels)
        # The copy may draw noise of its own, so the whole training runs on a seeded, forked generator.
        cuda = [device] if torch.device(device).type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            torch.manual_seed(seed_for("finetune", seed))
            encoder = copy.deepcopy(method).to(device)
            norm.plain(encoder)  # batches of another size than those it was trained in
            width = _width(encoder, space, train)
            head = heads.classifier(width, self.hidden, classes, batch_norm=self.batch_norm)
            model = _Tuned(encoder, space, head.to(device))
            chosen = heads.train(
                model,
                train,
                validation,
                epochs=self.epochs,
                lr=self.lr,
                batch_size=self.batch_size,
                select=self.select,
                seed=seed,
            )
        return outcome(heads.predict(model, test), test.labels.cpu().numpy(), chosen)


class _Tuned(nn.Module):
    def __init__(self, encoder: Method, space: str | None, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.space, self.head = encoder, space, head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder.represent(x, self.space))


def _labelled(images: Images, device: torch.device | str) -> Labelled:
    if images.labels is None:
        raise UserError("finetune: it needs labels in train, validation and test; leave this probe out")
    return Labelled(lambda index: images.floats(index).to(device), images.labels.long().to(device))


def _width(encoder: Method, space: str | None, data: Labelled) -> int:
    with torch.no_grad():
        return encoder.eval().represent(data.inputs(torch.arange(2)), space).shape[1]
