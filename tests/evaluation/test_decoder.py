"""A decoder trained on what a frozen method kept."""

from pathlib import Path

import pytest
import torch

from diabolo.data.images import Images
from diabolo.evaluation import decoder
from diabolo.evaluation.decoder import coder_for
from diabolo.generation import Coder
from diabolo.methods.random import Random
from diabolo.networks.backbone import Backbone
from diabolo.recipe import decoder_for
from diabolo.tables import ENCODERS
from tests.evaluation.subjects import Coded


@pytest.fixture
def train() -> Images:
    """A code whose first dimension one image alone excites, and little."""
    pixels = torch.randn(500, 8, generator=torch.Generator().manual_seed(0))
    pixels[:, 0] = 0
    pixels[7, 0] = 0.01
    return Images(pixels)


class Undecodable(Random):
    """Its representation is the example."""

    def __init__(self) -> None:
        super().__init__(Backbone(torch.nn.Flatten(), (8,)))


def ad_hoc(train: Images, kept: Path | None = None, precision: str = "float32") -> Coder:
    spec = decoder_for(train.shape)
    method = Undecodable().eval()
    return coder_for(method, "h", train.shape, spec, lambda: train, 0, kept, precision=precision)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_it_rebuilds_what_the_code_holds(train: Images, precision: str) -> None:
    decoded = ad_hoc(train, precision=precision)
    with torch.inference_mode():
        error = (decoded.reconstruct(train.pixels) - train.pixels).square().mean(0)
    assert error[1:].max() < 0.25  # of a variance of 1


def test_a_dimension_that_hardly_varies_is_not_blown_up(train: Images) -> None:
    decoded = ad_hoc(train)
    excited = train.pixels.clone()
    excited[:, 0] = 1.0
    with torch.inference_mode():
        error = (decoded.reconstruct(excited) - excited).square().mean(0)
    assert error[1:].max() < 10  # 2,250 without the floor


def test_one_that_is_kept_is_trained_once(train: Images, tmp_path: Path, monkeypatch) -> None:
    first = ad_hoc(train, tmp_path / "decoder.safetensors")
    monkeypatch.setattr(decoder, "fit_decoder", None)
    again = ad_hoc(train, tmp_path / "decoder.safetensors")
    with torch.inference_mode():
        assert torch.equal(first.reconstruct(train.pixels), again.reconstruct(train.pixels))


def test_a_method_that_decodes_is_its_own_coder(train: Images) -> None:
    method = Coded(torch.nn.Identity(), (8,)).eval()
    spec = decoder_for(train.shape)
    assert coder_for(method, "z", train.shape, spec, lambda: train, 0) is method


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        (None, {"name": "resnet", "width": 0.25}),
        ({"name": "conv", "filters": [8, 16]}, {"name": "conv", "filters": (8, 16)}),
        ({"name": "resnet18", "width": 0.5}, {"name": "resnet", "width": 0.5}),
        ({"name": "mlp", "widths": [30, 20]}, {"name": "mlp", "widths": (20, 30)}),
        ({"name": "custom"}, {"name": "resnet", "width": 0.25}),
    ],
)
def test_it_is_the_decoder_that_a_generative_method_of_the_encoder_has(encoder, expected) -> None:
    spec = decoder_for((3, 32, 32), encoder and ENCODERS.complete(encoder, "encoder"))
    assert spec.items() >= expected.items()


def test_another_decoder_than_the_kept_one_is_trained_anew(train: Images, tmp_path: Path) -> None:
    kept = tmp_path / "decoder.safetensors"
    ad_hoc(train, kept)
    before = kept.read_bytes()
    smaller = decoder_for(train.shape, ENCODERS.complete({"name": "mlp", "widths": [9]}, "encoder"))
    decoded = coder_for(Undecodable().eval(), "h", train.shape, smaller, lambda: train, 0, kept)
    with torch.inference_mode():
        assert (decoded.reconstruct(train.pixels) - train.pixels).square().mean() < 1
    assert kept.read_bytes() != before
