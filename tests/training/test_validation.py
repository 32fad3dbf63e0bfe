"""The loss on validation: which images it is of, and that nothing but the log knows of it."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from diabolo.data.images import Splits
from diabolo.files import read_tensors
from diabolo.methods.base import Method, Terms
from diabolo.methods.build import build_method, build_pipelines
from diabolo.recipe import Recipe
from diabolo.runs import train
from diabolo.seeds import generator, seed_for
from diabolo.tables import METHODS
from diabolo.training import validation
from diabolo.training.loop import Feed
from diabolo.training.validation import validation_loss
from diabolo.verbs.fit import fit
from diabolo.views.base import View
from diabolo.views.pipeline import Batch, make_batch
from tests.runs import digits, digits_recipe

TRAINED = sorted(set(METHODS.entries) - {"random"})
ABOUT_TRAIN = {"deepcluster", "instance-discrimination"}


def built(name: str, *settings: str) -> tuple[Recipe, Method, Splits]:
    recipe = digits_recipe(name, *settings)
    splits, facts = digits(recipe)
    return recipe, build_method(recipe, facts), splits


def loss(recipe: Recipe, method: Method, splits: Splits) -> dict[str, float]:
    return validation_loss(copy.deepcopy(method), recipe, build_pipelines(recipe), splits, 0.5)


@pytest.mark.parametrize("name", ["vae", "simvae", "rotnet", "supervised"])
def test_it_is_the_methods_own_loss_on_validation_images(name: str) -> None:
    recipe, method, splits = built(name, "encoder.batch_norm=false")
    held_out, size = splits.validation, recipe.training.batch_size
    assert held_out.labels is not None
    batches = len(held_out) // size
    order = torch.randperm(len(held_out), generator=generator("validation", 0))[: batches * size]
    within = torch.randperm(len(order), generator=generator("batches", 0, 0))
    totals, twin = [], copy.deepcopy(method).eval()
    for position, rows in enumerate(order[within].split(size)):
        images, labels = held_out.floats(rows), held_out.labels[rows]
        rng = generator("views", 0, 0, position)
        batch = make_batch(build_pipelines(recipe), images, rows, labels, torch.tensor(0.5), rng)
        torch.manual_seed(seed_for("noise", 0, 0, position))
        totals.append({"loss": (terms := twin(batch)).total, **terms.parts})
    found = loss(recipe, method, splits)
    assert batches > 1
    assert found == {
        term: pytest.approx(sum(one[term].item() for one in totals) / batches, rel=1e-6) for term in totals[0]
    }


@pytest.mark.parametrize("name", TRAINED)
def test_the_method_stays_as_it_is(name: str) -> None:
    recipe, method, splits = built(name)
    feed = Feed(splits.train, build_pipelines(recipe), 32, 0, torch.device("cpu"))
    method.train()(feed(0, 0, 0.0))
    method.after_step(0.1)
    before, known = copy.deepcopy(method.state_dict()), plain(method)
    found = loss(recipe, method, splits)
    assert ({"loss"} <= found.keys()) == (name not in ABOUT_TRAIN)
    assert found == loss(recipe, method, splits)
    assert all(torch.equal(value, before[key]) for key, value in method.state_dict().items())
    assert plain(method) == known
    assert all(module.training for module in method.modules())
    assert all(p.grad is None for p in method.parameters())


def plain(method: Method) -> dict[str, Any]:
    """What a method holds beside parameters and buffers, such as the keys of a step."""
    return {key: repr(value) for key, value in vars(method).items() if not key.startswith("_")}


@pytest.mark.parametrize("name", ["vae", "moco", "dino", "deepcluster"])
def test_training_is_the_same_without_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = digits_recipe(name).to_dict()

    def weights(folder: str) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
        run = fit(recipe=recipe, out=tmp_path / folder, evaluate=False, quiet=True)
        return read_tensors(run.folder / "model.safetensors")[0], run.metrics

    having, rows = weights("with")
    monkeypatch.setattr(train, "validation_loss", lambda *_: {})
    lacking, fewer = weights("without")
    assert all(torch.equal(value, lacking[key]) for key, value in having.items())
    terms = set() if name in ABOUT_TRAIN else rows[1].keys() - {"kind", "step", "epoch", "lr"}
    curve, bare = ([row for row in every if row["kind"] == "curve"] for every in (rows, fewer))
    assert len(curve) == 1 + recipe["training"]["epochs"]
    assert all(row.keys() - other.keys() == terms for row, other in zip(curve, bare, strict=True))


def test_an_encoder_that_keeps_what_it_computed_is_trained(tmp_path: Path) -> None:
    class Keeping(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.utils.spectral_norm(torch.nn.Linear(64, 16))

        def forward(self, x: Tensor) -> Tensor:
            self.last = self.inner(x.flatten(1))
            return self.last

    recipe = digits_recipe("ae", "encoder=custom").to_dict()
    run = fit(recipe=recipe, encoder=Keeping(), out=tmp_path / "run", evaluate=False, quiet=True)
    assert all("loss" in row for row in run.metrics)


def test_views_that_count_are_not_counted_on_by_it(tmp_path: Path) -> None:
    class Counting(View):
        drawn = 0

        def draw(self, n: int, shape: tuple[int, ...], rng: torch.Generator) -> dict[str, Tensor]:
            self.drawn += 1
            return {}

        def apply(self, x: Tensor, drawn: dict[str, Tensor]) -> Tensor:
            return x

    counts = []
    for live in (0, 1):
        view, recipe = Counting(), digits_recipe("ae", f"evaluation.live={live}").to_dict()
        fit(recipe=recipe, transforms=[view], out=tmp_path / str(live), evaluate=False, quiet=True)
        counts.append(view.drawn)
    assert counts[0] == counts[1]


@pytest.mark.parametrize(("name", "has"), [("simclr", False), ("byol", True), ("moco", True)])
def test_a_small_validation_part_has_the_loss_of_what_compares_no_examples(name: str, has: bool) -> None:
    recipe, method, splits = built(name)
    few = replace(splits, validation=splits.validation.take(torch.arange(10)))
    assert bool(loss(recipe, method, few)) == has


def test_a_batch_that_validation_does_not_fill_is_no_batch_of_a_contrastive_loss() -> None:
    recipe, method, splits = built("simclr")
    few = replace(splits, validation=splits.validation.take(torch.arange(31)))
    assert loss(recipe, method, splits)
    assert loss(recipe, method, few) == {}
    recipe, method, _ = built("vae")
    assert loss(recipe, method, few)


def test_without_labels_there_is_no_supervised_loss() -> None:
    recipe, method, splits = built("supervised", "encoder.batch_norm=false")
    known = splits.validation
    assert known.labels is not None
    none = replace(known, labels=torch.full_like(known.labels, -1))
    for part in (none, known.without_labels()):
        assert loss(recipe, method, replace(splits, validation=part)) == {}
    some = known.take(torch.arange(40))
    mixed = replace(known, labels=torch.where(torch.arange(len(known)) < 40, known.labels, -1))
    expected = loss(recipe, method, replace(splits, validation=some))
    assert loss(recipe, method, replace(splits, validation=mixed)) == expected


def test_a_term_that_is_not_finite_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, method, splits = built("ae", "encoder.batch_norm=false")

    def forward(self: Method, batch: Batch) -> Terms:
        return Terms(torch.tensor(float("inf")), {"finite": torch.tensor(2.0)})

    monkeypatch.setattr(type(method), "forward", forward)
    assert loss(recipe, method, splits) == {"finite": 2.0}


def test_ten_views_cost_as_many_images(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, method, splits = built("simvae", "method.validation_samples=2")
    seen: list[int] = []
    whole = type(method).forward

    def forward(self: Method, batch: Batch) -> Terms:
        seen.append(len(batch.clean))
        return whole(self, batch)

    monkeypatch.setattr(type(method), "forward", forward)
    monkeypatch.setattr(validation, "FITTED", 32)
    monkeypatch.setattr(validation, "PASSES", 6 * 70)  # three views, two draws of each
    loss(recipe, method, splits)
    assert seen == [32, 32, 32]  # the first fits batch norm
