"""Assignments of embeddings to prototypes: balanced codes, and k-means on the sphere."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from diabolo.precision import full_precision

AT_ONCE = 8192  # embeddings whose cosines to all centroids are held


@full_precision
def sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Codes Q = diag(u) exp(CᵀZ / ε) diag(v), by Sinkhorn–Knopp (SwAV: Caron et al. 2020, eq. 5).

    scores: CᵀZ of the whole batch, [B, K], cosines. Each iteration gives each prototype the share 1/K of the
    batch, then each example the mass 1. Returns [B, K]: rows sum to 1, columns to about B/K.
    """
    B, K = scores.shape
    log_Q = scores / epsilon  # exp(1 / ε) is beyond float32 for ε of 0.01
    for _ in range(iterations):
        log_Q = log_Q - log_Q.logsumexp(0, keepdim=True) + math.log(B / K)
        log_Q = log_Q.log_softmax(1)
    return log_Q.exp()


def spherical_kmeans(z: Tensor, centroids: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """k-means by cosine, from given centroids (DeepCluster-v2: Caron et al. 2020, appendix).

    z: [N, D] and centroids: [K, D], of unit length. Each iteration assigns every z to the nearest centroid,
    then moves each centroid to the direction of its members' sum; one without members stays.
    Returns the centroids [K, D] and the nearest one of each z, int64 [N].
    """
    numbers = torch.arange(len(centroids), device=z.device)
    for _ in range(iterations):
        sums = torch.zeros_like(centroids)
        for few in z.split(AT_ONCE):
            member = (few @ centroids.T).argmax(1, keepdim=True) == numbers  # [n, K]
            sums += member.T.to(z.dtype) @ few
        centroids = torch.where(sums.any(1, keepdim=True), F.normalize(sums, dim=1), centroids)
    return centroids, torch.cat([(few @ centroids.T).argmax(1) for few in z.split(AT_ONCE)])
