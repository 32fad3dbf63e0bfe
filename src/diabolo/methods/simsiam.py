"""SimSiam: exploring simple Siamese representation learning (Chen & He 2021)."""

from itertools import chain
from typing import Annotated, Any

from annotated_types import Gt
from torch import Tensor, nn

from diabolo.losses import simsiam
from diabolo.methods.base import Method, Needs, Terms, each_view, groups_of
from diabolo.networks.backbone import Backbone
from diabolo.networks.heads import mlp_head
from diabolo.views.pipeline import Batch


class SimSiam(Method):
    """From one view, predict the projection of the other, without changing what is predicted.

    layers: of the projector, two on CIFAR-10 and three on ImageNet. width: of each of them. hidden: of the
    predictor width → hidden → width. stop_gradient: without it, embeddings collapse.
    """

    needs = Needs(views=(2, 2), batch=2)
    spaces = ("h", "z", "map")
    unit = "length"

    def __init__(
        self,
        encoder: Backbone,
        *,
        layers: Annotated[int, Gt(0)] = 2,
        width: Annotated[int, Gt(0)] = 2048,
        hidden: Annotated[int, Gt(0)] = 512,
        stop_gradient: bool = True,
    ) -> None:
        super().__init__(encoder)
        self.stop_gradient = stop_gradient
        # The projector's output has a batch norm too, without scale and shift.
        linear = mlp_head(encoder.width, *[width] * layers, bias=False)
        self.projector = nn.Sequential(linear, nn.BatchNorm1d(width, affine=False))
        self.predictor = mlp_head(width, hidden, width)

    def forward(self, batch: Batch) -> Terms:
        z = self.embed_apart(batch.views[0])  # [B, 2, D]
        p = each_view(self.predictor, z)
        loss = simsiam(p, z.detach() if self.stop_gradient else z)
        return Terms(loss, {"negative_cosine": loss})

    def embed(self, h: Tensor) -> Tensor:
        return self.projector(h)

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """The predictor keeps its learning rate while the others' follows the schedule (§4.2)."""
        others = chain(self.encoder.parameters(), self.projector.parameters())
        return [
            *groups_of(others, weight_decay),
            *groups_of(self.predictor.parameters(), weight_decay, fixed_lr=True),
        ]
