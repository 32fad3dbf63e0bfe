"""Two processes with half the batch each take the same steps as one process with the whole batch."""

import math
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from diabolo.distributed import gather, local, mean_over_processes, normal_like, world_size
from diabolo.errors import SettingsError
from diabolo.files import read_tensors, write_tensors
from diabolo.methods.base import Method
from diabolo.methods.build import build_method, build_pipelines
from diabolo.networks import norm
from diabolo.training.loop import Feed, prepare_epoch
from diabolo.training.meter import Meter
from tests.runs import IN_PARALLEL, digits, digits_recipe

STEPS = 3


def take_steps(name: str) -> dict[str, Tensor]:
    """Clipped gradient descent in float64: the first step's loss and gradient, and the state after all."""
    recipe = digits_recipe(name)
    splits, facts = digits(recipe)
    method: Method = build_method(recipe, facts).double().train()
    if method.needs.synchronise and world_size() > 1:
        norm.synchronise(method)
    feed = Feed(splits.train, build_pipelines(recipe), 32, recipe.seed, torch.device("cpu"))
    if method.needs.features:
        prepare_epoch(method, feed, 0)
    result = {}
    for step in range(STEPS):
        batch = feed(0, step, 0.0)
        batch = replace(batch, views=[v.double() for v in batch.views], clean=batch.clean.double())
        method.zero_grad()
        loss = method(batch).total
        loss.backward()
        for parameter in method.parameters():
            if parameter.grad is not None:
                parameter.grad = mean_over_processes(parameter.grad)  # as data parallelism does
        if step == 0:
            result["loss"] = mean_over_processes(loss)
            gradients = {f"gradient {k}": p.grad for k, p in method.named_parameters() if p.grad is not None}
            result |= {k: g.clone() for k, g in gradients.items()}
        with torch.no_grad():
            torch.nn.utils.clip_grad_norm_(method.parameters(), 1.0)
            for parameter in method.parameters():
                if parameter.grad is not None:
                    parameter -= 0.1 * parameter.grad
        method.after_step(0.0)
    return result | method.state_dict()


def work(rank: int, folder: Path, names: Iterable[str]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2, timeout=timedelta(seconds=120)
    )
    for name in names:
        result = take_steps(name)
        if rank == 0:
            write_tensors(folder / f"{name}.safetensors", result)
    if rank == 0:
        write_tensors(folder / "shared.safetensors", shared())
    else:
        shared()
    meter = Meter(["loss"], [[1.0], [math.nan if rank == 1 else 2.0], [3.0]])
    try:
        meter.flush(7)
    except SettingsError as error:
        (folder / f"refused-{rank}.txt").write_text(str(error))
    dist.destroy_process_group()


def shared() -> dict[str, Tensor]:
    """The primitives: gather with gradient, and noise."""
    x = local(torch.arange(6.0, dtype=torch.float64)).requires_grad_()
    whole = gather(x)
    (whole * torch.arange(1.0, 7.0)).sum().backward()
    torch.manual_seed(0)
    noise = gather(normal_like(torch.zeros(6 // world_size(), 2)))
    assert x.grad is not None
    return {"gathered": whole.detach(), "gradient": gather(x.grad) / world_size(), "noise": noise}


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    mp.spawn(work, (folder, IN_PARALLEL), nprocs=2)
    return folder


@pytest.mark.parametrize("name", IN_PARALLEL)
def test_two_processes_equal_one(name: str, two_processes: Path) -> None:
    two, _ = read_tensors(two_processes / f"{name}.safetensors")
    one = take_steps(name)
    assert two.keys() == one.keys()
    for key, value in one.items():
        torch.testing.assert_close(
            two[key], value, rtol=1e-7, atol=1e-10, msg=lambda m, key=key: f"{key}: {m}"
        )


def test_gathering_and_noise_do_not_depend_on_the_number_of_processes(two_processes: Path) -> None:
    two, _ = read_tensors(two_processes / "shared.safetensors")
    for key, value in shared().items():
        torch.testing.assert_close(two[key], value)


def test_a_loss_that_is_not_finite_in_one_process_stops_all_of_them(two_processes: Path) -> None:
    told = [(two_processes / f"refused-{rank}.txt").read_text() for rank in range(2)]
    assert told[0] == told[1]
    assert told[0].startswith("training stopped at step 6: loss is nan")
