"""The table of a study, from its result files: one line a row, mean ± deviation over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from statistics import fmean
from typing import Any, Literal

from diabolo.evaluation.verdict import compare
from diabolo.studies.columns import COLUMNS, Column
from diabolo.studies.results import Cost, Result
from diabolo.studies.statistics import Word, mean_and_deviation, paired, together
from diabolo.studies.study import Claim, Job, Study
from diabolo.tables import METHODS

REFERENCES = {
    "random": "random encoder",
    "pca": "PCA",
    "pixels": "raw pixels",
    "supervised": "supervised encoder",
}
BySeed = dict[int, float]


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
    word: Word | Literal["not run"]
    differences: Sequence[str]


@dataclass(frozen=True)
class StudyTable:
    """titles: of the columns in which there is something.

    failed: a sentence for each row that is worse than the untrained encoder. unreached: one for each
    reference, raw pixels, PCA or the untrained twin, that is ahead of every row in some column. lent: one on
    the rows that were given a decoder, beside others that have their own.
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
    steps: Mapping[str, float] = field(default_factory=dict)  # in which the figures of a column move
    values: Mapping[str, Mapping[str, BySeed]] = field(default_factory=dict)  # row → column → seed → figure


def table_of(study: Study, results: Sequence[Result]) -> StudyTable:
    """Lay out what is finished. A row without results is shown as such."""
    entries = {name: {r.seed: r.scores for r in results if r.row == name} for name in study.rows}
    values = {
        name: {key: _read(COLUMNS[key], of) for key in (*study.columns, *_claimed(study))}
        for name, of in entries.items()
    }
    steps = {
        key: max((COLUMNS[key].step(r.scores) for r in results), default=0.0)
        for key in (*study.columns, *_claimed(study))
    }
    shown = [
        key
        for key in study.columns
        if any(of[key] for of in values.values()) or _of_references(COLUMNS[key], results)
    ]
    columns = [COLUMNS[key] for key in shown]
    published = [key for key in study.columns if any(key in row.published for row in study.rows.values())]
    lines = []
    for name, row in study.rows.items():
        known = [Cell(_published(row.published.get(key))) for key in published]
        cells = [_cell(name, key, values, steps[key]) for key in shown]
        costs = [r.cost for r in results if r.row == name]
        cost = _mean_cost(costs) if costs else None
        done, share = (len(costs), study.seeds_of(name)), study.budget(name)
        lines.append(Line(name, [*known, *cells], *done, cost, share, unrun=row.unrun))
    for name, title in REFERENCES.items():
        found = {r.seed: r.scores for r in results if name in r.references}
        if found:
            cells = [_shown(_read(column, found, name), column) for column in columns]
            lines.append(Line(title, [Cell("")] * len(published) + cells, len(found), reference=True))
    titles = [f"published {COLUMNS[key].title}" for key in published] + [c.title for c in columns]
    claims = [_judge(claim, values, steps) for claim in study.claims]
    return StudyTable(
        titles,
        lines,
        claims,
        hardware=sorted({_machine(r.environment) for r in results}),
        precisions=sorted({study.recipe(Job(r.row, 0), {}).training.precision for r in results}),
        failed=_failed(study, columns, results),
        unreached=_unreached(study, results, values),
        lent=_lent(columns, results),
        extractors=sorted({r.extractor for r in results if r.extractor})
        if "frechet" in study.columns
        else (),
        steps=steps,
        values=values,
    )


def _read(column: Column, scores: Mapping[int, Mapping[str, Any]], of: str = "encoder") -> BySeed:
    found = {seed: column.read(values, of) for seed, values in scores.items()}
    return {seed: value for seed, value in found.items() if value is not None}


def _cell(name: str, key: str, values: Mapping[str, Mapping[str, BySeed]], step: float) -> Cell:
    column, own = COLUMNS[key], values[name][key]
    sign = 1 if column.rises else -1
    rivals = [of[key] for other, of in values.items() if other != name and of[key]]
    ahead = [sign * (d := paired(rival, own, step)).mean > d.half for rival in rivals]
    told = column.ranked and len(own) > 1 and bool(rivals)
    return _shown(own, column, best=told and not any(ahead))


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
        column, own = COLUMNS[key], values[row][key]
        against = dict.fromkeys(own, 0.0) if other is None else values[other][key]
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


