"""A training that was killed and resumed ends like one that never stopped."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diabolo.errors import UserError
from diabolo.files import read_tensors
from diabolo.runs.run import Run
from diabolo.verbs.fit import fit
from tests.runs import RESUMED, digits_recipe

EPOCHS = 12


def start(recipe: Path, out: Path) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "diabolo",
        "fit",
        "--recipe",
        str(recipe),
        "--out",
        str(out),
        "--no-evaluate",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}  # sums in the same order
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def checkpoints(process: subprocess.Popen[str], folder: Path) -> int:
    """How many a running training has written."""
    assert process.poll() is None, process.communicate()[1]
    return len(list((folder / "checkpoints").glob("[0-9]*.safetensors")))


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def assert_same_outcome(one: Path, other: Path) -> None:
    left, _ = read_tensors(one / "model.safetensors")
    right, _ = read_tensors(other / "model.safetensors")
    assert left.keys() == right.keys()
    for key, tensor in left.items():
        assert torch.equal(tensor, right[key]), key
    assert metrics(one) == metrics(other)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each method, killed with SIGKILL after its second checkpoint."""
    folder = tmp_path_factory.mktemp("killed")
    processes = {}
    for name in RESUMED:
        recipe = digits_recipe(name, f"training.epochs={EPOCHS}", "training.checkpoint_every=0")
        (folder / f"{name}.yaml").write_text(recipe.to_yaml())
        processes[name] = start(folder / f"{name}.yaml", folder / name)
    while processes:
        for name, process in list(processes.items()):
            if checkpoints(process, folder / name) >= 2:
                process.send_signal(signal.SIGKILL)
                processes.pop(name).communicate()
        time.sleep(0.002)
    return {name: folder / name for name in RESUMED}


@pytest.mark.parametrize("name", RESUMED)
def test_killed_and_resumed_equals_never_stopped(name: str, killed: dict[str, Path], tmp_path: Path) -> None:
    folder = killed[name]
    assert not (folder / "model.safetensors").exists(), "it was killed before its end"
    fit(out=folder, resume=True, evaluate=False, quiet=True)
    whole = fit(recipe=Run.open(folder).recipe.to_dict(), out=tmp_path / "whole", evaluate=False, quiet=True)
    assert_same_outcome(folder, whole.folder)
    assert [row["epoch"] for row in metrics(folder) if row["kind"] == "curve"] == list(range(EPOCHS + 1))


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_between_two_steps_and_loses_nothing(sent: signal.Signals, tmp_path: Path) -> None:
    recipe = digits_recipe("vae", "training.epochs=40", "training.checkpoint_every=0.1", "evaluation.live=0")
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    process = start(tmp_path / "recipe.yaml", tmp_path / "run")
    while checkpoints(process, tmp_path / "run") == 0:
        time.sleep(0.002)
    process.send_signal(sent)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert errors.splitlines()[-1].startswith("diabolo: stopped at step")
    assert "--resume" in errors.splitlines()[-1]
    newest = max((tmp_path / "run" / "checkpoints").glob("*.safetensors"))
    assert int(newest.stem) == int(errors.split("stopped at step ")[1].split()[0])
    fit(out=tmp_path / "run", resume=True, evaluate=False, quiet=True)
    whole = fit(recipe=recipe.to_dict(), out=tmp_path / "whole", evaluate=False, quiet=True)
    assert_same_outcome(tmp_path / "run", whole.folder)


def test_in_place_of_a_damaged_checkpoint_the_one_before_is_taken(
    killed: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = next(iter(killed.values()))
    folder = tmp_path / "run"
    shutil.copytree(source, folder)
    for left in ("model.safetensors", "scores.json"):
        (folder / left).unlink(missing_ok=True)
    _, newest = sorted((folder / "checkpoints").glob("*.safetensors"))
    whole = fit(recipe=Run.open(folder).recipe.to_dict(), out=tmp_path / "whole", evaluate=False, quiet=True)
    newest.write_bytes(newest.read_bytes()[:100])
    fit(out=folder, resume=True, evaluate=False)
    assert "going on from the checkpoint before it" in capsys.readouterr().err
    assert_same_outcome(folder, whole.folder)
    for path in (folder / "checkpoints").glob("*.safetensors"):
        path.write_bytes(b"damaged")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="is not a readable model file"):
        fit(out=folder, resume=True, evaluate=False, quiet=True)


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    recipe = digits_recipe("ae", "training.epochs=1").to_dict()
    run = fit(recipe=recipe, out=tmp_path / "run", evaluate=False, quiet=True)
    before = (run.folder / "model.safetensors").stat().st_mtime_ns
    fit(recipe=recipe, out=tmp_path / "run", resume=True, evaluate=False, quiet=True)
    assert (run.folder / "model.safetensors").stat().st_mtime_ns == before


def test_what_is_no_run_is_not_resumed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nosuch: there is no such folder"):
        fit(out=tmp_path / "nosuch", resume=True, quiet=True)


def test_a_run_s_encoder_can_be_trained_on_whatever_it_was_used_for_before(tmp_path: Path) -> None:
    run = fit(
        recipe=digits_recipe("vae", "training.epochs=1").to_dict(), out=tmp_path, evaluate=False, quiet=True
    )
    x = torch.rand(3, 1, 8, 8)
    z = Run.open(tmp_path).embed(x)
    assert run.embed(x).shape == z.shape
    run.method.encoder(x).sum().backward()
    assert all(parameter.grad is not None for parameter in run.method.encoder.parameters())


def test_a_run_embeds_in_evaluation_mode_and_leaves_each_part_in_its_own(tmp_path: Path) -> None:
    recipe = digits_recipe("simclr", "training.epochs=1", "encoder={name: conv, batch_norm: true}").to_dict()
    run = fit(recipe=recipe, out=tmp_path, evaluate=False, quiet=True)
    x = torch.rand(20, 1, 8, 8)
    z = run.embed(x)
    first = next(iter(run.method.train().encoder.children())).eval()
    np.testing.assert_array_equal(run.embed(x), z)
    assert run.method.training
    assert run.method.encoder.training
    assert not first.training


def test_a_run_is_resumed_on_the_data_it_was_started_with_and_no_other(tmp_path: Path) -> None:
    recipe = digits_recipe("ae", "training.epochs=1").to_dict() | {"data": {"name": "custom"}}
    x = np.random.default_rng(0).integers(0, 256, (200, 8, 8), dtype=np.uint8)
    run = fit(x, recipe=recipe, out=tmp_path / "run", evaluate=False, quiet=True)
    with pytest.raises(UserError, match="was started with other data under the same name"):
        fit(255 - x, recipe=recipe, out=tmp_path / "run", resume=True, evaluate=False, quiet=True)
    with pytest.raises(UserError, match="trained on arrays: pass them again"):
        fit(out=tmp_path / "run", resume=True, evaluate=False, quiet=True)
    values = json.loads((run.folder / "data.json").read_text())
    values["mean"] = [math.nextafter(values["mean"][0], 1)]  # as another machine may sum it
    (run.folder / "data.json").write_text(json.dumps(values))
    again = fit(x, recipe=recipe, out=tmp_path / "run", resume=True, evaluate=False, quiet=True)
    assert list(again.facts.mean) == values["mean"]
