"""The table of a study, from its result files: one line a row, mean ± deviation over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from statistics import fmean
from typing import Literal

from diabolo.runs.environment import machine_in
from diabolo.studies.beside import (
    blind,
    borrowers,
    by_row,
    collapsed,
    failed,
    read,
    references_of,
    unreached,
    untrained_of,
)
from diabolo.studies.columns import COLUMNS, Column
from diabolo.studies.results import Cost, Result
from diabolo.studies.statistics import BySeed, Word, mean_and_deviation, paired, together
from diabolo.studies.study import Claim, Job, Study

SAME = 1e-3  # of how far train images are, by which an extractor may differ from itself


@dataclass(frozen=True)
class Cell:
    """One figure. best: none of its column is ahead of it by more than the seeds can tell."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Line:
    """A row of the table. cost: of one run, the mean over seeds; None where nothing was trained for it.

    budget: the share of the named recipe's, see `Study.budget`. wanted: seeds, when all are done.
    """

    name: str
    cells: Sequence[Cell]
    seeds: int
    wanted: int = 0
    cost: Cost | None = None
    budget: float | None = None
    reference: bool = False
    unrun: str = ""


@dataclass(frozen=True)
class Judged:
    """A claim, and what the seeds say of it."""

    says: str
    word: Word | Literal["not run", "not comparable"]
    differences: Sequence[str]


@dataclass(frozen=True)
class StudyTable:
    """titles: of the columns in which there is something.

    failed: a sentence for each row that collapsed, that is no better than its untrained encoder, or that
    rebuilds images worse than the mean image does.
    unreached: one for each reference, raw pixels, PCA or the untrained twins, that is ahead of every row in
    some column. lent: one on
    the rows that were given a decoder, beside others that have their own. competing: of each column that is
    ranked, the rows that compete, with their figures. untrained: of each column, the figures of the rows' own
    untrained encoders.
    """

    titles: Sequence[str]
    lines: Sequence[Line]
    claims: Sequence[Judged]
    hardware: Sequence[str]
    precisions: Sequence[str] = ()  # that rows were trained in
    failed: Sequence[str] = ()
    unreached: Sequence[str] = ()
    lent: Sequence[str] = ()
    extractors: Sequence[str] = ()  # whose features Fréchet distances are in
    revisions: int = 1  # of the code that made the results
    steps: Mapping[str, float] = field(default_factory=dict)  # in which the figures of a column move
    competing: Mapping[str, Mapping[str, BySeed]] = field(default_factory=dict)  # column → row → by seed
    untrained: Mapping[str, Mapping[str, BySeed]] = field(default_factory=dict)  # likewise


def table_of(study: Study, results: Sequence[Result]) -> StudyTable:
    """Lay out what is finished. A row without results is shown as such."""
    rows, references, borrowed = by_row(results), references_of(results), borrowers(results)
    recipes = {name: study.recipe(Job(name, 0), {}) for name in rows}
    keys = [*study.columns, *_claimed(study)]
    values = {key: {name: read(COLUMNS[key], rows.get(name, {})) for name in study.rows} for key in keys}
    steps = {key: max((COLUMNS[key].step(r.scores) for r in results), default=0.0) for key in keys}
    shown = [
        key
        for key in study.columns
        if any(values[key].values()) or any(one.read(COLUMNS[key]) for one in references)
    ]
    columns = [COLUMNS[key] for key in shown]
    # Rows on other data, or that go without other classes, have tasks of their own.
    one_task = len({(recipe.data.name, tuple(recipe.data.without)) for recipe in recipes.values()}) < 2
    extractors = _apart(sorted({r.extractor for r in results if r.extractor}))
    apart = {key for key in keys if COLUMNS[key].extracted and len(extractors) > 1}
    titled = [f"{name} (train images: {floor:.3g})" for name, floor in extractors]
    competing = {
        key: _competing(COLUMNS[key], values[key], borrowed) if one_task and key not in apart else {}
        for key in shown
    }
    published = [key for key in study.columns if any(key in row.published for row in study.rows.values())]
    lines = []
    for name, row in study.rows.items():
        known = [Cell(_published(row.published.get(key))) for key in published]
        cells = [
            _shown(values[key][name], COLUMNS[key], _best(name, COLUMNS[key], competing[key], steps[key]))
            for key in shown
        ]
        costs = [r.cost for r in rows.get(name, {}).values()]
        cost = _mean_cost(costs) if costs else None
        done, share = (len(costs), study.seeds_of(name)), study.budget(name)
        lines.append(Line(name, [*known, *cells], *done, cost, share, unrun=row.unrun))
    for one in references:
        if not any(one.read(column) for column in columns):
            continue
        cells = [*[Cell("")] * len(published), *(_shown(one.read(column), column) for column in columns)]
        lines.append(Line(one.title, cells, len(one.results), reference=True))
    titles = [f"published {COLUMNS[key].title}" for key in published] + [c.title for c in columns]
    return StudyTable(
        titles,
        lines,
        claims=[
            Judged(claim.says, "not comparable", [])
            if apart & set(claim.columns)
            else _judge(claim, values, steps)
            for claim in study.claims
        ],
        hardware=sorted(
            {f"{machine_in(r.environment)}, torch {r.environment['packages']['torch']}" for r in results}
        ),
        precisions=sorted({recipe.training.precision for recipe in recipes.values()}),
        failed=[
            *collapsed(results),
            *failed(recipes, columns, results, references),
            *(blind(results) if "mse" in shown else ()),
        ],
        unreached=unreached(recipes, columns, results, references),
        lent=_lent(columns, borrowed),
        extractors=titled if any(column.extracted for column in columns) else (),
        revisions=len({r.revision for r in results}),
        steps=steps,
        competing=competing,
        untrained={key: untrained_of(recipes, COLUMNS[key], results, references) for key in shown},
    )


