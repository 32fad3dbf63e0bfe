"""SimVAE the way its public code does it: views of Pillow images, one by one, in four loader workers.

Each of J views of a digit is cropped, flipped, made a tensor and thresholded; a batch is their stack. The
loss is summed over the batch, and each of its terms is read at every step.
"""

import json
import math
import sys
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from turns import Turns

from diabolo.tables import DECODERS, ENCODERS

WORKERS = 4  # its default
LOG_VARIANCE = -4.6  # of p(x|z): its default
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Related(Dataset):
    """J views of each image, [J, 1, H, W]."""

    def __init__(self, images: np.ndarray, views: dict[str, Any]) -> None:
        self.images, self.count = images[:, 0], views["count"]
        crop, flip, threshold = views["transforms"]
        self.transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(images.shape[-1], scale=crop["scale"], ratio=crop["ratio"]),
                transforms.RandomVerticalFlip(flip["p"]),
                transforms.ToTensor(),
                transforms.Lambda(lambda x: (x > threshold["value"]).to(x.dtype)),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[index])
        return torch.stack([self.transform(image) for _ in range(self.count)]), 0


class SimVAE(nn.Module):
    def __init__(self, recipe: dict[str, Any], shape: tuple[int, ...]) -> None:
        super().__init__()
        latent = recipe["method"]["latent"]
        self.encoder = ENCODERS.build(recipe["encoder"], shape=shape)
        self.head = nn.Linear(self.encoder.width, 2 * latent)
        self.decoder = DECODERS.build(recipe["decoder"], latent=latent, shape=shape)
        self.views, self.variance = recipe["views"]["count"], recipe["method"]["prior"]["variance"]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Views [B·J, 1, H, W] → the terms of the loss, summed over them."""
        mean, log_variance = self.head(self.encoder(x)).chunk(2, dim=1)
        z = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        out = self.decoder(z).sigmoid()
        reconstruction = nn.functional.binary_cross_entropy(out, x, reduction="sum") / math.exp(LOG_VARIANCE)
        z = z.unflatten(0, (-1, self.views))
        centre = z.mean(1, keepdim=True)
        prior = 0.5 * ((z - centre).square().sum() / self.variance + centre.square().sum())
        return reconstruction, prior, -0.5 * log_variance.sum()


def main() -> None:
    turns, side = Turns(), json.loads(sys.argv[1])
    recipe, images = side["recipe"], np.load(side["images"])
    size = recipe["training"]["batch_size"]
    model = SimVAE(recipe, images.shape[1:]).to(DEVICE)
    optimiser = torch.optim.Adam(model.parameters(), lr=recipe["optimiser"]["lr"], eps=1e-4)
    batches = DataLoader(
        Related(images, recipe["views"]), batch_size=size, shuffle=True, drop_last=True, num_workers=WORKERS
    )
    step = 0
    while True:
        for views, _ in batches:
            terms = model(views.to(DEVICE).flatten(0, 1))
            loss = sum(terms)
            [term.item() for term in (*terms, loss)]
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            step += 1
            if step % side["steps"] == 0:
                turns.over(side["steps"] * size)


if __name__ == "__main__":
    main()
