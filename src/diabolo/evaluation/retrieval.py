"""Retrieval: whether the training images nearest a test image are of its class."""

from typing import Annotated, ClassVar

from annotated_types import MinLen

from diabolo.errors import UserError
from diabolo.evaluation.features import Features
from diabolo.evaluation.neighbours import Metric, nearest
from diabolo.evaluation.probes import Needs, Outcome, Positive, known, labelled_parts


class Retrieval:
    """Precision at k: the share of the k training examples nearest a test example that are of its class.

    It is the mean over test, for each k of `at`: "precision_1", …; the accuracy is that of the last. Features
    are taken as they are, and nothing is chosen.
    """

    needs: ClassVar[Needs] = "features"

    def __init__(
        self, *, metric: Metric = "cosine", at: Annotated[tuple[Positive, ...], MinLen(1)] = (1, 5, 10)
    ) -> None:
        self.metric, self.at = metric, at

    def __call__(self, features: Features, seed: int) -> Outcome:
        train, _, test = labelled_parts("retrieval", features)
        most = max(self.at)
        if most > len(train):
            raise UserError(
                f"retrieval: {most} are asked for, but there are only {len(train)} training examples"
            )
        _, found = nearest(train.values, test.values, most, self.metric)
        relevant = known(train)[found] == known(test)[:, None]  # [n, most], nearest first
        precision = {f"precision_{k}": float(relevant[:, :k].mean()) for k in self.at}
        return Outcome(precision[f"precision_{self.at[-1]}"], {}, more=precision)
