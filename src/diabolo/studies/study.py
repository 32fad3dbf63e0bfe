"""Study: several rows of runs under one protocol, over several seeds, and what is claimed of them.

A study is a YAML file or made by `compare`. Its runs become small result files (`diabolo.studies.results`),
from which its table can be drawn at any time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

from diabolo.errors import UserError, unknown
from diabolo.recipe import Recipe, compose, read_recipe
from diabolo.shelf import Shelf, parse
from diabolo.studies.columns import COLUMNS
from diabolo.tuning.criteria import By
from diabolo.tuning.space import SPACES, draws, space_from

# What `reproduce` can draw, and the caption below it.
PICTURES = {
    "curves": "kNN accuracy on validation by images encoded",
    "losses": "Loss on train by images encoded",
    "style": "R² of each change, by method; what has one space stands in both",
    "reconstructions": "Test images, and what each decoder makes of their codes",
    "samples": "Samples of each row",
    "denoised": "Original, noisy and denoised",
    "similarity": "Cosines between representations of views",
    "latents": "Representations of test images: PCA and t-SNE",
    "confusion": "Confusion on test",
}
Settings = dict[str, Any]  # keys of the recipe with dots for depth → values


STUDIES = Shelf("study", "studies")
STRICT = {"extra": "forbid"}  # an unknown key is refused


@dataclass(frozen=True, kw_only=True)
class Draws:
    """So many trials drawn at random from a space of `diabolo search`."""

    __pydantic_config__: ClassVar[Any] = STRICT

    space: str
    number: int
    seed: int = 0

    @cached_property
    def settings(self) -> list[Settings]:
        return draws(space_from(SPACES.read(self.space), self.space), self.number, self.seed)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: a recipe, and what it changes.

    trials: settings to choose from on validation.
    published: figures of the source, by column. unrun: why this row cannot be run.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    recipe: str | None = None
    method: str | None = None
    settings: Settings = field(default_factory=dict)
    trials: list[Settings] | Draws = field(default_factory=list)
    published: dict[str, float] = field(default_factory=dict)
    seeds: int | None = None
    unrun: str = ""

    @property
    def tried(self) -> list[Settings]:
        """The settings of each trial."""
        return self.trials.settings if isinstance(self.trials, Draws) else self.trials


@dataclass(frozen=True, kw_only=True)
class Claim:
    """That each of some rows is ahead of each other one by at least `by`, in the units of the column.

    Without others, that its figure is at least `by`.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    says: str
    rows: list[str]
    columns: list[str]
    over: list[str] = field(default_factory=list)
    by: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Study:
    """rows: by name. shared: settings laid over every row's recipe. trial: those of a trial besides. by: what
    trials are chosen by.

    references: the rows whose runs bring reference rows (see `Result.references`); by default the first
    alone. columns: of `COLUMNS`. about: paragraphs below the title. pictures: of `PICTURES`.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    title: str
    rows: dict[str, Row]
    columns: list[str]
    seeds: int = 1
    shared: Settings = field(default_factory=dict)
    trial: Settings = field(default_factory=dict)
    by: By = "knn"
    references: list[str] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    about: str = ""
    pictures: list[str] = field(default_factory=list)

    def seeds_of(self, row: str) -> int:
        return self.rows[row].seeds or self.seeds

    def budget(self, name: str) -> float | None:
        """Of a row with a named recipe: the share of that recipe's images encoded, each view counted.

        None where the row sees another number of images than its recipe.
        """
        row = self.rows[name]
        if row.recipe is None or row.unrun:
            return None
        ours, published = self.recipe(Job(name, 0), {}), compose([read_recipe(row.recipe)], {})
        if ours.data.limit != published.data.limit:
            return None
        passes = [recipe.training.epochs * recipe.encodings for recipe in (ours, published)]
        return passes[0] / passes[1]

    @property
    def scales(self) -> bool:
        """Whether any row can be given another share of its recipe's budget."""
        return any(self.budget(name) for name in self.rows)

    def at(self, share: float) -> Study:
        """The study with that share of each named recipe's budget, to the nearest epoch, one at least.

        Rows that have no such budget, see `budget`, or are not trained, stay as they are.
        """
        rows = dict(self.rows)
        for name, row in self.rows.items():
            if own := self.budget(name):
                epochs = max(1, round(share / own * self.recipe(Job(name, 0), {}).training.epochs))
                rows[name] = replace(row, settings=row.settings | {"training.epochs": epochs})
        return replace(self, rows=rows, title=f"{self.title}, at {100 * share:g} % of the recipes' budgets")

    def jobs(self) -> Iterator[Job]:
        """Every run of the study, trials before what depends on them, one seed of all rows after another."""
        runnable = {name: row for name, row in self.rows.items() if not row.unrun}
        for name, row in runnable.items():
            yield from (Job(name, 0, trial) for trial in range(len(row.tried)))
        for seed in range(max((self.seeds_of(name) for name in runnable), default=0)):
            yield from (Job(name, seed) for name in runnable if seed < self.seeds_of(name))

    def recipe(self, job: Job, chosen: Settings) -> Recipe:
        """What a job trains. chosen: the settings of the row's best trial."""
        row = self.rows[job.row]
        layer: dict[str, Any] = {} if row.recipe is None else read_recipe(row.recipe)
        if row.method is not None:
            layer |= {"method": row.method}
        settings = self.shared | row.settings | {"seed": job.seed}
        if job.trial is not None:
            settings |= row.tried[job.trial] | self.trial
        elif job.row in (self.references or [next(iter(self.rows))]):
            settings |= chosen
        else:
            settings |= chosen | {"evaluation.references": False}
        return compose([layer], settings)


@dataclass(frozen=True)
class Job:
    """One run of a study: a row with a seed, or a trial of the row."""

    row: str
    seed: int
    trial: int | None = None

    @property
    def name(self) -> str:
        """Of its files."""
        stem = re.sub(r"\W+", "-", self.row.lower()).strip("-")
        return f"{stem}-{self.seed}" if self.trial is None else f"{stem}-trial-{self.trial}"


def named_studies() -> dict[str, str]:
    """The studies that ship with the package: "paper/table" → title."""
    return {name: parse(text, name)["title"] for name, text in STUDIES.texts().items()}


def read_study(name: str) -> Study:
    """A named study. Raises `UserError` for one that does not exist or does not hold together."""
    return study_from(parse(STUDIES.text(name), name), name)


def study_from(values: Any, where: str) -> Study:
    """Validate a study's nested mapping."""
    from pydantic import TypeAdapter, ValidationError

    try:
        study = TypeAdapter(Study).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{where}: {place}: {first['msg'].lower()}") from None
    names = [job.name for job in study.jobs()]
    if len(set(names)) < len(names):
        raise UserError(f"{where}: two rows have the same name but for signs")
    printed = [column for row in study.rows.values() for column in row.published]
    for column in [*study.columns, *printed, *(c for claim in study.claims for c in claim.columns)]:
        if column not in COLUMNS:
            raise unknown("column", column, COLUMNS)
    for picture in study.pictures:
        if picture not in PICTURES:
            raise unknown("picture", picture, PICTURES)
    claimed = [row for claim in study.claims for row in (*claim.rows, *claim.over)]
    for row in [*claimed, *study.references]:
        if row not in study.rows:
            raise unknown("row", row, study.rows)
    return study
