"""The page of a comparison: one table over methods, in one HTML file that needs nothing else to be read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from markupsafe import Markup

from diabolo.files import write_text
from diabolo.report.figures import Series, budgets, inline
from diabolo.report.templates import template


class Shown(Protocol):
    """A figure of the table."""

    @property
    def text(self) -> str: ...
    @property
    def best(self) -> bool: ...


@dataclass(frozen=True)
class Row:
    """A method, or a reference."""

    name: str
    cells: Sequence[Shown]
    reference: bool = False


@dataclass(frozen=True)
class Comparison:
    """Everything the page shows.

    verdict: sentences. summary: key facts, name → value. titles: of the columns. curves: kNN on validation by
    images encoded, the seeds of a method together. protocol: as YAML.
    """

    title: str
    verdict: Sequence[str]
    summary: Mapping[str, str]
    titles: Sequence[str]
    rows: Sequence[Row]
    curves: Mapping[str, Sequence[Series]]
    protocol: str


def write(path: Path, content: Comparison) -> None:
    """Write the page, whole or not at all."""
    drawn = Markup(inline(budgets(content.curves), "budget")) if content.curves else None
    html = template("comparison.html").render(vars(content) | {"curves": drawn})
    write_text(path, html)
