"""Spaces of a search: what they hold, and that every value of theirs is one that a recipe takes."""

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diabolo.errors import UserError
from diabolo.recipe import complete_for, compose, read_recipe
from diabolo.tables import METHODS
from diabolo.tuning.space import (
    SPACES,
    corners,
    default_space,
    draws,
    settings_from,
    space_from,
    suggest,
)

optuna.logging.set_verbosity(optuna.logging.WARNING)


def drawn(values: dict, seed: int) -> dict:
    """Settings as a search draws and keeps them."""
    space = space_from(values, "space")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()
    suggest(space, trial)
    return settings_from(space, study.trials[0].params)


@given(seed=st.integers(0, 2**32 - 1))
def test_what_is_drawn_lies_in_the_space(seed: int) -> None:
    found = drawn(
        {
            "a": {"low": 4, "high": 64, "log": True},
            "b": {"low": 0, "high": 10, "step": 5},
            "c": {"low": "1e-4", "high": 1e-2, "log": True},  # YAML takes 1e-4 for a text
            "d": [[64], [32, 16], None, "x"],
        },
        seed,
    )
    assert isinstance(found["a"], int)
    assert 4 <= found["a"] <= 64
    assert found["b"] in (0, 5, 10)
    assert 1e-4 <= found["c"] <= 1e-2
    assert found["d"] in ([64], [32, 16], None, "x")


def test_a_component_is_named_before_it_is_set() -> None:
    values = {"optimiser.lr": [0.5], "optimiser.name": ["sgd"], "training.batch_size": [32]}
    settings = drawn(values, 0)
    assert list(settings) == ["optimiser.name", "optimiser.lr", "training.batch_size"]
    recipe = compose([{"data": {"name": "digits"}, "method": "ae"}], settings)
    assert (recipe.optimiser["name"], recipe.optimiser["lr"]) == ("sgd", 0.5)


def test_corners_hold_every_value_of_a_list_and_both_ends_of_a_range() -> None:
    found = corners(space_from({"a": [1, 2, 3], "b": {"low": 0.1, "high": 0.2}, "c": [7]}, "space"))
    assert {one["a"] for one in found} == {1, 2, 3}
    assert {one["b"] for one in found} == {0.1, 0.2}
    assert {one["c"] for one in found} == {7}


@pytest.mark.parametrize("method", sorted(METHODS.entries))
def test_every_method_takes_its_default_space(method: str) -> None:
    encoder = {"name": "vit", "patch": 4} if method == "mae" else "resnet18"
    base = compose([{"data": {"name": "cifar10"}, "method": method, "encoder": encoder}])
    space = space_from(default_space(base, 45_000), "space")
    assert {"optimiser.lr", "training.batch_size"} <= space.keys()
    lr = space["optimiser.lr"]
    assert lr.low < base.optimiser["lr"] < lr.high
    for settings in corners(space):
        complete_for(compose([base.to_dict()], settings), (3, 32, 32))
    assert default_space(base, 100)["training.batch_size"] == [64]
    assert "training.batch_size" not in default_space(base, 10)


@pytest.mark.parametrize("name", SPACES.texts())
def test_a_named_space_fits_the_recipe_of_its_name(name: str) -> None:
    for settings in corners(space_from(SPACES.read(name), name)):
        complete_for(compose([read_recipe(name)], settings), (1, 28, 28))


def test_mancini_s_space_holds_what_his_search_chose() -> None:
    space = space_from(SPACES.read("mancini-ae"), "mancini-ae")
    assert space["method.latent"].low < 20 < space["method.latent"].high
    assert space["optimiser.lr"].low < 0.002 < space["optimiser.lr"].high
    assert 128 in space["training.batch_size"].values
    assert "adam" in space["optimiser.name"].values
    assert 0 in space["optimiser.weight_decay"].values


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "expected a list"),
        ([], "expected a list"),
        ({"low": 1}, "high: field required"),
        ({"low": 1, "high": 2, "logg": True}, "logg: unexpected"),
        ({"low": 2, "high": 1}, "low must be less than high"),
        ({"low": 0, "high": 1, "log": True}, "with log above 0"),
        ({"low": 1, "high": 9, "step": 0.5}, "integer step"),
        ({"low": 1, "high": 9, "step": 0}, "more than 0"),
        ({"low": "a", "high": 9}, "low: "),
    ],
)
def test_what_is_no_dimension_is_refused_by_its_key(value: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        space_from({"optimiser.lr": value}, "space")
    assert str(refusal.value).startswith("space: optimiser.lr: ")
    assert "\n" not in str(refusal.value)


def test_draws_fill_the_space_and_repeat() -> None:
    values = {
        "training.batch_size": [64, 128],
        "method.latent": {"low": 4, "high": 64, "log": True},
        "optimiser.lr": {"low": 1e-4, "high": 1e-2, "log": True},
        "views.count": {"low": 2, "high": 10, "step": 4},
        "method.beta": {"low": 0.0, "high": 1.0},
    }
    space = space_from(values, "space")
    found = draws(space, 2000, seed=0)
    assert found[:30] == draws(space, 30, seed=0)
    assert found[:30] != draws(space, 30, seed=1)
    of = {key: np.array([settings[key] for settings in found]) for key in values}
    assert set(of["training.batch_size"]) == {64, 128}
    assert set(of["views.count"]) == {2, 6, 10}
    assert (of["method.latent"].min(), of["method.latent"].max()) == (4, 64)
    assert all(isinstance(settings["method.latent"], int) for settings in found)
    for key, middle in (("method.latent", 16), ("optimiser.lr", 1e-3), ("method.beta", 0.5)):
        assert 0.46 < np.mean(of[key] < middle) < 0.54  # as many below the middle, on a log scale where asked
    assert 1e-4 <= of["optimiser.lr"].min() < 1.1e-4
