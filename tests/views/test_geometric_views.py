"""Crops, flips, rotations and shifts against references that visit one pixel at a time."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from diabolo.errors import UserError
from diabolo.views.geometry import (
    HorizontalFlip,
    RandomResizedCrop,
    Rotation,
    Translation,
    VerticalFlip,
)


def images(n: int = 4, C: int = 3, H: int = 9, W: int = 12) -> torch.Tensor:
    return torch.rand(n, C, H, W, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def box(top: int, left: int, height: int, width: int) -> dict[str, torch.Tensor]:
    return {
        name: torch.tensor([value])
        for name, value in {"top": top, "left": left, "height": height, "width": width}.items()
    }


def triangle_weights(length: int, out: int) -> np.ndarray:
    """[out, length] bilinear weights: between clamped neighbours, or a triangle when shrinking."""
    weights = np.zeros((out, length))
    step = length / out
    for o in range(out):
        middle = (o + 0.5) * step
        if step <= 1:
            position = min(max(middle - 0.5, 0.0), length - 1.0)
            below = math.floor(position)
            weights[o, below] += 1 - (position - below)
            weights[o, min(below + 1, length - 1)] += position - below
        else:
            for i in range(length):
                weights[o, i] = max(0.0, 1 - abs(i + 0.5 - middle) / step)
            weights[o] /= weights[o].sum()
    return weights


def crop_and_resize(
    image: np.ndarray, top: int, left: int, height: int, width: int, H: int, W: int
) -> np.ndarray:
    rows, columns = triangle_weights(height, H), triangle_weights(width, W)
    out = np.zeros((image.shape[0], H, W))
    for c in range(image.shape[0]):
        for i in range(H):
            for j in range(W):
                for a in range(height):
                    for b in range(width):
                        out[c, i, j] += rows[i, a] * columns[j, b] * image[c, top + a, left + b]
    return out


def read(image: np.ndarray, row: float, column: float) -> np.ndarray:
    """The bilinear value [C] of [C, H, W] between pixel middles; zero beyond the image."""
    _, H, W = image.shape
    total = np.zeros(image.shape[0])
    for i in (math.floor(row), math.floor(row) + 1):
        for j in (math.floor(column), math.floor(column) + 1):
            if 0 <= i < H and 0 <= j < W:
                total += (1 - abs(row - i)) * (1 - abs(column - j)) * image[:, i, j]
    return total


@pytest.mark.parametrize("size", [None, 5, 16])
def test_crop_equals_a_literal_bilinear_reference(size: int | None) -> None:
    view, x = RandomResizedCrop(size=size), images(n=6, C=2)
    drawn = view.draw(len(x), tuple(x.shape[1:]), rng())
    result = view.apply(x, drawn)
    assert tuple(result.shape[1:]) == view.shape(tuple(x.shape[1:]))
    for i, image in enumerate(x.numpy()):
        top, left, height, width = (int(drawn[key][i]) for key in ("top", "left", "height", "width"))
        expected = crop_and_resize(image, top, left, height, width, *result.shape[2:])
        np.testing.assert_allclose(result[i].numpy(), expected, atol=1e-10)


@pytest.mark.parametrize(("height", "width"), [(3, 5), (9, 12), (1, 1)])
def test_enlarging_equals_interpolate(height: int, width: int) -> None:
    x = images(n=1)
    result = RandomResizedCrop(size=16).apply(x, box(0, 0, height, width))
    expected = F.interpolate(x[..., :height, :width], (16, 16), mode="bilinear", align_corners=False)
    torch.testing.assert_close(result, expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("size", [1, 4, 8, 10])
def test_shrinking_equals_antialiased_interpolate(size: int) -> None:
    x = images(n=1, H=17, W=23)
    result = RandomResizedCrop(size=size).apply(x, box(4, 2, 13, 20))
    crop = x[..., 4:17, 2:22]
    expected = F.interpolate(crop, (size, size), mode="bilinear", align_corners=False, antialias=True)
    torch.testing.assert_close(result, expected, atol=1e-10, rtol=0)


def test_the_whole_image_is_cropped_to_itself() -> None:
    x = images(n=1).float()
    assert torch.equal(RandomResizedCrop().apply(x, box(0, 0, 9, 12)), x)


def test_drawn_boxes_lie_inside_and_keep_to_the_ranges() -> None:
    n, H, W = 20_000, 200, 200
    drawn = RandomResizedCrop(scale=(0.1, 0.5), ratio=(0.5, 2.0)).draw(n, (3, H, W), rng())
    top, left, height, width = (drawn[key] for key in ("top", "left", "height", "width"))
    assert all(value.dtype == torch.int64 for value in drawn.values())
    assert top.min() == 0
    assert left.min() == 0
    assert (top + height).max() == H
    assert (left + width).max() == W
    area, ratio = height * width / (H * W), width / height
    # A rounding of half a pixel on a side of at least 44 moves either by less than 3 %.
    assert 0.097 < area.min() < 0.102
    assert 0.49 < area.max() < 0.515
    assert abs(area.mean() - 0.3) < 0.01
    assert 0.485 < ratio.min() < 0.51
    assert 1.96 < ratio.max() < 2.06
    assert abs(ratio.log().mean()) < 0.01  # uniform in the logarithm, as likely wide as tall


def test_sides_are_rounded_to_the_nearest_pixel() -> None:
    drawn = RandomResizedCrop(scale=(0.4, 0.4), ratio=(1.5, 1.5)).draw(50, (1, 10, 10), rng())
    assert set(drawn["height"].tolist()) == {5}  # √(40 / 1.5) = 5.16
    assert set(drawn["width"].tolist()) == {8}  # √(40 · 1.5) = 7.75


def test_places_of_a_box_are_equally_likely() -> None:
    drawn = RandomResizedCrop(scale=(0.25, 0.25), ratio=(1.0, 1.0)).draw(10_000, (1, 8, 8), rng())
    assert set(drawn["height"].tolist()) == {4}
    for corner in (drawn["top"], drawn["left"]):
        assert corner.bincount().min() > 1_800
        assert corner.bincount().shape == (5,)


@pytest.mark.parametrize(
    ("H", "W", "ratio", "expected"),
    [
        (10, 100, (0.75, 4 / 3), (0, 43, 10, 13)),  # too wide: full height, width 13 = 10 · 4/3
        (100, 10, (0.75, 4 / 3), (43, 0, 13, 10)),
        (10, 10, (0.5, 2.0), (0, 0, 10, 10)),
        (4, 1, (2.0, 4.0), (1, 0, 1, 1)),  # half a pixel high rounds to none: one is kept
    ],
)
def test_the_central_crop_when_no_try_fits(
    H: int, W: int, ratio: tuple[float, float], expected: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.full(shape, 1e6, dtype=torch.float64))
    drawn = RandomResizedCrop(ratio=ratio).draw(3, (1, H, W), rng())
    assert tuple(int(value[1]) for value in drawn.values()) == expected


@pytest.mark.parametrize(("view", "axis"), [(HorizontalFlip(), 3), (VerticalFlip(), 2)])
def test_flips_mirror_the_drawn_samples(view: HorizontalFlip | VerticalFlip, axis: int) -> None:
    x = images(n=16)
    drawn = view.draw(16, (3, 9, 12), rng())
    assert 0 < drawn["flip"].sum() < 16
    result = view.apply(x, drawn)
    for before, after, flip in zip(x.numpy(), result.numpy(), drawn["flip"], strict=True):
        np.testing.assert_array_equal(after, np.flip(before, axis - 1) if flip else before)


@pytest.mark.parametrize("view", [HorizontalFlip, VerticalFlip])
def test_flips_happen_with_probability_p(view: type[HorizontalFlip]) -> None:
    assert abs(view(p=0.3).draw(20_000, (1, 2, 2), rng())["flip"].float().mean() - 0.3) < 0.015


def test_rotation_reads_each_pixel_from_the_inverse_rotation() -> None:
    x = images(n=5)
    view = Rotation(degrees=180)
    drawn = view.draw(5, (3, 9, 12), rng())
    result = view.apply(x, drawn).numpy()
    for n, degrees in enumerate(drawn["degrees"].tolist()):
        angle = math.radians(degrees)
        for i in range(9):
            for j in range(12):
                down, right = i - 4.0, j - 5.5  # from the centre
                row = 4.0 + down * math.cos(angle) + right * math.sin(angle)
                column = 5.5 + right * math.cos(angle) - down * math.sin(angle)
                np.testing.assert_allclose(result[n, :, i, j], read(x[n].numpy(), row, column), atol=1e-6)


def test_a_quarter_turn_is_counter_clockwise() -> None:
    x = images(n=1, H=8, W=8)
    result = Rotation(degrees=90).apply(x, {"degrees": torch.tensor([90.0])})
    torch.testing.assert_close(result, x.rot90(1, (2, 3)), atol=1e-6, rtol=0)


def test_translation_moves_by_a_share_of_each_side() -> None:
    x = images(n=5)
    view = Translation(share=0.4)
    drawn = view.draw(5, (3, 9, 12), rng())
    result = view.apply(x, drawn).numpy()
    for n in range(5):
        down, right = 9 * float(drawn["down"][n]), 12 * float(drawn["right"][n])
        for i in range(9):
            for j in range(12):
                np.testing.assert_allclose(
                    result[n, :, i, j], read(x[n].numpy(), i - down, j - right), atol=1e-6
                )


def test_a_shift_of_whole_pixels_brings_in_zeros() -> None:
    x = images(n=1, H=8, W=8)
    result = Translation(share=1).apply(x, {"down": torch.tensor([0.25]), "right": torch.tensor([-0.5])})
    expected = torch.zeros_like(x)
    expected[..., 2:, :4] = x[..., :6, 4:]
    torch.testing.assert_close(result, expected)


def test_angles_and_shifts_are_uniform() -> None:
    angle = Rotation(degrees=30).draw(20_000, (1, 8, 8), rng())["degrees"]
    shifts = Translation(share=0.2).draw(20_000, (1, 8, 8), rng())
    for value, limit in [(angle, 30.0), (shifts["down"], 0.2), (shifts["right"], 0.2)]:
        assert value.abs().max() <= limit
        assert abs(value.mean()) < 0.02 * limit
        assert abs(value.std() / (limit / math.sqrt(3)) - 1) < 0.02
    assert abs(torch.corrcoef(torch.stack([shifts["down"], shifts["right"]]))[0, 1]) < 0.03


@pytest.mark.parametrize("setting", ["scale", "ratio"])
def test_a_descending_range_is_refused(setting: str) -> None:
    with pytest.raises(UserError, match=f"{setting} must be \\[lowest, highest\\], got \\[0.9, 0.2\\]"):
        RandomResizedCrop(**{setting: (0.9, 0.2)})


def test_vectors_cannot_be_cropped() -> None:
    with pytest.raises(UserError, match="RandomResizedCrop needs images"):
        RandomResizedCrop().draw(4, (20,), rng())
