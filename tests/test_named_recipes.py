"""The recipes that ship with the package: each composes, says where it comes from, and builds its method."""

import shlex
from functools import cache
from importlib import resources
from itertools import takewhile
from pathlib import Path

import pytest
import torch

from diabolo import fit
from diabolo.data.catalog import CATALOG
from diabolo.methods.autoencoder import Autoencoder
from diabolo.methods.base import Method
from diabolo.methods.build import Facts, build_method, build_pipelines
from diabolo.recipe import RECIPES, Recipe, complete_for, compose, read_recipe
from diabolo.views.pipeline import Batch

NAMES = list(RECIPES.texts())
SHAPES = {
    "mnist": (1, 28, 28),
    "fashion-mnist": (1, 28, 28),
    "cifar10": (3, 32, 32),
    "stl10": (3, 96, 96),
    "celeba": (3, 64, 64),
}
KEYS = {"Source", "Command", "Published", "Scored", "Obtained", "Departs", "Notes", "Ablations"}
UNVERIFIED = "# Unverified: never run to its end"
VERIFIED = {"mancini-ae", "mancini-vae"}  # run to their ends


@cache
def head(name: str) -> tuple[list[str], dict[str, list[str]]]:
    """The comment lines that open a recipe, and those below the title by their key in columns 3 to 12."""
    text = (resources.files("diabolo") / "recipes" / f"{name}.yaml").read_text("utf-8")
    lines = list(takewhile(lambda line: line.startswith("#"), text.splitlines()))
    sections: dict[str, list[str]] = {}
    key = ""
    for line in lines[1:]:
        if line != UNVERIFIED:
            key = line[2:12].strip() or key
            sections.setdefault(key, []).append(line[12:])
    return lines, sections


def ablations() -> list[tuple[str, str]]:
    """(recipe, options) for every line of a header that offers options."""
    offered = [(name, line) for name in NAMES for line in head(name)[1].get("Ablations", [])]
    return [(name, line[line.index("--set") :]) for name, line in offered if "--set" in line]


def shape_of(recipe: Recipe) -> tuple[int, int, int]:
    channels, height, width = SHAPES[recipe.data.name]
    side = recipe.data.size
    return 3 if recipe.data.colour == "rgb" else channels, side or height, side or width


@cache
def completed(name: str, *settings: str) -> Recipe:
    recipe = compose([read_recipe(name)], settings)
    return complete_for(recipe, shape_of(recipe))


def built(recipe: Recipe) -> Method:
    """The method at its full width, on a device that holds no numbers."""
    shape = shape_of(recipe)
    facts = Facts(
        shape=shape,
        classes=CATALOG[recipe.data.name].classes,
        size=10_000,
        digest="",
        mean=(0.0,) * shape[0],
        std=(1.0,) * shape[0],
    )
    with torch.device("meta"):
        return build_method(recipe, facts)


@pytest.mark.parametrize("name", NAMES)
def test_a_header_says_source_command_and_what_was_published(name: str) -> None:
    lines, sections = head(name)
    assert sections.keys() <= KEYS
    assert all(sections[key][0] for key in ("Source", "Published"))
    data = read_recipe(name)["data"]["name"]
    assert sections["Command"] == [f"diabolo fit {data} --recipe {name}"]
    assert (lines[-1] == UNVERIFIED) == (name not in VERIFIED)
    assert max(map(len, lines)) <= 110


def test_every_title_is_its_own() -> None:
    assert len(set(RECIPES.titles().values())) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_complete_and_its_method_takes_its_views(name: str) -> None:
    recipe = completed(name)
    method, shape = built(recipe), shape_of(recipe)
    for pipeline in build_pipelines(recipe):
        pipeline.draw(2, shape, torch.Generator())  # refuses what these images have not
    with torch.device("meta"):
        clean = torch.empty(2, *shape)
        views = clean[:, None].expand(2, recipe.views.count, *shape)
        if isinstance(method, Autoencoder):
            batch = Batch([views], [], clean, torch.arange(2), None, torch.tensor(0.0))
            assert method(batch).total.shape == ()
            assert method.reconstruct(clean).shape == clean.shape
        method.eval()
        for space in (recipe.evaluation.space, *recipe.evaluation.also):
            assert method.represent(clean, space).shape[0] == 2


@pytest.mark.parametrize(("name", "options"), ablations())
def test_the_options_of_a_header_change_the_recipe_they_stand_in(name: str, options: str) -> None:
    words = shlex.split(options)
    assert set(words[::2]) == {"--set"}
    changed = completed(name, *words[1::2])
    assert changed != completed(name)
    built(changed)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("aavae-") and "resnet18" in name])
