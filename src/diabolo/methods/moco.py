"""MoCo: momentum contrast (He et al. 2020), with the projector of version 2 (Chen et al. 2020)."""

from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from torch import Tensor

from diabolo.distributed import gather, local, world_size
from diabolo.losses import info_nce
from diabolo.methods.base import Method, Needs, Terms
from diabolo.methods.momentum import follow, slow_copy
from diabolo.networks import norm
from diabolo.networks.backbone import Backbone
from diabolo.networks.heads import mlp_head
from diabolo.precision import upcast
from diabolo.views.pipeline import Batch


class MoCo(Method):
    """A query finds its key, made by a slow copy of the network, among a queue of earlier keys.

    queue: number of keys kept. momentum: of the key network. temperature: τ. hidden, width: of the projector.
    group: batch norm sees this many examples at a time, and keys are shuffled over the batch first, so that
    statistics do not give away which key belongs to a query (§3.3); it must divide each process's batch.
    """

    needs = Needs(views=(2, 2), batch=2, synchronise=False)
    spaces = ("h", "z", "map")
    unit = "length"

    def __init__(
        self,
        encoder: Backbone,
        *,
        queue: Annotated[int, Gt(0)] = 4096,
        momentum: Annotated[float, Ge(0), Lt(1)] = 0.99,
        temperature: Annotated[float, Gt(0)] = 0.1,
        hidden: Annotated[int, Gt(0)] | None = None,
        width: Annotated[int, Gt(0)] = 128,
        group: Annotated[int, Gt(1)] = 32,
    ) -> None:
        super().__init__(encoder)
        self.momentum = momentum
        self.temperature = temperature
        self.projector = mlp_head(encoder.width, hidden or encoder.width, width)
        norm.group(self, group)
        self.key = slow_copy((self.encoder, self.projector))
        self.queue: Tensor
        self.register_buffer("queue", F.normalize(torch.randn(queue, width), dim=1))
        self.fresh: list[Tensor] = []  # keys of this step, not in the queue yet

    def forward(self, batch: Batch) -> Terms:
        query, key = batch.views[0].unbind(1)  # [B, C, H, W] each
        q = F.normalize(upcast(self.embed(self.encoder(query))), dim=1)  # [B, D]
        k = self.keys(key)  # of all processes
        self.fresh.append(k)
        loss = info_nce(q, local(k), self.queue, self.temperature)
        return Terms(loss, {"contrastive": loss})

    @torch.no_grad()
    def keys(self, x: Tensor) -> Tensor:
        """This process's views [B / world, …] → the keys of the whole batch [B, D], in order."""
        # What asks other processes, and the draw, are no part of a compiled graph.
        order, shuffled = torch.compiler.disable(_shuffle)(x)
        k: Tensor = torch.compiler.disable(gather)(F.normalize(upcast(self.key(shuffled)), dim=1))
        return k[order.argsort()]

    def embed(self, h: Tensor) -> Tensor:
        return self.projector(h)

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Move the key network towards the query's, and the newest keys to the front of the queue."""
        follow(self.key, (self.encoder, self.projector), self.momentum)
        self.queue.copy_(torch.cat([*self.fresh, self.queue])[: len(self.queue)])
        self.fresh.clear()


def _shuffle(x: Tensor) -> tuple[Tensor, Tensor]:
    """A new order of all processes' views, and this process's share of them in it."""
    order = torch.randperm(len(x) * world_size(), device=x.device)
    return order, local(gather(x)[order])
