"""What the page of a comparison shows, and the words on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from diabolo.differences import in_common, without
from diabolo.evaluation.verdict import FEW
from diabolo.pages.illustrate import at_hand, live_curves
from diabolo.pages.side_by_side import side_by_side
from diabolo.recipe import Recipe, complete_for
from diabolo.report.comparison import Comparison, Row
from diabolo.studies.beside import by_row
from diabolo.studies.columns import COLUMNS
from diabolo.studies.results import Result, Store
from diabolo.studies.section import cost_cells
from diabolo.studies.statistics import paired
from diabolo.studies.study import Job, Study
from diabolo.studies.table import Cell, StudyTable


def content_of(
    study: Study, store: Store, table: StudyTable, runs: Path, shape: tuple[int, ...]
) -> Comparison:
    """What the page shows. shape: of an example; runs: the folder of those that are at hand."""
    rows = []
    for line in table.lines:
        examples, _, seconds = cost_cells(line)
        spent = [Cell(examples), Cell(seconds)]
        rows.append(Row(line.name, [*line.cells, *spent], line.reference))
    results = store.results(study)
    recipes = {name: complete_for(study.recipe(Job(name, 0), {}), shape) for name in study.rows}
    shared, own = _protocol(recipes)
    tested = {result.scores["encoder"]["test_size"] for result in results}
    return Comparison(
        title=study.title,
        verdict=[*verdict_of(table), *_few(tested)],
        summary={
            "test": ", ".join(f"{size:,} examples" for size in sorted(tested)),
            "encoder": _encoders(results, recipes),
            "seeds": str(study.seeds),
            "hardware": "; ".join(table.hardware),
        },
        titles=[*table.titles, "images", "training"],
        rows=rows,
        curves=live_curves(results),
        sides=side_by_side(at_hand(study, runs)),
        protocol=shared,
        own=own,
    )


def _encoders(results: Sequence[Result], recipes: Mapping[str, Recipe]) -> str:
    """Which encoder the rows have, and of what width h is; of several, which rows have each."""
    found: dict[str, tuple[str, list[str]]] = {}
    for row, of in by_row(results).items():
        encoder = recipes[row].encoder or {}
        width = next(iter(of.values())).scores["encoder"]["width"]
        found.setdefault(repr(encoder), (f"{encoder['name']}, h of {width}", []))[1].append(row)
    one = len(found) == 1
    return "; ".join(name if one else f"{name} ({', '.join(rows)})" for name, rows in found.values())


def _few(tested: set[int]) -> list[str]:
    """A sentence where the test examples are so few that another choice of them might say otherwise."""
    return [f"Only {size} test examples: others might say otherwise." for size in tested if size < FEW]


def _protocol(recipes: Mapping[str, Recipe]) -> tuple[str, dict[str, str]]:
    """What of the recipes all rows share, and what is each one's own, as YAML."""
    values = {name: recipe.to_dict() for name, recipe in recipes.items()}
    for recipe in values.values():
        del recipe["seed"], recipe["evaluation"]["references"]  # of the run, and of the table
    shared = in_common(list(values.values()))
    own = {name: without(recipe, shared) for name, recipe in values.items()}
    return _yaml(shared), {name: _yaml(of) for name, of in own.items() if of}


def _yaml(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def verdict_of(table: StudyTable) -> list[str]:
    """What failed; the best method of each column, and which the seeds cannot tell from it."""
    sentences = [f"Failed: {sentence}." for sentence in table.failed]
    sentences += [f"{sentence}." for sentence in table.unreached]
    for key, found in table.competing.items():
        if len(found) < 2:
            continue
        column = COLUMNS[key]
        means = {name: fmean(of.values()) for name, of in found.items()}
        best = (max if column.rises else min)(means, key=lambda name: means[name])
        apart = {
            name: paired(found[best], of, table.steps[key]) for name, of in found.items() if name != best
        }
        tied = [name for name, by in apart.items() if not abs(by.mean) > by.half]  # no common seed is a tie
        seeds = max(by.seeds for by in apart.values())
        told = f"; {seeds} seeds cannot tell it from {', '.join(tied)}" if tied else ""
        if seeds < 2:
            told = "; a single seed decides nothing"
        leads = f"{best} leads with {column.show(means[best])}"
        if (own := table.untrained[key].get(best)) and column.sign * (fmean(own.values()) - means[best]) > 0:
            leads += f", behind its own untrained encoder ({column.show(fmean(own.values()))})"
        sentences.append(f"{column.title}: {leads}{told}.")
    return [*sentences, *(f"{sentence}." for sentence in table.lent)]
