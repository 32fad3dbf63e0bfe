"""Batch norm over processes and over groups, against plain batch norm and literal loops, in float64."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from diabolo.distributed import local
from diabolo.errors import UserError
from diabolo.networks import norm

CONVERSIONS = {"synchronise": norm.synchronise, "group": lambda module: norm.group(module, 4)}


def network(seed: int = 0) -> nn.Sequential:
    """Both kinds of batch norm, with parameters and buffers away from their first values."""
    torch.manual_seed(seed)
    module = nn.Sequential(
        nn.Conv2d(2, 3, 3),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12, 5),
        nn.BatchNorm1d(5, momentum=0.3),
        nn.Linear(5, 2),
        nn.BatchNorm1d(2, affine=False, momentum=None),
    ).double()
    for layer in module:
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
            if layer.affine:
                nn.init.normal_(layer.weight)
                nn.init.normal_(layer.bias)
    return module


def images(n: int) -> Tensor:
    return torch.randn(n, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(n)) * 3 + 5


def weights(n: int) -> Tensor:
    """What the outputs are weighed with in the loss: a batch norm's outputs themselves have a fixed sum."""
    return torch.linspace(-1, 1, n * 2, dtype=torch.float64).view(n, 2)


def two_steps(module: nn.Module, x: Tensor, w: Tensor) -> dict[str, Tensor]:
    """Everything training sees: outputs, gradients of a summed loss, and running statistics."""
    x.requires_grad_()
    module(x * 0.5).square().sum().backward()
    out = module(x)
    (w * out).sum().backward()
    seen = {"out": out.detach(), "x": x.grad}
    seen |= {f"grad {name}": p.grad for name, p in module.named_parameters()}
    return seen | {f"buffer {name}": b for name, b in module.named_buffers()}


