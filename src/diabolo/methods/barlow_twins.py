"""Barlow Twins: self-supervised learning via redundancy reduction (Zbontar et al. 2021)."""

from typing import Annotated

from annotated_types import Ge, Gt
from torch import Tensor

from diabolo.distributed import gather
from diabolo.losses import barlow_twins
from diabolo.methods.base import Method, Needs, Terms
from diabolo.networks.backbone import Backbone
from diabolo.networks.heads import mlp_head
from diabolo.views.pipeline import Batch


class BarlowTwins(Method):
    """Each dimension of the embedding correlates with itself in the other view, and with no other dimension.

    redundancy: weight λ of the second. width: of all three layers of the projector.
    """

    needs = Needs(views=(2, 2), batch=2, compares=True)
    spaces = ("h", "z", "map")

    def __init__(
        self,
        encoder: Backbone,
        *,
        redundancy: Annotated[float, Ge(0)] = 5e-3,
        width: Annotated[int, Gt(0)] = 2048,
    ) -> None:
        super().__init__(encoder)
        self.redundancy = redundancy
        self.projector = mlp_head(encoder.width, width, width, width, bias=False)

    def forward(self, batch: Batch) -> Terms:
        z = self.embed_apart(batch.views[0])  # [B, 2, D]
        terms = barlow_twins(gather(z))
        return Terms(terms.invariance + self.redundancy * terms.redundancy_reduction, terms._asdict())

    def embed(self, h: Tensor) -> Tensor:
        return self.projector(h)
