"""Backbones from timm, an optional extra."""

from types import ModuleType

from torch import Tensor, nn

from diabolo.errors import UserError
from diabolo.networks.shapes import feature_width, image_shape


class TimmEncoder(nn.Module):
    """A timm model without its classifier: [n, C, H, W] → [n, D], its pooled features.

    model: a name of `timm.list_models()`, with or without a tag of weights.
    pretrained: start from timm's weights, which were trained with timm's normalisation, not the data's.
    """

    def __init__(self, shape: tuple[int, ...], *, model: str, pretrained: bool = False) -> None:
        super().__init__()
        channels, size = image_shape(shape, "encoder 'timm'")
        timm = _timm()
        if not timm.is_model(model):
            raise UserError(f"unknown timm model '{model}': choose from timm.list_models()")
        try:
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
        except (RuntimeError, OSError) as error:  # a tag without weights; a download that fails
            raise UserError(f"timm model '{model}': {str(error).partition(chr(10))[0]}") from None
        self.width = feature_width(self.network, shape)

    def map(self, x: Tensor) -> Tensor:
        """The features before pooling, in timm's layout: [n, D, H', W'], or [n, tokens, D] (transformers)."""
        return self.network.forward_features(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


def _timm() -> ModuleType:
    try:
        import timm
    except ImportError:
        raise UserError("encoder 'timm' needs the package timm: pip install 'diabolo[timm]'") from None
    return timm
