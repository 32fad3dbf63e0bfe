"""Losses of embeddings, as pure functions. Several processes pass the gathered batch."""

import torch
import torch.nn.functional as F
from torch import Tensor

from diabolo.precision import full_precision


@full_precision
def nt_xent(z: Tensor, temperature: float) -> Tensor:
    """The normalised temperature-scaled cross-entropy of SimCLR (Chen et al. 2020, eq. 1).

    z: embeddings [B, J, D], J ≥ 2 views of each of B examples. Averages over all ordered pairs of views of
    one example; a view's negatives are the (B − 1)·J views of the other examples.
    """
    B, J, _ = z.shape
    z = F.normalize(z, dim=2).flatten(0, 1)  # [B·J, D]
    similarity = (z @ z.T / temperature).view(B, J, B, J)
    same = torch.eye(B, dtype=torch.bool, device=z.device).view(B, 1, B, 1)
    negatives = similarity.masked_fill(same, -torch.inf).flatten(2).logsumexp(2)  # [B, J]
    positives = similarity.diagonal(dim1=0, dim2=2).permute(2, 0, 1)  # [B, J, J]
    loss = torch.logaddexp(positives, negatives[:, :, None]) - positives
    pairs = 1 - torch.eye(J, dtype=z.dtype, device=z.device)  # of two different views
    return (loss * pairs).sum() / (B * J * (J - 1))


@full_precision
def info_nce(q: Tensor, k: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """MoCo's contrastive loss (He et al. 2020, eq. 1): queries q [B, D], their keys k [B, D], and a queue of
    negatives [K, D], all of unit length."""
    positive = (q * k).sum(1, keepdim=True)  # [B, 1]
    logits = torch.cat([positive, q @ queue.T], 1) / temperature  # [B, 1 + K]
    return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long, device=q.device))
