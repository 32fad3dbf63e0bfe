"""What the methods without negatives do beyond their losses: weights, momentum, stopped gradients."""

import math

import pytest
import torch
from torch import Tensor

from diabolo.methods.base import Method
from diabolo.methods.build import build_method, build_pipelines
from diabolo.training.loop import Feed
from diabolo.views.pipeline import Batch
from tests.runs import digits, digits_recipe


def method_and_batch(name: str, *settings: str) -> tuple[Method, Batch]:
    recipe = digits_recipe(name, *settings)
    splits, facts = digits(recipe)
    feed = Feed(splits.train, build_pipelines(recipe), 32, recipe.seed, torch.device("cpu"))
    return build_method(recipe, facts).train(), feed(0, 0, 0.0)


@pytest.mark.parametrize(
    ("name", "weights", "settings"),
    [
        ("vicreg", {"invariance": 25, "variance": 25, "covariance": 1}, ()),
        ("vicreg", {"invariance": 2, "variance": 0, "covariance": 3}, None),
        ("barlow-twins", {"invariance": 1, "redundancy_reduction": 5e-3}, ()),
        ("barlow-twins", {"invariance": 1, "redundancy_reduction": 0.5}, ("method.redundancy=0.5",)),
        ("lejepa", {"prediction": 1, "sigreg": 0.02}, ()),
        ("lejepa", {"prediction": 1, "sigreg": 0.5}, ("method.weight=0.5", "views.count=4")),
    ],
)
def test_the_loss_is_the_weighted_sum_of_the_terms_it_logs(
    name: str, weights: dict[str, float], settings: tuple[str, ...] | None
) -> None:
    if settings is None:  # each weight has the name of its term
        settings = tuple(f"method.{term}={weight}" for term, weight in weights.items())
    method, batch = method_and_batch(name, *settings)
    total, parts = method(batch)
    assert parts.keys() == weights.keys()
    expected = sum(weight * parts[term] for term, weight in weights.items())
    torch.testing.assert_close(total, expected)


def test_lejepa_draws_other_directions_at_each_step() -> None:
    method, batch = method_and_batch("lejepa")
    torch.manual_seed(0)
    first, second = (method(batch).parts["sigreg"].item() for _ in range(2))
    torch.manual_seed(0)
    assert method(batch).parts["sigreg"].item() == first != second


def test_lejepa_draws_local_views_to_the_mean_of_the_global_ones() -> None:
    method, batch = method_and_batch("lejepa", "encoder.batch_norm=false")
    local = batch.views[0].flip(0)[:, :1]
    z = method.embed_views([batch.views[0], local]).detach()
    crops = Batch([*batch.views, local], [], batch.clean, batch.index, None, batch.progress)
    expected = (z - z[:, :2].mean(1, keepdim=True)).square().mean()
    torch.testing.assert_close(method(crops).parts["prediction"].detach(), expected)


def weights(module: torch.nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
def test_byol_s_target_follows_the_weights_by_a_momentum_that_rises_to_1(progress: float) -> None:
    method, _ = method_and_batch("byol", "method.momentum=0.9")
    with torch.no_grad():
        for p in [*method.encoder.parameters(), *method.projector.parameters()]:
            p.add_(torch.randn_like(p))
    online = torch.cat([weights(method.encoder), weights(method.projector)])
    before = weights(method.target)
    method.after_step(progress)
    momentum = 1 - (1 - 0.9) * (math.cos(math.pi * progress) + 1) / 2
    torch.testing.assert_close(weights(method.target), momentum * before + (1 - momentum) * online)


def test_byol_s_target_has_batch_statistics_of_its_own_and_no_gradient() -> None:
    method, batch = method_and_batch("byol")
    with torch.no_grad():
        for p in method.encoder.parameters():
            p.mul_(2)
    method(batch).total.backward()
    method.after_step(1.0)  # leaves the target's weights as they are
    assert all(p.grad is None for p in method.target.parameters())
    assert all(p.grad is not None for p in method.predictor.parameters())
    online, target = dict(method.encoder.named_buffers()), dict(method.target[0].named_buffers())
    moved = [name for name in target if name.endswith("running_mean") and target[name].any()]
    assert moved
    assert all(not torch.equal(target[name], online[name]) for name in moved)


def test_simsiam_s_gradient_flows_through_the_prediction_alone_unless_asked_otherwise() -> None:
    def gradient(*settings: str) -> Tensor:
        method, batch = method_and_batch("simsiam", *settings)
        with torch.no_grad():  # a prediction that ignores what it is made from
            for p in method.predictor.parameters():
                p.zero_()
            method.predictor[-1].bias.fill_(1.0)
        method(batch).total.backward()
        return torch.cat([p.grad.flatten() for p in method.encoder.parameters()])

    assert not gradient().any()
    assert gradient("method.stop_gradient=false").any()


def test_byol_s_predictor_can_be_left_out() -> None:
    method, batch = method_and_batch("byol", "method.predictor=false")
    # The copy is exact at first, so that without a predictor only the difference of the views is left.
    views = batch.views[0]
    alike = Batch([views[:, :1].expand_as(views)], [], batch.clean, batch.index, None, batch.progress)
    assert method(alike).total.item() == pytest.approx(0, abs=1e-5)
    method, _ = method_and_batch("byol")
    assert method(alike).total.item() > 1
