"""Results: what is kept of a finished run, two small files that a table can be drawn from at any time.

results/STUDY/ROW-SEED.json    scores, cost, live curve, environment
results/STUDY/ROW-SEED.yaml    the complete recipe
results/STUDY/ROW-trial-I.json what a trial gave on validation
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from diabolo.errors import UserError
from diabolo.evaluation.suite import representations
from diabolo.files import write_json, write_text
from diabolo.recipe import from_yaml
from diabolo.run import Run
from diabolo.studies.study import Job, Study
from diabolo.tuning.criteria import CRITERIA

FORMAT_VERSION = 1


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
        """The reference rows: random encoder, PCA, raw pixels."""
        return {k: v for k, v in representations(self.scores).items() if k.partition(".")[0] != "encoder"}

    @property
    def extractor(self) -> str | None:
        """Whose features the Fréchet distance is in, where there is one."""
        found: str | None = self.scores["encoder"].get("measures", {}).get("frechet", {}).get("extractor")
        return found


class Store:
    """The result files of one study. Each appears whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, job: Job) -> bool:
        return self._path(job).exists()

    def keep_trial(self, study: Study, job: Job, run: Run, value: float) -> None:
        """Keep what a trial gave on validation, by the study's criterion."""
        assert job.trial is not None
        tried = study.rows[job.row].tried[job.trial]
        self._write(job, {"settings": tried, f"validation_{study.by}": value, "cost": asdict(cost_of(run))})

    def keep(self, job: Job, run: Run) -> None:
        """Keep a scored run."""
        write_text(self.folder / f"{job.name}.yaml", run.recipe.to_yaml())
        environment = json.loads((run.folder / "environment.json").read_text("utf-8"))
        self._write(
            job,
            {
                "cost": asdict(cost_of(run)),
                "environment": environment,
                "curve": curve_of(run),
                "scores": run.scores,
            },
        )

    def lacking(self, study: Study, job: Job) -> list[dict[str, Any]]:
        """The measures that a study has come to ask for since a run of it was kept."""
        if job.trial is not None:
            return []
        known = self._read(job)["scores"]["encoder"].get("measures", {})
        asked = study.recipe(job, self.chosen(study, job.row)).evaluation.measures or []
        return [spec for spec in asked if spec["name"] not in known]

    def add(self, study: Study, job: Job, measures: Mapping[str, Any]) -> None:
        """Put further measures beside those of a kept run, in its recipe as well."""
        values, path = self._read(job), self.folder / f"{job.name}.yaml"
        entry = values["scores"]["encoder"]
        entry["measures"] = entry.get("measures", {}) | measures
        recipe = from_yaml(path.read_text("utf-8"), str(path))
        asked = study.recipe(job, self.chosen(study, job.row)).evaluation.measures
        write_text(path, replace(recipe, evaluation=replace(recipe.evaluation, measures=asked)).to_yaml())
        write_json(self._path(job), values)

    def chosen(self, study: Study, row: str) -> dict[str, Any]:
        """The settings of the row's best trial, the first among equals; none where it has no trials."""
        found = self.trials(study, row)
        best = max if CRITERIA[study.by].rises else min
        return best(found, key=lambda trial: trial[1])[0] if found else {}

    def ready(self, study: Study, job: Job) -> bool:
        """Whether the trials that a job depends on are done."""
        trials = len(study.rows[job.row].tried)
        return job.trial is not None or all(self.has(Job(job.row, 0, i)) for i in range(trials))

    def results(self, study: Study) -> list[Result]:
        """The finished runs, in the order of the rows."""
        found = []
        for name in study.rows:
            for seed in range(study.seeds_of(name)):
                if self.has(job := Job(name, seed)):
                    values = self._read(job)
                    kept = (values[key] for key in ("curve", "environment", "scores"))
                    found.append(Result(name, seed, Cost(**values["cost"]), *kept))
        return found

    def trials(self, study: Study, row: str) -> list[tuple[dict[str, Any], float]]:
        """The row's finished trials: settings, and what each gave on validation.

        Raises `UserError` for one that was of other settings.
        """
        found = []
        for i, settings in enumerate(study.rows[row].tried):
            if self.has(job := Job(row, 0, i)):
                values = self._read(job)
                if values.get("settings", settings) != settings:
                    raise UserError(f"{self._path(job)}: of other settings: remove it to run the trial again")
                found.append((settings, values[f"validation_{study.by}"]))
        return found

    def _path(self, job: Job) -> Path:
        return self.folder / f"{job.name}.json"

    def _write(self, job: Job, values: dict[str, Any]) -> None:
        write_json(
            self._path(job), {"row": job.row, "seed": job.seed} | values | {"format_version": FORMAT_VERSION}
        )

    def _read(self, job: Job) -> dict[str, Any]:
        path = self._path(job)
        try:
            values = json.loads(path.read_text("utf-8"))
            if values["format_version"] == FORMAT_VERSION:
                return values
        except (OSError, ValueError, KeyError, TypeError):
            pass
        raise UserError(f"{path}: damaged, or of another version: remove it to run it again")


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
