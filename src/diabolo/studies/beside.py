"""What the rows of a study are held against: untrained and supervised twins, PCA, raw pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from diabolo.evaluation.verdict import compare
from diabolo.recipe import Recipe
from diabolo.studies.columns import COLUMNS, Column
from diabolo.studies.results import Result
from diabolo.studies.statistics import BySeed, paired
from diabolo.tables import METHODS

REFERENCES = {
    "random": "random encoder",
    "pca": "PCA",
    "pixels": "raw pixels",
    "supervised": "supervised encoder",
}
ROUNDING = 1e-9  # by which equal means may differ
Recipes = Mapping[str, Recipe]  # by row


@dataclass(frozen=True)
class Reference:
    """A reference row. key: of `REFERENCES`. row: of the study, whose runs brought it. results: by seed."""

    title: str
    key: str
    row: str
    results: Mapping[int, Result]

    def read(self, column: Column) -> BySeed:
        return read(column, self.results, self.key)


def read(column: Column, results: Mapping[int, Result], of: str = "encoder") -> BySeed:
    """A column's figures, of the seeds that have it."""
    found = {seed: column.read(result.scores, of) for seed, result in results.items()}
    return {seed: value for seed, value in found.items() if value is not None}


def by_row(results: Sequence[Result]) -> dict[str, dict[int, Result]]:
    """Results by row, then by seed."""
    rows: dict[str, dict[int, Result]] = {}
    for result in results:
        rows.setdefault(result.row, {})[result.seed] = result
    return rows


def references_of(results: Sequence[Result]) -> list[Reference]:
    """The reference rows that some results brought; what is the same for all of them once.

    Where several rows brought one, a twin is called after its row, and PCA after its width.
    """
    found: list[Reference] = []
    for key, title in REFERENCES.items():
        brought = by_row([result for result in results if key in result.references])
        named: dict[str, Reference] = {}
        for row, of in brought.items():
            width = next(iter(of.values())).references[key]["width"]
            name = {"pixels": title, "pca": f"{title} to {width}"}.get(key, f"{title} of {row}")
            named.setdefault(name, Reference(name, key, row, of))
        found += named.values() if len(named) > 1 else (replace(one, title=title) for one in named.values())
    return found


def failed(
    recipes: Recipes, columns: Sequence[Column], results: Sequence[Result], references: Sequence[Reference]
) -> list[str]:
    """Sentences on the rows that are behind their own untrained encoder, or ahead of it in no accuracy.

    As far as those are among the references; a row that is not trained is its own. Ahead or behind by more
    than the seeds vary, or with each of them by more than the error of the test set. recipes: of the rows.
    """
    alike: dict[tuple[int, tuple[tuple[str, str], ...]], dict[str, list[str]]] = {}
    for name, rows in by_row(results).items():
        if recipes[name].training.epochs == 0:
            continue
        sides: dict[int, list[tuple[str, str, str]]] = {1: [], 0: [], -1: []}  # title, its figure, the twin's
        for column in columns:
            twin = _twin(recipes, rows, column, references)
            own = {seed: result for seed, result in rows.items() if twin and seed in twin.results}
            if twin is None or not own or column.path[-1] != "accuracy":
                continue
            mine, theirs = read(column, own), twin.read(column)
            if not mine.keys() & theirs.keys():
                continue
            shared = [theirs[seed] for seed in mine if seed in theirs]
            found = column.title, column.show(fmean(mine.values())), column.show(fmean(shared))
            sides[_side(column, own, twin)].append(found)
        side = -1 if sides[-1] else 0
        if sides[side] and not (side == 0 and sides[1]):
            beside = tuple((title, other) for title, _, other in sides[side])
            alike.setdefault((side, beside), {})[name] = [figure for _, figure, _ in sides[side]]
    sentences = []
    for (side, beside), figures in alike.items():
        worse = "is worse than" if len(figures) == 1 else "are worse than"
        of = [
            f"{title} {', '.join(own)} against {other}"
            for (title, other), own in zip(beside, zip(*figures.values(), strict=True), strict=True)
        ]
        names = ("; " if any("," in name for name in figures) else ", ").join(figures)
        verb = worse if side else "cannot be told apart from"
        sentences.append(f"{names} {verb} the untrained encoder: {'; '.join(of)}")
    return sentences


def collapsed(results: Sequence[Result]) -> list[str]:
    """A sentence for each row of which a run's verdict speaks of collapse."""
    sentences = []
    for name, rows in by_row(results).items():
        lines = [
            next((line for line in result.scores["verdict"] if "collapse" in line), None)
            for result in rows.values()
        ]
        if found := [line for line in lines if line]:
            sentences.append(f"{name}, {len(found)} of {len(lines)} seeds: {found[0]}")
    return sentences


