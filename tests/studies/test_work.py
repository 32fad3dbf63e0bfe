"""Working on a study: what a stop leaves, and says."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import diabolo
from diabolo.errors import Interrupted
from diabolo.runs.run import Run

SMALL = {"encoder": {"name": "mlp", "widths": [16]}, "training.batch_size": 256}


def test_after_ctrl_c_in_a_comparison_the_same_command_goes_on(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("diabolo.runs.train.agreed", lambda interrupted, event: event.step == 2)
    with pytest.raises(Interrupted, match=r"^stopped in ae-0; the same command again goes on from there$"):
        diabolo.compare("digits", ["ae"], seeds=1, epochs=1, settings=SMALL, out=tmp_path / "c", quiet=True)
    assert list(tmp_path.glob("c/runs/ae-0/checkpoints/*2.safetensors"))


def heeding_ctrl_c() -> None:
    """What runs in the background is started deaf to it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_reaches_every_worker_once(tmp_path: Path) -> None:
    study = "compare digits --methods ae --seeds 2 --epochs 100000 --set training.checkpoint_every=1"
    command = [sys.executable, "-m", "diabolo", *study.split(), "--out", "c", "--workers", "2"]
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=tmp_path, stdout=output, stderr=output, preexec_fn=heeding_ctrl_c
        )
    while len({path.parent for path in tmp_path.glob("c/runs/*/checkpoints/*.safetensors")}) < 2:
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)  # to the first process alone
    assert process.wait(timeout=120) == 130
    text = log.read_text()
    assert text.splitlines()[-1] == "diabolo: stopped; the same command again goes on from there"
    assert "Traceback" not in text
    for folder in tmp_path.glob("c/runs/ae-*"):  # none of them trains on
        with Run.open(folder).lock():
            pass
