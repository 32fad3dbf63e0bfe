"""The timm encoder against a stand-in with timm's documented interface."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from diabolo.errors import UserError
from diabolo.networks.backbone import Backbone
from diabolo.networks.timm import TimmEncoder
from diabolo.tables import ENCODERS


class Convolutional(nn.Module):
    """num_features is not the pooled width here, as in timm's MobileNets."""

    num_features = 6

    def __init__(self, in_chans: int, **ignored: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, 6, 3, stride=2)
        self.head = nn.Linear(6, 10)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.conv(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).mean((2, 3)))


def stand_in(calls: list[dict]) -> SimpleNamespace:
    def create_model(name: str, pretrained: bool = False, **settings: Any) -> nn.Module:
        calls.append({"name": name, "pretrained": pretrained} | settings)
        if pretrained:
            raise RuntimeError("No pretrained weights exist for it.\nUse pretrained=False.")
        return Convolutional(settings["in_chans"])

    fixed = {"small_cnn": False, "small_vit": True}
    return SimpleNamespace(
        is_model=lambda name: name in (*fixed, "unregistered"),
        get_pretrained_cfg=lambda name: (
            SimpleNamespace(fixed_input_size=fixed[name]) if name in fixed else None
        ),
        create_model=create_model,
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


def test_errors_are_one_line(calls: list[dict]) -> None:
    with pytest.raises(UserError, match="unknown timm model 'nothing'"):
        TimmEncoder((3, 32, 32), model="nothing")
    with pytest.raises(UserError, match=r"'small_cnn': No pretrained weights exist for it.$"):
        TimmEncoder((3, 32, 32), model="small_cnn", pretrained=True)
    with pytest.raises(UserError, match="needs images"):
        TimmEncoder((32,), model="small_cnn")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"pip install 'diabolo\[timm\]'"):
        TimmEncoder((3, 32, 32), model="small_cnn")
