"""Jitter, grayscale and blur against references that visit one pixel at a time; hue against `colorsys`."""

import colorsys
import math

import numpy as np
import pytest
import torch

from diabolo.errors import UserError
from diabolo.views.colour import ColourJitter, GaussianBlur, Grayscale

FACTORS = ("brightness", "contrast", "saturation")


def images(n: int = 6, C: int = 3, H: int = 5, W: int = 7) -> torch.Tensor:
    return torch.rand(n, C, H, W, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def luminance(rgb: np.ndarray) -> float:
    return float(0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2])


def jittered(
    image: np.ndarray, brightness: float, contrast: float, saturation: float, hue: float
) -> np.ndarray:
    """One image [3, H, W], pixel by pixel."""
    _, H, W = image.shape
    image = np.clip(image * brightness, 0, 1)
    mean = sum(luminance(image[:, i, j]) for i in range(H) for j in range(W)) / (H * W)
    image = np.clip(contrast * image + (1 - contrast) * mean, 0, 1)
    out = np.zeros_like(image)
    for i in range(H):
        for j in range(W):
            pixel = image[:, i, j]
            pixel = np.clip(saturation * pixel + (1 - saturation) * luminance(pixel), 0, 1)
            h, s, v = colorsys.rgb_to_hsv(*pixel)
            out[:, i, j] = colorsys.hsv_to_rgb((h + hue) % 1.0, s, v)
    return out


@pytest.mark.parametrize("hue", [0.1, 0.5])
def test_jitter_equals_a_literal_reference(hue: float) -> None:
    x = images(n=12)
    view = ColourJitter(brightness=0.8, contrast=0.8, saturation=0.8, hue=hue, p=0.8)
    drawn = view.draw(len(x), (3, 5, 7), rng(1))
    assert (drawn["hue"] < 0).any()
    assert (drawn["hue"] > 0).any()
    assert (drawn["hue"] == 0).any()
    result = view.apply(x, drawn).numpy()
    for i, image in enumerate(x.numpy()):
        expected = jittered(image, *(float(drawn[name][i]) for name in (*FACTORS, "hue")))
        np.testing.assert_allclose(result[i], expected, atol=1e-10)


def test_hue_of_grey_black_white_and_pure_colours() -> None:
    """Pixels where channels tie: the chroma is zero, or two channels are highest at once."""
    levels = (0.0, 0.5, 1.0)
    pixels = torch.tensor([[r, g, b] for r in levels for g in levels for b in levels], dtype=torch.float64)
    x = pixels.T.reshape(1, 3, 3, 9)
    view = ColourJitter(brightness=0, contrast=0, saturation=0, hue=0.5)
    for turns in (-0.5, -1 / 3, -1e-9, 0.0, 0.125, 1 / 6, 0.5):
        result = view.apply(x, {"hue": torch.tensor([turns], dtype=torch.float64)})
        for before, after in zip(pixels.tolist(), result.reshape(3, -1).T.tolist(), strict=True):
            h, s, v = colorsys.rgb_to_hsv(*before)
            assert after == pytest.approx(colorsys.hsv_to_rgb((h + turns) % 1.0, s, v), abs=1e-8)


def test_a_step_of_zero_strength_changes_nothing() -> None:
    x = images()
    view = ColourJitter(brightness=0, contrast=0, saturation=0, hue=0, p=1)
    assert torch.equal(view.apply(x, view.draw(len(x), (3, 5, 7), rng())), x)


@pytest.mark.parametrize("C", [1, 2, 5])
def test_brightness_and_contrast_take_any_number_of_channels(C: int) -> None:
    x = images(C=C)
    colour = 0.4 if C == 1 else 0.0  # one channel has no colour to change; the others must not ask for it
    view = ColourJitter(brightness=0.4, contrast=0.4, saturation=colour, hue=colour, p=1)
    assert view.shape((C, 5, 7)) == (C, 5, 7)
    drawn = view.draw(len(x), (C, 5, 7), rng())
    result = view.apply(x, drawn).numpy()
    for i, image in enumerate(x.numpy()):
        brightness, contrast = float(drawn["brightness"][i]), float(drawn["contrast"][i])
        bright = np.clip(image * brightness, 0, 1)
        np.testing.assert_allclose(
            result[i], np.clip(contrast * bright + (1 - contrast) * bright.mean(), 0, 1), atol=1e-10
        )


@pytest.mark.parametrize("setting", ["saturation", "hue"])
def test_colour_of_two_channels_is_refused(setting: str) -> None:
    settings = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.0, "hue": 0.0} | {setting: 0.1}
    with pytest.raises(UserError, match="need 1 or 3 channels, not 2"):
        ColourJitter(**settings).shape((2, 8, 8))


