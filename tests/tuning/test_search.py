"""Searching: the better setting is found, nothing is done twice, and workers share what there is to do."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from filelock import FileLock, Timeout

import diabolo
from diabolo.cli import main
from diabolo.errors import Interrupted
from diabolo.methods.autoencoder import Autoencoder
from diabolo.methods.base import Terms
from diabolo.recipe import from_yaml
from diabolo.runs.run import Run
from diabolo.tuning.ledger import LOCK, Ledger
from diabolo.verbs import search as verb
from diabolo.views.pipeline import Batch

TINY = {"encoder": {"name": "mlp", "widths": [16]}, "method.latent": 4, "training.batch_size": 256}
LR = {"optimiser.lr": {"low": 1e-4, "high": 1e-2, "log": True}}


def search(out: Path, **options: object) -> dict:
    options = {"vary": LR, "trials": 2, "epochs": 1, "settings": TINY, "quiet": True} | options
    return diabolo.search("digits", "ae", out=out, **options)


def rates(found: dict) -> list[float]:
    return [trial["settings"]["optimiser.lr"] for trial in found["trials"]]


def numbers(found: dict) -> list[int]:
    return [trial["number"] for trial in found["trials"]]


def test_the_planted_better_value_is_found_and_trains_in_full(tmp_path: Path) -> None:
    out = tmp_path / "s"
    vary = {"optimiser.lr": [1e-7, 0.01]}
    found = search(out, vary=vary, trials=4, epochs=3, by="reconstruction", settings={**TINY, "seed": 3})
    assert {1e-7, 0.01} == set(rates(found))
    assert found["best"]["settings"] == {"optimiser.lr": 0.01}
    values = {rate: trial["value"] for rate, trial in zip(rates(found), found["trials"], strict=True)}
    assert found["best"]["value"] == values[0.01] < values[1e-7]
    assert json.loads((out / "search.json").read_text()) == found
    best = from_yaml((out / "best.yaml").read_text())
    assert (best.optimiser["lr"], best.method["latent"], best.seed) == (0.01, 4, 3)
    assert best.training.epochs == 20  # the recipe's own, and no trial's
    run = diabolo.fit(recipe=out / "best.yaml", epochs=0, out=tmp_path / "r", evaluate=False, quiet=True)
    assert run.trained
    page = (out / "search.html").read_text("utf-8")
    assert "Best of 4 trials: optimiser.lr 0.01" in page
    assert page.count('<th scope="row">') == 4


def test_the_value_is_the_last_point_of_the_live_curve_and_test_is_left_alone(tmp_path: Path) -> None:
    found = search(tmp_path / "s", epochs=2)
    assert found["by"] == "knn"
    for trial in found["trials"]:
        folder = tmp_path / "s" / "runs" / f"trial-{trial['number']:03d}"
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        curve = [row["knn"] for row in rows if row["kind"] == "curve"]
        assert (trial["before"], trial["value"]) == (curve[0], curve[-1])
        assert yaml.safe_load((folder / "recipe.yaml").read_text())["training"]["epochs"] == 2
        assert not (folder / "scores.json").exists()


def test_a_best_that_training_hardly_changed_is_said_to_be_no_more_than_untrained(tmp_path: Path) -> None:
    narrow = {"encoder": {"name": "mlp", "widths": [8]}, "training.batch_size": 32}
    for rate, gained in ((1e-7, False), (0.01, True)):
        out = tmp_path / str(rate)
        options = {"trials": 1, "epochs": 5, "settings": narrow, "out": out, "quiet": True}
        found = diabolo.search("digits", "supervised", vary={"optimiser.lr": [rate]}, **options)
        assert (found["best"]["value"] > found["best"]["before"] + 0.1) == gained
        page = (out / "search.html").read_text("utf-8")
        assert ("no more than the untrained encoder" in page) != gained
        assert "hollow, the same encoder before its training" in page


def test_more_trials_go_on_behind_those_that_are_done(tmp_path: Path) -> None:
    first = search(tmp_path / "s", sampler="random")
    models = sorted((tmp_path / "s").glob("runs/*/model.safetensors"))
    before = [model.stat().st_mtime_ns for model in models]
    found = search(tmp_path / "s", sampler="random", trials=4)
    assert numbers(found) == [0, 1, 2, 3]
    assert found["trials"][:2] == first["trials"]
    assert [model.stat().st_mtime_ns for model in models] == before
    assert len(set(rates(found))) == 4
    assert search(tmp_path / "s", sampler="random", trials=4) == found


def test_what_was_killed_is_taken_over_with_what_it_had_been_given(tmp_path: Path, monkeypatch) -> None:
    def killed(**options: object) -> diabolo.Run:
        def kill(row: dict) -> None:
            if len(list((tmp_path / "s" / "runs").glob("*/recipe.yaml"))) == 2:
                raise KeyboardInterrupt

        return diabolo.fit(**options | {"watch": kill})

    with monkeypatch.context() as patch:
        patch.setattr(verb, "fit", killed)
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path / "s", sampler="random", trials=3)
    half = yaml.safe_load((tmp_path / "s" / "runs" / "trial-001" / "recipe.yaml").read_text())
    found = search(tmp_path / "s", sampler="random", trials=3)
    assert numbers(found) == [0, 1, 2]
    assert [trial["state"] for trial in found["trials"]] == ["complete"] * 3
    assert rates(found)[1] == half["optimiser"]["lr"]
    assert rates(found) == rates(search(tmp_path / "whole", sampler="random", trials=3))


def test_after_ctrl_c_the_same_command_goes_on(tmp_path: Path, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("diabolo.runs.train.agreed", lambda interrupted, event: event.step == 2)
        with pytest.raises(Interrupted, match=r"^stopped in trial 1; the same command again goes on"):
            search(tmp_path / "s")
    assert list((tmp_path / "s").glob("runs/trial-000/checkpoints/*2.safetensors"))
    found = search(tmp_path / "s")
    assert numbers(found) == [0, 1]
    assert [trial["state"] for trial in found["trials"]] == ["complete"] * 2


def test_a_trial_s_seconds_are_those_of_its_training(tmp_path: Path, monkeypatch) -> None:
    save = Run.save
    monkeypatch.setattr(Run, "save", lambda run, method, seconds: save(run, method, 1000 + seconds))
    [trial] = search(tmp_path / "s", trials=1)["trials"]
    run = Run.open(tmp_path / "s" / "runs" / "trial-000")
    assert trial["seconds"] == run.seconds >= 1000


def test_two_workers_share_the_trials_of_one_through_a_database(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'shared.db'}"
    found = search(tmp_path / "s", sampler="random", trials=4, workers=2, store=store)
    assert numbers(found) == [0, 1, 2, 3]
    alone = search(tmp_path / "alone", sampler="random", trials=4)
    assert rates(found) == rates(alone)
    np.testing.assert_allclose(
        [trial["value"] for trial in found["trials"]],
        [trial["value"] for trial in alone["trials"]],
        atol=0.03,
    )


def test_machines_with_folders_of_their_own_meet_in_the_store(tmp_path: Path) -> None:
    store = str(tmp_path / "shared" / "trials.journal")
    search(tmp_path / "one", store=store)
    found = search(tmp_path / "two", store=store, trials=3)
    assert numbers(found) == [0, 1, 2]
    assert [path.name for path in (tmp_path / "two" / "runs").iterdir() if path.is_dir()] == ["trial-002"]


def test_what_lies_below_the_median_is_stopped_early(tmp_path: Path, monkeypatch) -> None:
    def curve(recipe: dict, watch, **_: object) -> SimpleNamespace:
        rate = recipe["optimiser"]["lr"]  # untrained, it is the other way round
        rows = [{"kind": "curve", "step": e, "epoch": e, "knn": rate * e if e else -rate} for e in (0, 1, 2)]
        for row in rows:
            watch(row)
        return SimpleNamespace(metrics=rows, seconds=1.0)

    monkeypatch.setattr(verb, "fit", curve)
    found = search(tmp_path / "s", sampler="random", trials=14, epochs=2, prune=True)
    ended = [
        rate
        for rate, trial in zip(rates(found), found["trials"], strict=True)
        if "complete" in trial["state"]
    ]
    assert {trial["state"] for trial in found["trials"]} == {"complete", "pruned"}
    assert len(ended) >= 5  # the first ones are never stopped
    for i, trial in enumerate(found["trials"]):
        if trial["state"] == "pruned":
            before = [t["settings"]["optimiser.lr"] for t in found["trials"][:i] if t["state"] == "complete"]
            assert trial["settings"]["optimiser.lr"] < np.median(before)
    assert "stopped early" in (tmp_path / "s" / "search.html").read_text("utf-8")


def test_a_trial_that_fails_says_why_and_the_search_goes_on(tmp_path: Path) -> None:
    found = search(tmp_path / "s", vary={"optimiser.lr": [0.001, 1e30]}, trials=6, epochs=3)
    states = dict(zip(rates(found), (trial["state"] for trial in found["trials"]), strict=True))
    assert states == {0.001: "complete", 1e30: "fail"}
    assert all("is nan" in trial["reason"] for trial in found["trials"] if trial["state"] == "fail")
    assert found["best"]["settings"] == {"optimiser.lr": 0.001}
    with pytest.raises(diabolo.UserError, match=r"no trial came to its end; the last: .*is nan"):
        search(tmp_path / "t", vary={"optimiser.lr": [1e30]}, trials=1, epochs=3)


def test_a_full_disk_ends_the_search_and_costs_no_trial(tmp_path: Path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise diabolo.UserError("cannot write model.safetensors: No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Run, "save", full)
        with pytest.raises(diabolo.UserError, match="No space left"):
            search(tmp_path / "s")
    found = search(tmp_path / "s")
    assert numbers(found) == [0, 1]
    assert all(trial["value"] is not None for trial in found["trials"])


def test_data_that_vanish_end_the_search_and_cost_no_trial(tmp_path: Path, monkeypatch) -> None:
    images, elsewhere = tmp_path / "images.npy", tmp_path / "elsewhere.npy"
    np.save(images, np.random.default_rng(0).integers(0, 256, (200, 8, 8), dtype=np.uint8))
    settings = TINY | {"training.batch_size": 64}
    options = {"vary": LR, "trials": 3, "epochs": 1, "settings": settings, "quiet": True}

    def unplugged(**options: object) -> Run:
        if options["out"] == tmp_path / "s" / "runs" / "trial-001":
            images.rename(elsewhere)
        return diabolo.fit(**options)

    with monkeypatch.context() as patched:
        patched.setattr(verb, "fit", unplugged)
        with pytest.raises(diabolo.UserError, match=r"images\.npy"):
            diabolo.search(images, "ae", out=tmp_path / "s", **options)
    elsewhere.rename(images)
    found = diabolo.search(images, "ae", out=tmp_path / "s", **options)
    assert numbers(found) == [0, 1, 2]
    assert [trial["state"] for trial in found["trials"]] == ["complete"] * 3


def test_settings_that_are_refused_fail_their_trial_alone(tmp_path: Path) -> None:
    key = "evaluation.space"
    found = search(tmp_path / "s", vary={key: ["h", "nowhere"]}, trials=6, sampler="random")
    assert {trial["settings"][key]: trial["state"] for trial in found["trials"]} == {
        "h": "complete",
        "nowhere": "fail",
    }
    reasons = [trial["reason"] for trial in found["trials"] if trial["state"] == "fail"]
    assert all("unknown space 'nowhere'" in reason for reason in reasons)


def test_what_the_data_cannot_give_takes_no_folder(tmp_path: Path) -> None:
    for limit, refused in ((None, [256, 10_000]), (200, [64, 256])):
        with pytest.raises(diabolo.UserError, match=r"there are only \d+ training images"):
            search(tmp_path / "s", vary={"training.batch_size": refused}, limit=limit)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("when", ["tried", "trained"])
def test_what_takes_too_much_memory_fails_its_trial_alone(when: str, tmp_path: Path, monkeypatch) -> None:
    forward = Autoencoder.forward

    def on_a_small_device(method: Autoencoder, batch: Batch) -> Terms:
        if len(batch.clean) > 300 and (when == "tried" or torch.is_grad_enabled()):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(method, batch)

    monkeypatch.setattr(Autoencoder, "forward", on_a_small_device)
    found = search(tmp_path / "s", vary={"training.batch_size": [256, 512]}, trials=6, sampler="random")
    states = {trial["settings"]["training.batch_size"]: trial["state"] for trial in found["trials"]}
    assert states == {256: "complete", 512: "fail"}
    reasons = {trial["reason"] for trial in found["trials"] if trial["state"] == "fail"}
    assert [reason.partition(";")[0] for reason in reasons] == [
        "CUDA out of memory: lower training.batch_size"
    ]


def test_values_that_do_not_go_together_fail_their_trial_alone(tmp_path: Path, monkeypatch) -> None:
    run = SimpleNamespace(metrics=[{"kind": "curve", "step": 1, "knn": 0.5}], seconds=1.0)
    monkeypatch.setattr(verb, "fit", lambda **_: run)
    vary = {"training.compile": ["graphs", False], "training.accumulate": [1, 2]}
    found = search(tmp_path / "s", vary=vary, trials=12, sampler="random")
    assert {trial["state"] for trial in found["trials"]} == {"complete", "fail"}
    for trial in found["trials"]:
        refused = trial["settings"] == {"training.compile": "graphs", "training.accumulate": 2}
        assert (trial["state"] == "fail") == refused


def test_without_labels_the_reconstruction_decides_and_without_a_decoder_the_rank(tmp_path: Path) -> None:
    images = tmp_path / "images.npy"
    np.save(images, np.random.default_rng(0).integers(0, 256, (200, 8, 8), dtype=np.uint8))
    options = {"vary": LR, "trials": 1, "epochs": 1, "quiet": True}
    small = {"encoder": {"name": "mlp", "widths": [16]}, "training.batch_size": 64}
    found = diabolo.search(images, "vae", out=tmp_path / "v", settings=small, **options)
    assert found["by"] == "reconstruction"
    run = diabolo.Run.open(tmp_path / "v" / "runs" / "trial-000")
    validation = diabolo.runs.inputs.splits_of(run).validation
    mse = (validation.floats() - run.method.reconstruct(validation.floats())).square().mean()
    assert found["best"]["value"] == pytest.approx(float(mse.detach()), rel=1e-4)
    found = diabolo.search(
        images, "vicreg", out=tmp_path / "c", settings=small | {"method.width": 16}, **options
    )
    assert found["by"] == "rank"
    with pytest.raises(diabolo.UserError, match="has no labels: choose by reconstruction or rank"):
        diabolo.search(images, "vae", out=tmp_path / "k", by="knn", **options)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["digitz", "--method", "ae"], "digits"),
        (["digits"], "which method"),
        (["digits", "--method", "aee"], "did you mean 'ae'"),
        (["digits", "--method", "ae", "--vary", "optimiser.lrr=[1]"], "did you mean 'optimiser.lr'"),
        (["digits", "--method", "ae", "--vary", "training.batch_size=[64, 0]"], "training.batch_size"),
        (["digits", "--method", "ae", "--vary", "optimiser.lr"], "--vary optimiser.lr: write it as"),
        (["digits", "--method", "ae", "--vary", "optimiser.lr=0.1"], "expected a list of values"),
        (["digits", "--method", "ae", "--vary", "training.epochs=[1, 2]"], "the budget of the trials"),
        (["digits", "--method", "ae", "--space", "mancini"], "did you mean 'mancini-ae'"),
        (["digits", "--method", "ae", "--space", "nowhere.yaml"], "no space file at nowhere.yaml"),
        (["digits", "--method", "ae", "--trials", "0"], "trials must be at least 1"),
        (["digits", "--method", "ae", "--workers", "0"], "workers must be at least 1"),
        (["digits", "--method", "simclr", "--by", "reconstruction"], "has no decoder"),
        (["digits", "--method", "ae", "--by", "reconstruction", "--prune"], "only the live curve"),
        (["digits", "--method", "ae", "--store", "sqlite:////nowhere/at/all.db"], "--store sqlite"),
        (["digits", "--method", "ae", "--store", "nonsense://x"], "--store nonsense"),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_is_written(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", *words, "--out", str(tmp_path / "s")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "s").exists()


def test_another_search_does_not_take_its_folder(tmp_path: Path) -> None:
    search(tmp_path / "s", trials=1)
    with pytest.raises(diabolo.UserError, match="holds another search"):
        search(tmp_path / "s", trials=1, epochs=2)


def test_of_two_searches_that_begin_at_once_one_gets_the_folder(tmp_path: Path, monkeypatch) -> None:
    ledger, write_text = verb.Plan.ledger, verb.write_text

    def beaten(plan: verb.Plan, folder: Path, store: str) -> Ledger:
        monkeypatch.setattr(verb.Plan, "ledger", ledger)
        search(tmp_path / "s", trials=1, epochs=2)
        return ledger(plan, folder, store)

    def alone(path: Path, text: str) -> None:
        if path.name == "search.yaml":
            with pytest.raises(Timeout):
                FileLock(path.parent / LOCK).acquire(timeout=0)
        write_text(path, text)

    monkeypatch.setattr(verb.Plan, "ledger", beaten)
    monkeypatch.setattr(verb, "write_text", alone)
    with pytest.raises(diabolo.UserError, match="holds another search"):
        search(tmp_path / "s", trials=1)
    assert yaml.safe_load((tmp_path / "s" / "search.yaml").read_text())["budget"]["training.epochs"] == 2


def test_without_optuna_the_install_command_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(diabolo.UserError, match=r"pip install optuna"):
        search(tmp_path / "s")
