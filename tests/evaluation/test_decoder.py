"""A decoder trained on what a frozen method kept."""

import pytest
import torch

from diabolo.data.images import Images
from diabolo.evaluation.decoder import decoded_from
from tests.evaluation.subjects import Coded


@pytest.fixture
def train() -> Images:
    """A code whose first dimension one image alone excites, and little."""
    pixels = torch.randn(500, 8, generator=torch.Generator().manual_seed(0))
    pixels[:, 0] = 0
    pixels[7, 0] = 0.01
    return Images(pixels)


def test_it_rebuilds_what_the_code_holds(train: Images) -> None:
    decoded = decoded_from(Coded(torch.nn.Identity(), (8,)).eval(), "z", train, seed=0)
    with torch.inference_mode():
        error = (decoded.reconstruct(train.pixels) - train.pixels).square().mean(0)
    assert error[1:].max() < 0.25  # of a variance of 1


def test_a_dimension_that_hardly_varies_is_not_blown_up(train: Images) -> None:
    decoded = decoded_from(Coded(torch.nn.Identity(), (8,)).eval(), "z", train, seed=0)
    excited = train.pixels.clone()
    excited[:, 0] = 1.0
    with torch.inference_mode():
        error = (decoded.reconstruct(excited) - excited).square().mean(0)
    assert error[1:].max() < 10  # 2,250 without the floor
