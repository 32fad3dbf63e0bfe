"""The loop's parts: accumulation, clipping, schedules, optimisers, precision, and the hooks of a method."""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning_fabric import Fabric
from torch import Tensor, nn

from diabolo.errors import SettingsError, UserError
from diabolo.methods.base import Method, Needs, Terms
from diabolo.methods.build import build_method, build_pipelines
from diabolo.recipe import Recipe, Views
from diabolo.tables import METHODS, OPTIMISERS, SCHEDULES, VIEWS
from diabolo.training.loop import Event, Feed, prepare_epoch, train
from diabolo.training.meter import Meter, Position
from diabolo.training.optimisers import LARS
from diabolo.training.schedules import Constant, Cosine
from diabolo.training.step import CompiledStep, compile_step, forward_backward
from diabolo.verbs.fit import fit
from diabolo.views.pipeline import Batch
from tests.runs import digits, digits_recipe

PLAIN = ("encoder.batch_norm=false",)


def trained(recipe: Recipe, method: Method | None = None, most: int = 10_000) -> tuple[Method, list[Event]]:
    """Run the loop for a recipe, at most so many steps."""
    splits, facts = digits(recipe)
    method = method or build_method(recipe, facts)
    fabric = Fabric(accelerator="cpu", devices=1)
    groups = method.parameter_groups(recipe.optimiser["weight_decay"])
    optimiser = OPTIMISERS.build(recipe.optimiser, groups=groups)
    pipelines = build_pipelines(recipe)
    feed = Feed(splits.train, pipelines, recipe.training.batch_size, recipe.seed, fabric.device)
    schedule = SCHEDULES.build(recipe.schedule)
    events: Iterator[Event] = train(fabric, method, optimiser, schedule, feed, recipe.training, Position())
    return method, list(islice(events, most))


def weights(method: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in method.parameters()])


def test_two_accumulated_batches_are_one_of_twice_the_size() -> None:
    sgd = (*PLAIN, "optimiser=sgd", "optimiser.lr=1e-4")
    whole, _ = trained(digits_recipe("ae", *sgd, "training.batch_size=64"), most=5)
    halves, _ = trained(digits_recipe("ae", *sgd, "training.batch_size=32", "training.accumulate=2"), most=5)
    torch.testing.assert_close(weights(halves), weights(whole), rtol=1e-4, atol=1e-6)


def test_another_batch_scales_the_rate_and_the_warm_up(tmp_path: Path) -> None:
    slow = ("optimiser.lr=1e-3", "schedule={name: constant, warmup: 0.25}", "training.log_every=1")
    half = ("training.epochs=1", "training.batch_size=32", "training.accumulate=2")
    given = {
        "as it is": ("training.lr_batch=128",),
        "by hand": ("optimiser.lr=5e-4", "schedule.warmup=0.125"),
    }
    rates = {}
    for name, settings in given.items():
        recipe = digits_recipe("ae", *slow, *half, *settings).to_dict()
        run = fit(recipe=recipe, out=tmp_path / name, evaluate=False, quiet=True)
        rates[name] = [row["lr"] for row in run.metrics if row["kind"] == "train"]
    assert rates["as it is"] == pytest.approx(rates["by hand"])
    assert rates["as it is"][0] < rates["as it is"][-1] == pytest.approx(5e-4)


def test_clipping_bounds_the_step() -> None:
    still = ("optimiser={name: sgd, lr: 1.0, momentum: 0.0, weight_decay: 0.0}", "training.clip=0.01")
    recipe = digits_recipe("ae", *PLAIN, *still)
    before = weights(build_method(recipe, digits(recipe)[1]))
    after, _ = trained(recipe, most=1)
    assert (weights(after) - before).norm().item() == pytest.approx(0.01, rel=1e-3)


def test_bf16_follows_float32() -> None:
    exact = trained(digits_recipe("vae", *PLAIN))[1]
    rough = trained(digits_recipe("vae", *PLAIN, "training.precision=bf16"))[1]
    last = [next(e.row for e in reversed(events) if e.row)["loss"] for events in (exact, rough)]
    assert last[0] != last[1]
    assert last[1] == pytest.approx(last[0], rel=0.02)


def test_bf16_leaves_the_pixels_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = digits_recipe("vae", *PLAIN, "training.precision=bf16")
    method, seen = build_method(recipe, digits(recipe)[1]), []

    def forward(batch: Batch) -> Terms:
        seen.append((batch, method.encoder(batch.views[0].flatten(0, 1)).dtype))
        return type(method).forward(method, batch)

    monkeypatch.setattr(method, "forward", forward)
    trained(recipe, method, most=1)
    [(batch, computed)] = seen
    assert computed == torch.bfloat16
    assert batch.clean.dtype == batch.views[0].dtype == torch.float32
    levels = 255 * batch.clean.double()
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)


