"""The supervised reference: the same encoder at the same cost, trained once and kept."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import diabolo
from diabolo.cli import main
from diabolo.console import Show
from diabolo.data.images import Splits
from diabolo.errors import Interrupted, UserError
from diabolo.runs import supervised as verb
from diabolo.runs.supervised import supervised_recipe, supervised_twin
from diabolo.studies.results import cost_of
from tests.runs import digits_recipe

SETTINGS = {
    "encoder": {"name": "mlp", "widths": [32]},
    "evaluation.live": 0,
    "evaluation.probes": ["knn"],
}


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DIABOLO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def few(digits: Splits) -> Splits:
    return replace(digits, train=digits.train.take(torch.arange(400)))


def fit(splits: Splits, folder: Path, **changes: object) -> diabolo.Run:
    arguments = {"method": "simclr", "epochs": 2, "out": folder, "quiet": True, "settings": SETTINGS}
    return diabolo.fit(splits, **(arguments | changes))


def test_a_run_stands_beside_its_supervised_twin(tmp_path, cache, digits, monkeypatch):
    splits = few(digits)
    run = fit(splits, tmp_path / "run", settings=SETTINGS | {"evaluation.supervised": True})
    row = run.scores["supervised"]
    assert row["space"] == "h"
    assert row["width"] == 32
    assert 0.5 < row["knn"]["accuracy"] <= 1
    assert any("the same encoder trained with labels on kNN" in line for line in run.scores["verdict"])

    (twin,) = (diabolo.Run.open(path) for path in (cache / "supervised").iterdir() if path.is_dir())
    assert twin.recipe.method["name"] == "supervised"
    assert cost_of(twin).examples == cost_of(run).examples == 2 * 2 * (400 // 128) * 128
    assert twin.recipe.views == run.recipe.views
    assert not (twin.folder / "checkpoints").exists()
    ours, theirs = run.build().state_dict(), twin.build().state_dict()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours if k.startswith("encoder."))

    # The next run of that architecture, and other probes, train nothing.
    monkeypatch.setattr(verb, "train_run", None)
    other = fit(splits, tmp_path / "other", settings=SETTINGS | {"method.temperature": 0.1}, evaluate=False)
    scores = diabolo.evaluate(other, probes=["knn"], supervised=True, data=splits, quiet=True)
    assert scores["supervised"] == row
    again = diabolo.evaluate(run, probes=["retrieval"], supervised=True, data=splits, quiet=True)
    assert again["supervised"].keys() >= {"retrieval", "space"}


def test_the_budget_is_that_of_the_run_in_encoded_images(digits):
    def epochs(method: str, *settings: str, splits: Splits = digits) -> int:
        recipe = digits_recipe(
            method, "training.epochs=6", "training.batch_size=32", "training.lr_batch=8", *settings
        )
        twin = supervised_recipe(recipe, splits)
        assert twin.views == recipe.views
        assert twin.lr_scale == 1  # the run's batch says nothing of its twin's own rate
        assert (twin.encoder, twin.seed) == (recipe.encoder, recipe.seed)
        return twin.training.epochs

    assert epochs("simclr") == 6
    assert epochs("cr-vae") == 12  # the original beside one view
    assert epochs("dino", "local_views.count=4") == 18  # four crops beside two
    labels = digits.train.labels.clone()
    labels[:500] = -1
    half = replace(digits, train=replace(digits.train, labels=labels))
    assert epochs("simclr", splits=half) == 12
    unlabelled = replace(digits, train=replace(digits.train, labels=None), labelled=digits.validation)
    assert epochs("simclr", splits=unlabelled) == round(6 * 1000 / 270)


def test_stopped_it_goes_on_and_is_then_the_same(tmp_path, cache, digits, monkeypatch):
    splits = few(digits)
    run = fit(splits, tmp_path / "run", evaluate=False)
    whole = supervised_twin(run, splits, Show(quiet=True))
    weights = whole.method.state_dict()

    monkeypatch.setenv("DIABOLO_CACHE", str(tmp_path / "second"))
    monkeypatch.setattr("diabolo.runs.train.agreed", lambda interrupted, event: event.step == 2)
    with pytest.raises(
        Interrupted, match=r"while training the supervised reference; evaluate .*run to go on"
    ):
        supervised_twin(run, splits, Show(quiet=True))
    monkeypatch.setattr("diabolo.runs.train.agreed", lambda interrupted, event: False)
    twin = supervised_twin(run, splits, Show(quiet=True))
    assert twin.folder != whole.folder
    assert all(torch.equal(twin.method.state_dict()[name], weights[name]) for name in weights)


def test_an_encoder_of_one_s_own_has_its_twin_in_the_run(tmp_path, cache, digits):
    splits = few(digits)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    settings = {k: v for k, v in SETTINGS.items() if k != "encoder"} | {"evaluation.supervised": True}
    run = fit(splits, tmp_path / "run", encoder=network, settings=settings)
    assert "knn" in run.scores["supervised"]
    assert (run.folder / "supervised" / "model.safetensors").exists()
    assert not (cache / "supervised").exists()


@pytest.mark.parametrize("method", ["random", "supervised"])
def test_what_has_no_twin_has_no_row(tmp_path, cache, digits, method):
    settings = SETTINGS | {"evaluation.supervised": True}
    run = fit(
        few(digits), tmp_path / "run", method=method, epochs=int(method == "supervised"), settings=settings
    )
    assert "supervised" not in run.scores


def test_without_labels_it_is_refused_before_training(tmp_path, cache, digits, capsys):
    bare = replace(digits, train=replace(digits.train, labels=None))
    settings = {k: v for k, v in SETTINGS.items() if k != "evaluation.probes"} | {
        "evaluation.supervised": True
    }
    with pytest.raises(UserError, match=r"^evaluation.supervised: custom has no labels to train with"):
        fit(bare, tmp_path / "run", settings=settings)
    assert not (tmp_path / "run").exists()
    features = tmp_path / "z.npz"
    features.touch()
    assert main(["evaluate", str(features), "--supervised"]) == 2
    assert "the encoder: it needs a run" in capsys.readouterr().err
