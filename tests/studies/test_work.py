"""Working on a study: what a stop leaves, and says."""

from pathlib import Path

import pytest

import diabolo
from diabolo.errors import Interrupted

SMALL = {"encoder": {"name": "mlp", "widths": [16]}, "training.batch_size": 256}


def test_after_ctrl_c_in_a_comparison_the_same_command_goes_on(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("diabolo.verbs.sitting.agreed", lambda interrupted, event: event.step == 2)
    with pytest.raises(Interrupted, match=r"^stopped in ae-0; the same command again goes on from there$"):
        diabolo.compare("digits", ["ae"], seeds=1, epochs=1, settings=SMALL, out=tmp_path / "c", quiet=True)
    assert list(tmp_path.glob("c/runs/ae-0/checkpoints/*2.safetensors"))