def test_jitter_is_drawn_uniformly_for_a_share_p_of_the_samples() -> None:
    drawn = ColourJitter(brightness=1.5, contrast=0.4, saturation=0.2, hue=0.1, p=0.8).draw(
        20_000, (3, 4, 4), rng()
    )
    untouched = drawn["brightness"] == 1
    assert abs(untouched.float().mean() - 0.2) < 0.015
    limits = {"brightness": (0, 2.5), "contrast": (0.6, 1.4), "saturation": (0.8, 1.2), "hue": (-0.1, 0.1)}
    for name, (low, high) in limits.items():
        value = drawn[name]
        assert (value[untouched] == (0 if name == "hue" else 1)).all()
        value = value[~untouched]
        assert low <= value.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < value.max() <= high
        assert abs(value.mean() - (low + high) / 2) < 0.02 * (high - low)
    touched = torch.stack([drawn[name][~untouched] for name in limits])
    assert (torch.corrcoef(touched) - torch.eye(4)).abs().max() < 0.03


def test_grayscale_repeats_the_luminance_over_three_channels() -> None:
    x = images(n=20)
    view = Grayscale(p=0.5)
    drawn = view.draw(20, (3, 5, 7), rng())
    assert 0 < drawn["grey"].sum() < 20
    for before, after, grey in zip(x.numpy(), view.apply(x, drawn).numpy(), drawn["grey"], strict=True):
        for i in range(5):
            for j in range(7):
                expected = [luminance(before[:, i, j])] * 3 if grey else before[:, i, j]
                np.testing.assert_allclose(after[:, i, j], expected, atol=1e-12)


def test_grayscale_happens_with_probability_p_and_leaves_one_channel_as_it_is() -> None:
    drawn = Grayscale(p=0.2).draw(20_000, (1, 2, 2), rng())
    assert abs(drawn["grey"].float().mean() - 0.2) < 0.015
    x = images(C=1)
    assert torch.equal(Grayscale().apply(x, {"grey": torch.ones(len(x), dtype=torch.bool)}), x)
    with pytest.raises(UserError, match="needs 1 or 3 channels, not 4"):
        Grayscale().shape((4, 8, 8))


def reflect(i: int, side: int) -> int:
    return -i if i < 0 else 2 * (side - 1) - i if i >= side else i


@pytest.mark.parametrize("kernel", [1, 3, 9])
def test_blur_equals_a_literal_convolution(kernel: int) -> None:
    x = images(n=5, C=2, H=5, W=7)
    view = GaussianBlur(kernel=kernel, sigma=(0.1, 2.0), p=0.7)
    drawn = view.draw(5, (2, 5, 7), rng())
    assert 0 < (drawn["sigma"] > 0).sum() < 5
    result = view.apply(x, drawn).numpy()
    radius = kernel // 2
    for n, sigma in enumerate(drawn["sigma"].tolist()):
        offsets = range(-radius, radius + 1)
        taps = {k: math.exp(-(k**2) / (2 * sigma**2)) if sigma else float(k == 0) for k in offsets}
        for i in range(5):
            for j in range(7):
                total = sum(
                    taps[a] * taps[b] * x[n, :, reflect(i + a, 5), reflect(j + b, 7)].numpy()
                    for a in offsets
                    for b in offsets
                )
                np.testing.assert_allclose(result[n, :, i, j], total / sum(taps.values()) ** 2, atol=1e-10)


def test_blur_is_drawn_uniformly_for_a_share_p_of_the_samples() -> None:
    sigma = GaussianBlur(kernel=3, sigma=(0.5, 1.5), p=0.3).draw(20_000, (3, 8, 8), rng())["sigma"]
    assert abs((sigma > 0).float().mean() - 0.3) < 0.015
    blurred = sigma[sigma > 0]
    assert blurred.min() >= 0.5
    assert blurred.max() <= 1.5
    assert abs(blurred.mean() - 1) < 0.02


def test_impossible_blurs_are_refused() -> None:
    with pytest.raises(UserError, match="kernel must be odd, not 8"):
        GaussianBlur(kernel=8)
    with pytest.raises(UserError, match="sigma must be"):
        GaussianBlur(kernel=9, sigma=(2.0, 0.1))
    with pytest.raises(UserError, match="too wide for images of 4 pixels: take 7 or less"):
        GaussianBlur(kernel=9).shape((3, 4, 30))
    assert GaussianBlur(kernel=7).shape((3, 4, 30)) == (3, 4, 30)
