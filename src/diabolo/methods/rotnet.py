"""RotNet: predicting image rotations (Gidaris et al. 2018)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diabolo.errors import UserError
from diabolo.methods.base import Method, Needs, Terms
from diabolo.networks.backbone import Backbone
from diabolo.views.pipeline import Batch


class RotNet(Method):
    """Each view is turned by 0, 90, 180 and 270 degrees, and a linear classifier on h tells by which."""

    needs = Needs(encoded=4)

    def __init__(self, encoder: Backbone) -> None:
        super().__init__(encoder)
        self.classifier = nn.Linear(encoder.width, 4)

    def forward(self, batch: Batch) -> Terms:
        x = quarter_turns(batch.views[0].flatten(0, 1))  # [n, 4, C, H, W]
        turns = torch.arange(4, device=x.device).repeat(len(x))
        loss = F.cross_entropy(self.classifier(self.encoder(x.flatten(0, 1))), turns)
        return Terms(loss, {"cross_entropy": loss})


def quarter_turns(x: Tensor) -> Tensor:
    """Images [n, C, H, H] turned by 0, 90, 180 and 270 degrees counter-clockwise: [n, 4, C, H, H]."""
    if x.ndim != 4 or x.shape[2] != x.shape[3]:
        raise UserError(
            f"method 'rotnet' turns square images, these are {list(x.shape[1:])}: crop squares in views"
        )
    return torch.stack([x.rot90(turns, (2, 3)) for turns in range(4)], 1)
