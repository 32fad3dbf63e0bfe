"""diabolo's side: `diabolo.fit` as it is, paused between turns; or its views alone."""

import json
import sys
from itertools import count
from typing import Any

from turns import Turns

from diabolo.allocator import spare_page_faults
from diabolo.data.splits import load
from diabolo.methods.build import build_pipelines
from diabolo.recipe import from_dict
from diabolo.runs.environment import default_device
from diabolo.training.loop import Feed
from diabolo.verbs.fit import fit


def main() -> None:
    turns, side = Turns(), json.loads(sys.argv[1])
    if side["views"]:
        views(turns, side)
    else:
        train(turns, side)


def train(turns: Turns, side: dict[str, Any]) -> None:
    """A turn lasts from one row of the log to the next."""
    done = 0

    def watch(row: dict[str, Any]) -> None:
        nonlocal done
        images = (row["step"] - done) * side["recipe"]["training"]["batch_size"]
        done = row["step"]
        turns.over(images)

    fit(recipe=side["recipe"], out=side["out"], evaluate=False, quiet=True, watch=watch)


def views(turns: Turns, side: dict[str, Any]) -> None:
    recipe = from_dict(side["recipe"])
    size, steps = recipe.training.batch_size, side["steps"]
    spare_page_faults(default_device())
    pipelines = build_pipelines(recipe)
    if recipe.training.compile:
        for pipeline in pipelines:
            pipeline.compile()
    feed = Feed(load(recipe.data).train, pipelines, size, recipe.seed, default_device())
    for step in count(1):
        feed(*divmod(step - 1, feed.batches.steps_per_epoch), 0.0)
        if step % steps == 0:
            turns.over(steps * size)


if __name__ == "__main__":
    main()
