"""Losses without negatives against literal transcriptions of their formulas, in float64."""

import cmath
import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from diabolo.losses import barlow_twins, byol, lejepa, simsiam, vicreg


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def column(z: Tensor, j: int, i: int) -> list[float]:
    """Dimension i of view j over the batch."""
    return [float(z[b, j, i]) for b in range(len(z))]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def covariance(x: list[float], y: list[float], correction: int) -> float:
    return sum((a - mean(x)) * (b - mean(y)) for a, b in zip(x, y, strict=True)) / (len(x) - correction)


def literal_vicreg(z: Tensor) -> dict[str, float]:
    B, J, D = z.shape
    columns = [[column(z, j, i) for i in range(D)] for j in range(J)]
    invariance = mean([float(z[b, 0, i] - z[b, 1, i]) ** 2 for b in range(B) for i in range(D)])
    hinges = [
        mean([max(0.0, 1 - math.sqrt(covariance(x, x, 1) + 1e-4)) for x in columns[j]]) for j in range(J)
    ]
    off_diagonal = [
        covariance(columns[j][i], columns[j][k], 1) ** 2
        for j in range(J)
        for i in range(D)
        for k in range(D)
        if i != k
    ]
    return {
        "invariance": invariance,
        "variance": 0.5 * sum(hinges),
        "covariance": sum(off_diagonal) / D,
    }


def literal_barlow_twins(z: Tensor) -> dict[str, float]:
    D = z.shape[2]

    def correlation(i: int, k: int) -> float:
        x, y = column(z, 0, i), column(z, 1, k)
        return covariance(x, y, 0) / math.sqrt((covariance(x, x, 0) + 1e-5) * (covariance(y, y, 0) + 1e-5))

    return {
        "invariance": sum((1 - correlation(i, i)) ** 2 for i in range(D)),
        "redundancy_reduction": sum(correlation(i, k) ** 2 for i in range(D) for k in range(D) if i != k),
    }


def cosine(u: Tensor, v: Tensor) -> float:
    return float(u @ v / (u.norm() * v.norm()))


def literal_lejepa(z: Tensor, directions: Tensor, G: int) -> dict[str, float]:
    B, J, D = z.shape
    knots = [3 * k / 16 for k in range(17)]

    def integrand(t: float, projected: list[float]) -> float:
        phi = sum(cmath.exp(1j * t * x) for x in projected) / B
        return abs(phi - math.exp(-t * t / 2)) ** 2 * math.exp(-t * t / 2)

    statistics = []
    for j in range(J):
        for a in directions.T:
            projected = [float(a @ z[b, j] / a.norm()) for b in range(B)]
            both_sides = [-t for t in reversed(knots[1:])] + knots
            heights = [integrand(t, projected) for t in both_sides]
            statistics.append(B * sum((x + y) / 2 * 3 / 16 for x, y in pairwise(heights)))
    centre = [[mean([float(z[b, j, i]) for j in range(G)]) for i in range(D)] for b in range(B)]
    squares = [float(z[b, j, i] - centre[b][i]) ** 2 for b in range(B) for j in range(J) for i in range(D)]
    return {"prediction": mean(squares), "sigreg": mean(statistics)}


SIZES = (st.integers(2, 6), st.integers(1, 5), st.floats(0.05, 3.0))


@given(*SIZES)
def test_vicreg_is_the_paper_s(B: int, D: int, scale: float) -> None:
    z = scale * normal(B, 2, D)
    assert {k: v.item() for k, v in vicreg(z)._asdict().items()} == pytest.approx(literal_vicreg(z), rel=1e-9)


@given(*SIZES)
def test_barlow_twins_is_the_paper_s(B: int, D: int, scale: float) -> None:
    z = scale * normal(B, 2, D)
    terms = {k: v.item() for k, v in barlow_twins(z)._asdict().items()}
    assert terms == pytest.approx(literal_barlow_twins(z), rel=1e-9)


@given(st.integers(1, 5), st.integers(2, 4), st.integers(0, 2), st.integers(1, 4), st.floats(0.05, 3.0))
def test_lejepa_is_the_paper_s(B: int, G: int, local: int, D: int, scale: float) -> None:
    z, directions = scale * normal(B, G + local, D), 7 * normal(D, 3, seed=1)
    found = lejepa(z, directions, G) if local else lejepa(z, directions)
    terms = {k: v.item() for k, v in found._asdict().items()}
    assert terms == pytest.approx(literal_lejepa(z, directions, G), rel=1e-9)


