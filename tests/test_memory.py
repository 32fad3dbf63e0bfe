"""How much memory is free, by what a container says, and what is said of too little."""

from pathlib import Path
from weakref import ref

import pytest
import torch

from diabolo import memory
from diabolo.cli import main
from diabolo.errors import SettingsError
from diabolo.methods.autoencoder import Autoencoder

FULL = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB."


@pytest.mark.parametrize(("limit", "free"), [("1000", 1000 - (700 - 200)), ("400", 0), ("max", None)])
def test_of_a_container_s_limit_what_is_taken_is_not_free(
    limit: str, free: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {"max": limit, "current": "700", "stat": "anon 500\ninactive_file 200\nactive_file 50"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text + "\n")
    monkeypatch.setattr(memory, "CGROUPS", (tuple(str(tmp_path / name) for name in texts),))
    everything = memory.free_memory()
    if free is None:
        assert everything > 1000  # what the machine has
    else:
        assert everything == free


def test_too_little_memory_is_one_line_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError(FULL)

    monkeypatch.setattr(Autoencoder, "forward", full)
    assert main(["fit", "digits", "--method", "ae", "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("diabolo: CUDA out of memory: lower training.batch_size; training.accumulate")
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_what_did_not_fit_is_let_go_while_that_is_still_being_said() -> None:
    held = []

    @memory.enough(memory.TO_TRAIN)
    def step() -> None:
        activations = torch.zeros(3)
        held.append(ref(activations))
        raise torch.OutOfMemoryError(FULL)

    with pytest.raises(SettingsError, match="CUDA out of memory: lower") as caught:
        step()
    assert caught.value is not None
    assert held[0]() is None
