"""Losses of codes, clusters and patches against literal transcriptions of their formulas, in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diabolo import clustering
from diabolo.clustering import sinkhorn, spherical_kmeans
from diabolo.losses import (
    cosine_scores,
    masked_patch_error,
    non_parametric_softmax,
    self_distillation,
    swapped_prediction,
)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(*shape: int, seed: int = 0) -> Tensor:
    return F.normalize(random(*shape, seed=seed), dim=-1)


def literal_softmax(logits: list[float]) -> list[float]:
    total = sum(math.exp(value) for value in logits)
    return [math.exp(value) / total for value in logits]


def literal_sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> list[list[float]]:
    """Algorithm 1 of Caron et al. 2020, entry by entry: Q is K × B and sums to 1; columns end as codes."""
    B, K = scores.shape
    Q = [[math.exp(scores[b, k].item() / epsilon) for b in range(B)] for k in range(K)]
    total = sum(sum(row) for row in Q)
    Q = [[q / total for q in row] for row in Q]
    for _ in range(iterations):
        Q = [[q / sum(row) / K for q in row] for row in Q]
        columns = [sum(Q[k][b] for k in range(K)) for b in range(B)]
        Q = [[Q[k][b] / columns[b] / B for b in range(B)] for k in range(K)]
    return [[Q[k][b] * B for k in range(K)] for b in range(B)]


@given(st.integers(2, 6), st.integers(2, 5), st.sampled_from([0.05, 0.3]), st.integers(1, 4))
@settings(deadline=None)
def test_sinkhorn_is_the_paper_s(B: int, K: int, epsilon: float, iterations: int) -> None:
    scores = cosine_scores(random(B, 6), random(K, 6, seed=1))
    expected = torch.tensor(literal_sinkhorn(scores, epsilon, iterations), dtype=torch.float64)
    torch.testing.assert_close(sinkhorn(scores, epsilon, iterations), expected, rtol=1e-9, atol=1e-12)


def test_sharp_codes_stay_finite_in_float32() -> None:
    scores = cosine_scores(random(16, 8), random(4, 8, seed=1)).float()
    scores[3] = torch.tensor([1.0, -1.0, -1.0, -1.0])
    codes = sinkhorn(scores, 0.004, 3)
    assert codes.isfinite().all()
    torch.testing.assert_close(codes.sum(1), torch.ones(16))
    torch.testing.assert_close(codes.double(), sinkhorn(scores.double(), 0.004, 3), rtol=1e-3, atol=1e-4)


def test_codes_share_the_batch_out_evenly() -> None:
    scores = cosine_scores(random(32, 8) + 0.5, random(5, 8, seed=1))  # near some prototypes, far from others
    uneven = []
    for iterations in (1, 3, 10, 500):
        codes = sinkhorn(scores, 0.05, iterations)
        torch.testing.assert_close(codes.sum(1), torch.ones(32, dtype=torch.float64))
        uneven.append((codes.sum(0) - 32 / 5).abs().max().item())
    assert uneven == sorted(uneven, reverse=True)
    assert uneven[0] > 1 > 1e-6 > uneven[-1]


def test_codes_follow_their_examples() -> None:
    scores, order = cosine_scores(random(9, 6), random(4, 6, seed=1)), torch.randperm(9)
    torch.testing.assert_close(sinkhorn(scores[order], 0.05, 3), sinkhorn(scores, 0.05, 3)[order])


def literal_cross_view(targets: Tensor, p: Tensor) -> float:
    """The mean of −Σ_k q_s^k log p_t^k over examples and pairs s ≠ t."""
    losses = []
    for b in range(len(targets)):
        for s in range(targets.shape[1]):
            for t in range(p.shape[1]):
                if s != t:
                    losses.append(-(targets[b, s] * p[b, t].log()).sum().item())
    return sum(losses) / len(losses)


def literal_probabilities(logits: Tensor) -> Tensor:
    rows = [literal_softmax(row.tolist()) for row in logits.flatten(0, 1)]
    return torch.tensor(rows, dtype=torch.float64).view(logits.shape)


@given(st.integers(1, 4), st.integers(0, 3), st.floats(0.05, 1))
@settings(deadline=None)
def test_swapped_prediction_is_the_paper_s(B: int, local: int, temperature: float) -> None:
    scores = cosine_scores(random(B, 2 + local, 6), random(5, 6, seed=1))
    codes = random(B, 2, 5, seed=2).softmax(2)
    expected = literal_cross_view(codes, literal_probabilities(scores / temperature))
    assert swapped_prediction(scores, codes, temperature).item() == pytest.approx(expected, rel=1e-10)


@given(st.integers(1, 4), st.integers(0, 3), st.floats(0.04, 1))
@settings(deadline=None)
def test_self_distillation_is_the_paper_s(B: int, local: int, temperature: float) -> None:
    student, teacher, centre = random(B, 2 + local, 5), random(B, 2, 5, seed=1), random(5, seed=2)
    expected = literal_cross_view(
        literal_probabilities((teacher - centre) / temperature), literal_probabilities(student / 0.3)
    )
    loss = self_distillation(student, teacher, centre, 0.3, temperature)
    assert loss.item() == pytest.approx(expected, rel=1e-10)


def test_view_losses_do_not_depend_on_the_order_of_examples_or_views() -> None:
    student, teacher, centre = random(6, 2, 5), random(6, 2, 5, seed=1), random(5, seed=2)
    order = torch.randperm(6)
    swapped = self_distillation(student[order].flip(1), teacher[order].flip(1), centre, 0.3, 0.2)
    torch.testing.assert_close(swapped, self_distillation(student, teacher, centre, 0.3, 0.2))
    codes = teacher.softmax(2)
    swapped = swapped_prediction(student[order].flip(1), codes[order].flip(1), 0.3)
    torch.testing.assert_close(swapped, swapped_prediction(student, codes, 0.3))


def test_view_losses_fall_to_the_entropy_of_their_targets() -> None:
    """Where each view already says what the other's target is, no gradient is left."""
    outputs = random(4, 1, 5).expand(4, 2, 5).clone().requires_grad_()
    targets = (outputs.detach() / 0.2).softmax(2)
    entropy = -(targets * targets.log()).sum(2).mean()
    for loss in (
        swapped_prediction(outputs, targets, 0.2),
        self_distillation(outputs, outputs.detach(), torch.zeros(5, dtype=torch.float64), 0.2, 0.2),
    ):
        torch.testing.assert_close(loss, entropy)
        [gradient] = torch.autograd.grad(loss, outputs)
        torch.testing.assert_close(gradient, torch.zeros_like(gradient))


