"""Which combinations of the autoencoder's slots make no sense, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from diabolo.errors import UserError
from diabolo.likelihoods import Categorical

if TYPE_CHECKING:
    from diabolo.methods.autoencoder import Autoencoder


def refuse_ill_posed(method: Autoencoder, shape: tuple[int, ...], views: int) -> None:
    """Raise `UserError` for a method that cannot work. views: J, of each example, the original included."""
    method.prior.check(views)
    if method.samples > 1 and not method.gaussian:
        raise UserError(
            "method.samples: a point posterior has one value to draw: leave it at 1, "
            "or use method.posterior=gaussian"
        )
    if method.code == "sigmoid" and method.gaussian:
        raise UserError(
            "method.code: a Gaussian posterior spreads beyond (0, 1): use method.posterior=point for sigmoid"
        )
    if method.with_original and method.track_original:
        raise UserError(
            "method.track_original: with_original encodes the originals among the views already: drop one"
        )
    if method.likelihood.support == "levels" and len(shape) == 1:
        raise UserError("method.likelihood: vectors have no 256 levels to distribute mass over: use gaussian")
    if isinstance(method.likelihood, Categorical) and not convolves(method.decoder):
        raise UserError(
            "method.likelihood: a decoder without convolutions would have weights of its own for each of the "
            "256 levels of each pixel: use discretised-logistic, or decoder=conv"
        )
    if method.objective == "iwae":
        refuse_no_bound(method)
        if method.beta != 1:
            raise UserError("method.beta: the importance-weighted bound has no β: leave it at 1")
    for penalty in method.penalties:
        penalty.check(method)


def convolves(network: nn.Module) -> bool:
    """Whether it has a convolution, by which the pixels share their weights."""
    return any(isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) for layer in network.modules())


def refuse_no_bound(method: Autoencoder) -> None:
    """Raise `UserError` where importance weights give no bound on log p(x)."""
    if not method.gaussian:
        raise UserError("a point posterior gives no bound on log p(x): use method.posterior=gaussian")
    if method.likelihood.support is None:
        raise UserError(
            f"likelihood {type(method.likelihood).__name__} is a loss and no density: log p(x) needs one, "
            "such as gaussian or bernoulli"
        )
    method.prior.marginal_variance()
