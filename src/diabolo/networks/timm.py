"""Backbones from timm, an optional extra."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diabolo.errors import UserError
from diabolo.files import read_tensors
from diabolo.networks.shapes import feature_width, image_shape

TIMM = "timm:"  # before a model's name, where other things could be named too
BATCH = 128  # images at a time that a model sees in its own size, however small they are here


class TimmEncoder(nn.Module):
    """A timm model without its classifier: [n, C, H, W] → [n, D], its pooled features.

    model: a name of `timm.list_models()`, with or without a tag of weights.
    pretrained: start from timm's weights, which were trained with timm's normalisation, not the data's.
    """

    def __init__(self, shape: tuple[int, ...], *, model: str, pretrained: bool = False) -> None:
        super().__init__()
        channels, size = image_shape(shape, "encoder 'timm'")
        with _timm_for(model) as timm:
            config = timm.get_pretrained_cfg(model)
            # transformers with a fixed grid are built for a size; other models refuse the argument
            fixed = config is not None and config.fixed_input_size
            self.network = timm.create_model(
                model,
                pretrained=pretrained,
                in_chans=channels,
                num_classes=0,
                **({"img_size": size} if fixed else {}),
            )
        self.width = feature_width(self.network, shape)

    def map(self, x: Tensor) -> Tensor:
        """The features before pooling, in timm's layout: [n, D, H', W'], or [n, tokens, D] (transformers)."""
        return self.network.forward_features(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


class TimmFeatures(nn.Module):
    """A timm model as timm trained it, to be scored as it is.

    model: as for `TimmEncoder`. shape: of the images it is to see. They are resized to the model's own input,
    whole, and normalised by its own mean and deviation; a grey one stands in each of its channels. weights: a
    safetensors file to load in place of timm's weights, by the names of timm; it may hold more, such as a
    classifier.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, shape: tuple[int, ...], model: str, weights: Path | None = None) -> None:
        super().__init__()
        if len(shape) != 3:
            raise UserError(f"timm model '{model}' needs images, an example here is a vector of {shape[0]}")
        with _timm_for(model) as timm:
            self.network = timm.create_model(model, pretrained=weights is None, num_classes=0)
            config = timm.data.resolve_model_data_config(self.network)
        channels, *self.size = config["input_size"]
        if shape[0] not in (1, channels):
            raise UserError(f"timm model '{model}' takes {channels} channels, these images have {shape[0]}")
        if weights is not None:
            _load(self.network, weights, model)
        self.interpolation = "bilinear" if config["interpolation"] == "bilinear" else "bicubic"
        self.register_buffer("mean", torch.tensor(config["mean"]).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(config["std"]).view(-1, 1, 1))

    def represent(self, x: Tensor) -> Tensor:
        """[n, C, H, W] in [0, 1] → [n, D], its pooled features."""
        return torch.cat([self.network(self._seen(some)) for some in x.split(BATCH)])

    def _seen(self, x: Tensor) -> Tensor:
        """[n, C, H, W] in [0, 1] → what the network takes."""
        x = F.interpolate(x, self.size, mode=self.interpolation, antialias=True).clamp(0, 1)
        return (x - self.mean) / self.std


def _load(network: nn.Module, path: Path, model: str) -> None:
    """Fill a network from a file; of counters and the like it may lack some, of weights none."""
    found, _ = read_tensors(path)
    own = network.state_dict()
    fitting = {key: found[key] for key in own if key in found and found[key].shape == own[key].shape}
    lacking = [key for key in own if own[key].is_floating_point() and key not in fitting]
    if lacking:
        raise UserError(
            f"{path}: not the weights of timm model '{model}': it has no {lacking[0]} "
            f"{list(own[lacking[0]].shape)}"
        )
    network.load_state_dict(fitting, strict=False)


@contextmanager
def _timm_for(model: str) -> Iterator[ModuleType]:
    """timm, and in one line what it refuses: an unknown name, a tag without weights, a failed download."""
    timm = _timm()
    if not timm.is_model(model):
        raise UserError(f"unknown timm model '{model}': choose from timm.list_models()")
    try:
        yield timm
    except (RuntimeError, OSError) as error:
        raise UserError(f"timm model '{model}': {str(error).partition(chr(10))[0]}") from None


def _timm() -> ModuleType:
    try:
        import timm
    except ImportError:
        raise UserError("timm's models need the package timm: pip install timm") from None
    return timm