def one_of_two(rank: int, store: str, results: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    for name, convert in CONVERSIONS.items():
        seen = two_steps(convert(network()), local(images(16)), local(weights(16)))
        for key, value in seen.items():
            if key.startswith("grad"):
                dist.all_reduce(value)  # the loss is a sum over processes
        torch.save(seen, f"{results}/{name}-{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes of half a batch each see."""
    folder = tmp_path_factory.mktemp("processes")
    mp.spawn(one_of_two, (str(folder / "store"), str(folder)), nprocs=2)
    return folder


@pytest.mark.parametrize("name", CONVERSIONS)
def test_two_processes_equal_one(name: str, results: Path) -> None:
    one = two_steps(CONVERSIONS[name](network()), images(16), weights(16))
    first, second = (torch.load(results / f"{name}-{rank}.pt", weights_only=True) for rank in (0, 1))
    for key, value in one.items():
        if key in ("out", "x"):
            torch.testing.assert_close(torch.cat([first[key], second[key]]), value, rtol=1e-9, atol=1e-10)
        else:
            torch.testing.assert_close(first[key], value, rtol=1e-9, atol=1e-10)
            assert torch.equal(first[key], second[key])


def test_synchronised_equals_plain_on_one_process() -> None:
    plain = two_steps(network(), images(8), weights(8))
    for key, value in two_steps(norm.synchronise(network()), images(8), weights(8)).items():
        assert torch.equal(value, plain[key])


@given(groups=st.integers(1, 4), size=st.integers(2, 5), spatial=st.booleans(), affine=st.booleans())
@settings(max_examples=30, deadline=None)
def test_groups_equal_a_loop(groups: int, size: int, spatial: bool, affine: bool) -> None:
    plain = (nn.BatchNorm2d if spatial else nn.BatchNorm1d)(3, affine=affine, momentum=0.2).double()
    if affine:
        nn.init.normal_(plain.weight)
        nn.init.normal_(plain.bias)
    shape = (groups * size, 3, 2, 2) if spatial else (groups * size, 3)
    x, z = torch.randn(2, *shape, dtype=torch.float64).unbind()
    x, y = x.clone().requires_grad_(), x.clone().requires_grad_()

    outs, means, variances = [], [], []
    for g in range(groups):
        part = y[g * size : (g + 1) * size]
        flat = part.transpose(0, 1).flatten(1)  # [C, everything else]
        centred = flat - flat.mean(1)[:, None]
        scaled = centred / (centred.square().mean(1)[:, None] + plain.eps).sqrt()
        if affine:
            scaled = scaled * plain.weight.detach()[:, None] + plain.bias.detach()[:, None]
        outs.append(scaled.view(3, size, *shape[2:]).transpose(0, 1))
        means.append(flat.mean(1).detach())
        variances.append(flat.var(1, correction=1).detach())
    expected = torch.cat(outs)

    grouped = norm.group(deepcopy(plain), size)
    out = grouped(x)
    torch.testing.assert_close(out, expected)
    (out * z).sum().backward()
    (expected * z).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)
    torch.testing.assert_close(grouped.running_mean, 0.2 * torch.stack(means).mean(0))
    torch.testing.assert_close(grouped.running_var, 0.8 + 0.2 * torch.stack(variances).mean(0))


@pytest.mark.parametrize("convert", CONVERSIONS.values(), ids=CONVERSIONS)
def test_conversion_keeps_tensors_and_evaluation(convert) -> None:
    plain, module = network(), network()
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    converted = convert(module)
    assert list(converted.state_dict()) == list(plain.state_dict())
    kept = dict(converted.named_parameters()) | dict(converted.named_buffers())
    assert all(kept[key] is tensor for key, tensor in tensors.items())
    assert torch.equal(converted.eval()(images(6)), plain.eval()(images(6)))
    assert not any(type(m) in (nn.BatchNorm1d, nn.BatchNorm2d) for m in converted.modules())
    assert all(isinstance(converted[i], type(plain[i])) for i in range(len(plain)))


def test_groups_stay_groups_when_the_rest_is_synchronised() -> None:
    module = norm.synchronise(norm.group(network(), 4))
    expected = norm.group(network(), 4)
    assert torch.equal(module(images(8)), expected(images(8)))


def test_a_batch_that_groups_do_not_divide_is_refused() -> None:
    module = norm.group(network(), 4)
    with pytest.raises(UserError, match=r"groups of 4 .* got 10"):
        module(images(10))


def test_reduced_precision_tracks_in_full() -> None:
    x = images(8).flatten(2).mean(2).bfloat16()
    module = norm.group(nn.BatchNorm1d(2), 4)
    assert module(x).dtype == torch.bfloat16
    groups = x.float().view(2, 4, 2)
    torch.testing.assert_close(module.running_mean, 0.1 * groups.mean((0, 1)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "convert", [lambda module: module, *CONVERSIONS.values()], ids=["plain", *CONVERSIONS]
)
def test_estimated_statistics_are_the_average_over_batches(convert) -> None:
    module = convert(nn.Sequential(nn.Dropout(0.9), nn.BatchNorm2d(2, momentum=0.7)).double())
    batches = [images(8), images(4), images(12)]
    norm.estimate(module, module, iter(batches))
    average = torch.stack([batch.mean((0, 2, 3)) for batch in batches]).mean(0)
    torch.testing.assert_close(module[1].running_mean, average)  # and no dropout meanwhile
    assert module[1].momentum == 0.7
    assert not any(m.training for m in module.modules())
    again = module[1].running_var.clone()
    norm.estimate(module, module, batches)
    assert torch.equal(module[1].running_var, again)


def test_what_a_pass_does_not_reach_keeps_its_statistics() -> None:
    reached, other = nn.BatchNorm2d(2).double(), nn.BatchNorm2d(2).double()
    other(images(8))
    before = {name: buffer.clone() for name, buffer in other.named_buffers()}
    norm.estimate(nn.ModuleList([reached, other]), reached, [images(8)])
    torch.testing.assert_close(reached.running_mean, images(8).mean((0, 2, 3)))
    assert all(torch.equal(buffer, before[name]) for name, buffer in other.named_buffers())


def test_statistics_settle_with_ten_spans_of_their_average() -> None:
    module = nn.Sequential(nn.BatchNorm2d(2, momentum=0.5), nn.BatchNorm2d(2, momentum=None)).double()
    for _ in range(19):
        module(images(4))
    assert not norm.settled(module)
    module(images(4))
    assert norm.settled(module)
    assert norm.settled(nn.Linear(2, 2))
