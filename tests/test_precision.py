"""Denormal numbers are flushed while a training runs, and only then."""

from pathlib import Path

import torch

from diabolo import fit
from diabolo.precision import flushed_denormals

TINY = 1e-40  # denormal in float32


def kept() -> bool:
    return bool((torch.tensor([TINY]) * 0.5 != 0).all())


def test_denormals_are_flushed_inside_and_back_outside() -> None:
    assert kept()
    with flushed_denormals():
        assert not kept()
    assert kept()


def test_a_training_leaves_the_processor_as_it_was(tmp_path: Path) -> None:
    fit("digits", "ae", epochs=1, out=tmp_path / "run", evaluate=False, quiet=True)
    assert kept()
