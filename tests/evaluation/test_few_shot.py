"""Few-shot: what is drawn, what is chosen, what is averaged."""

from dataclasses import replace

import numpy as np
import pytest

from diabolo.errors import UserError
from diabolo.evaluation.features import Part
from diabolo.evaluation.few_shot import FewShot, choose, draw
from diabolo.evaluation.probes import standardised
from diabolo.evaluation.regression import PENALTIES, Ridge
from diabolo.tables import PROBES
from tests.evaluation.planted import blobs, with_test_labels


def test_a_draw_has_so_many_of_each_class():
    labels = np.repeat([0, 1, 2], [100, 40, 3])
    rng = np.random.default_rng(0)

    def counts(number):
        positions = draw(labels, number, rng)
        assert len(set(positions.tolist())) == len(positions)
        return np.bincount(labels[positions]).tolist()

    assert counts(1) == [1, 1, 1]
    assert counts(5) == [5, 5, 3]
    assert counts(0.1) == [10, 4, 1]
    assert counts(0.01) == [1, 1, 1]
    assert counts(1.0) == [100, 40, 3]


def test_every_example_can_be_drawn():
    rng = np.random.default_rng(0)
    drawn = np.concatenate([draw(np.repeat([0, 1], 5), 1, rng) for _ in range(200)])
    assert set(drawn.tolist()) == set(range(10))


def test_all_labels_make_it_the_ridge_classifier():
    features = blobs(noise=2)
    outcome = FewShot(shots=(1000,), share=1.0, draws=2)(features, seed=0)
    flat = standardised(features)
    model = Ridge(flat.train.values, np.eye(3)[flat.train.labels])

    def right(part: Part) -> list[float]:
        predictions = model.predict(part.values, PENALTIES).argmax(dim=2).numpy()
        return (predictions == part.labels).mean(axis=1).tolist()

    validation, test = right(flat.validation), right(flat.test)
    best = max(range(len(PENALTIES)), key=lambda i: (validation[i], PENALTIES[i]))
    for name in ("1000", "share"):
        assert outcome.chosen[name] == {"penalty": PENALTIES[best], "validation": validation[best]}
        assert outcome.more[f"accuracy_{name}"] == pytest.approx(test[best])
        assert outcome.more[f"deviation_{name}"] == pytest.approx(0)


def test_the_accuracy_is_the_mean_over_draws_of_the_last_number():
    features = blobs(noise=2)
    outcome = FewShot(shots=(1, 4), share=None, draws=5)(features, seed=0)
    assert outcome.more.keys() == {"accuracy_1", "deviation_1", "accuracy_4", "deviation_4"}
    assert outcome.accuracy == outcome.more["accuracy_4"] > outcome.more["accuracy_1"]
    assert outcome.more["deviation_1"] > 0
    single = np.mean(outcome.predictions == features.test.labels)
    assert abs(single - outcome.accuracy) < 5 * outcome.more["deviation_4"]
    again, other = (FewShot(shots=(1, 4), share=None, draws=5)(features, seed=seed) for seed in (0, 1))
    assert again.more == outcome.more != other.more


def test_one_penalty_serves_all_draws():
    features = standardised(blobs(noise=2))
    rng = np.random.default_rng(0)
    models = []
    for _ in range(4):
        few = features.train.take(draw(features.train.labels, 2, rng))
        models.append(Ridge(few.values, np.eye(3)[few.labels]))
    penalty, accuracy = choose(models, features.validation)
    each = {
        candidate: np.mean(
            [
                (m.predict(features.validation.values, [candidate])[0].argmax(dim=1).numpy())
                == features.validation.labels
                for m in models
            ]
        )
        for candidate in PENALTIES
    }
    assert accuracy == pytest.approx(max(each.values()))
    assert penalty == max(candidate for candidate in PENALTIES if each[candidate] == max(each.values()))


def test_the_penalty_is_not_chosen_on_test():
    """Labels of test are what the weakest penalty predicts; validation prefers a stronger one."""
    features = blobs(sizes=(60, 400, 200), width=30, noise=2.5)
    flat = standardised(features)
    weakest = Ridge(flat.train.values, np.eye(3)[flat.train.labels]).predict(
        flat.test.values, [min(PENALTIES)]
    )
    planted = with_test_labels(features, weakest[0].argmax(dim=1).numpy())
    outcome = FewShot(shots=(60,), share=None, draws=2)(planted, seed=0)
    assert outcome.chosen["60"]["penalty"] > min(PENALTIES)
    assert outcome.accuracy < 1
    assert outcome.chosen == FewShot(shots=(60,), share=None, draws=2)(features, seed=0).chosen


def test_labels_are_needed():
    features = blobs()
    probe = PROBES.build(PROBES.complete("few-shot", "probes"))
    with pytest.raises(UserError, match=r"^few-shot: it needs labels, and test has none"):
        probe(replace(features, test=Part(features.test.values)), seed=0)
    with pytest.raises(UserError, match="draws"):
        PROBES.complete({"name": "few-shot", "draws": 1}, "probes")
