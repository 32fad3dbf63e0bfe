"""The style suite on encoders that keep one thing and drop the others."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from diabolo.errors import UserError
from diabolo.evaluation.measures import Subject
from diabolo.evaluation.style import FACTORS, Style, factors
from diabolo.methods.random import Random
from diabolo.networks.backbone import Backbone
from tests.evaluation.subjects import Coded, noise_splits, plain_subject


class Brightness(nn.Module):
    """The mean of the image: [n, 1]."""

    def forward(self, x):
        return x.mean((1, 2, 3))[:, None]


class Centre(nn.Module):
    """Where the image's mass lies, and how much there is: [n, 3]."""

    def forward(self, x):
        mass = x.sum((1, 2, 3))
        down, right = (
            (x.sum((1, axis)) * torch.arange(8.0)).sum(1) / mass.clamp(min=1e-6) for axis in (3, 2)
        )
        return torch.stack([down, right, mass], 1)


def measured(network, splits, **settings):
    method = Random(Backbone(network, splits.train.shape)).eval()
    return Style(**settings)(Subject(method, splits, "h"))


def test_what_an_encoder_keeps_is_read_back_and_nothing_else(digits):
    centre = measured(Centre(), digits)
    assert centre["h"]["translation"] > 0.5
    assert centre["h"]["blur"] < 0.2
    brightness = measured(Brightness(), digits)
    assert brightness["h"]["brightness"] > 0.5
    assert abs(brightness["h"]["translation"]) < 0.1
    assert abs(brightness["h"]["rotation"]) < 0.1


def test_the_mean_is_over_the_factors_of_the_scored_space(digits):
    found = measured(Centre(), digits, train=300, test=100)
    assert found["h"].keys() - {"mean"} == factors((1, 8, 8)).keys()
    values = [found["h"][name] for name in factors((1, 8, 8))]
    assert found["mean"] == found["h"]["mean"] == pytest.approx(sum(values) / len(values))
    assert found == measured(Centre(), digits, train=300, test=100)


def test_both_spaces_are_read_where_there_are_two(digits):
    found = Style(train=200, test=100)(plain_subject(Coded(lambda z: z, (1, 8, 8)), digits))
    assert found["z"] == pytest.approx(found["h"])  # this method's code is its feature


def test_colours_have_two_factors_more():
    assert factors((3, 32, 32)).keys() == FACTORS.keys()
    assert FACTORS.keys() - factors((1, 32, 32)).keys() == {"saturation", "hue"}


def test_vectors_are_refused():
    with pytest.raises(UserError, match="these are vectors"):
        Style().check(plain_subject(Coded(lambda z: z, (7,)), noise_splits((7,))))


def test_a_part_of_one_image_is_refused():
    """Nothing varies there; said before a training, not after it."""
    splits = noise_splits((1, 8, 8))
    few = replace(splits, validation=splits.validation.take(torch.arange(1)))
    with pytest.raises(UserError, match="it needs two images or more in each of train, validation and test"):
        Style().check(plain_subject(Coded(lambda z: z, (1, 8, 8)), few))
