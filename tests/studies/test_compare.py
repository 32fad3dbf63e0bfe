"""Comparing methods: one protocol for all, nothing run twice, and a page that can be read by itself."""

import html
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import diabolo
from diabolo.cli import main
from diabolo.components import merge
from diabolo.errors import UserError
from diabolo.pages.side_by_side import side_by_side
from diabolo.runs.run import Run
from diabolo.studies.columns import COLUMNS
from diabolo.studies.study import Job, Study
from diabolo.verbs import compare
from tests.studies.planted import plant

SMALL = {
    "encoder": {"name": "mlp", "widths": [16]},
    "training.batch_size": 256,
    "evaluation.measures": ["reconstruction"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("comparison")
    diabolo.compare(
        "digits", ["ae", "simclr"], seeds=2, epochs=1, settings=SMALL, out=folder / "c", quiet=True
    )
    return folder / "c"


def test_all_methods_have_the_same_encoder_views_budget_and_space(folder: Path) -> None:
    recipes = {
        path.stem: yaml.safe_load(path.read_text()) for path in sorted((folder / "results").glob("*.yaml"))
    }
    assert recipes.keys() == {"ae-0", "ae-1", "simclr-0", "simclr-1"}
    one, other = recipes["ae-0"], recipes["simclr-0"]
    for key in ("data", "encoder", "training", "optimiser", "schedule"):
        assert one[key] == other[key]
    assert one["views"]["transforms"] == other["views"]["transforms"] != []
    assert one["evaluation"]["space"] == other["evaluation"]["space"] == "h"
    assert (one["seed"], recipes["ae-1"]["seed"]) == (0, 1)


def test_the_page_shows_every_method_beside_the_references_and_loads_nothing(folder: Path) -> None:
    text = (folder / "comparison.html").read_text("utf-8")
    rows = re.findall(r'<th scope="row">(.*?)</th>', text)
    assert rows == ["ae", "simclr", "random encoder", "PCA", "raw pixels"]
    result = json.loads((folder / "results" / "ae-0.json").read_text())
    knn = [json.loads((folder / "results" / f"ae-{seed}.json").read_text()) for seed in range(2)]
    mean = sum(100 * one["scores"]["encoder"]["knn"]["accuracy"] for one in knn) / 2
    assert f"{mean:.1f} ±" in text
    assert result["scores"]["encoder"]["measures"]["reconstruction"]["decoder"] == "own"
    assert "leads with" in text
    assert "<svg" in text
    assert not re.search(r'(src|href)="(?!data:|#)', text)


def test_the_methods_are_shown_side_by_side_on_the_same_images(folder: Path) -> None:
    sides = side_by_side({name: Run.open(folder / "runs" / f"{name}-0") for name in ("ae", "simclr")})
    ae, simclr = sides.methods["ae"], sides.methods["simclr"]
    np.testing.assert_array_equal(ae.neighbours.images, simclr.neighbours.images)
    assert len(ae.plane) == len(simclr.plane) == len(sides.labels) == 360
    assert ae.reconstructions.shape == sides.images.shape
    assert simclr.reconstructions.shape == sides.images.shape  # by the decoder that its score was read with
    assert (ae.lent, simclr.lent) == (False, True)
    text = (folder / "comparison.html").read_text("utf-8")
    assert "of simclr one that was trained afterwards" in text
    shown = re.findall(r'<section id="(.*?)"', text)
    assert shown == ["scores", "curves", "reconstructions", "latents", "neighbours", "recipe"]
    names = re.findall(r"<h3>(.*?)</h3>", text) + re.findall(r"<figcaption><b>(.*?)</b>", text)
    assert names == ["ae", "simclr"] * 3  # neighbours, what of the protocol is each one's own, planes


def test_without_the_runs_the_page_is_written_from_the_results(folder: Path, tmp_path: Path) -> None:
    for name in ("results", "study.yaml"):
        source, copy = folder / name, tmp_path / name
        shutil.copytree(source, copy) if source.is_dir() else shutil.copy(source, copy)
    diabolo.compare("digits", ["ae", "simclr"], seeds=2, epochs=1, settings=SMALL, out=tmp_path, quiet=True)
    text = (tmp_path / "comparison.html").read_text("utf-8")
    assert re.findall(r'<section id="(.*?)"', text) == ["scores", "curves", "recipe"]
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """What the page says of planted figures: ae leads by kNN, and varies."""
    figures = {"ae": [0.85, 0.9, 0.95], "vae": [0.889, 0.89, 0.891], "simvae": [0.879, 0.88, 0.881]}
    for name, knn in figures.items():
        plant(tmp_path / "results", name, knn, [0.01] * 3)
    monkeypatch.setattr(compare, "share", lambda *_: None)

    def say() -> list[str]:
        diabolo.compare("digits", list(figures), out=tmp_path, quiet=True)
        page = (tmp_path / "comparison.html").read_text("utf-8")
        return re.findall("<p>(.*?)</p>", page.replace("\N{NO-BREAK SPACE}", " "))

    return say


def test_named_beside_the_best_is_what_the_seeds_cannot_tell_from_it(verdict) -> None:
    # simvae is surely behind vae, and yet 2 ± 12 points behind ae
    assert "kNN %: ae leads with 90.0; 3 seeds cannot tell it from vae, simvae." in verdict()


def test_a_leader_behind_its_own_untrained_encoder_is_said_to_be(verdict, tmp_path: Path) -> None:
    plant(tmp_path / "results", "ae", [0.90] * 3, [0.01] * 3, references=True)
    for path in (tmp_path / "results").glob("ae-*.json"):
        values = json.loads(path.read_text())
        values["scores"]["random"]["knn"]["accuracy"] = 0.91
        path.write_text(json.dumps(values))
    ae, *_ = [sentence for sentence in verdict() if "leads" in sentence]
    assert ae.startswith("kNN %: ae leads with 90.0, behind its own untrained encoder (91.0)")


def test_nobody_leads_where_methods_do_not_compete(verdict, monkeypatch) -> None:
    monkeypatch.setitem(COLUMNS, "knn", replace(COLUMNS["knn"], ranked=False))
    assert [sentence.partition(":")[0] for sentence in verdict()] == ["MSE × 10³"]


def test_without_labels_the_ranks_are_compared(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (80, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    table = diabolo.compare(
        tmp_path / "images.npy",
        ["ae", "simclr"],
        seeds=1,
        epochs=1,
        settings=["encoder.name=mlp", "encoder.widths=[16]", "training.batch_size=16"],
        out=tmp_path / "c",
        quiet=True,
    )
    assert list(table.titles) == ["rank", "style R²", "MSE × 10³"]
    assert [line.seeds for line in table.lines[:2]] == [1, 1]


def test_without_workers_nothing_is_begun(folder: Path) -> None:
    with pytest.raises(UserError, match=r"^--workers 0"):
        diabolo.compare("digits", ["ae", "simclr"], seeds=2, epochs=1, settings=SMALL, out=folder, workers=0)
    with pytest.raises(UserError, match="seeds must be at least 1"):
        diabolo.compare("digits", ["ae", "simclr"], seeds=0, epochs=1, settings=SMALL, out=folder)


def test_started_again_it_redoes_nothing(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (folder / "results").iterdir()}
    table = diabolo.compare(
        "digits", ["ae", "simclr"], seeds=2, epochs=1, settings=SMALL, out=folder, quiet=True
    )
    assert before == {path: path.stat().st_mtime_ns for path in (folder / "results").iterdir()}
    assert [line.seeds for line in table.lines][:2] == [2, 2]


def test_another_comparison_does_not_take_its_folder(folder: Path) -> None:
    with pytest.raises(diabolo.UserError, match=r"holds another comparison .*training\.epochs = 1, not 2"):
        diabolo.compare("digits", ["ae", "simclr"], epochs=2, settings=SMALL, out=folder, quiet=True)


def test_a_method_with_an_encoder_of_its_own_is_judged_by_that_one_untrained(tmp_path: Path) -> None:
    settings = {"training.batch_size": 256, "evaluation.measures": [], "evaluation.probes": ["knn"]}
    options = {"seeds": 1, "epochs": 1, "settings": settings, "out": tmp_path / "c", "quiet": True}
    diabolo.compare("digits", ["ae", "vae", "linear-ae"], **options)
    page = (tmp_path / "c" / "comparison.html").read_text("utf-8")
    assert re.findall(r'<th scope="row">(.*?)</th>', page) == [
        *("ae", "vae", "linear-ae", "random encoder of ae", "random encoder of linear-ae"),
        *("PCA to 60", "PCA to 32", "raw pixels"),  # 60: all that digits have
    ]
    assert "<dd>mlp, h of 256 (ae, vae); linear, h of 32 (linear-ae)</dd>" in page
    results = {
        name: json.loads((tmp_path / "c" / "results" / f"{name}-0.json").read_text())["scores"]
        for name in ("ae", "vae", "linear-ae")
    }
    assert "random" not in results["vae"]
    assert results["linear-ae"]["random"]["width"] == results["linear-ae"]["encoder"]["width"] == 32
    assert results["linear-ae"]["random"] != results["ae"]["random"]


def test_fewer_training_images_are_every_runs(tmp_path: Path, monkeypatch) -> None:
    begun: list[Study] = []
    monkeypatch.setattr(compare, "share", lambda study, *_: begun.append(study))
    diabolo.compare("digits", ["ae", "vae"], limit=500, out=tmp_path, quiet=True)
    assert {begun[0].recipe(job, {}).data.limit for job in begun[0].jobs()} == {500}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ["gaussian-noise"]),
        ({"views.transforms": "none"}, []),
        ({"views.count": 1}, ["gaussian-noise"]),
        ({"views": {"transforms": [{"name": "masking"}]}}, ["masking"]),
    ],
)
def test_a_method_that_is_its_augmentation_keeps_it(settings, expected, tmp_path: Path, monkeypatch) -> None:
    """With crops for its noise a denoising autoencoder would be another method; the user may say so."""
    studies: list[Study] = []
    monkeypatch.setattr(compare, "share", lambda study, *rest: studies.append(study))
    diabolo.compare(
        "digits", ["ae", "denoising-ae"], epochs=1, settings=SMALL | settings, out=tmp_path, quiet=True
    )
    recipe = studies[0].recipe(Job("denoising-ae", 0), {})
    found = recipe.views.transforms
    assert [view["name"] for view in found] == expected if isinstance(found, list) else expected == []
    other = studies[0].recipe(Job("ae", 0), {}).views.transforms
    assert (other == "simvae") == ("transforms" not in str(settings))
    assert recipe.training.epochs == 1


def test_what_cannot_be_trained_takes_no_folder(tmp_path: Path) -> None:
    out = tmp_path / "c"
    options = {"seeds": 1, "epochs": 1, "out": out, "quiet": True}
    for methods, over, message in (
        (["ae"], {"training.batch_size": 5000}, "there are only 1293 training images"),
        (["ae", "simclr"], {"method.latent": 4}, "unknown key 'method.latent'"),
        (
            ["random", "ae"],
            {"views.transforms": [{"name": "random-resized-crop", "size": 4}]},
            "does not pass",
        ),
    ):
        with pytest.raises(diabolo.UserError, match=message):
            diabolo.compare("digits", methods, settings=SMALL | over, **options)
        assert not out.exists()


def test_a_method_and_a_seed_are_added_to_what_is_finished(tmp_path: Path) -> None:
    options = {"epochs": 1, "settings": SMALL, "out": tmp_path, "quiet": True}
    diabolo.compare("digits", ["ae"], seeds=1, **options)
    before = (tmp_path / "runs" / "ae-0" / "model.safetensors").stat().st_mtime_ns
    table = diabolo.compare("digits", ["ae", "simclr"], seeds=2, **options)
    assert [(line.name, line.seeds) for line in table.lines[:2]] == [("ae", 2), ("simclr", 2)]
    assert (tmp_path / "runs" / "ae-0" / "model.safetensors").stat().st_mtime_ns == before


def test_what_has_nothing_to_train_is_given_no_epochs_and_the_page_says_so(tmp_path: Path) -> None:
    settings = SMALL | {"evaluation.measures": [], "evaluation.probes": ["knn"]}
    options = {"seeds": 1, "epochs": 2, "settings": settings, "out": tmp_path, "quiet": True}
    diabolo.compare("digits", ["ae", "random"], **options)
    epochs = {
        path.stem: yaml.safe_load(path.read_text())["training"]["epochs"]
        for path in (tmp_path / "results").glob("*.yaml")
    }
    assert epochs == {"ae-0": 2, "random-0": 0}
    protocol, own = protocol_on(tmp_path / "comparison.html")
    assert "epochs" not in protocol["training"]
    assert {name: of["training"] for name, of in own.items()} == {
        "ae": {"epochs": 2},
        "random": {"epochs": 0},
    }


def protocol_on(page: Path) -> tuple[dict, dict[str, dict]]:
    """What of the recipes the page says all rows share, and what is each one's own."""
    section = page.read_text("utf-8").partition('<section id="recipe">')[2]
    listings = [
        html.unescape(re.sub("<.*?>", "", text)) for text in re.findall("(?s)<pre.*?>(.*?)</pre>", section)
    ]
    shared, *own = map(yaml.safe_load, listings)
    return shared, dict(zip(re.findall("<h3>(.*?)</h3>", section), own, strict=True))


def test_the_protocol_and_what_is_a_rows_own_are_its_recipe(folder: Path) -> None:
    shared, own = protocol_on(folder / "comparison.html")
    assert (shared["training"]["epochs"], shared["training"]["batch_size"]) == (1, 256)
    assert shared["encoder"]["widths"] == [16]
    assert own["simclr"]["views"] == {"count": 2}
    for name, of in own.items():
        recipe = yaml.safe_load((folder / "results" / f"{name}-1.yaml").read_text())
        del recipe["seed"], recipe["evaluation"]["references"]
        assert merge(shared, of) == recipe


@pytest.mark.parametrize("settings", [{"method.latent": 16}, {"method": {"latent": 16}}])
def test_a_setting_of_the_methods_reaches_every_row(settings, tmp_path: Path, monkeypatch) -> None:
    begun: list[Study] = []
    monkeypatch.setattr(compare, "share", lambda study, *_: begun.append(study))
    diabolo.compare("digits", ["ae", "vae"], settings=settings, out=tmp_path, quiet=True)
    methods = [begun[0].recipe(job, {}).method for job in begun[0].jobs() if job.seed == 2]
    assert [(method["name"], method["latent"]) for method in methods] == [("ae", 16), ("vae", 16)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["digits", "--methods", "ae,simclx"], "did you mean 'simclr'"),
        (["digits", "--methods", " , "], "name the methods"),
        (["digitz", "--methods", "ae"], "digits"),
        (["digits", "--methods", "ae", "--set", "training.epoch=1"], "training.epochs"),
        (["digits", "--methods", "ae", "--set", "training.precision=auto"], "name float32 or bf16"),
        (["digits", "--methods", "ae", "--limit", "0"], "data.limit"),
        (["digits", "--methods", "ae", "--set", "seed=5"], "say with --seeds how many"),
        (["digits", "--methods", "ae,simclr", "--set", "method=vae"], "name them all with --methods"),
        (["digits", "--methods", "ae,simclr", "--set", "method.name=vae"], "name them all with --methods"),
        (["digits", "--methods", "ae,simclr", "--set", "method={name: vae}"], "name them all with --methods"),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_is_written(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *words, "--out", str(tmp_path / "c")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "c").exists()
