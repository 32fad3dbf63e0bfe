"""Backbone: normalisation, and the width of any user's network."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from diabolo.errors import UserError
from diabolo.networks.backbone import Backbone
from diabolo.networks.conv import ConvEncoder
from diabolo.networks.mlp import LinearEncoder
from diabolo.tables import ENCODERS


@given(channels=st.integers(1, 6), vectors=st.booleans())
@settings(deadline=None)
def test_normalisation_is_per_channel(channels: int, vectors: bool) -> None:
    shape = (channels,) if vectors else (channels, 4, 5)
    mean, std = torch.rand(channels).double(), 0.1 + torch.rand(channels).double()
    backbone = Backbone(nn.Flatten(), shape, mean, std)
    x = torch.rand(3, *shape, dtype=torch.float64)
    expected = torch.stack([(x[:, c] - mean[c]) / std[c] for c in range(channels)], dim=1)
    torch.testing.assert_close(backbone.normalise(x), expected)
    torch.testing.assert_close(backbone.denormalise(expected), x)
    torch.testing.assert_close(backbone(x), expected.flatten(1))
    views = x[:, None].expand(3, 2, *shape)  # [B, J, C, H, W]
    torch.testing.assert_close(backbone.normalise(views)[:, 1], expected)


def test_none_leaves_the_data_as_it_is() -> None:
    x = torch.rand(2, 3, 4, 4)
    assert torch.equal(Backbone(nn.Flatten(), (3, 4, 4))(x), x.flatten(1))


def test_a_constant_channel_is_only_centred() -> None:
    backbone = Backbone(nn.Flatten(), (2, 1, 1), torch.tensor([0.25, 0.5]), torch.tensor([0.0, 0.5]))
    assert backbone(torch.ones(1, 2, 1, 1)).tolist() == [[0.75, 1.0]]


@pytest.mark.parametrize("name", ["mlp", "conv", "resnet18", "vit"])
def test_an_exported_backbone_gives_the_same_for_any_number_of_images(name: str, tmp_path: Path) -> None:
    network = ENCODERS.build(ENCODERS.complete(name, "encoder"), shape=(3, 16, 16))
    backbone = Backbone(network, (3, 16, 16), torch.rand(3), 0.1 + torch.rand(3)).eval()
    any_number = {0: torch.export.Dim("n")}
    program = torch.export.export(backbone, (torch.rand(2, 3, 16, 16),), dynamic_shapes=(any_number,))
    torch.export.save(program, tmp_path / "encoder.pt2")
    x = torch.rand(5, 3, 16, 16)
    torch.testing.assert_close(torch.export.load(tmp_path / "encoder.pt2").module()(x), backbone(x))


def test_a_saved_backbone_brings_its_normalisation() -> None:
    saved = Backbone(LinearEncoder((2, 4, 4)), (2, 4, 4), torch.tensor([0.1, 0.2]), torch.tensor([0.3, 0.4]))
    loaded = Backbone(LinearEncoder((2, 4, 4)), (2, 4, 4))
    loaded.load_state_dict(saved.state_dict())
    x = torch.rand(3, 2, 4, 4)
    assert torch.equal(loaded(x), saved(x))


def test_the_map_is_of_normalised_images() -> None:
    network = ConvEncoder((1, 28, 28))
    backbone = Backbone(network, (1, 28, 28), torch.tensor([0.3]), torch.tensor([0.4]))
    x = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(backbone.map(x), network.map((x - 0.3) / 0.4).flatten(1))
    assert backbone.map(x).shape == (2, 512)
    with pytest.raises(UserError, match="no feature map"):
        Backbone(LinearEncoder((4,)), (4,)).map(torch.rand(2, 4))


def test_the_width_of_a_foreign_network_is_found_without_a_trace() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.BatchNorm1d(5), nn.Dropout())
    network[2].eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    backbone = Backbone(network, (3, 2, 2))
    assert backbone.width == 5
    assert [m.training for m in network] == [True, True, False, True]
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Conv2d(3, 4, 1), r"must return features \[n, D\]: for a batch of 2 it returned \[2, 4, 8, 8\]"),
        (nn.Conv2d(1, 4, 1), r"cannot take a batch of shape \[2, 3, 8, 8\]"),
        (nn.MaxPool2d(8, return_indices=True), r"it returned tuple"),
        (nn.Flatten(0, 1), r"must return features"),
    ],
)
def test_an_unfit_network_is_refused(network: nn.Module, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        Backbone(network, (3, 8, 8))
    assert "\n" not in str(caught.value)
