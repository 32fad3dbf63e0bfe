"""DeepCluster (Caron et al. 2018), version 2 (Caron et al. 2020): clusters of embeddings are the classes."""

from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Gt
from torch import Tensor

from diabolo.clustering import spherical_kmeans
from diabolo.errors import UserError
from diabolo.losses import non_parametric_softmax
from diabolo.methods.base import Method, Needs, Terms
from diabolo.networks.backbone import Backbone
from diabolo.networks.heads import mlp_head
from diabolo.networks.mlp import Widths
from diabolo.networks.shapes import evaluating
from diabolo.views.pipeline import Batch


class DeepCluster(Method):
    """Every view of an example is told the cluster that its original fell into before the epoch.

    Before each epoch the embeddings of all training images, without augmentation, are clustered by spherical
    k-means, from centroids drawn among them. The centroids are the classifier: it is not trained. (The
    authors' code clusters the embeddings of the views that the last epoch happened to see.)

    clusters: K of each of several clusterings, which are drawn apart; the loss is their mean.
    iterations: of k-means. temperature: τ. hidden, width: of the projector; hidden defaults to h's.
    """

    needs = Needs(views=(1, None), batch=2, local_views=None, features=True, held_out=False)
    spaces = ("h", "z", "map")
    unit = "length"

    def __init__(
        self,
        encoder: Backbone,
        size: int,
        *,
        clusters: Widths = (256, 256, 256),
        iterations: Annotated[int, Gt(0)] = 10,
        temperature: Annotated[float, Gt(0)] = 0.1,
        hidden: Annotated[int, Gt(0)] | None = None,
        width: Annotated[int, Gt(0)] = 128,
    ) -> None:
        super().__init__(encoder)
        if max(clusters) > size:
            raise UserError(
                f"method.clusters: {max(clusters)} clusters of {size} training images: ask for fewer"
            )
        self.clusters = clusters
        self.iterations = iterations
        self.temperature = temperature
        self.projector = mlp_head(encoder.width, hidden or encoder.width, width)
        self.centroids: Tensor  # of all clusterings, one after another
        self.assignments: Tensor
        self.register_buffer("centroids", F.normalize(torch.randn(sum(clusters), width), dim=1))
        self.register_buffer("assignments", torch.zeros(len(clusters), size, dtype=torch.long))

    def forward(self, batch: Batch) -> Terms:
        z = self.embed_views(batch.views)  # [B, J, D]
        targets = self.assignments[:, batch.index].repeat_interleave(z.shape[1], 1)  # [heads, B·J]
        heads = zip(self.centroids.split(self.clusters), targets, strict=True)
        losses = [non_parametric_softmax(z.flatten(0, 1), c, t, self.temperature) for c, t in heads]
        loss = torch.stack(losses).mean()
        return Terms(loss, {"cross_entropy": loss})

    def embed(self, h: Tensor) -> Tensor:
        return self.projector(h)

    @torch.no_grad()
    def before_epoch(self, features: Tensor) -> None:
        """Cluster the embeddings of the features h [N, D] of all training images."""
        with evaluating(self.projector):
            z = F.normalize(self.embed(features), dim=1)
        for row, centroids in zip(self.assignments, self.centroids.split(self.clusters), strict=True):
            drawn = z[torch.randperm(len(z), device=z.device)[: len(centroids)]]
            found, nearest = spherical_kmeans(z, drawn, self.iterations)
            centroids.copy_(found)
            row.copy_(nearest)
