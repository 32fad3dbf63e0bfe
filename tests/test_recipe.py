"""Recipes: laid together, validated, written and read back."""

from dataclasses import replace
from pathlib import Path

import pytest

from diabolo.errors import UserError
from diabolo.methods.swav import SwAV
from diabolo.recipe import RECIPES, Data, complete_for, compose, from_yaml, read_recipe
from diabolo.shelf import Shelf
from diabolo.tables import METHODS, SUITES
from diabolo.tuning.space import SPACES

MNIST = {"data": {"name": "mnist"}}


def test_a_method_brings_its_settings_and_its_views() -> None:
    recipe = compose([MNIST, {"method": "simvae"}])
    assert recipe.views.count == 10
    assert recipe.method["prior"] == {
        "name": "cluster",
        "variance": 0.15,
        "form": "uniform",
        "content_variance": 1.0,
    }


def test_settings_reach_every_depth() -> None:
    recipe = compose(
        [MNIST, {"method": "simvae"}],
        [
            "method.prior.variance=0.2",
            "method.likelihood.variance=learned",
            "views.count=4",
            "optimiser.lr=3e-4",
            "schedule=cosine",
            "schedule.warmup=2",
            "encoder=conv",
            "encoder.filters=[4, 8]",
            "training.clip=null",
            "evaluation.probes=[linear, mlp]",
            "evaluation.probes.mlp.hidden=[64]",
        ],
    )
    assert recipe.method["prior"]["variance"] == 0.2
    assert recipe.method["likelihood"] == {"name": "gaussian", "variance": "learned", "space": "pixels"}
    assert (recipe.views.count, recipe.optimiser["lr"], recipe.schedule["warmup"]) == (4, 3e-4, 2.0)
    assert recipe.encoder is not None
    assert list(recipe.encoder["filters"]) == [4, 8]
    assert recipe.evaluation.probes is not None
    assert list(recipe.evaluation.probes[1]["hidden"]) == [64]


def test_a_class_that_is_called_by_a_number_needs_no_quotes() -> None:
    assert compose([MNIST, {"method": "vae"}], ["data.without=[9, cat]"]).data.without == ("9", "cat")


def test_the_items_of_a_preset_s_list_are_reached_by_name() -> None:
    recipe = compose([MNIST, {"method": "sparse-ae"}], ["method.penalties.l1.weight=0.3"])
    assert recipe.method["penalties"] == [{"name": "l1", "weight": 0.3}]
    with pytest.raises(UserError, match="unknown item of a list 'l2': choose from: l1"):
        compose([MNIST, {"method": "sparse-ae"}], ["method.penalties.l2.weight=0.3"])


def test_options_go_over_the_recipe_and_the_recipe_over_the_method() -> None:
    layer = {"method": "vae", "training": {"epochs": 7, "batch_size": 32}}
    recipe = compose([layer, MNIST | {"training": {"epochs": 3}}], {"training.batch_size": 64})
    assert (recipe.training.epochs, recipe.training.batch_size) == (3, 64)


