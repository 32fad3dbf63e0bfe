"""pythae's side: its training pipeline with its own defaults, on images in memory; a turn is an epoch.

The networks are diabolo's modules, handed over as pythae's documentation says.
"""

import json
import sys
from pathlib import Path

import numpy as np
from pythae.models import AE, VAE, AEConfig, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.pipelines import TrainingPipeline
from pythae.trainers import BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from torch import Tensor, nn
from turns import Turns

from diabolo.tables import DECODERS, ENCODERS


class Encoder(BaseEncoder):
    def __init__(self, network: nn.Module, width: int, latent: int) -> None:
        super().__init__()
        self.network = network
        self.mean = nn.Linear(width, latent)

    def forward(self, x: Tensor) -> ModelOutput:
        return ModelOutput(embedding=self.mean(self.network(x)))


class GaussianEncoder(Encoder):
    def __init__(self, network: nn.Module, width: int, latent: int) -> None:
        super().__init__(network, width, latent)
        self.log_variance = nn.Linear(width, latent)

    def forward(self, x: Tensor) -> ModelOutput:
        h = self.network(x)
        return ModelOutput(embedding=self.mean(h), log_covariance=self.log_variance(h))


class Decoder(BaseDecoder):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.network(z))


class Epochs(TrainingCallback):
    def __init__(self, turns: Turns, images: int) -> None:
        self.turns, self.images = turns, images

    def on_epoch_end(self, training_config: BaseTrainerConfig, **_: object) -> None:
        self.turns.over(self.images)


def main() -> None:
    turns, side = Turns(), json.loads(sys.argv[1])
    recipe = side["recipe"]
    images = np.load(side["images"]).astype(np.float32) / 255
    shape, latent = images.shape[1:], recipe["method"]["latent"]
    encoder = ENCODERS.build(recipe["encoder"], shape=shape)
    decoder = Decoder(DECODERS.build(recipe["decoder"], latent=latent, shape=shape))
    if recipe["method"]["name"] == "vae":
        config = VAEConfig(input_dim=shape, latent_dim=latent)
        model = VAE(config, encoder=GaussianEncoder(encoder, encoder.width, latent), decoder=decoder)
    else:
        config = AEConfig(input_dim=shape, latent_dim=latent)
        model = AE(config, encoder=Encoder(encoder, encoder.width, latent), decoder=decoder)
    training = BaseTrainerConfig(
        output_dir=str(Path(side["out"])),
        num_epochs=recipe["training"]["epochs"],
        learning_rate=recipe["optimiser"]["lr"],
        per_device_train_batch_size=recipe["training"]["batch_size"],
    )
    pipeline = TrainingPipeline(model=model, training_config=training)
    pipeline(train_data=images, callbacks=[Epochs(turns, len(images))])


if __name__ == "__main__":
    main()
