"""Ridge regression in closed form, for every penalty from one decomposition."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from diabolo.errors import UserError
from diabolo.evaluation.features import FLOOR, standards

PENALTIES = tuple(10.0**exponent for exponent in range(-6, 4))
BLOCK = 2**22  # values of x in float64 at a time


class Ridge:
    """The W and b that minimise Σ‖y − xW − b‖² / N + penalty · ‖W‖² over rows x [N, D], y [N, T].

    Found in float64 from the eigenvectors of the covariance [D, D], or of the inner products [N, N] where
    there are fewer rows than dimensions.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        rows, targets = torch.from_numpy(x), torch.from_numpy(y).double()
        blocks = rows.split(max(1, BLOCK // x.shape[1]))
        self.mean = torch.stack([block.sum(dim=0, dtype=torch.float64) for block in blocks]).sum(dim=0) / len(
            x
        )
        self.offset = targets.mean(dim=0)
        targets = (targets - self.offset) / len(x)
        if len(x) < x.shape[1]:
            centred = rows.double() - self.mean
            values, vectors = torch.linalg.eigh(centred @ centred.T / len(x))
            self.basis, self.loading = centred.T @ vectors, vectors.T @ targets
        else:
            covariance = torch.zeros(2 * x.shape[1:], dtype=torch.float64)
            product = torch.zeros(x.shape[1], targets.shape[1], dtype=torch.float64)
            for block, target in zip(blocks, targets.split(len(blocks[0])), strict=True):
                centred = block.double() - self.mean
                covariance += centred.T @ centred / len(x)
                product += centred.T @ target
            values, self.basis = torch.linalg.eigh(covariance)
            self.loading = self.basis.T @ product
        self.values = values.clamp_min(0)

    def weights(self, penalty: float) -> Tensor:
        """W: float64 [D, T]."""
        return self.basis @ (self.loading / (self.values + penalty)[:, None])

    def predict(self, x: np.ndarray, penalties: Sequence[float]) -> Tensor:
        """The targets of rows x [n, D] by each penalty: float64 [P, n, T]."""
        weights = torch.stack([self.weights(penalty) for penalty in penalties], dim=1).flatten(1)  # [D, P·T]
        blocks = torch.from_numpy(x).split(max(1, BLOCK // x.shape[1]))
        found = torch.cat([(block.double() - self.mean) @ weights for block in blocks])
        return found.unflatten(1, (len(penalties), -1)).transpose(0, 1) + self.offset


class Determined(NamedTuple):
    """How well each target is predicted. r2: [T], on test. penalties: [T], chosen by validation's R² [T]."""

    r2: np.ndarray
    penalties: np.ndarray
    validation: np.ndarray


def determine(
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    penalties: Sequence[float] = PENALTIES,
) -> Determined:
    """R² of ridge regression on test, for (x [N, D], y [N, T]) of each part.

    x is standardised on train, with a floor (`FLOOR`). The penalty is chosen for each target by its R² on
    validation, the strongest among equals; the fit is on train alone. R² is 1 − Σ(y − ŷ)² / Σ(y − ȳ)², ȳ the
    mean of that part: 0 where nothing is known, negative where worse. Raises `UserError` where a target does
    not vary.
    """
    shift, scale = standards(train[0], FLOOR)
    order = sorted(penalties, reverse=True)
    model = Ridge((train[0] - shift) / scale, train[1])
    on_validation = r2(validation[1], model.predict((validation[0] - shift) / scale, order), "validation")
    best = on_validation.argmax(dim=0)  # [T]
    targets = torch.arange(len(best))
    on_test = model.predict((test[0] - shift) / scale, order)[best, :, targets].T
    return Determined(
        r2(test[1], on_test, "test").numpy(),
        np.array(order)[best.numpy()],
        on_validation[best, targets].numpy(),
    )


def r2(y: np.ndarray, predicted: Tensor, part: str) -> Tensor:
    """The share of the variance of y [n, T] that predictions [..., n, T] account for: float64 [..., T]."""
    targets = torch.from_numpy(y).double()
    variance = (targets - targets.mean(dim=0)).square().sum(dim=0)
    if bool((variance == 0).any()):
        raise UserError(f"ridge: target {int(variance.argmin())} is the same for every example of {part}")
    return 1 - (targets - predicted).square().sum(dim=-2) / variance
