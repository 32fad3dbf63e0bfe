"""SwAV: swapping assignments between views (Caron et al. 2020)."""

from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor

from diabolo.clustering import sinkhorn
from diabolo.distributed import gather, local
from diabolo.losses import swapped_prediction
from diabolo.methods.base import Method, Needs, Terms, groups_of
from diabolo.methods.prototypes import Prototypes
from diabolo.networks.backbone import Backbone
from diabolo.networks.heads import mlp_head
from diabolo.views.pipeline import Batch


class SwAV(Method):
    """A view predicts the codes of another: how the batch is shared out evenly among learned prototypes.

    The global views give codes; every view, local ones included, predicts those of the other views.
    prototypes: K. temperature: τ. epsilon, iterations: of the Sinkhorn–Knopp algorithm; a larger ε makes
    softer codes. frozen: share of the training in which the prototypes stay as they were drawn (in the paper
    the first of 100 to 800 epochs). hidden, width: of the projector; hidden defaults to h's.
    """

    needs = Needs(views=(2, None), batch=2, compares=True, local_views=None)
    spaces = ("h", "z", "map")
    unit = "length"

    def __init__(
        self,
        encoder: Backbone,
        *,
        prototypes: Annotated[int, Gt(1)] = 256,
        temperature: Annotated[float, Gt(0)] = 0.1,
        epsilon: Annotated[float, Gt(0)] = 0.05,
        iterations: Annotated[int, Gt(0)] = 3,
        frozen: Annotated[float, Ge(0), Lt(1)] = 0.01,
        hidden: Annotated[int, Gt(0)] | None = None,
        width: Annotated[int, Gt(0)] = 128,
    ) -> None:
        super().__init__(encoder)
        self.temperature = temperature
        self.epsilon, self.iterations = epsilon, iterations
        self.frozen = frozen
        self.projector = mlp_head(encoder.width, hidden or encoder.width, width)
        self.prototypes = Prototypes(width, prototypes)

    def forward(self, batch: Batch) -> Terms:
        z = self.embed_views(batch.views)  # [B, J, D]
        scores = self.prototypes(z, batch.progress < self.frozen)  # [B, J, K]
        codes = torch.stack([self.codes(s) for s in scores[:, : batch.views[0].shape[1]].unbind(1)], 1)
        loss = swapped_prediction(scores, codes, self.temperature)
        return Terms(loss, {"swapped_prediction": loss})

    @torch.no_grad()
    def codes(self, scores: Tensor) -> Tensor:
        """Of one view, balanced over the whole batch: scores [B / world, K] → codes [B / world, K]."""
        return local(sinkhorn(gather(scores), self.epsilon, self.iterations))

    def embed(self, h: Tensor) -> Tensor:
        return self.projector(h)

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Prototypes do not decay, so that frozen ones stay as they are."""
        return groups_of(self.parameters(), weight_decay, self.prototypes.parameters())
