"""float32 beside bf16: what a step takes, which of the two `training.precision=auto` takes, what bf16 costs.

    python benchmarks/precision.py             # over a quarter of an hour on two idle cores
    python benchmarks/precision.py --seeds 1 --turns 1 --epochs 1 --limit 500    # only to see that it works

The times are those by which `auto` chooses, tried several times over. The costs are differences in accuracy
on test between trainings that differ in their precision alone: bf16's less float32's of the same seed.
A test set of 10,000 images tells such a difference to about half a point; seeds tell the rest.
"""

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from loop import CASES
from page import keep

from diabolo import evaluate, fit
from diabolo.data.splits import load
from diabolo.methods.build import facts_of
from diabolo.precision import flushed_denormals
from diabolo.recipe import Recipe, complete_for, compose
from diabolo.runs.environment import default_device
from diabolo.training.precision_trial import faster, step_times

BUDGETS = {  # training images and epochs: short, so that the whole is
    "VAE, MLP, MNIST": (10_000, 5),
    "AE, small conv, Fashion-MNIST": (10_000, 5),
    "SimCLR, quarter ResNet-18, CIFAR-10": (4_000, 3),
}
PRECISIONS = ("float32", "bf16")
PROBES = ("knn", "linear")


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--case", action="append", choices=BUDGETS)
    parser.add_argument("--turns", type=int, default=5, help="trials of the step times")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--limit", type=int, help="training images")
    arguments = parser.parse_args()
    rows = []
    for case in arguments.case or BUDGETS:
        limit, epochs = (
            given or usual
            for given, usual in zip((arguments.limit, arguments.epochs), BUDGETS[case], strict=True)
        )
        values = {
            "data": {"limit": limit},
            "training": {"epochs": epochs},
            "evaluation": {"references": False, "live": 0},
        }
        recipe = compose([values], CASES[case])
        times = tried(recipe, arguments.turns)
        scores = [
            {precision: trained(recipe, precision, seed) for precision in PRECISIONS}
            for seed in range(arguments.seeds)
        ]
        cells = [f"{1000 * times[precision]:.1f}" for precision in PRECISIONS]
        costs = [cell for probe in PROBES for cell in compared(scores, probe)]
        rows.append([f"{case}: {limit:,} images, {epochs} epochs", *cells, faster(times), *costs])
    keep(
        "precision",
        "float32 and bf16",
        f"Milliseconds of a step (forward, backward, update), medians of {arguments.turns} trials, and what "
        "`training.precision=auto` takes by them. Then accuracies in percent on test, after so many epochs "
        "on so many images, and bf16's less float32's of the same seed, in points: mean ± deviation over "
        f"{arguments.seeds} seeds.",
        [
            "case",
            "float32, ms",
            "bf16, ms",
            "auto",
            *(cell for probe in PROBES for cell in (f"{probe}, float32", "bf16 − float32")),
        ],
        rows,
    )


@flushed_denormals()
def tried(recipe: Recipe, turns: int) -> dict[str, float]:
    """Seconds of a step in each precision: the medians of several trials."""
    splits = load(recipe.data)
    complete = complete_for(recipe, splits.train.shape)
    facts, device = facts_of(splits), default_device()
    trials = [step_times(complete, splits.train, facts, device) for _ in range(turns)]
    return {name: statistics.median(trial[name] for trial in trials) for name in PRECISIONS}


def trained(recipe: Recipe, precision: str, seed: int) -> dict[str, float]:
    """The accuracy of each probe, in percent, after a training."""
    settings = {"training.precision": precision, "seed": seed}
    with TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        run = fit(recipe=recipe.to_dict(), settings=settings, out=out, evaluate=False, quiet=True)
        encoder = evaluate(run, probes=PROBES, quiet=True)["encoder"]
    return {probe: 100 * encoder[probe]["accuracy"] for probe in PROBES}


def compared(scores: Sequence[Mapping[str, Mapping[str, float]]], probe: str) -> list[str]:
    """float32's accuracy, and what bf16 adds to it: mean ± deviation over seeds."""
    one = [score["float32"][probe] for score in scores]
    more = [score["bf16"][probe] - score["float32"][probe] for score in scores]
    deviations = [f"{statistics.stdev(values):.2f}" if len(values) > 1 else "–" for values in (one, more)]
    return [
        f"{statistics.mean(one):.2f} ± {deviations[0]}",
        f"{statistics.mean(more):+.2f} ± {deviations[1]}",
    ]


if __name__ == "__main__":
    main()
