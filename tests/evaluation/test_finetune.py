"""Fine-tuning trains a copy of the encoder, and it pays."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from diabolo.errors import UserError
from diabolo.evaluation.features import features_of
from diabolo.evaluation.finetune import Finetune
from diabolo.evaluation.probes import MLP
from diabolo.tables import PROBES
from diabolo.views.base import Drawn, View


class Narrow(nn.Module):
    """A random encoder to eight dimensions, with a state (batch norm) that training would change."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU())

    def represent(self, x: Tensor, space: str | None = None) -> Tensor:
        return self.encoder(x) if space is None else self.encoder[:2](x)


def test_tuning_beats_the_frozen_head_and_leaves_the_method_alone(digits):
    method = Narrow().eval()
    before = copy.deepcopy(method.state_dict())
    tuned = Finetune(epochs=8, lr=1e-2)(method, None, digits, seed=0)
    assert not method.training
    assert all(torch.equal(value, before[key]) for key, value in method.state_dict().items())
    assert all(parameter.grad is None for parameter in method.parameters())

    frozen = MLP(hidden=(128,), epochs=8, lr=1e-2, batch_size=128, select="last")(
        features_of(method.represent, digits), seed=0
    )
    assert tuned.accuracy > 0.9 > frozen.accuracy
    assert tuned.chosen["epoch"] == 8
    assert len(tuned.predictions) == len(digits.test)


def test_it_follows_its_seed_and_no_choice_sees_test(digits):
    method = Narrow().eval()
    probe = Finetune(epochs=2, select="best")
    other = replace(digits, test=replace(digits.test, labels=digits.test.labels.flip(0)))
    one, again, unseen = (
        probe(method, "z", digits, 3),
        probe(method, "z", digits, 3),
        probe(method, "z", other, 3),
    )
    assert one.predictions.tolist() == again.predictions.tolist() == unseen.predictions.tolist()
    assert one.chosen == again.chosen == unseen.chosen
    assert one.accuracy != unseen.accuracy
    assert probe(method, "z", digits, 4).predictions.tolist() != one.predictions.tolist()


@pytest.mark.parametrize("frozen", [False, True])
def test_of_several_rates_each_begins_with_the_method_as_it_is(digits, frozen):
    method = Narrow().eval()
    alone = Finetune(epochs=2, lr=1e-2, frozen=frozen)(method, "z", digits, 0)
    found = Finetune(epochs=2, lr=(1e-7, 1e-2), frozen=frozen)(method, "z", digits, 0)
    assert found.chosen == alone.chosen | {"lr": 1e-2}
    assert found.predictions.tolist() == alone.predictions.tolist()


def test_the_epoch_is_not_chosen_on_test(digits):
    """Half of the few labels are wrong, so it overfits; test has the labels that the last epoch predicts."""
    few = digits.train.take(torch.arange(200))
    wrong = torch.where(torch.arange(200) % 2 == 0, few.labels, few.labels.roll(1))
    splits = replace(digits, train=replace(few, labels=wrong))
    method = Narrow().eval()
    last, best = (Finetune(epochs=25, lr=3e-3, batch_size=20, select=select) for select in ("last", "best"))
    predicted = torch.from_numpy(last(method, "z", splits, 0).predictions)
    planted = replace(splits, test=replace(digits.test, labels=predicted))
    assert last(method, "z", planted, 0).accuracy == 1
    outcome = best(method, "z", planted, 0)
    assert outcome.chosen["epoch"] < 25
    assert outcome.accuracy < 1
    assert outcome.chosen == best(method, "z", splits, 0).chosen


def test_it_leaves_the_global_random_state_alone(digits):
    method = Narrow()
    state = torch.get_rng_state()
    Finetune(epochs=1)(method, None, digits, seed=0)
    assert torch.equal(torch.get_rng_state(), state)


