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
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from diabolo.data.splits import load
from diabolo.evaluation import mixtures
from diabolo.recipe import Data
from diabolo.run import environment

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
            measure(pixels, 64, (20,), turns=2, per_turn=10),
        ]
    print(json.dumps(environment(), indent=2))
    for line in (line for table in tables for line in table):
        print(line)


def measure(
    pixels: np.ndarray, width: int, restarts: tuple[int, ...], turns: int, per_turn: int
) -> list[str]:
    """Lines of a table: one for scikit-learn, one for each number of restarts of ours."""
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
    lines = [
        f"{len(x)} × {width}: scikit-learn {wall:.2f} s ({processor:.2f} s of processor) a restart, "
        f"best of {len(theirs)}: {best:.4f}"
    ]
    for number, fits in ours.items():
        took, worked, _ = np.median(fits, axis=0)
        reached = [likelihood for *_, likelihood in fits]
        lines.append(
            f"  diabolo, {number} restarts: {took:.2f} s ({worked:.2f} s), "
            f"{number * wall / took:.1f} ({number * processor / worked:.1f}) times faster than as many; "
            f"likelihood {min(reached):.4f} to {max(reached):.4f} over {len(fits)} seeds, "
            f"at least scikit-learn's best in {sum(each >= best for each in reached)}, in "
            f"1/{len(theirs) * wall / took:.1f} (1/{len(theirs) * processor / worked:.1f}) of its time"
        )
    return lines


def timed(act: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall seconds, processor seconds of all threads, and what `act` returns."""
    wall, processor = time.perf_counter(), time.process_time()
    result = act()
    return time.perf_counter() - wall, time.process_time() - processor, result


if __name__ == "__main__":
    main()