SMALL = ("encoder={name: mlp, widths: [16]}", "optimiser=sgd", "optimiser.lr=1e-5")


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("simvae", ("decoder={name: mlp, widths: [16]}", "training.compile=true")),
        ("simvae", ("decoder={name: mlp, widths: [16]}", "training.compile=graphs")),
        ("vae", ("decoder={name: mlp, widths: [16]}", "training.compile=true", "training.accumulate=2")),
        ("simsiam", ("training.compile=true", "training.precision=bf16", "training.clip=0.5")),
        ("moco", ("training.compile=true", "optimiser.lr=1e-2")),
    ],
)
def test_compiled_follows_eager(name: str, settings: tuple[str, ...]) -> None:
    recipe = digits_recipe(name, *SMALL, *settings)
    before = weights(build_method(recipe, digits(recipe)[1]))
    eager, _ = trained(digits_recipe(name, *SMALL, *settings, "training.compile=false"), most=4)
    compiled, _ = trained(recipe, most=4)
    way, apart = weights(eager) - before, weights(compiled) - weights(eager)
    assert apart.norm() < (0.02 if recipe.training.precision == "bf16" else 1e-5) * way.norm()


@pytest.mark.parametrize("name", ["ae", "moco"])  # as one graph, and in pieces
def test_a_compiled_training_leaves_the_compiler_as_it_was(name: str) -> None:
    from torch._inductor import config

    before = config.get_config_copy()
    recipe = digits_recipe(name, *SMALL, "training.compile=true", "decoder={name: mlp, widths: [16]}")
    trained(recipe, most=2)
    assert config.get_config_copy() == before


IN_PIECES = {"moco", "contractive-ae"}  # what has a part that no graph takes


@pytest.mark.parametrize("name", sorted(set(METHODS.entries) - {"random"}))
def test_the_traced_step_has_every_gradient(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a graph forgets would go unseen. Traced without the compiler, so that all can be tried."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    recipe = digits_recipe(name)
    splits, facts = digits(recipe)
    feed = Feed(splits.train, build_pipelines(recipe), 32, recipe.seed, torch.device("cpu"))
    found = []
    for traced in (False, True):
        method = build_method(recipe, facts).train()
        if method.needs.features:
            prepare_epoch(method, feed, 0)
        step = compile_step(method, []) if traced else forward_backward
        for position in range(2):  # the second adds to the gradients of the first
            terms = step(method, feed(0, position, 0.0), "float32")
        gradients = {name: p.grad for name, p in method.named_parameters() if p.grad is not None}
        found.append((terms, gradients, dict(method.named_buffers())))
    assert isinstance(step, CompiledStep)
    assert (step.graph is None) == (name in IN_PIECES)
    assert not torch._dynamo.config.trace_autograd_ops
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)


