"""An untrained encoder: the lower reference. Its batch-norm statistics are estimated on train."""

from diabolo.errors import UserError
from diabolo.methods.base import Method, Terms
from diabolo.networks.backbone import Backbone
from diabolo.views.pipeline import Batch


class Random(Method):
    """The encoder as it was initialised."""

    def __init__(self, encoder: Backbone) -> None:
        super().__init__(encoder)

    def forward(self, batch: Batch) -> Terms:
        raise UserError("method 'random' has nothing to train: leave training.epochs at 0")
