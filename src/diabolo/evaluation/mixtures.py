"""Gaussian mixtures with full covariances: many starts, climbed as one batched EM.

The log-density of a Gaussian is linear in φ(u) = [uᵢuⱼ (i ≤ j), u, 1]. So for all components of all starts
together the E-step is one matrix product of their coefficients with φ, and the M-step's sums are one product
of the responsibilities with φ. u is x whitened by the covariance of all of x: EM does not depend on the
coordinates, round-off does.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from diabolo.errors import UserError
from diabolo.evaluation.features import sample
from diabolo.seeds import generator

BLOCK = 2**19  # values of φ, or of the responsibilities, at a time: they stay in the processor's cache
SAMPLE, ROWS = 10_000, 4  # starts race on so many rows, or on ROWS for each free entry of a covariance
GROUP = 2**23  # distances, of each row to each start, that are held while starts are made
LLOYD = 30  # rounds of k-means before EM
HEAT = 15  # steps of EM before half of the starts leave the race
FINAL = 4  # starts that climb to convergence on all rows


@dataclass(frozen=True)
class Mixture:
    """weights: [K]. means: [K, D]. covariances: [K, D, D]. All float64, in the units of the data."""

    weights: Tensor
    means: Tensor
    covariances: Tensor

    def joint(self, x: np.ndarray) -> Tensor:
        """log p(x, component) of each row of x [N, D], nats: float64 [N, K]."""
        components, width = self.means.shape
        factors = cholesky(self.covariances)
        scale = self.weights.log() - _log_root(factors)
        blocks = []
        for block in torch.from_numpy(x).split(max(1, BLOCK // (width * components))):
            offset = (block.double() - self.means[:, None]).mT  # [K, D, n]
            distance = torch.linalg.solve_triangular(factors, offset, upper=False).square().sum(dim=1)
            blocks.append(scale - 0.5 * distance.T)
        return torch.cat(blocks)


class Starts(NamedTuple):
    """R mixtures of whitened rows. weights: [R, K]. means: [R, K, D]. covariances: [R, K, D, D]. float64."""

    weights: Tensor
    means: Tensor
    covariances: Tensor

    def take(self, index: Tensor) -> "Starts":
        return Starts(*(part[index] for part in self))


@dataclass(frozen=True)
class Rows:
    """x [N, D], read as u = L⁻¹(x − mean), where L Lᵀ is a covariance and `inverse` is L⁻¹.

    ridge: [D, D], what each covariance of u gains in an M-step.
    """

    x: Tensor
    mean: Tensor
    factor: Tensor
    inverse: Tensor
    ridge: Tensor

    def size(self, columns: int) -> int:
        """How many rows to take at a time where `columns` values stand beside each in memory."""
        width = len(self.mean)
        return max(16, min(4096, BLOCK // max(columns, width * (width + 3) // 2 + 1)))

    def blocks(self, size: int, dtype: torch.dtype) -> Iterator[Tensor]:
        """φ(u) [F, n] of `size` rows after as many others."""
        for block in self.x.split(size):
            yield phi((self.inverse @ (block.double() - self.mean).T).to(dtype))

    def restored(self, start: Starts) -> Mixture:
        """The only start, in the units of x."""
        weights, means, covariances = (part[0] for part in start)
        return Mixture(weights, self.mean + means @ self.factor.T, self.factor @ covariances @ self.factor.T)


def whitened(x: np.ndarray, ridge: float) -> Rows:
    """x by its own covariance with a ridge, see `fit`."""
    rows, eye = torch.from_numpy(x), torch.eye(x.shape[1], dtype=torch.float64)
    blocks = rows.split(max(1, BLOCK // x.shape[1]))
    mean = torch.stack([block.sum(dim=0, dtype=torch.float64) for block in blocks]).sum(dim=0) / len(x)
    covariance = torch.zeros_like(eye)
    for block in blocks:
        centred = block.double() - mean
        covariance += centred.T @ centred / len(x)
    ridge *= min(1.0, float(covariance.diagonal().mean())) or 1.0
    factor = cholesky(covariance + ridge * eye)
    inverse = torch.linalg.solve_triangular(factor, eye, upper=False)
    return Rows(rows, mean, factor, inverse, ridge * inverse @ inverse.T)


def fit(
    x: np.ndarray,
    components: int,
    *,
    restarts: int = 20,
    tolerance: float = 1e-4,
    max_iter: int = 200,
    ridge: float = 1e-6,
    seed: int = 0,
) -> tuple[Mixture, int]:
    """The likeliest mixture of x [N, D] that EM reaches from `restarts` starts, and its last steps' number.

    The starts come from k-means and race on a sample: every few steps of EM the less likely half of them
    leaves. The last four climb on all rows until a step gains less than `tolerance` nats per row, or for
    `max_iter` steps. ridge: added to the diagonal of each covariance, in the units of x; where x has a mean
    variance below 1, that share of it. Raises `UserError` where there are fewer rows than components.
    """
    if len(x) < components:
        raise UserError(f"mixture: there are {components} components, but only {len(x)} training examples")
    rng = generator("mixture", seed)
    rows = whitened(x, ridge)
    few = replace(rows, x=rows.x[sample(len(x), max(SAMPLE, ROWS * components * x.shape[1] ** 2 // 2))])
    group = max(1, GROUP // len(few.x))
    made = [seeded(few, min(group, restarts - n), components, rng) for n in range(0, restarts, group)]
    starts = Starts(*(torch.cat(parts) for parts in zip(*made, strict=True)))
    while len(starts.weights) > FINAL:
        starts, likelihood, _ = climb(few, starts, torch.float32, tolerance, HEAT)
        starts = starts.take(likelihood.argsort(descending=True)[: max(FINAL, len(likelihood) // 2)])
    starts, likelihood, steps = climb(rows, starts, torch.float64, tolerance, max_iter)
    winner = likelihood.argmax(dim=0, keepdim=True)
    return rows.restored(starts.take(winner)), int(steps[winner])


def climb(
    rows: Rows, starts: Starts, dtype: torch.dtype, tolerance: float, max_iter: int
) -> tuple[Starts, Tensor, Tensor]:
    """Take steps of EM from each start until one gains less than `tolerance`, or `max_iter` are taken.

    Returns where they ended, the mean log-likelihood before the last step [R], and the number of steps [R].
    """
    ended = Starts(*(part.clone() for part in starts))
    likelihood = torch.full((len(starts.weights),), -math.inf, dtype=torch.float64)
    steps = torch.zeros(len(likelihood), dtype=torch.int64)
    active = torch.arange(len(likelihood))
    for _ in range(max_iter):
        starts, reached = step(rows, starts, dtype)
        for end, part in zip(ended, starts, strict=True):
            end[active] = part
        climbing = (reached - likelihood[active]).abs() >= tolerance
        likelihood[active] = reached
        steps[active] += 1
        active, starts = active[climbing], starts.take(climbing)
        if not len(active):
            break
    return ended, likelihood, steps


def step(rows: Rows, starts: Starts, dtype: torch.dtype) -> tuple[Starts, Tensor]:
    """One step of EM, its matrix products in `dtype`; and the mean log p(u) before it, nats: [R]."""
    shape = starts.weights.shape
    theta = coefficients(starts).flatten(0, 1).to(dtype)
    least = 0.7 * math.log(torch.finfo(dtype).tiny)  # denormal numbers would triple the time
    sums = torch.zeros_like(theta, dtype=torch.float64)
    likelihood = torch.zeros(shape[0], dtype=torch.float64)
    for features in rows.blocks(rows.size(len(theta)), dtype):
        density = (theta @ features).unflatten(0, shape)  # [R, K, n]
        most = density.amax(dim=1, keepdim=True)
        density.sub_(most).clamp_min_(least).exp_()
        total = density.sum(dim=1, keepdim=True)
        density.div_(total)  # the responsibilities
        likelihood += (most + total.log_()).sum(dim=(1, 2), dtype=torch.float64)
        sums += density.flatten(0, 1) @ features.T
    return maximised(sums.unflatten(0, shape), rows.ridge, torch.finfo(dtype).eps), likelihood / len(rows.x)


def phi(u: Tensor) -> Tensor:
    """u [D, n] → [F, n]: the products uᵢuⱼ for i ≤ j, u, and 1."""
    i, j = torch.triu_indices(len(u), len(u))
    return torch.cat([u[i] * u[j], u, torch.ones_like(u[:1])])


def coefficients(starts: Starts) -> Tensor:
    """θ with θ · φ(u) = log p(u, component): [R, K, F]."""
    factors = cholesky(starts.covariances)
    precision = torch.cholesky_inverse(factors)
    i, j = torch.triu_indices(*precision.shape[-2:])
    linear = (precision @ starts.means[..., None]).squeeze(-1)
    constant = starts.weights.log() - _log_root(factors) - 0.5 * (linear * starts.means).sum(dim=-1)
    quadratic = -precision[..., i, j] * torch.where(i == j, 0.5, 1.0)
    return torch.cat([quadratic, linear, constant[..., None]], dim=-1)


def maximised(sums: Tensor, ridge: Tensor, eps: float) -> Starts:
    """The M-step from Σ responsibility · φ(u) [R, K, F], computed to a relative precision of `eps`.

    Where a covariance is less than round-off leaves of it, it is raised to that.
    """
    width = len(ridge)
    count = sums[..., -1] + 10 * torch.finfo(torch.float64).eps  # a component may have lost all its rows
    moments = sums[..., :-1] / count[..., None]
    means = moments[..., -width:]
    i, j = torch.triu_indices(width, width)
    covariances = moments.new_empty(*count.shape, width, width)
    covariances[..., i, j] = covariances[..., j, i] = moments[..., : len(i)]
    roundoff = 8 * eps * covariances.diagonal(dim1=-2, dim2=-1)
    covariances += ridge + roundoff.diag_embed() - means[..., :, None] * means[..., None, :]
    return Starts(count / count.sum(dim=1, keepdim=True), means, covariances)


def seeded(rows: Rows, restarts: int, components: int, rng: torch.Generator) -> Starts:
    """Starts from k-means in the units of x: greedy k-means++ (Arthur & Vassilvitskii 2007), `LLOYD` rounds.

    Beside each row of the sample it holds a few values for each start.
    """
    v = (rows.x.double() - rows.mean).float()
    v /= v.std().clamp_min(torch.finfo(torch.float32).tiny)
    square = v.square().sum(dim=1)
    tries = 2 + int(math.log(components))
    picked = torch.randint(len(v), (restarts, 1), generator=rng)
    nearest = _apart(v, square, picked)[:, 0]  # [R, n]
    while picked.shape[1] < components:
        weights = nearest.clamp_min(torch.finfo(torch.float32).tiny)
        tried = torch.multinomial(weights, tries, replacement=True, generator=rng)  # [R, tries]
        shrunk = torch.minimum(nearest[:, None], _apart(v, square, tried))
        best = shrunk.sum(dim=2).argmin(dim=1, keepdim=True)
        picked = torch.cat([picked, tried.gather(1, best)], dim=1)
        nearest = shrunk.gather(1, best[..., None].expand(-1, -1, len(v)))[:, 0]
    centres = v[picked]  # [R, K, D]
    size = rows.size(restarts * components)
    for _ in range(LLOYD):
        sums, counts = torch.zeros_like(centres), torch.zeros_like(centres[..., :1])
        for block in v.split(size):
            belongs = _belongs(block, centres)
            sums += (belongs.flatten(0, 1) @ block).view_as(sums)
            counts += belongs.sum(dim=2, keepdim=True)
        centres = sums / counts.clamp_min(1)
    total = torch.zeros(restarts * components, 1, dtype=torch.float64)
    for block, features in zip(v.split(size), rows.blocks(size, torch.float32), strict=True):
        total = total + _belongs(block, centres).flatten(0, 1) @ features.T
    return maximised(total.unflatten(0, centres.shape[:2]), rows.ridge, torch.finfo(torch.float32).eps)


def _apart(v: Tensor, square: Tensor, picked: Tensor) -> Tensor:
    """Squared distances of rows v [n, D], of squared norms [n], from the picked [R, P] ones: [R, P, n]."""
    distance = torch.baddbmm(square[picked][..., None], v[picked], v.T.expand(len(picked), -1, -1), alpha=-2)
    return (distance + square).clamp_min_(0)


def _belongs(v: Tensor, centres: Tensor) -> Tensor:
    """1 where a centre is the nearest, else 0: v [n, D], centres [R, K, D] → [R, K, n]."""
    flat = centres.flatten(0, 1)
    distance = torch.addmm(0.5 * flat.square().sum(dim=1, keepdim=True), flat, v.T, alpha=-1)
    distance = distance.unflatten(0, centres.shape[:2])
    return distance.eq_(distance.amin(dim=1, keepdim=True))


def cholesky(covariances: Tensor) -> Tensor:
    """Lower factors [..., D, D] of covariances that round-off may have left without one.

    Of those the diagonal is raised by a share of its largest entry, as little as will do.
    """
    factors, failed = torch.linalg.cholesky_ex(covariances)
    largest = covariances.diagonal(dim1=-2, dim2=-1).amax(dim=-1).clamp_min(torch.finfo(torch.float64).tiny)
    raised, share = covariances, torch.finfo(torch.float64).eps
    while failed.any() and share < 1:  # not of NaN
        lift = share * largest * (failed > 0)
        raised = raised + lift[..., None, None] * torch.eye(covariances.shape[-1], dtype=covariances.dtype)
        factors, failed = torch.linalg.cholesky_ex(raised)
        share *= 10
    if failed.any():
        raise UserError("mixture: the features are of too different sizes for covariances: standardise them")
    return factors


def _log_root(factors: Tensor) -> Tensor:
    """log √det(2π Σ) from Cholesky factors [..., D, D] of Σ."""
    width = factors.shape[-1]
    return factors.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1) + 0.5 * width * math.log(2 * math.pi)
