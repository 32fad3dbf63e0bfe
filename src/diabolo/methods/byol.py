"""BYOL: bootstrap your own latent (Grill et al. 2020)."""

import math
from copy import deepcopy
from itertools import chain
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from diabolo.losses import byol
from diabolo.methods.base import Method, Needs, Terms
from diabolo.networks.backbone import Backbone
from diabolo.networks.heads import mlp_head
from diabolo.views.pipeline import Batch


class BYOL(Method):
    """From one view, predict the projection of the other by a slow copy of the network.

    momentum: of the copy at the start, τ; it rises to 1 by a cosine. hidden, width: of the projector
    h → hidden → width and the predictor width → hidden → width. predictor: without it, embeddings collapse.
    """

    needs = Needs(views=(2, 2), batch=2)
    spaces = ("h", "z", "map")
    unit = "length"

    def __init__(
        self,
        encoder: Backbone,
        *,
        momentum: Annotated[float, Ge(0), Le(1)] = 0.996,
        hidden: Annotated[int, Gt(0)] = 4096,
        width: Annotated[int, Gt(0)] = 256,
        predictor: bool = True,
    ) -> None:
        super().__init__(encoder)
        self.momentum = momentum
        self.projector = mlp_head(encoder.width, hidden, width, bias=False)
        self.predictor = mlp_head(width, hidden, width, bias=False) if predictor else nn.Identity()
        self.target = deepcopy(nn.Sequential(self.encoder, self.projector)).requires_grad_(False)

    def forward(self, batch: Batch) -> Terms:
        views = batch.views[0].unbind(1)  # [B, C, H, W] each; each has batch statistics of its own
        p = torch.stack([self.predictor(self.embed(self.encoder(x))) for x in views], 1)  # [B, 2, D]
        with torch.no_grad():
            z = torch.stack([self.target(x) for x in views], 1)
        loss = byol(p, z)
        return Terms(loss, {"regression": loss})

    def embed(self, h: Tensor) -> Tensor:
        return self.projector(h)

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Move the copy's weights; its batch norm follows what the copy sees, as in the public code."""
        momentum = 1 - (1 - self.momentum) * (1 + math.cos(math.pi * progress)) / 2
        fast = chain(self.encoder.parameters(), self.projector.parameters())
        torch._foreach_lerp_(list(self.target.parameters()), list(fast), 1 - momentum)
