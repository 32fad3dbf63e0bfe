"""Few-shot: what a ridge classifier makes of a handful of labels, over several draws of them."""

from typing import Annotated, ClassVar

import numpy as np
import torch
from annotated_types import Gt, Le, MinLen

from diabolo.evaluation.features import Features, Part
from diabolo.evaluation.probes import (
    Needs,
    Outcome,
    Positive,
    count_classes,
    known,
    labelled_parts,
    outcome,
    standardised,
)
from diabolo.evaluation.regression import PENALTIES, Ridge
from diabolo.seeds import seed_for


class FewShot:
    """Ridge regression on one-hot labels of a few training examples; the class is the largest output.

    Each entry of `shots` is a number of labels per class, `share` a share of each class's labels (one at
    least). Each is drawn `draws` times; its penalty is the one with the highest mean accuracy on validation,
    the strongest among equals. Features are standardised on all of train, which needs no labels.

    The accuracy is the mean over the draws with the last entry of `shots`, the predictions its first draw's.
    `more` holds the mean and standard deviation over draws of each setting: "accuracy_5" and "deviation_5",
    "accuracy_share" and "deviation_share".
    """

    needs: ClassVar[Needs] = "features"

    def __init__(
        self,
        *,
        shots: Annotated[tuple[Positive, ...], MinLen(1)] = (1, 5, 10),
        share: Annotated[float, Gt(0), Le(1)] | None = 0.01,
        draws: Annotated[int, Gt(1)] = 10,
    ) -> None:
        self.shots, self.share, self.draws = shots, share, draws

    def __call__(self, features: Features, seed: int) -> Outcome:
        train, validation, test = labelled_parts("few-shot", standardised(features))
        targets = np.eye(count_classes(features.classes, known(train)))
        settings: dict[str, int | float] = {str(shots): shots for shots in self.shots}
        if self.share is not None:
            settings["share"] = float(self.share)  # an int would be a number of labels
        outcomes: dict[str, list[Outcome]] = {}
        for name, labels in settings.items():
            rng = np.random.default_rng(seed_for("few-shot", name, seed))
            few = [train.take(draw(known(train), labels, rng)) for _ in range(self.draws)]
            models = [Ridge(part.values, targets[known(part)]) for part in few]
            penalty, accuracy = choose(models, validation)
            chosen = {"penalty": penalty, "validation": accuracy}
            outcomes[name] = [
                outcome(model.predict(test.values, [penalty])[0].argmax(dim=1).numpy(), known(test), chosen)
                for model in models
            ]
        more = {}
        for name, drawn in outcomes.items():
            more[f"accuracy_{name}"] = float(np.mean([one.accuracy for one in drawn]))
            more[f"deviation_{name}"] = float(np.std([one.accuracy for one in drawn], ddof=1))
        last = str(self.shots[-1])
        choices = {name: drawn[0].chosen for name, drawn in outcomes.items()}
        return Outcome(more[f"accuracy_{last}"], choices, outcomes[last][0].predictions, more)


def draw(labels: np.ndarray, number: int | float, rng: np.random.Generator) -> np.ndarray:
    """Positions of a random `number` of examples of each class, all of a class that has no more.

    An int is the number itself, a float the share of the class, rounded, and one example at least.
    """
    drawn = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        wanted = number if isinstance(number, int) else max(1, round(number * len(members)))
        drawn.append(rng.permutation(members)[:wanted])
    return np.concatenate(drawn)


def choose(models: list[Ridge], validation: Part) -> tuple[float, float]:
    """The penalty with the highest mean accuracy on validation over the models, and that accuracy."""
    order = sorted(PENALTIES, reverse=True)
    labels = torch.from_numpy(known(validation))
    right = [(model.predict(validation.values, order).argmax(dim=2) == labels) for model in models]
    accuracy = torch.stack([each.double().mean(dim=1) for each in right]).mean(dim=0)
    best = int(accuracy.argmax())
    return order[best], float(accuracy[best])
