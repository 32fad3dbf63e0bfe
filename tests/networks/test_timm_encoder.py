"""The timm encoder against a stand-in with timm's documented interface."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from diabolo.errors import UserError
from diabolo.files import write_tensors
from diabolo.networks.backbone import Backbone
from diabolo.networks.timm import TimmEncoder, TimmFeatures
from diabolo.tables import ENCODERS

CONFIG = {
    "input_size": (3, 24, 16),
    "interpolation": "bicubic",
    "mean": (0.5, 0.4, 0.3),
    "std": (0.2, 0.3, 0.4),
    "crop_pct": 0.875,
}


class Convolutional(nn.Module):
    """num_features is not the pooled width here, as in timm's MobileNets."""

    num_features = 6

    def __init__(self, in_chans: int, **ignored: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, 6, 3, stride=2)
        self.head = nn.Linear(6, 10)
        self.register_buffer("steps", torch.tensor(0))

    def forward_features(self, x: Tensor) -> Tensor:
        return self.conv(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).mean((2, 3)))


def stand_in(calls: list[dict]) -> SimpleNamespace:
    def create_model(name: str, pretrained: bool = False, **settings: Any) -> nn.Module:
        calls.append({"name": name, "pretrained": pretrained} | settings)
        if pretrained and name != "trained_cnn":
            raise RuntimeError("No pretrained weights exist for it.\nUse pretrained=False.")
        return Convolutional(settings.get("in_chans", 3))

    fixed = {"small_cnn": False, "small_vit": True, "trained_cnn": False}
    return SimpleNamespace(
        is_model=lambda name: name in (*fixed, "unregistered"),
        get_pretrained_cfg=lambda name: (
            SimpleNamespace(fixed_input_size=fixed[name]) if name in fixed else None
        ),
        create_model=create_model,
        data=SimpleNamespace(resolve_model_data_config=lambda model: CONFIG),
    )


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    made: list[dict] = []
    monkeypatch.setitem(sys.modules, "timm", stand_in(made))
    return made


def test_a_model_without_its_classifier(calls: list[dict]) -> None:
    spec = ENCODERS.complete({"name": "timm", "model": "small_cnn"}, "encoder")
    network = ENCODERS.build(spec, shape=(1, 28, 28))
    assert calls == [{"name": "small_cnn", "pretrained": False, "in_chans": 1, "num_classes": 0}]
    backbone = Backbone(network, (1, 28, 28))
    x = torch.rand(2, 1, 28, 28)
    assert backbone.width == network.width == 10
    assert backbone(x).shape == (2, 10)
    assert backbone.map(x).shape == (2, 6 * 13 * 13)


def test_only_models_of_a_fixed_size_are_told_it(calls: list[dict]) -> None:
    TimmEncoder((3, 32, 48), model="small_vit")
    TimmEncoder((3, 32, 48), model="unregistered")
    assert calls[0]["img_size"] == (32, 48)
    assert "img_size" not in calls[1]


def test_a_trained_model_sees_images_as_its_configuration_says(calls: list[dict]) -> None:
    encoder = TimmFeatures((3, 24, 16), "trained_cnn")
    x = torch.rand(2, 3, 24, 16)
    mean, std = (torch.tensor(CONFIG[key])[:, None, None] for key in ("mean", "std"))
    torch.testing.assert_close(encoder.represent(x), encoder.network((x - mean) / std))
    assert calls == [{"name": "trained_cnn", "pretrained": True, "num_classes": 0}]


def test_other_sizes_are_resized_whole_and_grey_stands_in_every_channel(calls: list[dict]) -> None:
    encoder = TimmFeatures((1, 12, 8), "trained_cnn")
    seen: list[Tensor] = []
    encoder.network.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    grey = torch.rand(2, 1, 12, 8)
    assert encoder.represent(grey).shape == (2, 10)
    mean, std = (torch.tensor(CONFIG[key])[:, None, None] for key in ("mean", "std"))
    shown = seen[0] * std + mean
    assert shown.shape == (2, 3, 24, 16)
    torch.testing.assert_close(shown[:, :1].expand_as(shown), shown)
    assert shown.min() >= -1e-6
    assert shown.max() <= 1 + 1e-6
    corners = nn.functional.avg_pool2d(shown[:, :1], (12, 8))
    torch.testing.assert_close(corners, nn.functional.avg_pool2d(grey, (6, 4)), atol=0.06, rtol=0)


def test_a_trained_model_refuses_what_it_cannot_see(calls: list[dict]) -> None:
    with pytest.raises(UserError, match="'trained_cnn' takes 3 channels, these images have 5"):
        TimmFeatures((5, 24, 16), "trained_cnn")
    with pytest.raises(UserError, match="'trained_cnn' needs images, an example here is a vector of 64"):
        TimmFeatures((64,), "trained_cnn")
    with pytest.raises(UserError, match=r"'small_cnn': No pretrained weights exist for it.$"):
        TimmFeatures((3, 24, 16), "small_cnn")


def test_weights_of_one_s_own_stand_in_for_timm_s(calls: list[dict], tmp_path: Path) -> None:
    other, file = Convolutional(3), tmp_path / "mine.safetensors"
    weights = {name: value for name, value in other.state_dict().items() if name != "steps"}
    write_tensors(file, {**weights, "aux.weight": torch.ones(2)})
    encoder = TimmFeatures((3, 24, 16), "small_cnn", file)
    assert calls == [{"name": "small_cnn", "pretrained": False, "num_classes": 0}]
    x = torch.rand(2, 3, 24, 16)
    torch.testing.assert_close(encoder.network(x), other(x), rtol=0, atol=0)


def test_weights_of_another_model_are_refused(calls: list[dict], tmp_path: Path) -> None:
    file, weights = tmp_path / "mine.safetensors", Convolutional(3).state_dict()
    for wrong in (Convolutional(1).state_dict(), {n: v for n, v in weights.items() if n != "conv.weight"}):
        write_tensors(file, wrong)
        with pytest.raises(
            UserError, match=r"not the weights of .*'small_cnn': it has no conv.weight \[6, 3, 3"
        ):
            TimmFeatures((3, 24, 16), "small_cnn", file)
    file.write_bytes(b"PK a pickle")
    with pytest.raises(UserError, match=r"mine.safetensors is not a readable model file"):
        TimmFeatures((3, 24, 16), "small_cnn", file)
    with pytest.raises(UserError, match=r"^cannot read "):
        TimmFeatures((3, 24, 16), "small_cnn", tmp_path)
    with pytest.raises(UserError, match=r"^no model file at .*none.safetensors$"):
        TimmFeatures((3, 24, 16), "small_cnn", tmp_path / "none.safetensors")


def test_errors_are_one_line(calls: list[dict]) -> None:
    with pytest.raises(UserError, match="unknown timm model 'nothing'"):
        TimmEncoder((3, 32, 32), model="nothing")
    with pytest.raises(UserError, match=r"'small_cnn': No pretrained weights exist for it.$"):
        TimmEncoder((3, 32, 32), model="small_cnn", pretrained=True)
    with pytest.raises(UserError, match="needs images"):
        TimmEncoder((32,), model="small_cnn")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"pip install timm"):
        TimmEncoder((3, 32, 32), model="small_cnn")
