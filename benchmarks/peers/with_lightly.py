"""lightly's side: its transform, network, head and loss in the loop of its examples, with two loader workers.

Images lie in memory, as torchvision's CIFAR10 holds them. The network is lightly's own ResNet-18 for small
images, taken apart as its CIFAR-10 benchmark does it.
"""

import json
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from lightly.loss import NTXentLoss
from lightly.models import ResNetGenerator
from lightly.models.modules import SimCLRProjectionHead
from lightly.transforms import SimCLRTransform
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from turns import Turns

from diabolo.tables import ENCODERS

WORKERS, PREFETCHED = 2, 2  # batches each worker prepares ahead: PyTorch's default
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class InMemory(Dataset):
    def __init__(self, images: np.ndarray, transform: SimCLRTransform) -> None:
        self.images, self.transform = images.transpose(0, 2, 3, 1).copy(), transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[list[Tensor], int]:
        return self.transform(Image.fromarray(self.images[index])), 0


class SimCLR(nn.Module):
    def __init__(self, backbone: nn.Module, width: int, out: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.projection_head = SimCLRProjectionHead(width, width, out)

    def forward(self, x: Tensor) -> Tensor:
        return self.projection_head(self.backbone(x).flatten(start_dim=1))


def main() -> None:
    turns, side = Turns(), json.loads(sys.argv[1])
    batches = endless(loader(side["recipe"], np.load(side["images"])))
    if side["views"]:
        views(turns, side, batches)
    else:
        train(turns, side, batches)


def train(turns: Turns, side: dict[str, Any], batches: Iterator[Any]) -> None:
    recipe = side["recipe"]
    model, criterion = network(recipe).to(DEVICE), NTXentLoss(recipe["method"]["temperature"])
    sgd = {key: recipe["optimiser"][key] for key in ("lr", "momentum", "weight_decay")}
    optimizer = torch.optim.SGD(model.parameters(), **sgd)
    total_loss = torch.zeros((), device=DEVICE)
    while True:
        for (x0, x1), _ in islice(batches, side["steps"]):
            z0, z1 = model(x0.to(DEVICE)), model(x1.to(DEVICE))
            loss = criterion(z0, z1)
            total_loss += loss.detach()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        turns.over(side["steps"] * recipe["training"]["batch_size"])


def views(turns: Turns, side: dict[str, Any], batches: Iterator[Any]) -> None:
    while True:
        for _ in islice(batches, side["steps"]):
            pass
        turns.over(side["steps"] * side["recipe"]["training"]["batch_size"])
        for _ in islice(batches, WORKERS * PREFETCHED):  # made while this side had to wait
            pass
        turns.restart()


def endless(loader: DataLoader) -> Iterator[Any]:
    while True:
        yield from loader


def loader(recipe: dict[str, Any], images: np.ndarray) -> DataLoader:
    """The recipe's views as lightly names them; blur is off, as in its CIFAR-10 benchmark."""
    view = {spec["name"]: spec for spec in recipe["views"]["transforms"]}
    jitter = view["colour-jitter"]
    transform = SimCLRTransform(
        input_size=images.shape[-1],
        cj_prob=jitter["p"],
        cj_bright=jitter["brightness"],
        cj_contrast=jitter["contrast"],
        cj_sat=jitter["saturation"],
        cj_hue=jitter["hue"],
        min_scale=view["random-resized-crop"]["scale"][0],
        random_gray_scale=view["grayscale"]["p"],
        gaussian_blur=0.0,
        hf_prob=view["horizontal-flip"]["p"],
    )
    return DataLoader(
        InMemory(images, transform),
        batch_size=recipe["training"]["batch_size"],
        shuffle=True,
        drop_last=True,
        num_workers=WORKERS,
        prefetch_factor=PREFETCHED,
    )


def network(recipe: dict[str, Any]) -> SimCLR:
    resnet = ResNetGenerator("resnet-18", width=recipe["encoder"]["width"])
    backbone = nn.Sequential(*list(resnet.children())[:-1], nn.AdaptiveAvgPool2d(1))
    ours = ENCODERS.build(recipe["encoder"], shape=(3, 32, 32))
    assert parameters(backbone) == parameters(ours), "the networks differ"
    return SimCLR(backbone, ours.width, recipe["method"]["width"])


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


if __name__ == "__main__":
    main()
