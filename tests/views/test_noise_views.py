"""Noise, masks and binarisation: what is drawn, and what it does to each value."""

import numpy as np
import pytest
import torch

from diabolo.views.noise import GaussianNoise, Masking, SaltAndPepper, SampledBinarisation, Threshold

SHAPES = [(3, 10, 12), (40,)]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def values(n: int, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.rand(n, *shape, dtype=torch.float64, generator=rng(3))


def per_pixel(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (1, *shape[1:]) if len(shape) == 3 else shape


@pytest.mark.parametrize("shape", SHAPES)
def test_gaussian_noise_is_standard_normal_and_not_clipped(shape: tuple[int, ...]) -> None:
    x = values(1_000, shape)
    view = GaussianNoise(scale=0.3)
    drawn = view.draw(len(x), shape, rng())
    noise = drawn["noise"]
    assert noise.shape == x.shape
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02
    assert abs((noise.abs() < 1).float().mean() - 0.6827) < 0.01
    result = view.apply(x, drawn)
    np.testing.assert_allclose(result.numpy(), x.numpy() + 0.3 * noise.double().numpy(), atol=1e-12)
    assert result.min() < 0
    assert result.max() > 1


@pytest.mark.parametrize("shape", SHAPES)
def test_masking_zeroes_all_channels_of_a_share_of_the_pixels(shape: tuple[int, ...]) -> None:
    x = values(1_000, shape)
    view = Masking(share=0.25)
    drawn = view.draw(len(x), shape, rng())
    masked = drawn["masked"]
    assert masked.shape == (1_000, *per_pixel(shape))
    assert abs(masked.float().mean() - 0.25) < 0.01
    everywhere = np.broadcast_to(masked.numpy(), x.shape)
    np.testing.assert_array_equal(view.apply(x, drawn).numpy(), np.where(everywhere, 0, x.numpy()))


@pytest.mark.parametrize("shape", SHAPES)
def test_salt_and_pepper_are_equally_frequent(shape: tuple[int, ...]) -> None:
    x = values(1_000, shape)
    view = SaltAndPepper(share=0.3)
    drawn = view.draw(len(x), shape, rng())
    for name in ("salt", "pepper"):
        assert drawn[name].shape == (1_000, *per_pixel(shape))
        assert abs(drawn[name].float().mean() - 0.15) < 0.01
    assert not (drawn["salt"] & drawn["pepper"]).any()
    salt, pepper = (np.broadcast_to(drawn[name].numpy(), x.shape) for name in ("salt", "pepper"))
    np.testing.assert_array_equal(
        view.apply(x, drawn).numpy(), np.where(salt, 1, np.where(pepper, 0, x.numpy()))
    )


def test_threshold_is_strict() -> None:
    x = torch.tensor([[0.0, 0.5, 0.5001, 1.0]])
    assert Threshold(value=0.5).draw(1, (4,), rng()) == {}
    assert Threshold(value=0.5).apply(x, {}).tolist() == [[0.0, 0.0, 1.0, 1.0]]
    assert Threshold(value=0.0).apply(x, {}).tolist() == [[0.0, 1.0, 1.0, 1.0]]


def test_sampled_binarisation_is_one_as_often_as_the_value_states() -> None:
    levels = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0])
    x = levels.expand(20_000, 5)
    view = SampledBinarisation()
    result = view.apply(x, view.draw(20_000, (5,), rng()))
    assert set(result.unique().tolist()) == {0.0, 1.0}
    assert (result.mean(0) - levels).abs().max() < 0.015
    assert result[:, 0].sum() == 0  # never one at 0, always one at 1
    assert result[:, 4].sum() == 20_000


def test_sampled_binarisation_compares_with_the_drawn_values() -> None:
    x = values(8, (3, 4, 5))
    drawn = SampledBinarisation().draw(8, (3, 4, 5), rng())
    assert drawn["uniform"].shape == x.shape
    expected = (drawn["uniform"].numpy() < x.numpy()).astype(float)
    np.testing.assert_array_equal(SampledBinarisation().apply(x, drawn).numpy(), expected)
