"""Losses of embeddings, as pure functions. Several processes pass the gathered batch."""

from typing import NamedTuple

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


class VICRegTerms(NamedTuple):
    """What VICReg weighs and adds."""

    invariance: Tensor
    variance: Tensor
    covariance: Tensor


@full_precision
def vicreg(z: Tensor) -> VICRegTerms:
    """The terms of VICReg (Bardes et al. 2022, eqs. 1–5), with the factors of its public code.

        invariance = mean over b, i of (z[b,1,i] − z[b,2,i])²
        variance   = ½ Σ_j mean_i max(0, 1 − √(var_b z[b,j,i] + 1e-4))
        covariance = Σ_j Σ_{i≠k} cov_j[i,k]² / D

    z: embeddings [B, 2, D], of any scale. Variances and covariances of each view j are unbiased: B ≥ 2.
    """
    B, _, D = z.shape
    deviation = (z.var(0) + 1e-4).sqrt()  # [2, D]
    centred = (z - z.mean(0)).transpose(0, 1)  # [2, B, D]
    covariances = centred.mT @ centred / (B - 1)  # [2, D, D]
    return VICRegTerms(
        invariance=F.mse_loss(z[:, 0], z[:, 1]),
        variance=F.relu(1 - deviation).mean(1).sum() / 2,
        covariance=_off_diagonal(covariances).square().sum() / D,
    )


class BarlowTwinsTerms(NamedTuple):
    """What Barlow Twins weighs and adds."""

    invariance: Tensor
    redundancy_reduction: Tensor


@full_precision
def barlow_twins(z: Tensor) -> BarlowTwinsTerms:
    """The terms of Barlow Twins (Zbontar et al. 2021, eqs. 1 and 2): Σ_i (1 − C_ii)² and Σ_{i≠k} C_ik².

    z: embeddings [B, 2, D]. C_ik is the correlation over the batch of entry i of the first view and k of the
    second, with biased variances, and batch norm's 1e-5 added to them, as in the public code.
    """
    variance, mean = torch.var_mean(z, 0, correction=0)
    first, second = ((z - mean) / (variance + 1e-5).sqrt()).unbind(1)  # [B, D] each
    correlation = first.T @ second / len(z)
    return BarlowTwinsTerms(
        invariance=(1 - correlation.diagonal()).square().sum(),
        redundancy_reduction=_off_diagonal(correlation).square().sum(),
    )


@full_precision
def byol(p: Tensor, z: Tensor) -> Tensor:
    """BYOL's loss (Grill et al. 2020, eq. 2), both ways: the mean over b of Σ_j (2 − 2 cos(p[b,j], z[b,j']))
    with j' the other view. p: predictions [B, 2, D]. z: the target network's projections [B, 2, D]."""
    return (2 - 2 * F.cosine_similarity(p, z.flip(1), dim=2)).sum(1).mean()


@full_precision
def simsiam(p: Tensor, z: Tensor) -> Tensor:
    """SimSiam's loss (Chen & He 2021, eq. 2): mean over b and both views j of −cos(p[b,j], z[b,j']), with j'
    the other view. p: predictions [B, 2, D]. z: projections [B, 2, D]; whoever calls stops their gradient."""
    return -F.cosine_similarity(p, z.flip(1), dim=2).mean()


class LeJEPATerms(NamedTuple):
    """What LeJEPA weighs and adds."""

    prediction: Tensor
    sigreg: Tensor


@full_precision
def lejepa(z: Tensor, directions: Tensor, centred_on: int | None = None) -> LeJEPATerms:
    """The terms of LeJEPA (Balestriero & LeCun 2025, algorithms 1 and 2).

        prediction = mean over b, j, i of (z[b,j,i] − mean_{g ≤ G} z[b,g,i])²
        sigreg     = mean over j and directions a of B ∫ |φ(t) − e^{−t²/2}|² e^{−t²/2} dt from −3 to 3,
                     with φ(t) = mean_b exp(i t a·z[b,j])

    z: embeddings [B, J, D]. directions: [D, K], of any length but zero. centred_on: G, the first views, which
    are global; by default all are. SIGReg compares each view's batch with a standard normal distribution by
    the statistic of Epps & Pulley along each direction. The integral is by the trapezoid rule on 17 knots
    from 0 to 3, doubled since it is even, as in the public code.
    """
    t = torch.linspace(0, 3, 17, dtype=z.dtype, device=z.device)
    normal = (-t.square() / 2).exp()
    angle = (z @ F.normalize(directions, dim=0))[..., None] * t  # [B, J, K, 17]
    distance = (angle.cos().mean(0) - normal).square() + angle.sin().mean(0).square()
    statistic = 2 * len(z) * torch.trapezoid(distance * normal, t)  # [J, K]
    centre = z[:, :centred_on].mean(1, keepdim=True)
    return LeJEPATerms((z - centre).square().mean(), statistic.mean())


def _off_diagonal(matrices: Tensor) -> Tensor:
    """[…, D, D] with zeros on the diagonal."""
    return matrices - torch.diag_embed(matrices.diagonal(dim1=-2, dim2=-1))


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
