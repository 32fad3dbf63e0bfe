"""Instance discrimination: one class per example (Wu et al. 2018)."""

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from torch import Tensor

from diabolo.distributed import gather
from diabolo.losses import non_parametric_softmax
from diabolo.methods.base import Method, Needs, Terms
from diabolo.networks.backbone import Backbone
from diabolo.networks.heads import mlp_head
from diabolo.precision import upcast
from diabolo.views.pipeline import Batch


class InstanceDiscrimination(Method):
    """A view finds its example among the stored embeddings of all training examples.

    The softmax runs over every example: exact, where the paper estimates it by sampling for a million of
    them. As in the authors' code, stored embeddings move slowly instead of a proximal term in the loss.

    momentum: of the stored embeddings. temperature: τ. head: from h to the embedding of `width`: "linear" as
    in the paper, or "mlp" with a hidden layer of h's width and batch norm, which leaves sooner the state in
    which all stored embeddings point one way.
    """

    needs = Needs(views=(1, 1), batch=2, held_out=False)
    spaces = ("h", "z", "map")
    unit = "length"

    def __init__(
        self,
        encoder: Backbone,
        size: int,
        *,
        momentum: Annotated[float, Ge(0), Lt(1)] = 0.5,
        temperature: Annotated[float, Gt(0)] = 0.07,
        head: Literal["linear", "mlp"] = "mlp",
        width: Annotated[int, Gt(0)] = 128,
    ) -> None:
        super().__init__(encoder)
        self.momentum = momentum
        self.temperature = temperature
        self.projector = mlp_head(encoder.width, *([encoder.width] if head == "mlp" else []), width)
        self.memory: Tensor
        self.register_buffer("memory", F.normalize(torch.randn(size, width), dim=1))
        self.fresh: list[tuple[Tensor, Tensor]] = []  # places and embeddings of this step

    def forward(self, batch: Batch) -> Terms:
        v = F.normalize(upcast(self.embed(self.encoder(batch.views[0][:, 0]))), dim=1)  # [B, D]
        loss = non_parametric_softmax(v, self.memory, batch.index, self.temperature)
        self.fresh.append((gather(batch.index), gather(v.detach())))
        return Terms(loss, {"contrastive": loss})

    def embed(self, h: Tensor) -> Tensor:
        return self.projector(h)

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Move the stored embeddings of this step's examples towards their new ones."""
        for index, v in self.fresh:
            self.memory[index] = F.normalize(self.memory[index].lerp(v, 1 - self.momentum), dim=1)
        self.fresh.clear()