@given(st.integers(1, 5), st.integers(2, 6), st.floats(0.07, 1))
@settings(deadline=None)
def test_the_non_parametric_softmax_is_the_paper_s(n: int, K: int, temperature: float) -> None:
    z, prototypes = random(n, 4), random(K, 4, seed=1)
    target = torch.arange(n) % K
    losses = []
    for v, i in zip(z, target.tolist(), strict=True):
        cosines = [(v @ w / (v.norm() * w.norm())).item() / temperature for w in prototypes]
        losses.append(-math.log(literal_softmax(cosines)[i]))
    loss = non_parametric_softmax(z, prototypes, target, temperature)
    assert loss.item() == pytest.approx(sum(losses) / n, rel=1e-10)


def test_the_error_of_masked_patches_counts_no_others() -> None:
    prediction, target = random(3, 6, 4), random(3, 6, 4, seed=1)
    masked = torch.tensor([[1, 0, 1, 1, 0, 1], [0, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 1]]).bool()
    errors = [
        (prediction[n, i, p] - target[n, i, p]).item() ** 2
        for n in range(3)
        for i in range(6)
        if masked[n, i]
        for p in range(4)
    ]
    loss = masked_patch_error(prediction, target, masked)
    assert loss.item() == pytest.approx(sum(errors) / len(errors), rel=1e-12)
    elsewhere = torch.where(masked[:, :, None], prediction, 1e6)
    torch.testing.assert_close(masked_patch_error(elsewhere, target, masked), loss)


