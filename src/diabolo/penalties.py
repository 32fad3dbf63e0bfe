"""Penalties on the codes of an autoencoder: each is weighted by its λ and added to the loss.

They are summed over d and over the views of an example, and averaged over the batch, as the other terms are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from diabolo.distributed import normal_like, reduce_sum, world_size
from diabolo.errors import UserError
from diabolo.latents import DiagonalGaussian, Posterior

if TYPE_CHECKING:
    from diabolo.methods.autoencoder import Autoencoder

Weight = Annotated[float, Ge(0)]  # λ

EXACT_WIDTH = 16  # up to this many latent dimensions a Jacobian is computed row by row


class Penalty:
    """Something of the codes that should be small; the loss takes `weight` times it."""

    name: ClassVar[str]  # of its term in the log
    weight: float

    def check(self, method: Autoencoder) -> None:
        """Raise `UserError` where the penalty means nothing for this method."""

    def __call__(self, q: Posterior, x: Tensor, encode: Callable[[Tensor], Posterior]) -> Tensor:
        """0-d. q: posteriors over [B, J, d] of the encoder's inputs x [B, J, *shape]; encode: x → q."""
        raise NotImplementedError


class L1(Penalty):
    """‖z‖₁, of the posterior mean: the sparse autoencoder (Hare's lecture)."""

    name = "l1"

    def __init__(self, *, weight: Weight = 1.0) -> None:
        self.weight = weight

    def __call__(self, q: Posterior, x: Tensor, encode: Callable[[Tensor], Posterior]) -> Tensor:
        return q.mean.abs().sum((1, 2)).mean()


class KLSparsity(Penalty):
    """Σ_i KL(ρ ‖ ρ̂_i), ρ̂_i the mean of activation i over the batch: rare activity of sigmoid codes.

    activation: ρ, the share of examples that a unit should answer to.
    """

    name = "kl_sparsity"

    def __init__(self, *, weight: Weight = 1.0, activation: Annotated[float, Gt(0), Lt(1)] = 0.05) -> None:
        self.weight = weight
        self.activation = activation

    def check(self, method: Autoencoder) -> None:
        if method.code != "sigmoid":
            raise UserError(
                "method.penalties: kl-sparsity compares activations with a share, so they must lie in "
                "(0, 1): use method.code=sigmoid, or the penalty l1"
            )

    def __call__(self, q: Posterior, x: Tensor, encode: Callable[[Tensor], Posterior]) -> Tensor:
        rho = self.activation
        mean = reduce_sum(q.mean.mean(0)) / world_size()  # over the whole batch: [J, d]
        least = torch.finfo(mean.dtype).eps  # a sigmoid that rounds to 0 or 1 would cost infinitely much
        mean = mean.clamp(least, 1 - least)
        return (rho * (rho / mean).log() + (1 - rho) * ((1 - rho) / (1 - mean)).log()).sum()


class Contraction(Penalty):
    """‖∂z/∂x‖²_F of the code with respect to the encoder's input: the contractive autoencoder (Rifai 2011).

    x is in the units of the data. Exact for up to 16 latent dimensions, one backward pass each; beyond that
    it is Hutchinson's estimate E‖vᵀ ∂z/∂x‖² from random signs v.
    probes: how many v; None for exact or one, by the width.
    """

    name = "contraction"

    def __init__(self, *, weight: Weight = 0.1, probes: Annotated[int, Gt(0)] | None = None) -> None:
        self.weight = weight
        self.probes = probes

    def check(self, method: Autoencoder) -> None:
        norms = nn.ModuleList([method.encoder, method.neck]).modules()
        if any(isinstance(module, _BatchNorm) for module in norms):
            raise UserError(
                "method.penalties: contraction needs each code to depend on its own input alone, and the "
                "encoder's batch norm mixes the batch: use an encoder and a head without it, such as mlp and "
                "linear"
            )

    def __call__(self, q: Posterior, x: Tensor, encode: Callable[[Tensor], Posterior]) -> Tensor:
        # The gradient of a gradient, which a compiled forward pass does not have.
        norms: Tensor = torch.compiler.disable(self._norms)(x.flatten(0, 1), encode)
        return norms.unflatten(0, q.mean.shape[:2]).sum(1).mean()

    def _norms(self, x: Tensor, encode: Callable[[Tensor], Posterior]) -> Tensor:
        """‖∂z/∂x‖²_F at each x [n, *shape]: [n]."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            z = encode(x).mean  # [n, d]
            squares = [
                torch.autograd.grad(z, x, v, create_graph=True)[0].square().flatten(1).sum(1)
                for v in self._directions(z)
            ]
        return torch.stack(squares).sum(0)

    def _directions(self, z: Tensor) -> list[Tensor]:
        """Vectors v [n, d] whose ‖vᵀ ∂z/∂x‖² sum to the norm, or to an estimate of it."""
        if self.probes is None and z.shape[1] <= EXACT_WIDTH:
            return [unit.expand_as(z) for unit in torch.eye(z.shape[1], dtype=z.dtype, device=z.device)]
        probes = self.probes or 1
        return [normal_like(z).sign() / math.sqrt(probes) for _ in range(probes)]


class Consistency(Penalty):
    """KL(q(z|view) ‖ q(z|x)), with gradient through both: CR-VAE (Sinha & Dieng 2021)."""

    name = "consistency"

    def __init__(self, *, weight: Weight = 0.1) -> None:
        self.weight = weight

    def check(self, method: Autoencoder) -> None:
        if not (method.gaussian and method.with_original):
            raise UserError(
                "method.penalties: consistency compares the Gaussian posteriors of a view and of its "
                "original: use method.posterior=gaussian and method.with_original=true"
            )

    def __call__(self, q: Posterior, x: Tensor, encode: Callable[[Tensor], Posterior]) -> Tensor:
        assert isinstance(q, DiagonalGaussian)
        original = DiagonalGaussian(q.mean[:, :1], q.log_variance[:, :1])
        views = DiagonalGaussian(q.mean[:, 1:], q.log_variance[:, 1:])
        return views.kl(original).sum(1).mean()