@given(st.integers(1, 5), st.integers(2, 6))
def test_byol_and_simsiam_are_the_papers(B: int, D: int) -> None:
    p, z = normal(B, 2, D), normal(B, 2, D, seed=1)
    both = [(cosine(p[b, 0], z[b, 1]), cosine(p[b, 1], z[b, 0])) for b in range(B)]
    assert byol(p, z).item() == pytest.approx(mean([2 - 2 * c + 2 - 2 * d for c, d in both]))
    assert simsiam(p, z).item() == pytest.approx(mean([-c / 2 - d / 2 for c, d in both]))


def of_one(loss: Callable[..., tuple[Tensor, ...]]) -> Callable[[Tensor], Tensor]:
    """All terms of a loss of embeddings [B, 2, D], as one tensor."""
    if loss is lejepa:
        return lambda z: torch.stack(lejepa(z, normal(z.shape[2], 3, seed=1)))
    return lambda z: torch.stack(loss(z))


def of_two(loss: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
    """A loss of predictions and projections, as a function of both side by side [B, 2, 2 D]."""
    return lambda both: loss(*both.chunk(2, dim=2))


LOSSES = {
    "vicreg": of_one(vicreg),
    "barlow-twins": of_one(barlow_twins),
    "lejepa": of_one(lejepa),
    "byol": of_two(byol),
    "simsiam": of_two(simsiam),
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_is_that_of_finite_differences(name: str) -> None:
    z = 0.5 * normal(4, 2, 4)  # deviations below VICReg's hinge, away from its kink
    assert torch.autograd.gradcheck(LOSSES[name], z.requires_grad_())


@pytest.mark.parametrize("name", LOSSES)
def test_neither_the_order_of_the_batch_nor_of_the_views_matters(name: str) -> None:
    z = normal(7, 2, 6)
    other = z[torch.randperm(7, generator=torch.Generator().manual_seed(1))].flip(1)
    torch.testing.assert_close(LOSSES[name](other), LOSSES[name](z))


def test_each_loss_has_the_invariances_of_its_formula() -> None:
    z, p = normal(9, 2, 6), normal(9, 2, 6, seed=1)
    rotation = torch.linalg.qr(normal(6, 6, seed=2))[0]
    torch.testing.assert_close(vicreg(z + 3), vicreg(z))
    torch.testing.assert_close(barlow_twins(5 * z + 3), barlow_twins(z), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(byol(2 * p, 3 * z), byol(p, z))
    torch.testing.assert_close(simsiam(p @ rotation, z @ rotation), simsiam(p, z))
    directions = normal(6, 4, seed=3)
    torch.testing.assert_close(lejepa(z @ rotation, rotation.T @ directions), lejepa(z, directions))


def test_what_each_loss_is_content_with() -> None:
    """Two equal views, decorrelated and of unit variance; predictions that point where they should."""
    q = torch.linalg.qr(normal(50, 6) - normal(50, 6).mean(0))[0]
    z = (q * math.sqrt(49))[:, None].expand(50, 2, 6)  # unbiased covariance: the identity
    assert [term.item() for term in vicreg(z)] == pytest.approx([0, 0, 0], abs=1e-9)
    assert [term.item() for term in barlow_twins(z)] == pytest.approx([0, 0], abs=1e-8)
    assert byol(2 * z, z).item() == pytest.approx(0, abs=1e-12)
    assert simsiam(2 * z, z).item() == pytest.approx(-1)


def test_sigreg_of_normal_batches_stays_and_of_others_grows_with_their_size() -> None:
    directions = normal(8, 8, seed=9)

    def sigreg(n: int, scale: float, shift: float) -> float:
        return lejepa(scale * normal(n, 150, 8) + shift, directions).sigreg.item()  # of 150 batches

    # For N(0, I) its expectation is ∫ (1 − e^{−t²}) e^{−t²/2} dt from −3 to 3, whatever the size.
    t = torch.linspace(-3, 3, 10_001, dtype=torch.float64)
    expected = torch.trapezoid((1 - (-t.square()).exp()) * (-t.square() / 2).exp(), t).item()
    assert [sigreg(n, 1, 0) for n in (50, 400)] == pytest.approx([expected] * 2, rel=0.1)
    for scale, shift in ((0.1, 0), (1, 1)):
        assert sigreg(50, scale, shift) > 5 * expected
        assert sigreg(400, scale, shift) == pytest.approx(8 * sigreg(50, scale, shift), rel=0.1)
