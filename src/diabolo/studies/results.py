"""Results: what is kept of a finished run, two small files that a table can be drawn from at any time.

results/STUDY/ROW-SEED.json     scores, cost, live curve, environment
results/STUDY/ROW-trial-I.json  what a trial gave on validation
results/STUDY/*.yaml            the complete recipe of each
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diabolo.errors import UserError
from diabolo.evaluation.suite import representations
from diabolo.files import write_json, write_text
from diabolo.recipe import Recipe, departs, from_yaml
from diabolo.runs.run import Run
from diabolo.studies.study import Job, Settings, Study
from diabolo.tuning.criteria import CRITERIA

FORMAT_VERSION = 2  # 1 had no shape


@dataclass(frozen=True)
class Cost:
    """seconds: of training. examples: encoded, every view counted. steps: of the optimiser."""

    seconds: float
    examples: int
    steps: int


@dataclass(frozen=True)
class Result:
    """A finished run. scores: as in `scores.json`. curve: kNN accuracy on validation by examples encoded."""

    row: str
    seed: int
    cost: Cost
    curve: Sequence[tuple[int, float]]
    environment: Mapping[str, Any]
    scores: Mapping[str, Any]

    @property
    def references(self) -> dict[str, dict[str, Any]]:
        """The reference rows: random encoder, PCA, raw pixels, the supervised encoder."""
        return {k: v for k, v in representations(self.scores).items() if k.partition(".")[0] != "encoder"}

    @property
    def extractor(self) -> tuple[str, float] | None:
        """Whose features the Fréchet distance is in, where there is one, and how far train images are there.

        A classifier is trained anew on each machine: the second tells two of one name apart.
        """
        found = self.scores["encoder"].get("measures", {}).get("frechet")
        return (found["extractor"], found["floor"]) if found else None

    @property
    def revision(self) -> str | None:
        """Of the code that made it, where that was kept."""
        return self.environment.get("revision")


class Store:
    """The result files of one study. Each appears whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, job: Job) -> bool:
        """Whether a job has a result, be it of other settings."""
        return self._path(job).exists()

    def current(self, study: Study, job: Job) -> bool:
        """Whether a job has a result, of what the study asks for now."""
        return self.has(job) and self.outdated(study, job) is None

    def outdated(self, study: Study, job: Job) -> str | None:
        """In what a kept result departs from what the study asks for now: "training.epochs = 5, not 6"."""
        path = self._path(job).with_suffix(".yaml")
        if not path.exists():
            return "its recipe was not kept"
        try:
            values = self._read(job)
            if job.trial is not None and _found_by(study) not in values:
                return f"not judged by {study.by}"
            shape = None if values["shape"] is None else tuple(values["shape"])
            asked = study.recipe(job, {} if job.trial is not None else self.chosen(study, job.row))
            kept = from_yaml(path.read_text("utf-8"), str(path))
            return departs(kept, asked, shape, scored=job.trial is None)
        except UserError as error:  # damaged; with keys that recipes had once; every trial failed
            return str(error)

    def keep(self, job: Job, run: Run) -> None:
        """Keep a scored run."""
        environment = json.loads((run.folder / "environment.json").read_text("utf-8"))
        found = {"environment": environment, "curve": curve_of(run), "scores": run.scores}
        self._write(job, run.recipe, _of_run(run) | found)

    def keep_trial(self, study: Study, job: Job, run: Run, value: float) -> None:
        """Keep what a trial gave on validation by the study's criterion."""
        self._write(job, run.recipe, _of_run(run) | {_found_by(study): value})

    def keep_failed(self, study: Study, job: Job, why: str) -> None:
        """Keep that a trial's settings could not be trained: it is not tried again, and never chosen."""
        self._write(job, study.recipe(job, {}), {"shape": None, _found_by(study): None, "failed": why})

    def chosen(self, study: Study, row: str) -> dict[str, Any]:
        """The settings of the row's best trial, the first among equals; none where it has no trials.

        Raises `UserError` where all of them failed.
        """
        trials = self.trials(study, row)
        found = [(settings, value) for settings, value in trials if value is not None]
        if trials and not found:
            raise UserError(f"{self.folder}: every trial of {row} failed, so there is nothing to choose from")
        best = max if CRITERIA[study.by].rises else min
        return best(found, key=lambda trial: trial[1])[0] if found else {}

    def ready(self, study: Study, job: Job) -> bool:
        """Whether the trials that a job depends on are done."""
        trials = len(study.rows[job.row].tried)
        return job.trial is not None or all(self.current(study, Job(job.row, 0, i)) for i in range(trials))

    def results(self, study: Study) -> list[Result]:
        """The finished runs that can be read, in the order of the rows; `outdated` says why others cannot."""
        found = []
        for job in (Job(name, seed) for name in study.rows for seed in range(study.seeds_of(name))):
            try:
                values = self._read(job)
            except UserError:
                continue
            kept = (values[key] for key in ("curve", "environment", "scores"))
            found.append(Result(job.row, job.seed, Cost(**values["cost"]), *kept))
        return found

    def trials(self, study: Study, row: str) -> list[tuple[Settings, float | None]]:
        """The row's finished trials: settings, and what each gave on validation, None where it failed."""
        return [
            (settings, self._read(job)[_found_by(study)])
            for i, settings in enumerate(study.rows[row].tried)
            if self.current(study, job := Job(row, 0, i))
        ]

    def _path(self, job: Job) -> Path:
        return self.folder / f"{job.name}.json"

    def _write(self, job: Job, recipe: Recipe, values: dict[str, Any]) -> None:
        """The recipe first, and never beside figures of another: a result is there when its figures are."""
        path, head = self._path(job), {"row": job.row, "seed": job.seed}
        path.unlink(missing_ok=True)
        write_text(path.with_suffix(".yaml"), recipe.to_yaml())
        write_json(path, head | values | {"format_version": FORMAT_VERSION})

    def _read(self, job: Job) -> dict[str, Any]:
        path = self._path(job)
        try:
            values = json.loads(path.read_text("utf-8"))
            if values["format_version"] == FORMAT_VERSION:
                return values
        except (OSError, ValueError, KeyError, TypeError):
            pass
        raise UserError(f"{path}: damaged, or of another version: remove it to run it again")


def _of_run(run: Run) -> dict[str, Any]:
    return {"shape": run.facts.shape, "cost": asdict(cost_of(run))}


def _found_by(study: Study) -> str:
    """The key of what a trial gave."""
    return f"validation_{study.by}"


def cost_of(run: Run) -> Cost:
    """What a run's training took."""
    recipe = run.recipe
    rows = [row for row in run.metrics if row["kind"] == "train"]
    steps = int(rows[-1]["step"]) if rows else 0
    batch = recipe.training.batch_size * recipe.training.accumulate
    return Cost(run.seconds, steps * batch * recipe.encodings, steps)


def curve_of(run: Run) -> list[tuple[int, float]]:
    """The live curve: examples encoded, every view counted, and kNN accuracy on validation."""
    cost = cost_of(run)
    return [
        (round(cost.examples * row["step"] / cost.steps), round(row["knn"], 4))
        for row in run.metrics
        if row["kind"] == "curve" and "knn" in row
    ]