def test_naming_another_component_drops_the_settings_of_the_first() -> None:
    layer = {"method": "vae", "optimiser": {"name": "sgd", "momentum": 0.5}}
    assert "momentum" not in compose([MNIST, layer], ["optimiser=adam"]).optimiser


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.epoch=3", "unknown key 'training.epoch': did you mean 'training.epochs'?"),
        ("trainin.epochs=3", "unknown key 'trainin': did you mean 'training'?"),
        (
            "method.prior.varance=1",
            "unknown key 'method.prior.varance': did you mean 'method.prior.variance'?",
        ),
        ("method.prior=clutser", "unknown prior 'clutser': did you mean 'cluster'?"),
        ("method.posterior=gauss", "unknown value of method.posterior 'gauss': did you mean 'gaussian'?"),
        ("training.epochs=-1", "training.epochs: input should be greater than or equal to 0, got -1"),
        ("training.epochs=few", "training.epochs: input should be a valid integer"),
        ("method.prior.variance=0", "method.prior.variance: input should be greater than 0"),
        ("views.transforms=simclar", "unknown value of views.transforms 'simclar': did you mean 'simclr'?"),
        ("evaluation.measures=[reconstructoin]", "unknown measure 'reconstructoin': did you mean 'reconstr"),
        (
            "evaluation.measures=[reconstruction, reconstruction]",
            "evaluation.measures: 'reconstruction' is named twice",
        ),
        ("evaluation.also=h", "evaluation.also: expected a list, such as [a, b], got 'h'"),
        ("zzz=1", "unknown key 'zzz': choose from: data,"),
        ("training", "--set training: write it as key=value"),
        ("encoder.widths=[1]", "encoder: expected the encoder's name, or a mapping with 'name'"),
    ],
)
def test_a_mistake_is_one_line_with_the_nearest_valid_name(setting: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        compose([MNIST, {"method": "simvae"}], [setting])
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_method_refuses_a_number_of_views_it_cannot_use() -> None:
    with pytest.raises(UserError, match=r"views\.count: method 'moco' takes 2 views"):
        compose([MNIST, {"method": "moco"}], ["views.count=3"])
    with pytest.raises(UserError, match="takes at least 2 views"):
        compose([MNIST, {"method": "simclr"}], ["views.count=1"])


COMPARING = ("simclr", "vicreg", "barlow-twins", "lejepa", "swav")  # by their losses
NORMALISING = ("byol", "simsiam", "moco", "dino", "deepcluster", "instance-discrimination")  # in their heads


@pytest.mark.parametrize("method", COMPARING + NORMALISING)
def test_what_compares_examples_is_not_given_one_alone(method: str) -> None:
    layer = {"data": {"name": "digits"}, "method": method}
    with pytest.raises(UserError, match=r"^training\.batch_size: .* takes at least 2, got 1$"):
        compose([layer], {"training.batch_size": 1})
    assert compose([layer], {"training.batch_size": 2}).training.batch_size == 2


def test_local_views_are_refused_optional_or_required(monkeypatch: pytest.MonkeyPatch) -> None:
    crops = {"local_views.count": 6, "local_views.transforms": [{"name": "random-resized-crop", "size": 4}]}
    for method in ("swav", "dino", "deepcluster", "lejepa"):
        assert compose([MNIST, {"method": method}]).local_views is None
        recipe = complete_for(compose([MNIST, {"method": method}], crops), (3, 8, 8))
        assert recipe.local_views is not None
        assert recipe.local_views.count == 6
        assert from_yaml(recipe.to_yaml()) == recipe
    with pytest.raises(UserError, match="method 'simclr' does not take smaller views"):
        compose([MNIST, {"method": "simclr"}], crops)
    monkeypatch.setattr(SwAV, "needs", replace(SwAV.needs, local_views=True))
    assert compose([MNIST, {"method": "swav"}], crops).local_views is not None
    with pytest.raises(UserError, match="method 'swav' needs smaller views"):
        compose([MNIST, {"method": "swav"}])


def test_without_a_method_or_data_it_says_which_is_missing() -> None:
    with pytest.raises(UserError, match="which method"):
        compose([MNIST])
    with pytest.raises(UserError, match="which data"):
        compose([{"method": "vae"}])


@pytest.mark.parametrize("method", METHODS.entries)
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 96, 96), (20,)])
def test_every_method_is_complete_for_every_shape_and_survives_yaml(
    method: str, shape: tuple[int, ...]
) -> None:
    recipe = complete_for(compose([MNIST, {"method": method}]), shape)
    assert recipe.encoder is not None
    assert isinstance(recipe.views.transforms, list)
    assert from_yaml(recipe.to_yaml()) == recipe


@pytest.mark.parametrize("name", RECIPES.titles())
def test_named_recipes_are_valid_and_say_what_they_are(name: str) -> None:
    assert compose([read_recipe(name)]).data.name
    assert len(RECIPES.titles()[name]) > 20


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'mancini-ae'"):
        read_recipe("mancini")


@pytest.mark.parametrize("shelf", [RECIPES, SPACES, SUITES], ids=lambda shelf: shelf.kind)
def test_a_file_of_another_encoding_is_refused_in_one_line(shelf: Shelf, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes("# größer\nseed: 1\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"mine\.yaml: not UTF-8 text"):
        shelf.read(str(path))


def test_a_recipe_may_extend_another(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("extends: mancini-ae\ntraining: {epochs: 3}\n")
    (tmp_path / "loop.yaml").write_text(f"extends: {tmp_path}/loop.yaml\n")
    recipe = compose([read_recipe(str(tmp_path / "mine.yaml"))])
    assert (recipe.training.epochs, recipe.training.batch_size) == (3, 128)
    assert recipe.method["latent"] == 20
    with pytest.raises(UserError, match="extends itself"):
        read_recipe(str(tmp_path / "loop.yaml"))
    with pytest.raises(UserError, match="no recipe file"):
        read_recipe(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("mnist", "mnist"),
        ("./my-photos", "my-photos"),
        ("data/v1.2", "v1.2"),
        ("a/b.tar.gz", "b"),
        ("a/b.v2.ZIP", "b.v2"),
        ("x.npz", "x"),
        ("x.png", "x"),
        (".", "data"),
        ("..", "data"),
    ],
)
def test_folders_are_called_after_the_data(name: str, stem: str) -> None:
    assert Data(name=name).stem == stem
