"""What a run is does not depend on how many processes work on it, nor on whether that changes on the way."""

import json
import math
import os
import signal
import socket
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from diabolo.distributed import alone, gather, world_size
from diabolo.errors import Interrupted, UserError
from diabolo.files import read_tensors, write_json, write_tensors
from diabolo.runs.run import Run
from diabolo.training import precision_trial
from diabolo.training.loop import Feed
from diabolo.verbs import fit as verb
from tests.runs import digits, digits_recipe

NAMES = ("vae", "simclr", "moco")  # noise; one loss of the whole batch; a queue and groups of batch norm
SIZE, BATCH, EPOCHS = 330, 32, 4
STOP = 12  # a step within an epoch, and a row of the log
SHORT = (f"data.limit={SIZE}", f"training.epochs={EPOCHS}", "training.log_every=4", "evaluation.live=0")
TOLERANCE = 1e-5  # of what the training changes: sums in another order round otherwise


def train(name: str, out: Path, evaluate: bool = False, **options: Any) -> Run:
    recipe = digits_recipe(name, *SHORT).to_dict()
    return verb.fit(recipe=recipe, out=out, accelerator="cpu", evaluate=evaluate, quiet=True, **options)


def start(name: str, out: Path) -> None:
    """Train until Ctrl-C at a row of the log: one process stops a step later, several at the next row."""

    def interrupt(row: Mapping[str, Any]) -> None:
        if row["step"] == STOP:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        train(name, out, watch=interrupt)


def by_one(_: int, folder: Path) -> None:
    torch.set_num_threads(1)
    for name in NAMES:
        start(name, folder / f"{name}-by-two")


def by_two(rank: int, folder: Path, port: int) -> None:
    """In two processes as torchrun starts them."""
    torch.set_num_threads(1)
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
    os.environ |= {key: str(value) for key, value in numbers.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "a test"}
    for name in NAMES:
        train(name, folder / f"{name}-by-two", resume=True)
        start(name, folder / f"{name}-by-one")
    train("vae", folder / "vae-compiled", settings={"training.compile": True})
    train("vae", folder / "vae-kept", settings={"training.checkpoint_every": 0})
    if rank == 0:
        write_tensors(folder / "seen.safetensors", seen())
    else:
        seen()
    with alone():
        with alone():  # as the supervised reference is trained while a run is scored
            pass
        assert world_size() == 1
    assert world_size() == 2
    with pytest.raises(UserError, match="33 cannot be shared by 2 devices"):
        train("vae", folder / "odd", settings={"training.batch_size": 33})
    with pytest.raises(UserError, match="for one process"):
        train("vae", folder / "odd", settings={"training.compile": "graphs"})
    precision_trial.SHARE = (math.inf, 0.0)[rank]  # the first would take bf16, the second float32
    chosen = {"training.precision": "auto", "training.epochs": 1}
    run = train("vae", folder / "chosen", settings=chosen)
    write_json(folder / f"chosen-{rank}.json", run.recipe.training.precision)
    with run.lock() if rank == 0 else nullcontext(), pytest.raises(UserError, match="in use"):
        train("vae", folder / "chosen", settings=chosen, resume=True)
    verb.score_run = lambda *_: write_json(folder / "scored-by.json", world_size())
    train("vae", folder / "chosen", settings=chosen, resume=True, evaluate=True)
    dist.destroy_process_group()


def seen() -> dict[str, torch.Tensor]:
    """The examples of two epochs, as the processes see them."""
    recipe = digits_recipe("vae", *SHORT)
    feed = Feed(digits(recipe)[0].train, [], BATCH, recipe.seed, torch.device("cpu"))
    steps = range(feed.batches.steps_per_epoch)
    share = BATCH // world_size()
    indices = {str(epoch): [feed(epoch, step, 0.0).index for step in steps] for epoch in range(2)}
    assert all(len(index) == share for epoch in indices.values() for index in epoch)
    return {epoch: torch.cat([gather(index) for index in found]) for epoch, found in indices.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("across")
    mp.spawn(by_one, (folder,), nprocs=1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(by_two, (folder, port), nprocs=2)
    for name in NAMES:
        train(name, folder / f"{name}-whole")
    return folder


def flat(tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Weights and buffers as one vector."""
    return torch.cat([tensors[key].double().flatten() for key in sorted(tensors)])


@pytest.mark.parametrize("resumed_by", ["one", "two"])
@pytest.mark.parametrize("name", NAMES)
def test_resuming_with_another_number_of_processes_ends_the_same(
    name: str, resumed_by: str, folder: Path
) -> None:
    if resumed_by == "one":
        assert not Run.open(folder / f"{name}-by-one").trained, "it was stopped before its end"
        train(name, folder / f"{name}-by-one", resume=True)
    resumed, whole = (Run.open(folder / f"{name}-{which}") for which in (f"by-{resumed_by}", "whole"))
    left, right = (flat(read_tensors(run.folder / "model.safetensors")[0]) for run in (resumed, whole))
    change = right - flat(whole.build().state_dict())
    assert (left - right).norm() < TOLERANCE * change.norm()
    for one, other in zip(resumed.metrics, whole.metrics, strict=True):
        assert one.pop("kind") == other.pop("kind") == "train"
        assert one == pytest.approx(other, rel=TOLERANCE)


def test_two_processes_keep_only_checkpoints_whose_losses_are_logged(folder: Path) -> None:
    """The first one, which writes them, has not seen the other's."""
    kept = sorted((folder / "vae-kept" / "checkpoints").glob("*.safetensors"))
    rows = [row["step"] for row in Run.open(folder / "vae-kept").metrics]
    assert [int(path.stem) for path in kept] == rows[-2:]
    assert all(json.loads(read_tensors(path)[1]["position"])["unlogged"] == [] for path in kept)


def test_two_processes_that_compile_train_the_same(folder: Path) -> None:
    compiled, whole = (
        flat(Run.open(folder / name).method.state_dict()) for name in ("vae-compiled", "vae-whole")
    )
    change = whole - flat(Run.open(folder / "vae-whole").build().state_dict())
    assert (compiled - whole).norm() < TOLERANCE * change.norm()


def test_two_processes_see_every_example_once_and_in_the_same_order(folder: Path) -> None:
    two, _ = read_tensors(folder / "seen.safetensors")
    one = seen()
    for epoch, index in two.items():
        assert torch.equal(index, one[epoch])
        assert len(index.unique()) == len(index) == SIZE // BATCH * BATCH
    assert not torch.equal(two["0"], two["1"])


def test_all_processes_train_in_the_precision_that_the_first_chose(folder: Path) -> None:
    assert [(folder / f"chosen-{rank}.json").read_text().strip() for rank in range(2)] == ['"bf16"'] * 2
    assert Run.open(folder / "chosen").trained


def test_the_process_that_scores_is_alone(folder: Path) -> None:
    """The others are done: whoever waited for them, as batch norm in groups does, would wait for ever."""
    assert (folder / "scored-by.json").read_text().strip() == "1"