def test_labels_are_needed(digits):
    probe = PROBES.build(PROBES.complete("finetune", "probes"))
    unlabelled = replace(digits, train=replace(digits.train, labels=None))
    with pytest.raises(UserError, match=r"^finetune: it needs labels"):
        probe(Narrow(), None, unlabelled, seed=0)
    one_class = replace(digits, train=replace(digits.train, labels=torch.zeros(1000, dtype=torch.long)))
    with pytest.raises(UserError, match=r"^finetune: every training example has the same label"):
        probe(Narrow(), None, one_class, seed=0)


class Seen(View):
    """Leaves images as they are, and remembers them."""

    def __init__(self) -> None:
        self.images: list[Tensor] = []

    def draw(self, n: int, shape: tuple[int, ...], rng: torch.Generator) -> Drawn:
        return {"number": torch.randint(1_000_000, (n,), generator=rng)}

    def apply(self, x: Tensor, drawn: Drawn) -> Tensor:
        self.images.append(x.clone())
        self.numbers = drawn["number"]
        return x


def test_a_frozen_encoder_is_read_in_evaluation_mode_as_cached_features_are(digits):
    method = Narrow().eval()
    settings = {"hidden": (), "optimiser": "sgd", "lr": 2.0, "cosine": True, "batch_size": 128, "epochs": 40}
    found = Finetune(**settings, frozen=True)(method, None, digits, seed=0)
    cached = MLP(**settings, standardise=False, select="last")(features_of(method.represent, digits), seed=0)
    assert found.accuracy == pytest.approx(cached.accuracy, abs=0.02)
    assert (found.predictions == cached.predictions).mean() > 0.9
    tuned = Finetune(**settings | {"lr": 0.1, "epochs": 10})(method, None, digits, seed=0)
    assert tuned.accuracy > found.accuracy + 0.1


def test_only_training_sees_views_and_other_ones_each_time(digits):
    method, view = Narrow().eval(), Seen()
    found = Finetune(epochs=2, views=[view], frozen=True)(method, None, digits, seed=0)
    without = Finetune(epochs=2, frozen=True)(method, None, digits, seed=0)
    assert found.predictions.tolist() == without.predictions.tolist()
    assert sum(map(len, view.images)) == 2 * len(digits.train)
    one, other = torch.cat(view.images).split(len(digits.train))
    assert not torch.equal(one, other)  # another order
    assert one.sum() == pytest.approx(float(other.sum()))  # of the same images
    last = view.numbers
    Finetune(epochs=2, views=[view], frozen=True)(method, None, digits, seed=0)
    assert torch.equal(view.numbers, last)  # which depend on the seed alone
    Finetune(epochs=2, views=[view], frozen=True)(method, None, digits, seed=1)
    assert not torch.equal(view.numbers, last)


def test_its_rate_is_for_a_batch_and_follows_another(digits):
    probe = {"name": "crop-linear", "epochs": 1, "views": None, "batch_size": 64}
    scaled, by_hand = (
        PROBES.build(PROBES.complete(probe | more, "probe"))(Narrow().eval(), None, digits, 0)
        for more in ({}, {"lr": 0.025, "lr_batch": None})
    )
    assert scaled.predictions.tolist() == by_hand.predictions.tolist()
    assert PROBES.build(PROBES.complete("crop-linear", "probe")).lr_scale == 1
    assert Finetune(batch_size=32).lr_scale == 1


def test_the_linear_layer_on_crops_learns_what_holds_for_crops(digits):
    spec = PROBES.complete({"name": "crop-linear", "epochs": 40, "lr": 0.5}, "probe")
    assert [view["name"] for view in spec["views"]] == ["random-resized-crop", "horizontal-flip"]
    method = Narrow().eval()
    before = copy.deepcopy(method.state_dict())
    found = PROBES.build(spec)(method, None, digits, 0)
    whole = PROBES.build({**spec, "views": None})(method, None, digits, 0)
    assert 0.15 < found.accuracy < whole.accuracy  # crops of digits of eight pixels keep little of them
    assert all(torch.equal(value, before[key]) for key, value in method.state_dict().items())
