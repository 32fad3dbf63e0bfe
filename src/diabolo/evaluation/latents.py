"""Which dimensions of a variational autoencoder's code are in use."""

from __future__ import annotations

from typing import Any

import torch

from diabolo.errors import UserError
from diabolo.evaluation.geometry import active_units
from diabolo.evaluation.measures import Measure, Subject
from diabolo.generation import batches, device_of
from diabolo.latents import DiagonalGaussian
from diabolo.methods.autoencoder import Autoencoder
from diabolo.methods.base import Method


class Latents(Measure):
    """What each dimension of q(z|x) does over test.

    "active": how many means vary by more than 0.01 (Burda et al. 2016), of "width"; "variance": of each mean.
    "kl": KL(q(z|x) ‖ p(z)) in nats, the mean over the images, and "kl_per_dimension", which add up to it;
    p(z) is the prior of one image, where there is one. "entropy": of q, in nats, the same mean.
    """

    def check(self, subject: Subject) -> None:
        _gaussian(subject.method)

    @torch.inference_mode()
    def __call__(self, subject: Subject) -> dict[str, Any]:
        method = _gaussian(subject.method)
        posteriors = []
        for x in batches(subject.splits.test):
            q = method.posterior(torch.from_numpy(x).to(device_of(method)))
            assert isinstance(q, DiagonalGaussian)
            posteriors.append((q.mean.cpu().double(), q.log_variance.cpu().double()))
        mean, log_variance = (torch.cat(parts) for parts in zip(*posteriors, strict=True))  # [N, d] each
        variance = mean.var(0, correction=0)
        found: dict[str, Any] = {
            "active": active_units(mean.numpy()),
            "width": mean.shape[1],
            "entropy": float(DiagonalGaussian(mean, log_variance).entropy().mean()),
            "variance": variance.tolist(),
        }
        try:
            v = torch.tensor(method.prior.marginal_variance(), dtype=torch.float64)
        except UserError:
            return found | {"missing": {"kl": "the prior is no distribution of one image's code"}}
        kl = 0.5 * ((mean.square() + log_variance.exp()) / v - 1 - log_variance + v.log()).mean(0)
        return found | {"kl": float(kl.sum()), "kl_per_dimension": kl.tolist()}


def _gaussian(method: Method) -> Autoencoder:
    """The method, if it has a posterior with a variance."""
    if not isinstance(method, Autoencoder) or not method.gaussian:
        raise UserError("only a Gaussian posterior has active units and a KL: leave the measure out")
    return method
