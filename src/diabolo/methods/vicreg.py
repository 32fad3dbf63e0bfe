"""VICReg: variance-invariance-covariance regularisation (Bardes et al. 2022)."""

from typing import Annotated

from annotated_types import Ge, Gt
from torch import Tensor

from diabolo.distributed import gather
from diabolo.losses import vicreg
from diabolo.methods.base import Method, Needs, Terms
from diabolo.networks.backbone import Backbone
from diabolo.networks.heads import mlp_head
from diabolo.views.pipeline import Batch

Weight = Annotated[float, Ge(0)]


class VICReg(Method):
    """Two views' embeddings agree, while each dimension keeps a deviation of 1 and correlates with no other.

    invariance, variance, covariance: weights of the three terms (λ, μ, ν); the terms are logged without them.
    hidden, width: of the expander h → hidden → hidden → width, of three layers; hidden defaults to width.
    """

    needs = Needs(views=(2, 2), batch=2, compares=True)
    spaces = ("h", "z", "map")
    unit = "deviation"

    def __init__(
        self,
        encoder: Backbone,
        *,
        invariance: Weight = 25.0,
        variance: Weight = 25.0,
        covariance: Weight = 1.0,
        hidden: Annotated[int, Gt(0)] | None = None,
        width: Annotated[int, Gt(0)] = 2048,
    ) -> None:
        super().__init__(encoder)
        self.invariance = invariance
        self.variance = variance
        self.covariance = covariance
        self.expander = mlp_head(encoder.width, hidden or width, hidden or width, width, bias=False)

    def forward(self, batch: Batch) -> Terms:
        z = self.embed_apart(batch.views[0])  # [B, 2, D]
        terms = vicreg(gather(z))
        loss = (
            self.invariance * terms.invariance
            + self.variance * terms.variance
            + self.covariance * terms.covariance
        )
        return Terms(loss, terms._asdict())

    def embed(self, h: Tensor) -> Tensor:
        return self.expander(h)