def _failed(study: Study, columns: Sequence[Column], results: Sequence[Result]) -> list[str]:
    """A sentence for each row that is behind the untrained encoder of the reference rows, if that is its own.

    Behind by more than the seeds vary, or with each of them by more than the error of the test set.
    """
    untrained = {r.seed: r for r in results if "random" in r.references}
    sentences = []
    for name in study.rows:
        own = {r.seed: r for r in results if r.row == name and r.seed in untrained}
        texts = []
        for column in columns if own else ():
            if not _untrained_twin(study, name, next(iter(untrained.values())).row, column):
                continue
            mine, theirs = (
                _read(column, {seed: of[seed].scores for seed in own}, which)
                for of, which in ((own, "encoder"), (untrained, "random"))
            )
            difference = paired(mine, theirs, column.step(next(iter(own.values())).scores))
            if column.path[-1] != "accuracy" or not difference.mean < 0:
                continue
            if difference.mean + difference.half < 0 or _clearly_behind(column, own, untrained):
                means = (column.show(fmean(of.values())) for of in (mine, theirs))
                texts.append(f"{column.title} {' against '.join(means)}")
        if texts:
            sentences.append(f"{name} is worse than the untrained encoder: {'; '.join(texts)}")
    return sentences


def _unreached(
    study: Study, results: Sequence[Result], values: Mapping[str, Mapping[str, BySeed]]
) -> list[str]:
    """A sentence for PCA, raw pixels and a common untrained twin, where the mean of no row comes up to it."""
    sentences = []
    for name in ("random", "pca", "pixels"):
        found = {r.seed: r for r in results if name in r.references}
        titles = []
        for key in study.columns:
            column, rows = COLUMNS[key], [fmean(of[key].values()) for of in values.values() if of[key]]
            theirs = _read(column, {seed: r.scores for seed, r in found.items()}, name)
            if column.path[-1] != "accuracy" or not rows or not theirs:
                continue
            whose = next(iter(found.values())).row
            done = dict.fromkeys(r.row for r in results)
            twins = name != "random" or all(_untrained_twin(study, row, whose, column) for row in done)
            if twins and max(rows) < fmean(theirs.values()):
                titles.append(column.title)
        if titles:
            article = "the " if name == "random" else ""
            sentences.append(f"No row reaches {article}{REFERENCES[name]} in {', '.join(titles)}")
    return sentences


def _lent(columns: Sequence[Column], results: Sequence[Result]) -> list[str]:
    """A sentence where reconstructions of methods with a decoder stand beside those of methods without."""
    titles = [column.title for column in columns if column.rebuilds]
    whose: dict[str, list[str]] = {"own": [], "ad hoc": []}
    for result in results:
        found = result.scores["encoder"].get("measures", {}).get("reconstruction", {}).get("decoder")
        if found and result.row not in whose[found]:
            whose[found].append(result.row)
    if not (titles and all(whose.values())):
        return []
    return [
        f"{', '.join(titles)} of {', '.join(whose['ad hoc'])}: of a decoder trained afterwards on what was "
        "frozen, and for as long as it takes; the others' learned with their encoders, for as many steps"
    ]


def _untrained_twin(study: Study, row: str, other: str, column: Column) -> bool:
    """Whether another row's network, untrained, is this row's as well: up to z with the same kind of head."""
    recipes = [study.recipe(Job(name, 0), {}) for name in (row, other)]
    same = len({repr((recipe.data, recipe.encoder)) for recipe in recipes}) == 1
    if (column.space or recipes[0].evaluation.space) in ("h", "map"):
        return same
    return same and len({METHODS[recipe.method["name"]].path for recipe in recipes}) == 1


def _of_references(column: Column, results: Sequence[Result]) -> bool:
    return any(column.read(r.scores, name) is not None for r in results for name in r.references)


def _clearly_behind(column: Column, own: Mapping[int, Result], untrained: Mapping[int, Result]) -> bool:
    """With every seed, by more than the error of the test set."""
    space = f".{column.space}" * bool(column.space)
    sides = (
        compare(result.scores[f"encoder{space}"], untrained[seed].scores[f"random{space}"])
        for seed, result in own.items()
    )
    return all(side.get(column.path[0]) == -1 for side in sides)


def _mean_cost(costs: Sequence[Cost]) -> Cost:
    return Cost(
        fmean(c.seconds for c in costs),
        round(fmean(c.examples for c in costs)),
        round(fmean(c.steps for c in costs)),
    )


def _machine(environment: Mapping[str, Any]) -> str:
    threads = environment["threads"]
    return ", ".join(
        [
            *environment["gpus"],
            f"{environment['processor']}, {threads} thread{'s' * (threads != 1)}",
            f"torch {environment['packages']['torch']}",
        ]
    )
