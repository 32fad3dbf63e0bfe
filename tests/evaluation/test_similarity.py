"""Similarity against its definitions, pair by pair."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from diabolo.errors import UserError
from diabolo.evaluation.features import sample
from diabolo.evaluation.measures import Subject
from diabolo.evaluation.similarity import Similarity, alignment, uniformity
from diabolo.generation import BATCH
from diabolo.views.base import Drawn, View
from diabolo.views.noise import Masking, Threshold
from diabolo.views.pipeline import Pipeline
from tests.evaluation.subjects import Coded, noise_splits, plain_subject

SHAPE = (1, 4, 5)


def unit(seed: int, n: int, d: int) -> Tensor:
    z = np.random.default_rng(seed).normal(size=(n, d))
    return torch.from_numpy(z / np.linalg.norm(z, axis=1, keepdims=True))


@given(seed=st.integers(0, 1000), n=st.integers(2, 12), d=st.integers(1, 5))
def test_alignment_and_uniformity_are_their_definitions(seed, n, d):
    u, v = unit(seed, n, d), unit(seed + 1, n, d)
    literal = (
        sum(sum((a - b) ** 2 for a, b in zip(*pair, strict=True)) for pair in zip(u, v, strict=True)) / n
    )
    assert alignment(u, v) == pytest.approx(float(literal))
    energies = [math.exp(-2 * math.dist(u[i], u[j]) ** 2) for i in range(n) for j in range(n) if i != j]
    assert uniformity(u) == pytest.approx(math.log(sum(energies) / len(energies)))


def test_the_same_points_are_aligned_and_not_uniform():
    u = unit(0, 1, 3).repeat(9, 1)
    assert (alignment(u, u), uniformity(u)) == (0, pytest.approx(0))
    assert alignment(u, -u) == pytest.approx(4)


class Steps(View):
    """Adds 0, 1, 2, … to the views in turn, and remembers how many were drawn."""

    def draw(self, n: int, shape: tuple[int, ...], rng: torch.Generator) -> Drawn:
        return {"step": torch.arange(n)}

    def apply(self, x: Tensor, drawn: Drawn) -> Tensor:
        return x + drawn["step"].remainder(3).view(-1, *(1 for _ in x.shape[1:]))


def test_the_matrix_holds_every_cosine_in_order():
    splits = noise_splits(SHAPE, test=9)
    subject = plain_subject(Coded(lambda z: z, SHAPE), splits, Pipeline([Steps()], 7))
    found = Similarity(images=4, each=3, pairs=9)(subject)
    x = splits.test.take(torch.from_numpy(sample(9, 4))).floats().flatten(1).double().numpy()
    views = [one + step for one in x for step in range(3)]
    norm = np.linalg.norm
    literal = np.array([[a @ b / (norm(a) * norm(b)) for b in views] for a in views])
    np.testing.assert_allclose(found["matrix"], literal, atol=5.1e-4)
    example = np.arange(12) // 3
    alike = example[:, None] == example
    assert found["same"] == pytest.approx(literal[alike & ~np.eye(12, dtype=bool)].mean(), abs=1e-6)
    assert found["different"] == pytest.approx(literal[~alike].mean(), abs=1e-6)
    assert (found["views"], found["images"], found["each"]) == ("of the training", 4, 3)


def test_it_is_read_on_the_space_that_the_loss_acts_on_too():
    splits = noise_splits(SHAPE, test=9)
    subject = plain_subject(Coded(lambda z: z, SHAPE), splits, Pipeline([Steps()], 7))
    measure = Similarity(images=4, each=3, pairs=9)
    assert "z" not in measure(subject)  # which is the one that is scored
    assert subject.space == "z"
    behind = measure(replace(subject, space="h"))
    figures = ("same", "different", "alignment", "uniformity")
    assert behind["z"] == {key: measure(subject)[key] for key in figures}


def test_the_sums_are_read_on_two_views_of_many_images():
    splits = noise_splits(SHAPE, test=BATCH + 40)
    subject = plain_subject(Coded(lambda z: z, SHAPE), splits, Pipeline([Steps()]))
    found = Similarity(images=2, each=2)(subject)  # of all, since there are fewer than the default
    x = splits.test.floats().flatten(1).double()
    steps = torch.arange(2 * BATCH).remainder(3).view(-1, 2)  # of each batch
    steps = torch.cat([steps, steps[:40]])
    u, v = (torch.nn.functional.normalize(x + steps[:, [i]], dim=1) for i in range(2))
    assert found["alignment"] == pytest.approx(alignment(u, v), rel=1e-5)
    assert found["uniformity"] == pytest.approx((uniformity(u) + uniformity(v)) / 2, rel=1e-5)


def test_without_views_the_usual_ones_are_used_and_named(digits):
    subject = plain_subject(Coded(lambda z: z, (1, 8, 8)), digits)
    found = Similarity(images=5, each=2, pairs=50)(subject)
    assert found["views"] == "simclr"
    assert found == Similarity(images=5, each=2, pairs=50)(subject)  # the views do not change
    assert found["different"] < found["same"] < 0.999  # crops of a digit are neither equal nor unrelated
    with_own = plain_subject(subject.method, digits, Pipeline([Masking(share=0.9)]))
    assert Similarity(images=5, each=2, pairs=50, views="simclr")(with_own) == found
    own = Similarity(images=5, each=2, pairs=50)(with_own)
    assert own["views"] == "of the training"
    assert own["same"] < found["same"]
    vectors = noise_splits((7,))
    assert Similarity(images=3, each=2)(plain_subject(Coded(lambda z: z, (7,)), vectors))["views"] == "simclr"


def test_it_reads_the_space_that_is_scored(digits):
    class Halved(Coded):
        def embed(self, h: Tensor) -> Tensor:
            return h[:, :2]

    method = Halved(lambda z: z, (1, 8, 8)).eval()
    both = [Similarity(pairs=20)(Subject(method, digits, space))["uniformity"] for space in ("h", "z")]
    assert both[0] != both[1]


def test_one_test_image_has_nothing_to_be_compared_with():
    splits = noise_splits(SHAPE, test=1)
    with pytest.raises(UserError, match="there is only one"):
        Similarity().check(plain_subject(Coded(lambda z: z, SHAPE), splits))


def test_a_representation_of_nothing_has_no_direction(digits):
    """All zeros, as a dead encoder gives: every cosine is 0, and nothing is NaN."""
    subject = plain_subject(Coded(lambda z: z, (1, 8, 8)), digits, Pipeline([Threshold(value=2.0)]))
    found = Similarity(images=3, each=2, pairs=10)(subject)
    assert (found["same"], found["different"], found["alignment"]) == (0, 0, 0)