def test_gradients() -> None:
    z, prototypes, centre = random(3, 3, 4), random(5, 4, seed=1), random(5, seed=2)
    codes, teacher = random(3, 2, 5, seed=3).softmax(2), random(3, 2, 5, seed=4)
    target, masked = torch.tensor([0, 4, 2]), torch.tensor([[1, 0, 1]] * 3).bool()

    def swapped(z: Tensor, prototypes: Tensor) -> Tensor:
        return swapped_prediction(cosine_scores(z, prototypes), codes, 0.5)

    def distilled(z: Tensor, prototypes: Tensor) -> Tensor:
        return self_distillation(cosine_scores(z, prototypes), teacher, centre, 0.5, 0.3)

    def instances(z: Tensor, prototypes: Tensor) -> Tensor:
        return non_parametric_softmax(z[:, 0], prototypes, target, 0.5)

    def patches(z: Tensor, prototypes: Tensor) -> Tensor:
        return masked_patch_error(z @ prototypes.T, teacher[:, :1].expand(3, 3, 5), masked)

    for loss in (swapped, distilled, instances, patches):
        assert torch.autograd.gradcheck(loss, (z.requires_grad_(), prototypes.requires_grad_()))


def test_kmeans_is_lloyd_s_algorithm_on_the_sphere() -> None:
    z, centroids = unit(40, 3), unit(4, 3, seed=1)
    expected = centroids.clone()
    for _ in range(3):
        nearest = [max(range(4), key=lambda k: (v @ expected[k]).item()) for v in z]
        for k in range(4):
            members = [v for v, c in zip(z, nearest, strict=True) if c == k]
            if members:
                total = torch.stack(members).sum(0)
                expected[k] = total / total.norm()
    found, assigned = spherical_kmeans(z, centroids, 3)
    torch.testing.assert_close(found, expected)
    assert assigned.tolist() == [max(range(4), key=lambda k: (v @ expected[k]).item()) for v in z]


def test_kmeans_finds_planted_clusters_and_leaves_empty_ones_where_they_are() -> None:
    poles = torch.eye(3, 8, dtype=torch.float64)
    labels = torch.arange(60) % 3
    z = F.normalize(poles[labels] + 0.05 * random(60, 8), dim=1)
    start = torch.cat([z[:3], -z[:1]])  # nothing is near the last
    centroids, assigned = spherical_kmeans(z, start, 10)
    assert torch.equal(assigned, labels)
    assert ((centroids[:3] * poles).sum(1) > 0.99).all()
    assert torch.equal(centroids[3], start[3])


def test_kmeans_in_blocks_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    z, start = unit(60, 8), unit(9, 8, seed=1)
    centroids, assigned = spherical_kmeans(z, start, 4)
    monkeypatch.setattr(clustering, "AT_ONCE", 7)
    in_blocks, reassigned = spherical_kmeans(z, start, 4)
    torch.testing.assert_close(in_blocks, centroids)
    assert torch.equal(reassigned, assigned)


def test_kmeans_never_moves_away() -> None:
    z, start = unit(60, 8), unit(9, 8, seed=1)
    cosines = []
    for iterations in range(8):
        centroids, assigned = spherical_kmeans(z, start, iterations)
        cosines.append((z * centroids[assigned]).sum().item())
    assert cosines == sorted(cosines)
    assert cosines[0] < cosines[-1]


def test_kmeans_follows_its_examples() -> None:
    z, start, order = unit(30, 4), unit(5, 4, seed=1), torch.randperm(30)
    centroids, assigned = spherical_kmeans(z, start, 5)
    shuffled, reassigned = spherical_kmeans(z[order], start, 5)
    torch.testing.assert_close(shuffled, centroids)
    assert torch.equal(reassigned, assigned[order])