def test_the_resnet18_variants_of_aavae_change_the_networks_alone(name: str) -> None:
    small, large = completed(name).to_dict(), completed(name.replace("-resnet18", "")).to_dict()
    assert {key for key in small if small[key] != large[key]} == {"encoder", "decoder"}
    assert small["encoder"]["stem"] == small["decoder"]["stem"] == large["encoder"]["stem"]


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("aavae-") and "simclr" not in n])
def test_aavae_decodes_to_normalised_pixels_of_unit_variance(name: str) -> None:
    recipe = completed(name)
    likelihood = {"name": "gaussian", "variance": 1.0, "space": "normalised"}
    assert (recipe.method["likelihood"], recipe.method["latent"]) == (likelihood, 128)
    assert recipe.data.normalise
    assert recipe.evaluation.space == "h"


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("simvae-") and n.endswith("-as-coded")])
def test_simvae_as_coded_has_batches_of_128_views_and_a_summed_loss(name: str) -> None:
    recipe = completed(name)
    assert recipe.training.batch_size * recipe.encodings == 128
    assert recipe.optimiser["eps"] * recipe.training.batch_size == pytest.approx(1e-4)


@pytest.mark.parametrize("data", ["mnist", "fashion-mnist", "cifar10", "celeba"])
@pytest.mark.parametrize("method", ["beta-vae", "cr-vae"])
def test_simvaes_baselines_as_coded_differ_from_its_coded_vae_by_their_objective(
    method: str, data: str
) -> None:
    recipe, vae = (completed(f"simvae-{name}-{data}-as-coded").to_dict() for name in (method, "vae"))
    assert {key for key in recipe if recipe[key] != vae[key]} <= {"method", "views"}
    assert recipe["views"]["transforms"] == vae["views"]["transforms"]
    other = {"beta-vae": {"name", "beta"}, "cr-vae": {"name", "with_original", "penalties"}}[method]
    assert {key for key in recipe["method"] if recipe["method"][key] != vae["method"][key]} == other


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("simvae-") and n.endswith("-as-coded")])
def test_simvae_as_coded_decodes_to_a_sigmoid(name: str) -> None:
    method = built(completed(name))
    assert isinstance(method, Autoencoder)
    extremes = torch.tensor([-50.0, 0.0, 50.0])
    torch.testing.assert_close(method.likelihood.mean(extremes), torch.tensor([0.0, 0.5, 1.0]))


@pytest.mark.parametrize("data", ["mnist", "cifar10"])
@pytest.mark.parametrize("latent", [None, "method={latent: 64, beta: 2.4}"])
def test_goncharovs_beta_is_a_tenth_of_the_kl_averaged_over_the_latent(data: str, latent: str | None) -> None:
    recipe = completed(f"goncharov-vae-{data}", *([latent] if latent else []))
    pixels = torch.Size(shape_of(recipe)).numel()
    # ½ ‖t − t̂‖² + β KL, divided by ½ D, is the mean squared error + 0.1 KL / d.
    assert recipe.method["beta"] / (pixels / 2) == pytest.approx(0.1 / recipe.method["latent"])


@pytest.mark.parametrize(("name", "samples"), [("vae-binarised-mnist", 200), ("iwae-binarised-mnist", 5000)])
def test_binarised_mnist_is_scored_by_the_bound_of_the_published_number_of_samples(
    name: str, samples: int
) -> None:
    [measure] = completed(name).evaluation.measures or []
    assert measure == {
        "name": "bound",
        "samples": samples,
        "images": None,
        "binarise": True,
        "dequantise": False,
    }
    assert any(f"{samples:,} importance samples" in line for line in head(name)[1]["Published"])


@pytest.mark.data("fashion-mnist")
@pytest.mark.parametrize("name", ["mancini-denoising-ae", "mancini-vae"])
def test_a_recipe_trains_on_real_data(name: str, tmp_path: Path) -> None:
    run = fit(
        recipe=name, epochs=1, limit=500, out=tmp_path / "run", evaluate=False, accelerator="cpu", quiet=True
    )
    assert run.trained


@pytest.mark.data("fashion-mnist")
def test_a_recipe_is_scored_by_its_own_probes_on_real_data(tmp_path: Path) -> None:
    run = fit(
        recipe="simvae-cr-vae-fashion-mnist",
        epochs=1,
        limit=500,
        out=tmp_path / "run",
        settings=["evaluation.references=false"],
        accelerator="cpu",
        quiet=True,
    )
    scores = run.scores["encoder"]
    assert scores["mlp"]["chosen"]["epoch"] <= 200
    assert scores["knn"]["chosen"]["k"] <= 15
    assert scores["adam-linear"]["chosen"]["epoch"] <= 200
    assert scores["knn"]["accuracy"] > 0.4  # of ten classes


@pytest.mark.parametrize("name", NAMES)
def test_the_rate_of_a_recipe_is_for_its_own_batch(name: str) -> None:
    assert compose([read_recipe(name)]).lr_scale == 1
