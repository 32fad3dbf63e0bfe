"""Denormals are flushed while a training runs, and only then; a precision is chosen by a trial, once."""

import json
import math
from pathlib import Path

import pytest
import torch

from diabolo import fit
from diabolo.files import read_tensors
from diabolo.precision import flushed_denormals
from diabolo.runs.run import Run
from diabolo.training import precision_trial
from diabolo.training.precision_trial import faster
from tests.runs import digits_recipe

TINY = 1e-40  # denormal in float32


def kept() -> bool:
    return bool((torch.tensor([TINY]) * 0.5 != 0).all())


def test_denormals_are_flushed_inside_and_back_outside() -> None:
    assert kept()
    with flushed_denormals():
        assert not kept()
    assert kept()


def test_what_encloses_them_goes_on_as_it_was() -> None:
    with flushed_denormals():
        with flushed_denormals():
            assert not kept()
        assert not kept()
    assert kept()
    torch.set_flush_denormal(True)  # by the user
    with flushed_denormals():
        pass
    flushed = not kept()
    torch.set_flush_denormal(False)
    assert flushed


def test_a_training_leaves_the_processor_as_it_was(tmp_path: Path) -> None:
    fit("digits", "ae", epochs=1, out=tmp_path / "run", evaluate=False, quiet=True)
    assert kept()


def prefer(precision: str, patch: pytest.MonkeyPatch) -> None:
    """Let a trial end in favour of a precision, whatever it measures."""
    patch.setattr(precision_trial, "SHARE", math.inf if precision == "bf16" else 0.0)


@pytest.mark.parametrize(("precision", "method"), [("float32", "moco"), ("bf16", "moco"), ("bf16", "vae")])
def test_a_run_whose_precision_was_chosen_equals_one_that_named_it(
    precision: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefer(precision, monkeypatch)
    recipe = digits_recipe(method, "training.epochs=1")
    runs = [
        fit(
            recipe=recipe.to_dict(),
            settings={"training.precision": setting},
            out=tmp_path / setting,
            evaluate=False,
            quiet=True,
        )
        for setting in ("auto", precision)
    ]
    assert Run.open(tmp_path / "auto").recipe == Run.open(tmp_path / precision).recipe
    assert runs[0].metrics == runs[1].metrics
    chosen, named = (read_tensors(run.folder / "model.safetensors")[0] for run in runs)
    assert all(torch.equal(chosen[key], named[key]) for key in named)
    times, nothing = (json.loads((run.folder / "environment.json").read_text()) for run in runs)
    assert {name: seconds > 0 for name, seconds in times["step_times"].items()} == {
        "float32": True,
        "bf16": True,
    }
    assert "step_times" not in nothing


def test_resuming_does_not_choose_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = digits_recipe("ae", "training.epochs=1", "training.precision=auto").to_dict()
    prefer("bf16", monkeypatch)
    fit(recipe=recipe, out=tmp_path / "run", evaluate=False, quiet=True)
    prefer("float32", monkeypatch)
    again = fit(recipe=recipe, out=tmp_path / "run", resume=True, evaluate=False, quiet=True)
    assert again.recipe.training.precision == "bf16"


def test_bf16_must_gain_something_to_be_chosen() -> None:
    assert faster({"float32": 1.0, "bf16": 0.5}) == "bf16"
    assert faster({"float32": 1.0, "bf16": 0.97}) == "float32"
    assert faster({"float32": 1.0, "bf16": 3.0}) == "float32"
    assert faster({}) == "float32"


def test_a_device_without_bf16_and_an_untrained_run_stay_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    assert not precision_trial.has_bf16(torch.device("cuda"))
    assert not precision_trial.has_bf16(torch.device("mps"))
    prefer("bf16", monkeypatch)
    recipe = digits_recipe("random", "training.epochs=0", "training.precision=auto").to_dict()
    run = fit(recipe=recipe, out=tmp_path / "run", evaluate=False, quiet=True)
    assert run.recipe.training.precision == "float32"
