"""LeJEPA: embeddings that agree between views and are isotropic Gaussian (Balestriero & LeCun 2025)."""

from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor

from diabolo.distributed import gather
from diabolo.losses import lejepa
from diabolo.methods.base import Method, Needs, Terms
from diabolo.networks.backbone import Backbone
from diabolo.networks.heads import mlp_head
from diabolo.precision import upcast
from diabolo.views.pipeline import Batch


class LeJEPA(Method):
    """Each view's embedding is near the mean of its example's, while each view's batch looks standard normal.

    The mean is of the global views; local ones are drawn to it too.
    weight: λ of the second. (The public code weighs the first by 1 − λ, which is this loss at λ / (1 − λ) but
    for its scale.) directions: drawn anew at each step, along which the batch is compared with the Gaussian.
    hidden, width: of the projector h → hidden → hidden → width.
    """

    needs = Needs(views=(2, None), batch=2, compares=True, local_views=None)
    spaces = ("h", "z", "map")
    unit = "deviation"

    def __init__(
        self,
        encoder: Backbone,
        *,
        weight: Annotated[float, Ge(0)] = 0.02,
        directions: Annotated[int, Gt(0)] = 1024,
        hidden: Annotated[int, Gt(0)] = 2048,
        width: Annotated[int, Gt(0)] = 128,
    ) -> None:
        super().__init__(encoder)
        self.weight = weight
        self.directions = directions
        self.projector = mlp_head(encoder.width, hidden, hidden, width)

    def forward(self, batch: Batch) -> Terms:
        z = upcast(self.embed_views(batch.views))  # [B, J, D]
        directions = torch.randn(z.shape[2], self.directions, dtype=z.dtype, device=z.device)
        terms = lejepa(gather(z), directions, batch.views[0].shape[1])
        return Terms(terms.prediction + self.weight * terms.sigreg, terms._asdict())

    def embed(self, h: Tensor) -> Tensor:
        return self.projector(h)