def blind(results: Sequence[Result]) -> list[str]:
    """A sentence on the rows that rebuild test images worse, in the mean, than the mean image does."""
    column = COLUMNS["mse"]
    of_mean = replace(column, path=(*column.path[:-1], "mse_of_mean"))
    worse, least = [], 0.0
    for name, rows in by_row(results).items():
        own, mean = read(column, rows), read(of_mean, rows)
        if mean and fmean(own[seed] for seed in mean) > fmean(mean.values()):
            worse.append(f"{name} ({column.show(fmean(own.values()))})")
            least = fmean(mean.values())
    if not worse:
        return []
    verb = "rebuilds" if len(worse) == 1 else "rebuild"
    than = f"the mean image does ({column.show(least)})"
    return [f"{', '.join(worse)} {verb} images worse than {than}, {column.title}"]


def unreached(
    recipes: Recipes, columns: Sequence[Column], results: Sequence[Result], references: Sequence[Reference]
) -> list[str]:
    """A sentence on the untrained twins, PCA and raw pixels, where the mean of no row comes up to them."""
    found = []
    for key, whose in {"random": "its random encoder", "pca": "PCA", "pixels": "raw pixels"}.items():
        there = [one for one in references if one.key == key]
        titles = [
            column.title
            for column in columns
            if column.ranked and _reached_by_none(recipes, column, key, results, there)
        ]
        if titles:
            words = "the random encoder" if key == "random" and len(there) == 1 else whose
            found.append(f"{words} in {', '.join(titles)}")
    return [f"No row reaches {', nor '.join(found)}"] if found else []


def untrained_of(
    recipes: Recipes, column: Column, results: Sequence[Result], references: Sequence[Reference]
) -> dict[str, BySeed]:
    """A column's figures of the rows' own untrained encoders, where there are any."""
    twins = {row: _twin(recipes, of, column, references) for row, of in by_row(results).items()}
    figures = {row: twin.read(column) for row, twin in twins.items() if twin}
    return {row: of for row, of in figures.items() if of}


def borrowers(results: Sequence[Result]) -> list[str]:
    """The rows that were given a decoder, where others have their own: these alone compete."""
    whose: dict[str, list[str]] = {"own": [], "ad hoc": []}
    for result in results:
        found = result.scores["encoder"].get("measures", {}).get("reconstruction", {}).get("decoder")
        if found and result.row not in whose[found]:
            whose[found].append(result.row)
    return whose["ad hoc"] if whose["own"] else []


def _twin(
    recipes: Recipes, rows: Mapping[int, Result], column: Column, references: Sequence[Reference]
) -> Reference | None:
    """The untrained encoder that is a row's own, up to z with the same kind of head, if it was scored."""
    one = next(iter(rows.values()))
    randoms = (reference for reference in references if reference.key == "random")
    return next((twin for twin in randoms if _same_untrained(recipes, one, twin, column)), None)


def _same_untrained(recipes: Recipes, result: Result, twin: Reference, column: Column) -> bool:
    one, other = recipes[result.row], recipes[twin.row]
    if (one.data, one.encoder) != (other.data, other.encoder):
        return False
    if (column.space or one.evaluation.space) in ("h", "map"):
        return True
    heads = {METHODS[recipe.method["name"]].path for recipe in (one, other)}
    space = f".{column.space}" * bool(column.space)
    theirs = next(iter(twin.results.values())).scores.get(f"random{space}")
    own = result.scores.get(f"encoder{space}")
    return len(heads) == 1 and own is not None and theirs is not None and own["width"] == theirs["width"]


def _side(column: Column, own: Mapping[int, Result], twin: Reference) -> int:
    """1 where a row's accuracy is ahead of its twin's, −1 where it is behind, 0 where that cannot be told."""
    mine, theirs = read(column, own), twin.read(column)
    difference = paired(mine, theirs, column.step(next(iter(own.values())).scores))
    if abs(difference.mean) > difference.half:
        return 1 if difference.mean > 0 else -1
    space = f".{column.space}" * bool(column.space)
    sides = {
        compare(result.scores[f"encoder{space}"], twin.results[seed].scores[f"random{space}"]).get(
            column.path[0]
        )
        for seed, result in own.items()
    }
    return sides.pop() or 0 if len(sides) == 1 else 0


def _reached_by_none(
    recipes: Recipes, column: Column, key: str, results: Sequence[Result], references: Sequence[Reference]
) -> bool:
    """Whether every row's mean is behind: of twins behind its own, of the others behind each of them."""
    behind = []
    for own in by_row(results).values():
        if mine := read(column, own):
            against = [_twin(recipes, own, column, references)] if key == "random" else references
            for other in against:
                theirs = other.read(column) if other else {}
                behind.append(
                    bool(theirs) and column.sign * (fmean(mine.values()) - fmean(theirs.values())) < -ROUNDING
                )
    return bool(behind) and all(behind)
