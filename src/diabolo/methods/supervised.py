"""Supervised training with labels: the upper reference."""

import torch.nn.functional as F
from torch import Tensor, nn

from diabolo.distributed import reduce_sum, world_size
from diabolo.methods.base import Method, Needs, Terms
from diabolo.networks.backbone import Backbone
from diabolo.views.pipeline import Batch


class Supervised(Method):
    """Cross-entropy of a linear classifier on h, averaged over the labelled examples of the batch."""

    needs = Needs(labels=True)
    spaces = ("h", "z", "map")

    def __init__(self, encoder: Backbone, classes: int) -> None:
        super().__init__(encoder)
        self.classifier = nn.Linear(encoder.width, classes)

    def forward(self, batch: Batch) -> Terms:
        views = batch.views[0]  # [B, J, C, H, W]
        assert batch.labels is not None
        labels = batch.labels.repeat_interleave(views.shape[1])  # [B·J]
        logits = self.embed(self.encoder(views.flatten(0, 1)))
        # The mean over all processes' labelled examples: those without a label are −1.
        labelled = reduce_sum((labels >= 0).sum()).clamp(min=1) / world_size()
        loss = F.cross_entropy(logits, labels, ignore_index=-1, reduction="sum") / labelled
        return Terms(loss, {"cross_entropy": loss})

    def embed(self, h: Tensor) -> Tensor:
        return self.classifier(h)
