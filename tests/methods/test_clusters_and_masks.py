"""SwAV, DINO, DeepCluster, instance discrimination, RotNet and MAE: how each wires networks to its loss."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diabolo.clustering import sinkhorn
from diabolo.errors import UserError
from diabolo.losses import self_distillation, swapped_prediction
from diabolo.methods.build import Facts, build_method
from diabolo.methods.deepcluster import DeepCluster
from diabolo.methods.dino import DINO
from diabolo.methods.instance_discrimination import InstanceDiscrimination
from diabolo.methods.mae import MAE
from diabolo.methods.rotnet import RotNet, quarter_turns
from diabolo.methods.swav import SwAV
from diabolo.tables import OPTIMISERS
from diabolo.training.loop import prepare
from diabolo.views.pipeline import Batch
from tests.runs import digits_recipe

FACTS = Facts((1, 8, 8), (), 40, (0.3,), (0.4,))
SMALL_RESNET = "encoder={name: resnet18, width: 0.0625}"  # takes any size


def build(name: str, *settings: str, facts: Facts = FACTS) -> Any:
    torch.manual_seed(0)
    return build_method(digits_recipe(name, *settings), facts).double()


def batch(*views: Tensor, progress: float = 0.5, index: Tensor | None = None) -> Batch:
    clean = views[0][:, 0]
    index = torch.arange(len(clean)) if index is None else index
    return Batch(list(views), [[] for _ in views], clean, index, None, torch.tensor(progress))


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradient(method: nn.Module, examples: Batch, parameter: Tensor) -> Tensor:
    [found] = torch.autograd.grad(method(examples).total, parameter)
    return found


@pytest.mark.parametrize("name", ["swav", "dino", "deepcluster", "lejepa"])
def test_local_views_join_the_others(name: str) -> None:
    method, views, local = build(name, SMALL_RESNET), images(6, 2, 1, 8, 8), images(6, 3, 1, 4, 4, seed=1)
    z = method.embed_views([views, local])
    assert z.shape[:2] == (6, 5)
    apart = [method.embed(method.encoder(x.flatten(0, 1))).unflatten(0, x.shape[:2]) for x in (views, local)]
    torch.testing.assert_close(z, torch.cat(apart, 1))
    total = method(batch(views, local)).total
    assert total.isfinite()
    assert not torch.allclose(total, method(batch(views)).total)


def test_swav_predicts_the_balanced_codes_of_the_other_view() -> None:
    method = build("swav", "encoder.batch_norm=false")
    assert isinstance(method, SwAV)
    views, local = images(6, 2, 1, 8, 8), images(6, 1, 1, 8, 8, seed=1)
    prototypes = F.normalize(method.prototypes.directions, dim=1)
    scores = F.normalize(method.embed_views([views, local]), dim=2) @ prototypes.T
    codes = torch.stack([sinkhorn(scores[:, j], 0.05, 3) for j in range(2)], 1).detach()
    expected = swapped_prediction(scores, codes, 0.1)
    torch.testing.assert_close(method(batch(views, local)).total, expected)
    wanted = torch.autograd.grad(expected, method.prototypes.directions)[0]  # none through the codes
    found = gradient(method, batch(views, local), method.prototypes.directions)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("name", ["swav", "dino"])
def test_prototypes_are_frozen_at_first(name: str) -> None:
    method, views = build(name, "method.frozen=0.25"), images(6, 2, 1, 8, 8)
    for progress, moves in ((0.0, False), (0.24, False), (0.25, True), (0.9, True)):
        examples = batch(views, progress=progress)
        assert bool(gradient(method, examples, method.prototypes.directions).any()) == moves
        assert gradient(method, examples, next(method.projector.parameters())).any()


@pytest.mark.parametrize("optimiser", OPTIMISERS.entries)
@pytest.mark.parametrize("name", ["swav", "dino"])
def test_frozen_prototypes_stay_whatever_the_optimiser(name: str, optimiser: str) -> None:
    settings = (f"optimiser={optimiser}", "optimiser.weight_decay=0.1", "method.frozen=0.5")
    recipe = digits_recipe(name, *settings)
    method = build_method(recipe, FACTS)
    before = {name: p.clone() for name, p in method.named_parameters()}
    stepper = prepare(method, recipe)
    for progress, frozen in ((0.0, True), (0.2, True), (0.4, True), (0.6, False)):
        method(batch(images(6, 2, 1, 8, 8).float(), progress=progress)).total.backward()
        stepper.step()
        stepper.zero_grad()
        same = {name for name, p in method.named_parameters() if torch.equal(p, before[name])}
        assert ("prototypes.directions" in same) == frozen
        assert not any("projector" in name for name in same)


def test_dino_s_teacher_sees_global_views_only_and_sharpens_over_time() -> None:
    method = build("dino", "encoder.batch_norm=false", "method.batch_norm=false", "method.warmup=0.5")
    assert isinstance(method, DINO)
    views, local = images(6, 2, 1, 8, 8), images(6, 2, 1, 8, 8, seed=1)
    with torch.no_grad():
        for parameter in method.teacher.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        method.centre.copy_(0.1 * torch.randn(16))
        teacher = method.teacher(views.flatten(0, 1)).unflatten(0, (6, 2))
        student = method.prototypes(method.embed_views([views, local]))
    for progress, temperature in ((0.0, 0.04), (0.25, 0.055), (0.5, 0.07), (0.9, 0.07)):
        expected = self_distillation(student, teacher, method.centre, 0.1, temperature)
        torch.testing.assert_close(
            method(batch(views, local, progress=progress)).total, expected, rtol=1e-6, atol=0
        )


def test_dino_moves_its_teacher_and_its_centre_after_the_step() -> None:
    method = build("dino")
    assert isinstance(method, DINO)
    parts, views = ("encoder", "projector", "prototypes"), images(6, 2, 1, 8, 8)
    before = {k: v.clone() for k, v in method.state_dict().items()}
    with torch.no_grad():
        outputs = [method.teacher(v.flatten(0, 1)).mean(0) for v in (views, views.flip(0)[:, :1])]
        for part in parts:
            for parameter in getattr(method, part).parameters():
                parameter.add_(1.0)
    method(batch(views))
    method(batch(views.flip(0)[:, :1].expand(-1, 2, -1, -1, -1)))  # a second batch of the same step
    torch.testing.assert_close(method.centre, before["centre"])
    method.after_step(0.25)
    momentum = 1 - 0.004 * (math.cos(math.pi / 4) + 1) / 2
    expected = 0.1 * torch.stack(outputs).mean(0)
    torch.testing.assert_close(method.centre, expected)
    for i, part in enumerate(parts):
        for key, fast in getattr(method, part).named_parameters():
            slow = before[f"teacher.{i}.{key}"]
            moved = method.state_dict()[f"teacher.{i}.{key}"]
            torch.testing.assert_close(moved, momentum * slow + (1 - momentum) * fast)
            assert (moved != slow).all()
    now = method.state_dict()["teacher.1.0.weight"].clone()
    method(batch(views))
    method.after_step(1.0)  # the momentum has reached 1
    torch.testing.assert_close(method.state_dict()["teacher.1.0.weight"], now)


def planted(n: int, groups: int) -> Tensor:
    """Features [n, 16] that lie about as many directions."""
    return 5 * torch.eye(16, dtype=torch.float64)[torch.arange(n) % groups] + images(n, 16)


def test_deepcluster_clusters_embeddings_and_tells_views_of_them() -> None:
    method = build("deepcluster", "encoder.batch_norm=false")
    assert isinstance(method, DeepCluster)
    kept = {k: v.clone() for k, v in method.projector.state_dict().items()}
    features = planted(40, 6)
    torch.manual_seed(3)
    method.before_epoch(features)
    assert method.projector.training
    for key, value in method.projector.state_dict().items():
        assert torch.equal(value, kept[key])  # batch norm did not track the features
    method.projector.eval()
    z = F.normalize(method.embed(features), dim=1)
    method.projector.train()
    first, second = method.centroids.split([8, 12])
    for centroids, assigned in ((first, method.assignments[0]), (second, method.assignments[1])):
        torch.testing.assert_close(centroids.norm(dim=1), torch.ones(len(centroids), dtype=torch.float64))
        assert torch.equal((z @ centroids.T).argmax(1), assigned)
    index = torch.tensor([7, 0, 33])
    views = images(3, 2, 1, 8, 8)
    scores = F.normalize(method.embed_views([views]), dim=2)
    losses = []
    for row, centroids in enumerate((first, second)):
        for b in range(3):
            for j in range(2):
                log_p = (scores[b, j] @ centroids.T / 0.1).log_softmax(0)
                losses.append((row, -log_p[method.assignments[row, index[b]]].item()))
    means = [sum(v for r, v in losses if r == row) / 6 for row in range(2)]
    assert method(batch(views, index=index)).total.item() == pytest.approx(sum(means) / 2)


def test_deepcluster_s_clusters_depend_on_the_seed_alone() -> None:
    found = []
    for seed in (0, 0, 1):
        method = build("deepcluster")
        torch.manual_seed(seed)
        method.before_epoch(images(40, 16))
        found.append(method.centroids.clone())
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_deepcluster_refuses_more_clusters_than_images() -> None:
    with pytest.raises(UserError, match="41 clusters of 40 training images"):
        build("deepcluster", "method.clusters=[8, 41]")


def test_instance_discrimination_stores_each_example_s_embedding() -> None:
    method = build("instance-discrimination", "encoder.batch_norm=false", "method.momentum=0.75")
    assert isinstance(method, InstanceDiscrimination)
    index, views = torch.tensor([30, 2, 17]), images(3, 1, 1, 8, 8)
    v = F.normalize(method.embed(method.encoder(views[:, 0])), dim=1)
    method.memory.copy_(F.normalize(method.memory, dim=1))  # in double precision now
    before = method.memory.clone()
    torch.testing.assert_close(before.norm(dim=1), torch.ones(40, dtype=torch.float64))
    literal = 0.0
    for n in range(3):
        terms = [math.exp((v[n] @ before[i]).item() / 0.07) for i in range(40)]
        literal -= math.log(terms[int(index[n])] / sum(terms)) / 3
    loss = method(batch(views, index=index)).total
    assert loss.item() == pytest.approx(literal, rel=1e-9)
    assert torch.equal(method.memory, before)
    method.after_step(0.1)
    for i in range(40):
        expected = before[i]
        if i in index:
            moved = 0.75 * before[i] + 0.25 * v[index.tolist().index(i)]
            expected = moved / moved.norm()
        torch.testing.assert_close(method.memory[i], expected)


def test_instance_discrimination_has_the_paper_s_head_too() -> None:
    [layer] = build("instance-discrimination", "method.head=linear").projector
    assert isinstance(layer, nn.Linear)


def test_quarter_turns_are_right() -> None:
    x = images(2, 3, 4, 4)
    turned = quarter_turns(x)
    assert turned.shape == (2, 4, 3, 4, 4)
    for row in range(4):
        for column in range(4):
            pixel = x[:, :, row, column]
            places = [(row, column), (3 - column, row), (3 - row, 3 - column), (column, 3 - row)]
            for turns, (to_row, to_column) in enumerate(places):  # counter-clockwise
                assert torch.equal(turned[:, turns, :, to_row, to_column], pixel)


def test_rotnet_classifies_each_turn_of_each_view() -> None:
    method = build("rotnet", "encoder.batch_norm=false")
    assert isinstance(method, RotNet)
    views = images(3, 2, 1, 8, 8)
    losses = []
    for x in views.flatten(0, 1):
        for turns in range(4):
            log_p = method.classifier(method.encoder(x.rot90(turns, (1, 2))[None])).log_softmax(1)
            losses.append(-log_p[0, turns].item())
    assert method(batch(views)).total.item() == pytest.approx(sum(losses) / len(losses))


@pytest.mark.parametrize("shape", [(2, 1, 1, 8, 6), (2, 1, 5)])
def test_rotnet_refuses_what_has_no_quarter_turns(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="turns square images"):
        build("rotnet")(batch(images(*shape)))


def test_mae_hides_three_quarters_of_the_patches_and_predicts_them_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method = build("mae")
    assert isinstance(method, MAE)
    seen: list[Tensor] = []
    compared: list[tuple[Tensor, Tensor, Tensor]] = []
    tokens = method.vit.tokens

    def spy(x: Tensor, keep: Tensor) -> Tensor:
        seen.append(keep)
        return tokens(x, keep)

    def error(prediction: Tensor, target: Tensor, masked: Tensor) -> Tensor:
        compared.append((prediction, target, masked))
        return prediction.sum()

    monkeypatch.setattr(method.vit, "tokens", spy)
    monkeypatch.setattr("diabolo.methods.mae.masked_patch_error", error)
    views = images(5, 1, 1, 8, 8).requires_grad_()
    total = method(batch(views)).total
    [keep], [(prediction, target, masked)] = seen, compared
    assert keep.shape == (5, 4)
    assert masked.sum(1).tolist() == [12] * 5  # of 16
    assert len({tuple(sorted(row)) for row in keep.tolist()}) > 1
    [felt] = torch.autograd.grad(total, views)
    felt_patches = felt.reshape(5, 4, 2, 4, 2).abs().sum((2, 4)).flatten(1)
    for n in range(5):
        assert set(keep[n].tolist()) == {i for i in range(16) if not masked[n, i]}
        assert set(keep[n].tolist()) == {i for i in range(16) if felt_patches[n, i] > 0}
    assert prediction.shape == target.shape == (5, 16, 4)
    x = method.encoder.normalise(views[:, 0])
    for i in range(16):
        row, column = divmod(i, 4)
        patch = x[:, 0, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].flatten(1)
        expected = (patch - patch.mean(1, keepdim=True)) / (patch.var(1, keepdim=True) + 1e-6).sqrt()
        torch.testing.assert_close(target[:, i], expected)


def test_mae_s_decoder_puts_tokens_back_in_their_places() -> None:
    """Whichever patches are kept, in whatever order: the same tokens at the same places."""
    method = build("mae")
    tokens = images(2, 16, 16, seed=3)
    orders = torch.stack([torch.randperm(16), torch.randperm(16)])
    straight = method.predict(tokens, torch.arange(16).expand(2, 16), (8, 8))
    shuffled = method.predict(
        torch.stack([t[o] for t, o in zip(tokens, orders, strict=True)]), orders, (8, 8)
    )
    torch.testing.assert_close(shuffled, straight)
    # hidden patches differ by their places alone
    order = torch.arange(15, -1, -1).expand(2, 16)
    prediction = method.predict(tokens[:, :4], order, (8, 8))  # of patches 15 to 12
    swapped = order.clone()
    swapped[:, 4:] = order[:, 4:].flip(1)
    torch.testing.assert_close(method.predict(tokens[:, :4], swapped, (8, 8)), prediction)
    assert not torch.allclose(prediction[:, 0], prediction[:, 1])


def test_mae_represents_the_whole_image() -> None:
    method, views = build("mae"), images(3, 1, 1, 8, 8)
    x = views[:, 0]
    expected = method.vit.tokens(method.encoder.normalise(x)).mean(1)
    torch.testing.assert_close(method.represent(x), expected)
    assert method.represent(x, "map").shape == (3, 16 * 16)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("encoder=conv",), "encoder ConvEncoder cannot: use encoder=vit"),
        (("encoder=resnet18",), "encoder ResNet cannot: use encoder=vit"),
        (("encoder.patch=1",), "patches of one value have no deviation"),
        (("encoder.patch=8",), "0.75 of 1 patches leaves 0 of them"),
        (("encoder.patch=4", "method.masked=0.9"), "0.9 of 4 patches leaves 0 of them"),
    ],
)
def test_mae_refuses_what_cannot_be_masked(settings: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        build("mae", *settings)
    assert "\n" not in str(error.value)
