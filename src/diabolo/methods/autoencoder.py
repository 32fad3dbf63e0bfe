"""The autoencoder family: one evidence lower bound with related views, and its slots (SimVAE, eq. 4).

    loss = − Σ_j E_q[log p(t_j|z_j)] − β · ( Σ_j H[q(z_j|x_j)] + E_q[log p(z_1, …, z_J)] )

in nats per example: summed over the target, the latent and the J views, then averaged over the batch.
AE, denoising AE, VAE, SimVAE and their relatives are settings of it; `diabolo.tables` names them.
"""

from typing import Annotated, Literal

from annotated_types import Ge, Gt
from torch import Tensor, nn

from diabolo.latents import DiagonalGaussian, NoPrior, Point, Posterior, Prior
from diabolo.likelihoods import Likelihood
from diabolo.methods.base import DecoderFactory, Method, Terms
from diabolo.networks.backbone import Backbone
from diabolo.networks.heads import hidden_layer
from diabolo.precision import upcast
from diabolo.tables import LIKELIHOODS, PRIORS
from diabolo.views.pipeline import Batch


class Autoencoder(Method):
    """Encode each view, decode it to its target, and keep the codes near the prior.

    posterior: "point" or "gaussian". prior, likelihood: see `diabolo.latents`, `diabolo.likelihoods`.
    target: what a view is decoded to: the "view" itself or the "original". latent: width d of z.
    head: from h to z: "linear", or "mlp" with one hidden layer and batch norm (AAVAE). beta: β.
    """

    spaces = ("z", "h", "map")

    def __init__(
        self,
        encoder: Backbone,
        decoder: DecoderFactory,
        shape: tuple[int, ...],
        *,
        posterior: Literal["point", "gaussian"],
        prior: Annotated[Prior, PRIORS],
        likelihood: Annotated[Likelihood, LIKELIHOODS] = "gaussian",  # type: ignore[assignment]
        target: Literal["view", "original"] = "view",
        latent: Annotated[int, Gt(0)] = 32,
        head: Literal["linear", "mlp"] = "linear",
        beta: Annotated[float, Ge(0)] = 1.0,
    ) -> None:
        super().__init__(encoder)
        self.prior = prior
        self.target = target
        self.beta = beta
        self.gaussian = posterior == "gaussian"
        linear = head == "linear"
        self.neck = nn.Identity() if linear else hidden_layer(encoder.width, encoder.width)
        self.mean = nn.Linear(encoder.width, latent, bias=linear)
        self.log_variance = nn.Linear(encoder.width, latent, bias=linear) if self.gaussian else None
        self.decoder = decoder(latent, shape[0] * likelihood.channels)
        self.likelihood = likelihood

    def forward(self, batch: Batch) -> Terms:
        views = batch.views[0]  # [B, J, C, H, W]
        B, J = views.shape[:2]
        target = views if self.target == "view" else batch.clean[:, None].expand(B, J, *batch.clean.shape[1:])
        q = self.posterior(views.flatten(0, 1))  # over [B·J, d]
        log_p = self.log_likelihood(q.sample(), target.flatten(0, 1))  # [B·J]
        reconstruction = -log_p.view(B, J).sum(1).mean()
        parts = {"reconstruction": reconstruction}
        if isinstance(self.prior, NoPrior):
            return Terms(reconstruction, parts)
        codes, variances = q.mean.unflatten(0, (B, J)), q.variance().unflatten(0, (B, J))
        parts["prior"] = -self.prior.expected_log_prob(codes, variances).mean()
        parts["entropy"] = q.entropy().view(B, J).sum(1).mean()
        return Terms(reconstruction + self.beta * (parts["prior"] - parts["entropy"]), parts)

    def posterior(self, x: Tensor) -> Posterior:
        """q(z|x) of views [n, *shape], over [n, d]."""
        return self._posterior(self.encoder(x))

    def embed(self, h: Tensor) -> Tensor:
        return self._posterior(h).mean

    def decode(self, z: Tensor) -> Tensor:
        """Codes [n, d] → the mean of p(t|z) as images [n, *shape], in the units of the data."""
        mean = self.likelihood.mean(upcast(self.decoder(z)))
        return mean if self.likelihood.space == "pixels" else self.encoder.denormalise(mean)

    def reconstruct(self, x: Tensor) -> Tensor:
        """[n, *shape] → [n, *shape], through the mean of the posterior."""
        return self.decode(self.posterior(x).mean)

    def log_likelihood(self, z: Tensor, target: Tensor) -> Tensor:
        """log p(t|z) of codes [n, d] and targets [n, *shape] in the units of the data: [n], nats."""
        target = target if self.likelihood.space == "pixels" else self.encoder.normalise(target)
        return self.likelihood.log_prob(upcast(self.decoder(z)), target)

    def _posterior(self, h: Tensor) -> Posterior:
        h = self.neck(h)
        mean = upcast(self.mean(h))
        if self.log_variance is None:
            return Point(mean)
        return DiagonalGaussian(mean, upcast(self.log_variance(h)))
