"""The Gaussian mixtures of the `gmm` probe beside scikit-learn's, on principal components of MNIST.

    python benchmarks/mixtures.py            # 60,000 × 10 with 200 and 20 restarts, 60,000 × 64 with 20
    python benchmarks/mixtures.py --quick    # 60,000 × 10 alone, from fewer restarts of scikit-learn

Both fit the same float32 rows with full covariances and 10 components, with their own defaults, in one
process and turn by turn: a few restarts of scikit-learn, then whole fits of ours. scikit-learn's restarts are
alike, so its time for R of them is R times their mean: extrapolated wherever R is more than were run. Wall
time is followed, in brackets, by processor time (all threads); on a busy machine read the second. Likelihoods
are mean nats per row.
"""

import argparse

import numpy as np
import torch
from page import keep, timed
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from diabolo.data.splits import load
from diabolo.evaluation import mixtures
from diabolo.recipe import Data

COMPONENTS = 10


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    splits = load(Data(name="mnist"))
    pixels = torch.cat([part.floats().flatten(1) for part in (splits.train, splits.validation)]).numpy()
    if quick:
        tables = [measure(pixels, 10, (200, 20), turns=2, per_turn=3)]
    else:
        tables = [
            measure(pixels, 10, (200, 20), turns=5, per_turn=4),
            measure(pixels, 64, (20,), turns=2, per_turn=3),
        ]
    keep(
        "mixtures",
        "Gaussian mixtures with full covariance, 10 components",
        "On principal components of MNIST, our restarts in one fit beside scikit-learn's one after "
        "another; its time for as many is that of one, the mean of those run, times their number. The "
        "last column is how much sooner ours is done than the restarts of scikit-learn that were run, "
        "where its likelihood is at least their best in every seed. Wall time, and in brackets the "
        "same of processor time.",
        [
            "rows",
            "restarts",
            "ours, s",
            "scikit-learn, s",
            "faster",
            "log p",
            "its best log p",
            "sooner there",
        ],
        [row for table in tables for row in table],
    )


def measure(
    pixels: np.ndarray, width: int, restarts: tuple[int, ...], turns: int, per_turn: int
) -> list[list[str]]:
    """The rows of the table: one for each number of our restarts."""
    x = PCA(width, random_state=0).fit_transform(pixels).astype(np.float32)
    theirs: list[tuple[float, float, float]] = []
    ours: dict[int, list[tuple[float, float, float]]] = {number: [] for number in restarts}
    for turn in range(turns):
        for one in range(per_turn):
            seed = turn * per_turn + one
            model = GaussianMixture(COMPONENTS, random_state=seed)
            wall, processor, _ = timed(lambda model=model: model.fit(x))
            theirs.append((wall, processor, float(model.score(x))))
        for number, fits in ours.items():
            wall, processor, (mixture, _) = timed(
                lambda number=number, turn=turn: mixtures.fit(x, COMPONENTS, restarts=number, seed=turn)
            )
            fits.append((wall, processor, float(mixture.joint(x).logsumexp(dim=1).mean())))
    wall, processor, _ = np.mean(theirs, axis=0)
    best = max(likelihood for *_, likelihood in theirs)
    rows = []
    for number, fits in ours.items():
        took, worked, _ = np.median(fits, axis=0)
        reached = [likelihood for *_, likelihood in fits]
        sooner = f"{len(theirs) * wall / took:.1f} ({len(theirs) * processor / worked:.1f})"
        rows.append(
            [
                f"{len(x):,} × {width}",
                str(number),
                f"{took:.1f}",
                f"{number * wall:.0f}",
                f"{number * wall / took:.1f} ({number * processor / worked:.1f})",
                f"{min(reached):.4f} to {max(reached):.4f}",
                f"{best:.4f} ({len(theirs)} restarts)",
                sooner if min(reached) >= best else f"not in {sum(one < best for one in reached)} seeds",
            ]
        )
    return rows


if __name__ == "__main__":
    main()
