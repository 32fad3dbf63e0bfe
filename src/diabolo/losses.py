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


@full_precision
def cosine_scores(z: Tensor, prototypes: Tensor) -> Tensor:
    """The cosine of each embedding [..., D] with each prototype [K, D]: [..., K]."""
    return F.normalize(z, dim=-1) @ F.normalize(prototypes, dim=1).T


@full_precision
def non_parametric_softmax(z: Tensor, prototypes: Tensor, target: Tensor, temperature: float) -> Tensor:
    """−log P(i|v), P(i|v) = exp(v·v_i / τ) / Σ_j exp(v·v_j / τ) (Wu et al. 2018, eq. 2 and 4).

    z: embeddings [n, D]. prototypes: one vector a class, [K, D]. Both are brought to unit length.
    target: the class of each embedding, int64 [n].
    """
    return F.cross_entropy(cosine_scores(z, prototypes) / temperature, target)


@full_precision
def swapped_prediction(scores: Tensor, codes: Tensor, temperature: float) -> Tensor:
    """ℓ(z_t, q_s) = −Σ_k q_s^k log p_t^k, p_t = softmax(zᵀc / τ): each view predicts the codes of the others.

    scores: zᵀc of all views [B, J, K]. codes: q of the first G of them, [B, G, K]. Averages over the examples
    and over all pairs s ≠ t (SwAV: Caron et al. 2020, eq. 1 and 2).
    """
    return _of_other_views(codes, (scores / temperature).log_softmax(2))


@full_precision
def self_distillation(
    student: Tensor,
    teacher: Tensor,
    centre: Tensor,
    student_temperature: float,
    teacher_temperature: float | Tensor,
) -> Tensor:
    """H(P_t, P_s) = −Σ_k P_t^k log P_s^k, with P_s = softmax(g_s / τ_s) and P_t = softmax((g_t − c) / τ_t).

    student: outputs of all views [B, J, K]. teacher: of the first G of them, [B, G, K]. centre: c [K].
    Averages over the examples and over all pairs of different views (DINO: Caron et al. 2021, eq. 1 to 3).
    """
    targets = ((teacher - centre) / teacher_temperature).softmax(2)
    return _of_other_views(targets, (student / student_temperature).log_softmax(2))


def _of_other_views(targets: Tensor, log_p: Tensor) -> Tensor:
    """The mean cross-entropy of log_p [B, J, K] to targets [B, G, K] of the first G views, but each's own."""
    B, G, J = len(targets), targets.shape[1], log_p.shape[1]
    entropies = -torch.einsum("bgk,bjk->gj", targets, log_p) / B
    others = 1 - torch.eye(G, J, dtype=entropies.dtype, device=entropies.device)
    return (entropies * others).sum() / (G * (J - 1))


@full_precision
def masked_patch_error(prediction: Tensor, target: Tensor, masked: Tensor) -> Tensor:
    """The mean squared error over the pixels of masked patches alone (MAE: He et al. 2022, §3).

    prediction, target: [n, L, P]. masked: bool [n, L], True for the patches that the encoder did not see.
    """
    errors = (prediction - target).square().mean(2)  # [n, L]
    return (errors * masked).sum() / masked.sum()
