"""SimCLR: a simple framework for contrastive learning of visual representations (Chen et al. 2020)."""

from typing import Annotated

from annotated_types import Gt
from torch import Tensor

from diabolo.distributed import gather
from diabolo.losses import nt_xent
from diabolo.methods.base import Method, Needs, Terms
from diabolo.networks.backbone import Backbone
from diabolo.networks.heads import mlp_head
from diabolo.views.pipeline import Batch


class SimCLR(Method):
    """Each view finds the other view of its example among all views of the batch.

    temperature: τ of the softmax. hidden, width: of the projector h → hidden → width; hidden defaults to h's.
    """

    needs = Needs(views=(2, None), batch=2, compares=True)
    spaces = ("h", "z", "map")
    unit = "length"

    def __init__(
        self,
        encoder: Backbone,
        *,
        temperature: Annotated[float, Gt(0)] = 0.5,
        hidden: Annotated[int, Gt(0)] | None = None,
        width: Annotated[int, Gt(0)] = 128,
    ) -> None:
        super().__init__(encoder)
        self.temperature = temperature
        self.projector = mlp_head(encoder.width, hidden or encoder.width, width)

    def forward(self, batch: Batch) -> Terms:
        views = batch.views[0]  # [B, J, C, H, W]
        z = self.embed(self.encoder(views.flatten(0, 1)))  # [B·J, D]
        z = z.unflatten(0, views.shape[:2])
        loss = nt_xent(gather(z), self.temperature)
        return Terms(loss, {"contrastive": loss})

    def embed(self, h: Tensor) -> Tensor:
        return self.projector(h)
