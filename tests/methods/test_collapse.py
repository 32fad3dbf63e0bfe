"""What keeps each method from collapsing does, and the verdict sees when it is taken away."""

from pathlib import Path
from typing import Any

import pytest

from diabolo.verbs.evaluate import evaluate
from diabolo.verbs.fit import fit

ENCODER = {"name": "conv", "filters": [8, 16], "hidden": 32, "batch_norm": True}
SETTINGS: dict[str, dict[str, Any]] = {
    "vicreg": {"method.width": 64},
    "byol": {"method.hidden": 128, "method.width": 64, "method.momentum": 0.9},
    "simsiam": {"method.width": 64, "method.hidden": 16, "optimiser": {"name": "adam", "lr": 1e-2}},
    "lejepa": {"method.hidden": 64, "method.width": 64, "method.directions": 64},
    "barlow-twins": {"method.width": 64},
    "simclr": {},
    "moco": {"method.queue": 256},
    "supervised": {},
    "vae": {},
    "aavae": {},
}
BROKEN = {
    "vicreg": {"method.variance": 0},
    "byol": {"method.predictor": False},
    "simsiam": {"method.stop_gradient": False},
    "lejepa": {"method.weight": 0},
}
BEHIND = "collapsed behind h: "


def scores_of(method: str, folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Geometry and verdict after 20 epochs on the digits."""
    run = fit(
        "digits",
        method,
        recipe={"encoder": ENCODER, "evaluation": {"live": 0, "probes": [], "references": False}},
        epochs=20,
        settings={"training.batch_size": 64} | SETTINGS[method] | settings,
        out=folder / "run",
        evaluate=False,
        accelerator="cpu",
        quiet=True,
    )
    return evaluate(run, probes=[], quiet=True)


@pytest.mark.parametrize("method", SETTINGS)
def test_an_intact_method_is_not_called_collapsed(method: str, tmp_path: Path) -> None:
    scores = scores_of(method, tmp_path, {})
    assert not [line for line in scores["verdict"] if "collapse" in line]
    if method in BROKEN:
        assert scores["encoder"]["embedding"]["centred_rank"] > 5
        assert scores["encoder"]["embedding"]["spread"] > 0.4


@pytest.mark.parametrize("method", BROKEN)
def test_a_broken_method_collapses_and_is_called_so(method: str, tmp_path: Path) -> None:
    scores = scores_of(method, tmp_path, BROKEN[method])
    assert scores["encoder"]["embedding"]["spread"] < 0.05
    assert [line for line in scores["verdict"] if line.startswith(BEHIND)]
    if method != "simsiam":  # whose encoder collapses with it; the others' hide it
        assert scores["encoder"]["centred_rank"] > 8
        assert scores["verdict"][0].startswith(BEHIND)


@pytest.mark.parametrize(("beta", "collapses"), [(500.0, True), (1.0, False)])
def test_a_code_that_ignores_the_image_is_called_collapsed_in_h_too(
    beta: float, collapses: bool, tmp_path: Path
) -> None:
    run = fit(
        "digits",
        "vae",
        recipe={
            "encoder": ENCODER,
            "evaluation": {"live": 0, "space": "h", "probes": [], "references": False},
        },
        epochs=10,
        settings={"training.batch_size": 64, "method.beta": beta, "optimiser.lr": 3e-3},
        out=tmp_path / "run",
        accelerator="cpu",
        quiet=True,
    )
    scores = run.scores
    assert scores["encoder"]["space"] == "h"
    assert (scores["encoder"]["embedding"]["active_units"] == 0) == collapses
    assert any(line.startswith(BEHIND + "none of 32 units") for line in scores["verdict"]) == collapses
