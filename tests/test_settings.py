"""What 'diabolo settings' and docs/recipe.md say, beside what recipes take."""

import dataclasses
import re
from pathlib import Path

import pytest
import yaml

from diabolo.cli import main
from diabolo.recipe import Data, Evaluation, Recipe, Training, Views, complete_for, compose
from diabolo.verbs.settings import PLACES, SECTIONS, settings

DOCS = Path(__file__).parents[1] / "docs" / "recipe.md"


def test_all_components_are_listed_under_the_key_that_names_them() -> None:
    listed = {line.partition(":")[0]: line for line in settings().replace("\n    ", " ").splitlines()}
    assert listed.keys() == PLACES.keys() | SECTIONS.keys()
    for place, table in PLACES.items():
        assert listed[place].partition(": ")[2].split(", ") == list(table.entries)


@pytest.mark.parametrize("place", PLACES)
def test_every_component_is_described(place: str) -> None:
    for name, entry in PLACES[place].entries.items():
        text = settings(name)
        assert entry.summary in text
        assert not re.search(r"typing|Annotated|<class", text)


@pytest.mark.parametrize("place", PLACES)
def test_a_key_says_what_each_of_its_names_is(place: str) -> None:
    assert settings(place.rpartition(".")[2]) == settings(place)
    said = dict(line.split("  ", 1) for line in settings(place).splitlines())
    expected = {name: entry.summary for name, entry in PLACES[place].entries.items()}
    assert {name: about.strip() for name, about in said.items()} == expected


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_describes_each_of_its_keys(section: str) -> None:
    about, _, _ = settings(section).partition(f"\n    {section}.")
    found = dict(re.findall(rf"^ +{section}\.(\w+)  +.*?  +(\S.*)$", settings(section), re.MULTILINE))
    for field in dataclasses.fields(SECTIONS[section]):
        assert re.search(rf"\b{field.name}: ", about)
        if field.default is not dataclasses.MISSING:
            default = yaml.safe_load(found[field.name])
            assert (tuple(default) if isinstance(default, list) else default) == field.default
        else:
            assert found[field.name] == "required"
    assert settings(f"{section}.x") == settings(section)


@pytest.mark.parametrize(
    "key", ["method.latent", "encoder.widths", "views.transforms.p", "evaluation.probes.hidden"]
)
def test_a_setting_is_said_of_each_component_that_has_it(key: str) -> None:
    place, _, setting = key.rpartition(".")
    said = re.findall(r"^    (\S+) +\S", settings(key), re.MULTILINE)
    assert said
    for name in PLACES[place].entries:
        assert (name in said) == bool(re.search(rf"\.{setting}  ", settings(name)))


def test_what_is_in_no_section_is_said_too() -> None:
    assert settings("seed").startswith("seed  int ≥ 0")
    assert settings("init") == "init  str or null  null"


@pytest.mark.parametrize("method", ["vae", "simvae", "simclr", "dino"])
def test_the_defaults_shown_are_those_of_a_recipe(method: str) -> None:
    recipe = complete_for(compose([{"data": {"name": "digits"}, "method": method}]), (1, 8, 8))
    rows = re.findall(r"^ +(method\.\w+)  +.*?  +(\S.*)$", settings(method), re.MULTILINE)
    assert {key for key, _ in rows} == {f"method.{key}" for key in recipe.method if key != "name"}
    for key, default in rows:
        value = recipe.method[key.removeprefix("method.")]
        shown = yaml.safe_load(default)
        assert shown == (
            value["name"] if isinstance(value, dict) else list(value) if isinstance(value, tuple) else value
        )


def test_a_name_that_is_none_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", "simvea"]) == 2
    assert "did you mean 'simvae'?" in capsys.readouterr().err
    assert main(["fit", "digits", "--method", "vae", "--set", "method.prior.variance=0.2"]) == 2
    assert "method.prior has no settings (see 'diabolo settings')" in capsys.readouterr().err


@pytest.mark.parametrize("section", [Recipe, Data, Views, Training, Evaluation])
def test_the_docs_name_every_key(section: type) -> None:
    named = set(re.findall(r"`(\w+)`", DOCS.read_text("utf-8")))
    assert {field.name for field in dataclasses.fields(section)} <= named
