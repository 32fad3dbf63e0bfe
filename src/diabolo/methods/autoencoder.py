"""The autoencoder family: one evidence lower bound with related views, and its slots (SimVAE, eq. 4).

    loss = − Σ_j E_q[log p(t_j|z_j)] − β · ( Σ_j H[q(z_j|x_j)] + E_q[log p(z_1, …, z_J)] ) + Σ λ · penalty

in nats per example: summed over the target, the latent and the J views, then averaged over the batch.
AE, denoising AE, VAE, SimVAE and their relatives are settings of it; `diabolo.tables` names them.
"""

import math
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from diabolo.errors import UserError
from diabolo.latents import DiagonalGaussian, NoPrior, Point, Posterior, Prior
from diabolo.likelihoods import Likelihood
from diabolo.methods.base import DecoderFactory, Method, Terms
from diabolo.methods.well_posed import refuse_ill_posed, refuse_no_bound
from diabolo.networks.backbone import Backbone
from diabolo.networks.heads import hidden_layer
from diabolo.penalties import Penalty
from diabolo.precision import upcast
from diabolo.tables import LIKELIHOODS, PENALTIES, PRIORS
from diabolo.views.pipeline import Batch


class Autoencoder(Method):
    """Encode each view, decode it to its target, and keep the codes near the prior.

    posterior: "point" or "gaussian". A Gaussian one without a prior is AAVAE's: nothing but the decoder holds
    its noise up, so that with each view as its own target it may shrink to an autoencoder.
    prior, likelihood, penalties: see `diabolo.latents`, `diabolo.likelihoods`, `diabolo.penalties`.
    target: what a view is decoded to: the "view" itself or the "original".
    with_original: the original joins the views, as the first of them (CR-VAE).
    track_original: batch norm also sees the originals, in a pass of their own (AAVAE as coded).
    latent: width d of z. head: from h to z: "linear", or "mlp" with one hidden layer and batch norm (AAVAE).
    code: "linear", or "sigmoid" for a point in (0, 1). beta: β, without effect where there is no prior.
    samples: K draws of z for each view. objective: "elbo", the mean over them; or "iwae", the
    importance-weighted bound log 1/K Σ_k p(t, z_k)/q(z_k|x), jointly over the views (Burda et al. 2016).
    validation_samples: K of the loss on validation (AAVAE); "iwae", which K is part of, keeps to samples.

    Raises `UserError` for a combination that is ill-posed, with its reason.
    """

    spaces = ("z", "h", "map")

    def __init__(
        self,
        encoder: Backbone,
        decoder: DecoderFactory,
        shape: tuple[int, ...],
        views: int,
        *,
        posterior: Literal["point", "gaussian"],
        prior: Annotated[Prior, PRIORS],
        likelihood: Annotated[Likelihood, LIKELIHOODS] = "gaussian",  # type: ignore[assignment]
        penalties: list[Annotated[Penalty, PENALTIES]] | None = None,
        target: Literal["view", "original"] = "view",
        with_original: bool = False,
        track_original: bool = False,
        latent: Annotated[int, Gt(0)] = 32,
        head: Literal["linear", "mlp"] = "linear",
        code: Literal["linear", "sigmoid"] = "linear",
        beta: Annotated[float, Ge(0)] = 1.0,
        objective: Literal["elbo", "iwae"] = "elbo",
        samples: Annotated[int, Gt(0)] = 1,
        validation_samples: Annotated[int, Gt(0)] = 16,
    ) -> None:
        super().__init__(encoder)
        self.prior = prior
        self.target = target
        self.with_original = with_original
        self.track_original = track_original
        self.latent = latent
        self.code = code
        self.beta = beta
        self.objective = objective
        self.samples = samples
        self.validation_samples = validation_samples
        self.gaussian = posterior == "gaussian"
        linear = head == "linear"
        self.neck = nn.Identity() if linear else hidden_layer(encoder.width, encoder.width)
        self.mean = nn.Linear(encoder.width, latent, bias=linear)
        self.log_variance = nn.Linear(encoder.width, latent, bias=linear) if self.gaussian else None
        self.decoder = decoder(latent, shape[0] * likelihood.channels)
        self.likelihood = likelihood
        self.penalties = list(penalties or ())
        refuse_ill_posed(self, shape, views + with_original)

    @property
    def draws(self) -> int:
        averaged = self.gaussian and self.objective == "elbo"
        return self.validation_samples if averaged and not self.training else self.samples

    def forward(self, batch: Batch) -> Terms:
        x = batch.views[0]  # [B, J, *shape]
        if self.with_original:
            x = torch.cat([batch.clean[:, None], x], 1)
        if self.track_original and self.training:
            with torch.no_grad():
                self.posterior(batch.clean)
        B, J = x.shape[:2]
        target = x if self.target == "view" else batch.clean[:, None].expand(B, J, *batch.clean.shape[1:])
        q = self.posterior(x.flatten(0, 1)).unflatten((B, J))  # over [B, J, d]
        z = q.sample(self.draws)  # [B, J, K, d]
        decoded = z.flatten(0, 1).split(self.samples, 1)  # never more at once than in training
        log_p = torch.cat([self.log_likelihood(codes, target.flatten(0, 1)) for codes in decoded], 1)
        log_p = log_p.unflatten(0, (B, J))  # [B, J, K]
        loss, parts = self._elbo(q, log_p) if self.objective == "elbo" else self._iwae(q, z, log_p)
        for penalty in self.penalties:
            parts[penalty.name] = penalty(q, x, self.posterior)
            loss = loss + penalty.weight * parts[penalty.name]
        return Terms(loss, parts)

    def _elbo(self, q: Posterior, log_p: Tensor) -> Terms:
        reconstruction = -log_p.mean(2).sum(1).mean()
        if isinstance(self.prior, NoPrior):
            return Terms(reconstruction, {"reconstruction": reconstruction})
        prior = -self.prior.expected_log_prob(q.mean, q.variance()).mean()
        entropy = q.entropy().sum(1).mean()
        parts = {"reconstruction": reconstruction, "prior": prior, "entropy": entropy}
        return Terms(reconstruction + self.beta * (prior - entropy), parts)

    def _iwae(self, q: Posterior, z: Tensor, log_p: Tensor) -> Terms:
        assert isinstance(q, DiagonalGaussian)
        B, _, K, _ = z.shape
        codes = z.transpose(1, 2).flatten(0, 1)  # [B·K, J, d]
        log_prior = self.prior.expected_log_prob(codes, torch.zeros_like(codes)).view(B, K)
        log_weight = (log_p - q.log_prob(z)).sum(1) + log_prior
        bound = (log_weight.logsumexp(1) - math.log(K)).mean()
        return Terms(-bound, {"importance_weighted": -bound, "reconstruction": -log_p.mean(2).sum(1).mean()})

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
        """log p(t|z) of K codes each [n, K, d] and targets [n, *shape] of the data: [n, K], nats."""
        K, t = z.shape[1], self._in_space(target)
        out = upcast(self.decoder(z.flatten(0, 1)))
        return self.likelihood.log_prob(out, t.repeat_interleave(K, 0) if K > 1 else t).unflatten(0, (-1, K))

    @torch.no_grad()
    def log_prob(self, x: Tensor, samples: int, block: int = 1024) -> Tensor:
        """The importance-weighted bound on log p(x), log 1/K Σ_k p(x|z_k) p(z_k) / q(z_k|x): [n], nats.

        x: [n, *shape] in the units of the data; log p is of the likelihood's target, so of normalised pixels
        where that has them. samples: K. block: codes decoded at once; on a processor more would be
        slower. In evaluation mode the rows of a batch do not mix.
        Raises `UserError`, with the reason, where posterior, prior, likelihood or x give no bound.
        """
        refuse_no_bound(self)
        if not self.likelihood.supports(self._in_space(x)):
            raise UserError(
                "log p(x): these pixels lie where the likelihood is no distribution: binarise them, "
                "or use a likelihood of grey levels"
            )
        q = self.posterior(x)
        assert isinstance(q, DiagonalGaussian)
        size = max(1, block // len(x))
        sums = []
        for start in range(0, samples, size):
            z = q.sample(min(size, samples - start))  # [n, k, d]
            log_weight = self.log_likelihood(z, x) + self.prior.log_marginal(z) - q.log_prob(z)
            sums.append(log_weight.logsumexp(1))
        return torch.stack(sums, 1).logsumexp(1) - math.log(samples)

    def bits_per_dimension(self, x: Tensor, log_prob: Tensor, *, dequantised: bool = False) -> Tensor | None:
        """`log_prob` [n] of examples x [n, *shape] in bits, or None; see `Likelihood.bits_per_dimension`."""
        std = None if self.likelihood.space == "pixels" else self.encoder.std
        return self.likelihood.bits_per_dimension(log_prob, self._in_space(x), std, dequantised=dequantised)

    def _posterior(self, h: Tensor) -> Posterior:
        h = self.neck(h)
        mean = upcast(self.mean(h))
        if self.log_variance is None:
            return Point(mean.sigmoid() if self.code == "sigmoid" else mean)
        return DiagonalGaussian(mean, upcast(self.log_variance(h)))

    def _in_space(self, x: Tensor) -> Tensor:
        """From the units of the data to those of the likelihood's targets."""
        return x if self.likelihood.space == "pixels" else self.encoder.normalise(x)
