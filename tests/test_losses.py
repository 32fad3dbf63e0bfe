"""Losses of embeddings against literal transcriptions of their formulas, in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from diabolo.losses import info_nce, nt_xent


def embeddings(B: int, J: int, D: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(B, J, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def literal_nt_xent(z: torch.Tensor, temperature: float) -> float:
    """Chen et al. 2020, eq. 1, over ordered pairs of views; other positives are no negatives."""
    B, J, _ = z.shape

    def sim(b: int, i: int, c: int, j: int) -> float:
        u, v = z[b, i], z[c, j]
        return (u @ v / (u.norm() * v.norm())).item() / temperature

    losses = []
    for b in range(B):
        for i in range(J):
            negatives = sum(math.exp(sim(b, i, c, k)) for c in range(B) if c != b for k in range(J))
            for j in range(J):
                if j != i:
                    positive = math.exp(sim(b, i, b, j))
                    losses.append(-math.log(positive / (positive + negatives)))
    return sum(losses) / len(losses)


@given(st.integers(2, 5), st.integers(2, 4), st.floats(0.07, 1.0))
def test_nt_xent_is_the_paper_s(B: int, J: int, temperature: float) -> None:
    z = embeddings(B, J, 6)
    assert nt_xent(z, temperature).item() == pytest.approx(literal_nt_xent(z, temperature), rel=1e-10)


def test_nt_xent_of_two_views_is_a_cross_entropy_over_2b_minus_1() -> None:
    z = embeddings(6, 2, 8)
    flat = F.normalize(torch.cat([z[:, 0], z[:, 1]]), dim=1)
    logits = (flat @ flat.T / 0.5).fill_diagonal_(-torch.inf)
    expected = F.cross_entropy(logits, torch.arange(12).roll(6))
    torch.testing.assert_close(nt_xent(z, 0.5), expected)


def test_nt_xent_does_not_depend_on_order_or_scale() -> None:
    z = embeddings(7, 2, 5)
    shuffled = z[torch.randperm(7, generator=torch.Generator().manual_seed(1))].flip(1) * 3
    torch.testing.assert_close(nt_xent(shuffled, 0.3), nt_xent(z, 0.3))


def test_nt_xent_gradient() -> None:
    assert torch.autograd.gradcheck(lambda z: nt_xent(z, 0.5), embeddings(3, 3, 4).requires_grad_())


def test_info_nce_is_the_paper_s() -> None:
    q, k, queue = (
        F.normalize(embeddings(n, 1, 6, seed)[:, 0], dim=1) for n, seed in ((4, 0), (4, 1), (9, 2))
    )
    losses = []
    for i in range(4):
        positive = math.exp((q[i] @ k[i]).item() / 0.1)
        losses.append(
            -math.log(positive / (positive + sum(math.exp((q[i] @ n).item() / 0.1) for n in queue)))
        )
    assert info_nce(q, k, queue, 0.1).item() == pytest.approx(sum(losses) / 4, rel=1e-10)


def test_info_nce_gradient() -> None:
    q, k, queue = (embeddings(n, 1, 4, seed)[:, 0] for n, seed in ((3, 0), (3, 1), (5, 2)))
    assert torch.autograd.gradcheck(lambda q: info_nce(q, k, queue, 0.5), q.requires_grad_())
