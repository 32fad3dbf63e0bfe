"""The shape of a representation, without labels: how many dimensions it uses, and how evenly."""

from typing import Any, Literal

import numpy as np

EPSILON = 1e-7  # RankMe's ε, as published
ROUNDING = float(np.finfo(np.float32).eps)  # features are float32: variation below this share is rounding
UNIT = 0.01  # variance of a posterior's mean above which a unit of a code is active, as published
ACTIVE = 0.01  # share of the largest deviation above which a dimension counts as active


def effective_rank(z: np.ndarray) -> float:
    """RankMe (Garrido et al. 2023, eq. 1), uncentred as published: z [N, D] → a number from 0 to min(N, D).

    exp(−Σ_k p_k log p_k) with p_k = σ_k / ‖σ‖₁ + ε over the singular values σ of z. It is near the number of
    directions that carry the representation's energy; 0 stands for z = 0.
    """
    return _entropy_rank(np.asarray(z, np.float64))


def centred_rank(z: np.ndarray) -> float:
    """`effective_rank` of z minus its mean: the common offset, which tells no examples apart, does not count.

    0 where all rows are equal up to the rounding of float32.
    """
    z = np.asarray(z, np.float64)
    centred = z - z.mean(axis=0)
    return _entropy_rank(centred) if np.linalg.norm(centred) > ROUNDING * np.linalg.norm(z) else 0.0


def deviations(z: np.ndarray) -> np.ndarray:
    """Standard deviation of each dimension over the examples: [N, D] → float64 [D]."""
    return np.asarray(z, np.float64).std(axis=0)


def spread(z: np.ndarray, unit: Literal["length", "deviation"]) -> float:
    """How far the rows of z [N, D] are from being one point, in the unit that their loss gives them.

    unit: "length", for rows of length 1: √Σ_i var_i, from 0 to 1 (SimSiam's Fig. 2, times √D). "deviation",
    where each dimension is to deviate by 1: √mean_i var_i.
    """
    variance = np.square(deviations(z))
    return float(np.sqrt(variance.sum() if unit == "length" else variance.mean()))


def active_dimensions(z: np.ndarray) -> int:
    """How many dimensions deviate by more than 1 % of what the most varied one does.

    A relative rule, since a representation's scale is free. It sees dimensions that have died one by one, as
    a VAE's do; dimensions that live but repeat each other are seen by the rank, which ignores the axes.
    """
    spread = deviations(z)
    floor = ROUNDING * float(np.sqrt(np.einsum("nd,nd->", z, z, dtype=np.float64) / z.size))
    return int((spread > max(ACTIVE * spread.max(), floor)).sum())


def active_units(mean: np.ndarray) -> int:
    """How many means [N, d] of a Gaussian posterior vary by more than 0.01 (Burda et al. 2016, section 5.2).

    An absolute rule, since the prior gives the code its scale.
    """
    return int((mean.var(0) > UNIT).sum())


def sparsity(z: np.ndarray) -> float:
    """Hoyer's sparsity (2004, section 2.4), the mean over the rows of z [N, D] that are not zero.

    (√D − ‖z‖₁ / ‖z‖₂) / (√D − 1): 0 where all numbers of a row are of one size, 1 where a single one is not
    zero. 0 for D = 1, and where all rows are zero.
    """
    length = np.sqrt(np.einsum("nd,nd->n", z, z, dtype=np.float64))
    if z.shape[1] == 1 or not length.any():
        return 0.0
    root, there = z.shape[1] ** 0.5, length > 0
    ratio = np.abs(z).sum(axis=1, dtype=np.float64)[there] / length[there]
    return float(((root - ratio) / (root - 1)).mean())


def geometry(z: np.ndarray) -> dict[str, Any]:
    """What can be said of z [N, D] without labels: plain numbers, as `scores.json` keeps them."""
    each = deviations(z)
    return {
        "effective_rank": effective_rank(z),
        "centred_rank": centred_rank(z),
        "active_dimensions": active_dimensions(z),
        "sparsity": sparsity(z),
        "deviation": {"min": float(each.min()), "median": float(np.median(each)), "max": float(each.max())},
    }


def _entropy_rank(z: np.ndarray) -> float:
    sigma = _singular_values(z)
    if not sigma.any():
        return 0.0
    p = sigma / sigma.sum() + EPSILON
    return float(np.exp(-(p * np.log(p)).sum()))


def _singular_values(z: np.ndarray) -> np.ndarray:
    """The min(N, D) singular values of z, from the smaller of its two Gram matrices.

    In float64 that loses only values below 1e-8 of the largest, which do not move the entropy.
    """
    gram = z.T @ z if z.shape[0] >= z.shape[1] else z @ z.T
    return np.sqrt(np.linalg.eigvalsh(gram).clip(min=0))
