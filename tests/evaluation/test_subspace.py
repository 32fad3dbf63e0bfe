"""The principal subspace: PCA, the angle to it, and autoencoders whose place in it is known."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from diabolo.data.images import Images, Splits
from diabolo.errors import UserError
from diabolo.evaluation.measures import Subject
from diabolo.evaluation.subspace import PCASubspace, is_affine, matrix_of, principal_angles, span
from diabolo.methods.autoencoder import Autoencoder
from diabolo.methods.random import Random
from diabolo.networks.backbone import Backbone
from tests.evaluation.subjects import Coded, autoencoder, noise_splits, plain_subject

CPU = torch.device("cpu")
LINEAR = ["encoder={name: linear, width: 8}", "decoder=linear", "method.latent=5"]


def principal(images: Images, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean [D] and the first k principal directions [D, k], from the singular values of the data."""
    x = images.floats().flatten(1).double().numpy()
    return x.mean(0), np.linalg.svd(x - x.mean(0), full_matrices=False)[2][:k].T


def place(method: Autoencoder, mean: np.ndarray, directions: np.ndarray, mix: np.ndarray) -> None:
    """Let a linear autoencoder project on a subspace; `mix` [k, k] is a change of basis in its code."""
    encoder, decoder = method.encoder, method.decoder
    scale, shift = encoder.std.flatten()[0].item(), encoder.mean.flatten()[0].item()  # one channel
    k, width = directions.shape[1], encoder.width
    lift = np.random.default_rng(0).normal(size=(width, k))
    centred = mean - shift  # of the data as the network shifts it
    weights = {
        encoder.network.linear.weight: lift @ directions.T * scale,
        encoder.network.linear.bias: -lift @ directions.T @ centred,
        method.mean.weight: mix @ np.linalg.pinv(lift),
        method.mean.bias: np.zeros(k),
        decoder.linear.weight: directions @ np.linalg.inv(mix),
        decoder.linear.bias: mean,
    }
    with torch.no_grad():
        for parameter, value in weights.items():
            parameter.copy_(torch.from_numpy(value))


def test_a_linear_autoencoder_that_is_pca_has_its_error_and_no_angle(digits):
    method = autoencoder("linear-ae", digits, *LINEAR)
    mean, directions = principal(digits.train, 5)
    place(method, mean, directions, np.random.default_rng(1).normal(size=(5, 5)))
    found = PCASubspace()(plain_subject(method, digits))
    x = digits.test.floats().flatten(1).double().numpy() - mean
    mse = np.square(x - x @ directions @ directions.T).mean()
    assert found["mse_pca"] == pytest.approx(mse, rel=1e-4)
    assert found["mse"] == pytest.approx(mse, rel=1e-4)
    assert found["ratio"] == pytest.approx(1, abs=1e-4)
    assert found["angle"] == pytest.approx(0, abs=0.02)
    assert found["components"] == 5
    assert "missing" not in found
    assert "note" not in found


@pytest.mark.parametrize("degrees", [1.0, 30.0, 90.0])
def test_the_angle_is_the_one_a_direction_was_turned_by(digits, degrees):
    method = autoencoder("linear-ae", digits, *LINEAR)
    mean, directions = principal(digits.train, 6)
    turn = np.radians(degrees)
    turned = directions[:, :5].copy()
    turned[:, 2] = np.cos(turn) * directions[:, 2] + np.sin(turn) * directions[:, 5]
    place(method, mean, turned, np.random.default_rng(1).normal(size=(5, 5)))
    found = PCASubspace()(plain_subject(method, digits))
    assert found["angle"] == pytest.approx(degrees, abs=0.05)
    assert found["shared"] == pytest.approx((4 + np.cos(turn) ** 2) / 5, abs=1e-4)
    assert found["ratio"] == found["mse"] / found["mse_pca"]


