"""Fine-tuning: the head of the MLP probe, training the whole encoder from its pretrained weights."""

import copy
from collections.abc import Sequence
from functools import partial
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from diabolo.data.images import Images, Splits
from diabolo.errors import UserError
from diabolo.evaluation import heads
from diabolo.evaluation.features import probe_images
from diabolo.evaluation.heads import Chosen, Labelled, Rates, Select
from diabolo.evaluation.probes import (
    OPTIMISERS,
    Needs,
    Outcome,
    Positive,
    check_classes,
    count_classes,
    outcome,
)
from diabolo.methods.base import Method
from diabolo.networks import norm
from diabolo.seeds import generator, seeded
from diabolo.tables import VIEWS
from diabolo.training.schedules import Constant, Cosine
from diabolo.views.base import View
from diabolo.views.pipeline import Pipeline


class Finetune:
    """Train a head on a method's encoder, on views of the images, and with it a copy of the encoder.

    The defaults are Mancini's transfer protocol. `hidden=[], optimiser="sgd", cosine=True` with crops and
    flips as `views` is SimCLR's fine-tuning (Chen et al. 2020, B.8: batches of 256, lr 0.05 · batch size /
    256). With `frozen` the encoder stays as it is, in evaluation mode: "crop-linear" is AAVAE's linear layer
    (§4; lr 0.1 · batch size / 256). Validation and test are read on whole images.
    `lr` may be several rates: the one that is best on validation is kept. lr_batch: the batch that they are
    for: another one scales them.
    """

    needs: ClassVar[Needs] = "method"

    def __init__(
        self,
        *,
        hidden: tuple[Positive, ...] = (128,),
        batch_norm: bool = False,
        epochs: Positive = 20,
        optimiser: Literal["adam", "sgd"] = "adam",
        lr: Rates = 1e-3,
        weight_decay: Annotated[float, Ge(0)] = 0.0,
        cosine: bool = False,
        batch_size: Annotated[int, Gt(1)] = 128,
        lr_batch: Positive | None = None,
        views: list[Annotated[View, VIEWS]] | None = None,
        frozen: bool = False,
        select: Select = "last",
    ) -> None:
        self.hidden, self.batch_norm, self.epochs = hidden, batch_norm, epochs
        self.optimiser = partial(OPTIMISERS[optimiser], weight_decay=weight_decay)
        self.schedule = Cosine() if cosine else Constant()
        self.lr, self.batch_size, self.select = lr, batch_size, select
        self.lr_scale = batch_size / (lr_batch or batch_size)
        self.views, self.frozen = views, frozen

    def __call__(
        self,
        method: Method,
        space: str | None,
        splits: Splits,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> Outcome:
        """Read test once with the tuned copy; `method` stays as it was.

        `method.represent(x, space)` gives [n, D], with gradient unless the encoder is frozen. Raises
        `UserError` where there is nothing to tune.
        """
        train, validation, test = (_labelled(part, device) for part in probe_images(splits))
        labels = train.labels.cpu().numpy()
        check_classes("finetune", labels)
        classes = count_classes(splits.train.classes, labels)
        if self.frozen:
            validation, test = (_represented(part, method, space) for part in (validation, test))

        @seeded(device, "finetune", seed)  # the whole training: the copy may draw noise of its own
        def fit(lr: float) -> tuple[nn.Module, Chosen]:
            encoder = method if self.frozen else _copied(method, device)
            width = _width(encoder, space, train, learns=not self.frozen)
            head = heads.classifier(width, self.hidden, classes, batch_norm=self.batch_norm).to(device)
            seen = train if self.views is None else _augmented(train, self.views, seed)
            model = head if self.frozen else _Tuned(encoder, space, head)
            return model, heads.train(
                model,
                _represented(seen, encoder, space) if self.frozen else seen,
                validation,
                epochs=self.epochs,
                lr=lr * self.lr_scale,
                batch_size=self.batch_size,
                select=self.select,
                seed=seed,
                optimiser=self.optimiser,
                schedule=self.schedule,
            )

        model, chosen = heads.best_of(self.lr, fit)
        return outcome(heads.predict(model, test), test.labels.cpu().numpy(), chosen)


class _Tuned(nn.Module):
    def __init__(self, encoder: Method, space: str | None, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.space, self.head = encoder, space, head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder.represent(x, self.space))


def _copied(method: Method, device: torch.device | str) -> Method:
    try:
        encoder = copy.deepcopy(method).to(device)
    except (TypeError, RuntimeError) as error:  # it may hold what is not data, such as a session
        raise UserError(f"finetune: it trains a copy, and {method.title} cannot be copied: {error}") from None
    norm.plain(encoder)  # batches of another size than those it was trained in
    return encoder


def _represented(data: Labelled, encoder: Method, space: str | None) -> Labelled:
    """The same examples as the encoder has them, in evaluation mode."""

    @torch.no_grad()
    def inputs(index: Tensor) -> Tensor:
        return encoder.represent(data.inputs(index), space)

    return Labelled(inputs, data.labels)


def _augmented(data: Labelled, views: Sequence[View], seed: int) -> Labelled:
    """The same examples, each time in another view."""
    pipeline, rng = Pipeline(views, 1), generator("finetune views", seed)

    def inputs(index: Tensor) -> Tensor:
        x = data.inputs(index)
        drawn = [
            {name: value.to(x.device) for name, value in of.items()}
            for of in pipeline.draw(len(x), tuple(x.shape[1:]), rng)
        ]
        return pipeline.apply(x, drawn)[:, 0]

    return Labelled(inputs, data.labels)


def _labelled(images: Images, device: torch.device | str) -> Labelled:
    if images.labels is None:
        raise UserError("finetune: it needs labels in train, validation and test; leave this probe out")
    return Labelled(lambda index: images.floats(index).to(device), images.labels.long().to(device))


def _width(encoder: Method, space: str | None, data: Labelled, *, learns: bool) -> int:
    """Of the representation. learns: refuse one that has no gradient for the encoder to learn by."""
    with torch.set_grad_enabled(learns):
        z = encoder.eval().represent(data.inputs(torch.arange(2)), space)
    if learns and not z.requires_grad:
        raise UserError(f"finetune: {encoder.title} gives no gradient to learn by: leave this probe out")
    return z.shape[1]
