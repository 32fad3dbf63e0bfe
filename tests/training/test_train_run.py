"""What is logged, checked and left behind while a representation is trained."""

from pathlib import Path

import pytest

from diabolo.errors import UserError
from diabolo.evaluation.suite import quick
from diabolo.verbs.fit import fit
from tests.runs import digits, digits_recipe


def test_the_live_curve_begins_with_the_encoder_before_training(tmp_path: Path) -> None:
    recipe = digits_recipe("simclr", "training.epochs=1").to_dict()
    run = fit(recipe=recipe, out=tmp_path / "run", evaluate=False, quiet=True)
    untrained = fit(recipe=recipe, epochs=0, out=tmp_path / "untrained", evaluate=False, quiet=True)
    splits = digits(run.recipe)[0]
    before, after = (row for row in run.metrics if row["kind"] == "curve")
    assert (before["step"], before["epoch"]) == (0, 0)
    for row, one in ((before, untrained), (after, run)):
        found = quick(one.method.represent, splits)
        assert row["knn"] == found["knn"]
        assert row["effective_rank"] == pytest.approx(found["effective_rank"])
    assert before["effective_rank"] != pytest.approx(after["effective_rank"])
    further = fit(recipe=recipe, init=run.folder, out=tmp_path / "further", evaluate=False, quiet=True)
    assert further.metrics[0]["knn"] == after["knn"]
    none = fit(
        recipe=recipe, settings=["evaluation.live=0"], out=tmp_path / "none", evaluate=False, quiet=True
    )
    assert {row["kind"] for row in none.metrics} == {"train"}


def test_a_training_that_diverges_in_its_last_step_is_not_taken_for_trained(tmp_path: Path) -> None:
    recipe = digits_recipe(
        "ae", "training.batch_size=1024", "training.epochs=1", "evaluation.live=0"
    ).to_dict()
    recipe["optimiser"] = {"name": "sgd", "lr": 1e38}
    with pytest.raises(UserError, match="after step 1, the last, the weights are not finite"):
        fit(recipe=recipe, out=tmp_path / "run", evaluate=False, quiet=True)
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_what_a_kill_left_half_written_is_removed_with_the_next_checkpoint(tmp_path: Path) -> None:
    recipe = digits_recipe("ae", "training.checkpoint_every=0").to_dict()
    half = tmp_path / "run" / "checkpoints" / ".000000009.safetensors.123.tmp"

    def leave(row: dict) -> None:
        half.parent.mkdir(exist_ok=True)
        if not list(half.parent.glob("*.safetensors")):
            half.touch()

    fit(recipe=recipe, out=tmp_path / "run", evaluate=False, quiet=True, watch=leave)
    assert list(half.parent.glob("*.safetensors"))
    assert not half.exists()
