"""The live curve: what is logged of the representation while it is trained."""

from pathlib import Path

import pytest

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
