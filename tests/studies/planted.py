"""Studies and result files with known figures."""

from pathlib import Path
from typing import Any

from diabolo.files import write_json, write_text
from diabolo.recipe import complete_for
from diabolo.studies.results import FORMAT_VERSION, Store
from diabolo.studies.study import Job, Study, study_from

ENVIRONMENT = {"processor": "a processor", "threads": 2, "gpus": [], "packages": {"torch": "2.13.0"}}


def planted_study(**changes: Any) -> Study:
    rows = {"good": {"method": "vae", "published": {"knn": 97.0}}, "bad": {"method": "ae"}}
    values: dict[str, Any] = {"title": "A study", "rows": rows, "columns": ["knn", "mse"], "seeds": 3}
    values["shared"] = {"data.name": "digits"}
    return study_from(values | changes, "test")


def plant_trials(store: Store, study: Study, row: str, values: list[float]) -> None:
    """Results of a row's trials, with their recipes: one a trial."""
    for i, value in enumerate(values):
        job = Job(row, 0, i)
        recipe = complete_for(study.recipe(job, {}), (1, 8, 8))
        write_text(store.folder / f"{job.name}.yaml", recipe.to_yaml())
        result = {"row": row, "seed": 0, "shape": [1, 8, 8], f"validation_{study.by}": value}
        cost = {"seconds": 1.0, "examples": 1, "steps": 1}
        write_json(
            store.folder / f"{job.name}.json", result | {"cost": cost, "format_version": FORMAT_VERSION}
        )


def plant(folder: Path, row: str, knn: list[float], mse: list[float], references: bool = False) -> Store:
    """Result files of a row, without recipes: one a seed."""
    store = Store(folder)
    for seed, (accuracy, error) in enumerate(zip(knn, mse, strict=True)):
        entry = {
            "width": 64,
            "test_size": 1000,
            "knn": {"accuracy": accuracy},
            "measures": {"reconstruction": {"mse": error}},
        }
        scores: dict[str, Any] = {"encoder": entry, "verdict": []}
        if references:
            scores["random"] = {"knn": {"accuracy": 0.5}, "width": 64, "test_size": 1000}
        write_json(
            folder / f"{Job(row, seed).name}.json",
            {
                "row": row,
                "seed": seed,
                "shape": [1, 8, 8],
                "cost": {"seconds": 120.0, "examples": 2_000_000, "steps": 1000},
                "curve": [[1_000_000, 0.8], [2_000_000, accuracy]],
                "environment": ENVIRONMENT,
                "scores": scores,
                "format_version": FORMAT_VERSION,
            },
        )
    return store