class Counting(nn.Module):
    """An encoder whose Python state is another at each call."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 16)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        h: Tensor = self.linear(x.flatten(1)) * (1 + 1 / self.calls)
        return h


def test_an_encoder_that_changes_is_compiled_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager", dynamic=False))
    ended = []
    for how in ("false", "true"):
        recipe = digits_recipe("simsiam", "encoder={name: custom}", *SMALL[1:], f"training.compile={how}")
        torch.manual_seed(0)
        method = build_method(recipe, digits(recipe)[1], Counting())
        ended.append(weights(trained(recipe, method, most=12)[0]))  # more steps than a graph has variants
    torch.testing.assert_close(*ended, rtol=1e-4, atol=1e-6)


def test_a_step_that_is_not_one_graph_is_said_to_be_compiled_in_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    recipe = digits_recipe("moco", *SMALL)
    splits, facts = digits(recipe)
    feed = Feed(splits.train, build_pipelines(recipe), 32, recipe.seed, torch.device("cpu"))
    notes: list[str] = []
    step = compile_step(build_method(recipe, facts).train(), [], note=notes.append)
    for position in range(2):
        step(step.method, feed(0, position, 0.0), "float32")
    [note] = notes
    assert re.fullmatch(
        r"compiled in pieces, for the step is not one graph \(.+, in keys, moco\.py:\d+\)", note
    )


def test_a_compiler_that_fails_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left for the compiler")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=fail))
    recipe = digits_recipe("ae", *SMALL, "decoder={name: mlp, widths: [16]}", "training.compile=true")
    method = build_method(recipe, digits(recipe)[1])
    monkeypatch.setattr(method, "compile", partial(method.compile, backend=fail))
    with pytest.raises(SettingsError, match=r"training\.compile: .*no space left for the compiler"):
        trained(recipe, method, most=1)


def test_hooks_on_gradients_are_called_by_a_compiled_step() -> None:
    recipe = digits_recipe("ae", *SMALL, "decoder={name: mlp, widths: [16]}")
    splits, facts = digits(recipe)
    method = build_method(recipe, facts).train()
    seen: list[Tensor] = []
    method.encoder.network.layers[0].weight.register_hook(seen.append)
    feed = Feed(splits.train, build_pipelines(recipe), 32, recipe.seed, torch.device("cpu"))
    compile_step(method, [])(method, feed(0, 0, 0.0), "float32")
    assert len(seen) == 1


@pytest.mark.parametrize("name", METHODS.entries)
def test_biases_and_norms_are_not_decayed(name: str) -> None:
    recipe = digits_recipe(name)
    method = build_method(recipe, digits(recipe)[1])
    groups = method.parameter_groups(0.1)
    prototypes = {id(p) for p in getattr(method, "prototypes", nn.Identity()).parameters()}
    for group in groups:
        decays = {p.ndim > 1 and id(p) not in prototypes for p in group["params"]}
        assert decays <= {group["weight_decay"] == 0.1}
        assert group["weight_decay"] in (0, 0.1)
    grouped = [p for group in groups for p in group["params"]]
    expected = [p for p in method.parameters() if p.requires_grad]
    assert len(grouped) == len(expected)
    assert {id(p) for p in grouped} == {id(p) for p in expected}


def test_the_schedule_leaves_simsiam_s_predictor_alone() -> None:
    recipe = digits_recipe("simsiam", *PLAIN, "optimiser={name: sgd, lr: 1e-3}", "schedule={name: cosine}")
    predictor: list[float] = []
    others: list[float] = []
    splits, facts = digits(recipe)
    method = build_method(recipe, facts)
    optimiser = OPTIMISERS.build(recipe.optimiser, groups=method.parameter_groups(0.0))
    feed = Feed(splits.train, build_pipelines(recipe), 32, recipe.seed, torch.device("cpu"))
    fabric = Fabric(accelerator="cpu", devices=1)
    mine = {id(p) for p in method.predictor.parameters()}
    schedule = SCHEDULES.build(recipe.schedule)
    for _ in train(fabric, method, optimiser, schedule, feed, recipe.training, Position()):
        for group in optimiser.param_groups:
            (predictor if id(group["params"][0]) in mine else others).append(group["lr"])
    assert set(predictor) == {1e-3}
    assert others[0] == 1e-3 > 100 * others[-1]


@given(st.integers(2, 50), st.integers(1, 20), st.floats(0, 5), st.floats(0, 0.5))
def test_schedules_warm_up_then_hold_or_fall(
    epochs: int, steps_per_epoch: int, warmup: float, final: float
) -> None:
    steps = epochs * steps_per_epoch
    constant, cosine = Constant(warmup=warmup), Cosine(warmup=warmup, final=final)
    for schedule in (constant, cosine):
        factors = [schedule.factor(s, steps, steps_per_epoch) for s in range(steps)]
        warm = [f for s, f in enumerate(factors) if s < warmup * steps_per_epoch]
        rest = factors[len(warm) :]
        assert all(0 < f <= 1 for f in warm)
        assert warm == sorted(warm)
        assert rest == sorted(rest, reverse=True)
        assert all(f <= 1 + 1e-12 for f in factors)
    if steps - 1 >= warmup * steps_per_epoch:
        assert constant.factor(steps - 1, steps, steps_per_epoch) == 1
        assert cosine.factor(steps, steps, steps_per_epoch) == pytest.approx(final, abs=1e-9)


def test_lars_is_the_paper_s_update() -> None:
    torch.manual_seed(0)
    w, b = nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(3))
    groups = [{"params": [w], "weight_decay": 0.1}, {"params": [b], "weight_decay": 0.0}]
    optimiser = LARS(groups, lr=0.5, momentum=0.9, trust=0.01)
    expect_w, expect_b = w.detach().clone(), b.detach().clone()
    momentum_w, momentum_b = torch.zeros(3, 4), torch.zeros(3)
    for _ in range(3):
        w.grad, b.grad = torch.randn(3, 4), torch.randn(3)
        gradient = w.grad + 0.1 * expect_w
        local_rate = 0.01 * expect_w.norm() / gradient.norm()
        momentum_w = 0.9 * momentum_w + local_rate * gradient
        momentum_b = 0.9 * momentum_b + b.grad
        expect_w, expect_b = expect_w - 0.5 * momentum_w, expect_b - 0.5 * momentum_b
        optimiser.step()
    torch.testing.assert_close(w.detach(), expect_w)
    torch.testing.assert_close(b.detach(), expect_b)


@pytest.mark.parametrize("optimiser", OPTIMISERS.entries)
def test_every_optimiser_lowers_the_loss(optimiser: str) -> None:
    _, events = trained(
        digits_recipe("ae", f"optimiser={optimiser}", "optimiser.lr=1e-3", "method.likelihood.variance=1")
    )
    losses = [event.row["loss"] for event in events if event.row]
    assert losses[-1] < losses[0]


def test_rows_hold_the_mean_of_the_steps_since_the_last() -> None:
    meter = Meter()
    for value in (1.0, 2.0, 6.0):
        meter.add([Terms(torch.tensor(value), {"part": torch.tensor(10 * value)})])
    assert meter.unlogged(3) == [[1.0, 10.0], [2.0, 20.0], [6.0, 60.0]]
    assert meter.flush(3) == {"loss": 3.0, "part": 30.0}
    assert meter.unlogged(3) == []


def test_losses_leave_their_device_as_they_are(single_precision: None) -> None:
    meter = Meter(["loss"], [[1.0]])
    meter.add([Terms(torch.tensor(2.0), {})])
    assert meter.flush(2) == {"loss": 1.5}


def test_the_first_value_that_is_not_finite_is_named_with_its_step() -> None:
    meter = Meter()
    for value in (1.0, torch.inf, torch.nan):
        meter.add([Terms(torch.tensor(value), {"part": torch.tensor(value)})])
    with pytest.raises(UserError, match="step 11: part is inf"):
        meter.flush(12)


class Probe(Method):
    """A method that uses every hook, and records what it was given."""

    needs = Needs(features=True, local_views=True, labels=True)

    def __init__(self, encoder: Any) -> None:
        super().__init__(encoder)
        self.seen: list[Any] = []

    def forward(self, batch: Batch) -> Terms:
        assert batch.labels is not None
        shapes = [tuple(views.shape) for views in batch.views]
        self.seen.append((shapes, batch.index.tolist(), batch.progress.item(), batch.drawn))
        loss = self.encoder(batch.views[0].flatten(0, 1)).square().mean()
        return Terms(loss, {"square": loss})

    def before_epoch(self, features: Tensor) -> None:
        self.seen.append(("features", tuple(features.shape), self.training))

    def after_step(self, progress: float) -> None:
        self.seen.append(("after", progress))


def test_a_method_gets_what_it_asks_for() -> None:
    crop = {"name": "random-resized-crop", "size": 5, "scale": [0.1, 0.4]}
    small = Views(count=4, transforms=[VIEWS.complete(crop, "views")])
    recipe = replace(
        digits_recipe("simclr", "training.epochs=2", "training.batch_size=64"), local_views=small
    )
    splits, facts = digits(recipe)
    method = Probe(build_method(recipe, facts).encoder)
    trained(recipe, method)
    steps = len(splits.train) // 64
    features = [entry for entry in method.seen if entry[0] == "features"]
    assert features == [("features", (len(splits.train), 16), True)] * 2
    batches = [entry for entry in method.seen if isinstance(entry[0], list)]
    assert len(batches) == 2 * steps
    assert batches[0][0] == [(64, 2, 1, 8, 8), (64, 4, 1, 5, 5)]
    assert [b[2] for b in batches] == pytest.approx([i / (2 * steps) for i in range(2 * steps)])
    assert [e[1] for e in method.seen if e[0] == "after"][-1] == 1.0
    first_epoch = [i for b in batches[:steps] for i in b[1]]
    assert len(set(first_epoch)) == len(first_epoch) == 64 * steps
    [crop] = batches[0][3][1]
    assert crop["top"].shape == (64, 4)


def test_tensorboard_shows_what_the_log_holds(tmp_path: Any) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = fit(recipe=digits_recipe("vae").to_dict(), out=tmp_path / "run", evaluate=False, quiet=True)
    board = EventAccumulator(str(run.folder / "tensorboard")).Reload()
    logged = [(row["step"], row["loss"]) for row in run.metrics if row["kind"] == "train"]
    shown = [(scalar.step, scalar.value) for scalar in board.Scalars("train/loss")]
    np.testing.assert_allclose(shown, logged, rtol=1e-6)
