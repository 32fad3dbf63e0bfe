"""What MoCo does beyond its loss: keys in their order, a slow network that makes them, and a queue."""

import torch
import torch.nn.functional as F
from torch import nn

from diabolo.methods.build import build_method
from diabolo.methods.moco import MoCo
from diabolo.views.pipeline import Batch
from tests.runs import digits, digits_recipe

B, QUEUE, WIDTH = 16, 24, 6


def method_and_views(*settings: str) -> tuple[MoCo, torch.Tensor]:
    sizes = (f"method.queue={QUEUE}", f"method.width={WIDTH}", "method.momentum=0.9", "method.group=8")
    recipe = digits_recipe("moco", *sizes, *settings)
    method = build_method(recipe, digits(recipe)[1]).double().train()
    assert isinstance(method, MoCo)
    for parameter in method.key.parameters():  # as after some training
        parameter.data += 0.1 * torch.randn_like(parameter)
    return method, torch.rand(B, 2, 1, 8, 8, dtype=torch.float64)


def batch(views: torch.Tensor) -> Batch:
    return Batch([views], [], views[:, 0], torch.arange(len(views)), None, torch.tensor(0.0))


def test_each_query_is_told_from_the_queue_by_its_own_key() -> None:
    method, views = method_and_views("encoder.batch_norm=false")
    for norm in (m for m in method.modules() if isinstance(m, nn.BatchNorm1d)):
        norm.eval()  # so that the shuffle, which is for batch norm, leaves no trace but its order
    q = F.normalize(method.projector(method.encoder(views[:, 0])), dim=1)
    k = F.normalize(method.key(views[:, 1]), dim=1)
    torch.testing.assert_close(method.keys(views[:, 1]), k)
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ method.queue.T], 1) / method.temperature
    expected = F.cross_entropy(logits, torch.zeros(B, dtype=torch.long))
    torch.testing.assert_close(method(batch(views)).total, expected)


def test_after_a_step_the_newest_keys_stand_first_and_the_key_network_has_moved() -> None:
    method, views = method_and_views()
    queue = method.queue.clone()
    slow = [parameter.clone() for parameter in method.key.parameters()]
    torch.manual_seed(3)
    method(batch(views))
    method(batch(views.flip(1)))  # a second batch of the same step
    fresh = torch.cat(method.fresh)
    assert torch.equal(method.queue, queue)  # until the step is over
    method.after_step(0.5)
    assert torch.equal(method.queue, torch.cat([fresh, queue])[:QUEUE])
    fast = [*method.encoder.parameters(), *method.projector.parameters()]
    for before, moved, towards in zip(slow, method.key.parameters(), fast, strict=True):
        torch.testing.assert_close(moved, 0.9 * before + 0.1 * towards)
        assert not moved.requires_grad
    method(batch(views))
    method.after_step(0.5)
    assert torch.equal(method.queue[B:], fresh[: QUEUE - B])


def test_queries_and_keys_are_of_unit_length_in_bf16_too() -> None:
    method, views = method_and_views()
    method.float()
    with torch.autocast("cpu", torch.bfloat16):
        method(batch(views.float()))
    torch.testing.assert_close(method.fresh[0].norm(dim=1), torch.ones(B))
    assert method.fresh[0].dtype == torch.float32