def _apart(extractors: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """The first of each extractor. Trained anew on the same machine it is the same but for round-off."""
    found: list[tuple[str, float]] = []
    for name, floor in extractors:
        if not any(name == other and math.isclose(floor, known, rel_tol=SAME) for other, known in found):
            found.append((name, floor))
    return found


def _competing(column: Column, values: Mapping[str, BySeed], borrowed: Sequence[str]) -> dict[str, BySeed]:
    """The rows that are ranked in a column: of reconstructions only what learned its decoder itself."""
    out = borrowed if column.rebuilds else ()
    return {row: of for row, of in values.items() if of and row not in out} if column.ranked else {}


def _best(name: str, column: Column, competing: Mapping[str, BySeed], step: float) -> bool:
    """Whether no other is ahead by more than the seeds can tell: of a single seed, or a single row, never."""
    if len(competing) < 2 or len(own := competing.get(name, {})) < 2:
        return False
    differences = [paired(of, own, step) for other, of in competing.items() if other != name]
    return not any(column.sign * difference.mean > difference.half for difference in differences)


def _lent(columns: Sequence[Column], borrowed: Sequence[str]) -> list[str]:
    """A sentence where reconstructions of methods with a decoder stand beside those of methods without."""
    titles = [column.title for column in columns if column.rebuilds]
    if not (titles and borrowed):
        return []
    return [
        f"{', '.join(titles)} of {', '.join(borrowed)}: of a decoder trained afterwards on what was "
        "frozen, and for as long as it takes; the others' learned with their encoders, for as many steps: "
        "they alone are ranked"
    ]


def _shown(values: BySeed, column: Column, best: bool = False) -> Cell:
    if not values:
        return Cell("–")
    mean, deviation = mean_and_deviation(list(values.values()))
    text = column.show(mean)
    return Cell(text if deviation is None else f"{text} ± {column.show(deviation)}", best)


def _published(value: float | None) -> str:
    """As it is printed in the source, to its own digits."""
    return "–" if value is None else str(value).replace("-", "−")


def _claimed(study: Study) -> Iterable[str]:
    return dict.fromkeys(key for claim in study.claims for key in claim.columns if key not in study.columns)


def _judge(claim: Claim, values: Mapping[str, Mapping[str, BySeed]], steps: Mapping[str, float]) -> Judged:
    words: list[Word] = []
    texts = []
    others: Sequence[str | None] = claim.over or [None]
    for row, other, key in product(claim.rows, others, claim.columns):
        column, own = COLUMNS[key], values[key][row]
        against = dict.fromkeys(own, 0.0) if other is None else values[key][other]
        difference = paired(own, against, steps[key])
        if difference.seeds == 0:
            words.append("undecided")
            continue
        ahead = difference if column.rises else replace(difference, mean=-difference.mean)
        words.append(ahead.at_least(claim.by))
        half = "" if math.isinf(difference.half) else f" ± {column.show(difference.half)}"
        mean = f"{'+' if difference.mean >= 0 and other else ''}{column.show(difference.mean)}"
        beside = "" if other is None else f" against {other}"
        word = f"{words[-1]}, one seed" if difference.seeds == 1 else words[-1]
        texts.append(f"{row}{beside}, {column.title}: {mean}{half} ({word})")
    return Judged(claim.says, together(words) if texts else "not run", texts)


def _mean_cost(costs: Sequence[Cost]) -> Cost:
    return Cost(
        fmean(c.seconds for c in costs),
        round(fmean(c.examples for c in costs)),
        round(fmean(c.steps for c in costs)),
    )