@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 4))
def test_the_largest_angle_is_the_worst_of_the_first_subspace_in_the_second(seed, k):
    rng = np.random.default_rng(seed)
    a, b = (np.linalg.qr(rng.normal(size=(7, k)))[0] for _ in range(2))
    # The unit vector of a that is farthest from b: its projection on b is the shortest.
    shortest = np.sqrt(np.linalg.eigvalsh(a.T @ b @ b.T @ a).min().clip(0))
    angles = principal_angles(a, b)
    assert angles.max() == pytest.approx(np.degrees(np.arccos(shortest)), abs=1e-4)
    assert np.square(np.cos(np.radians(angles))).sum() == pytest.approx(np.square(a.T @ b).sum())
    np.testing.assert_allclose(principal_angles(a @ rng.normal(size=(k, k)), b), angles, atol=1e-4)


def test_the_span_is_that_of_the_reconstructions(digits):
    method = autoencoder("linear-ae", digits, *LINEAR)
    directions = span(method, (1, 8, 8), 5)
    np.testing.assert_allclose(directions.T @ directions, np.eye(5), atol=1e-6)
    with torch.no_grad():
        out = method.reconstruct(digits.test.floats()).flatten(1).double().numpy()
    out = out - out.mean(0)
    np.testing.assert_allclose(out @ directions @ directions.T, out, atol=1e-5)


def test_a_matrix_is_read_off_an_affine_function_of_any_shape():
    rng = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(3, 2 * 13 * 11, generator=rng), torch.randn(3, generator=rng)
    function = partial(nn.functional.linear, weight=weight, bias=bias)
    matrix = matrix_of(lambda x: function(x.flatten(1)), (2, 13, 11), CPU)  # more than one block of columns
    np.testing.assert_allclose(matrix, weight, atol=1e-6)


@pytest.mark.parametrize(
    ("function", "affine"),
    [
        (lambda x: 3 * x - 2, True),
        (lambda x: torch.zeros_like(x), True),
        (lambda x: x.relu(), False),
        (lambda x: (x - 30).relu(), False),
        (lambda x: x.sigmoid(), False),
        (lambda x: x + 1e-2 * x.square(), False),
    ],
)
def test_what_bends_a_line_is_not_affine(function, affine):
    assert is_affine(function, (5, 4), CPU) is affine


def test_a_code_that_is_wider_than_the_feature_is_compared_with_the_feature(digits):
    method = autoencoder("linear-ae", digits, *LINEAR[1:], "encoder={name: linear, width: 3}")
    found = PCASubspace()(plain_subject(method, digits))
    assert found["components"] == 3
    assert found["note"] == "the code has width 5, but the encoder's feature only 3"
    assert 0 <= found["angle"] <= 90


def test_an_angle_that_means_nothing_is_missing_with_its_reason(digits):
    found = PCASubspace()(plain_subject(autoencoder("ae", digits), digits))
    assert found["missing"] == {"angle": "encoder and decoder are not linear"}
    assert found["ratio"] > 1  # untrained
    bernoulli = autoencoder("linear-ae", digits, *LINEAR, "method.likelihood=bernoulli")
    assert "angle" not in PCASubspace()(plain_subject(bernoulli, digits))
    likelihood = "method.likelihood={name: gaussian, space: normalised}"
    assert "angle" in PCASubspace()(
        plain_subject(autoencoder("linear-ae", digits, *LINEAR, likelihood), digits)
    )
    colour = noise_splits((2, 4, 5))
    bright = Images(colour.train.pixels // torch.tensor([1, 3], dtype=torch.uint8)[:, None, None])
    colour = Splits(bright, colour.validation, colour.test)
    found = PCASubspace()(plain_subject(autoencoder("linear-ae", colour, *LINEAR, likelihood), colour))
    assert "normalised channels" in found["missing"]["angle"]
    assert "angle" in PCASubspace()(plain_subject(autoencoder("linear-ae", colour, *LINEAR), colour))


def test_pca_of_all_dimensions_leaves_no_error_to_compare_with():
    splits = noise_splits((6,))
    found = PCASubspace()(plain_subject(Coded(lambda x: x / 2, (6,)), splits))
    assert "ratio" in found["missing"]
    assert found["mse_pca"] == pytest.approx(0, abs=1e-9)


def test_a_method_without_a_decoder_is_refused(digits):
    method = Random(Backbone(nn.Flatten(), (1, 8, 8)))
    with pytest.raises(UserError, match="Random has no decoder"):
        PCASubspace().check(Subject(method, digits, "h"))
