"""Studies and result files with known figures."""

from pathlib import Path
from typing import Any

from diabolo.files import write_json
from diabolo.studies.results import FORMAT_VERSION, Store
from diabolo.studies.study import Job, Study, study_from

ENVIRONMENT = {"processor": "a processor", "threads": 2, "gpus": [], "packages": {"torch": "2.13.0"}}


def planted_study(**changes: Any) -> Study:
    rows = {"good": {"method": "vae", "published": {"knn": 97.0}}, "bad": {"method": "ae"}}
    values: dict[str, Any] = {"title": "A study", "rows": rows, "columns": ["knn", "mse"], "seeds": 3}
    values["shared"] = {"data.name": "digits"}
    return study_from(values | changes, "test")


def plant(folder: Path, row: str, knn: list[float], mse: list[float], references: bool = False) -> Store:
    """Result files of a row, without recipes: one a seed."""
    store = Store(folder)
    for seed, (accuracy, error) in enumerate(zip(knn, mse, strict=True)):
        entry = {
            "test_size": 1000,
            "knn": {"accuracy": accuracy},
            "measures": {"reconstruction": {"mse": error}},
        }
        scores: dict[str, Any] = {"encoder": entry, "verdict": []}
        if references:
            scores["random"] = {"knn": {"accuracy": 0.5}, "test_size": 1000}
        write_json(
            folder / f"{Job(row, seed).name}.json",
            {
                "row": row,
                "seed": seed,
                "cost": {"seconds": 120.0, "examples": 2_000_000, "steps": 1000},
                "curve": [[1_000_000, 0.8], [2_000_000, accuracy]],
                "environment": ENVIRONMENT,
                "scores": scores,
                "format_version": FORMAT_VERSION,
            },
        )
    return store
