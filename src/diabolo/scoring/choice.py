"""By what a representation is scored: what was asked for, of that what applies, and why not the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diabolo.components import Table
from diabolo.console import Show
from diabolo.errors import UserError
from diabolo.evaluation.features import Target
from diabolo.evaluation.measures import Subject
from diabolo.evaluation.suites import Spec, Suite, applicable, read_suite
from diabolo.recipe import Evaluation
from diabolo.tables import MEASURES, PROBES


def chosen(
    suite: str | Path | None,
    probes: Sequence[str | Mapping[str, Any]] | None,
    measures: Sequence[str | Mapping[str, Any]] | None,
    settings: Evaluation,
) -> Suite | None:
    """What the user asks to be scored by: by name as the settings have it, else with defaults."""
    if suite is not None:
        return read_suite(str(suite))
    if probes is None and measures is None:
        return None

    def named(wanted: Any, table: Table, own: Sequence[Spec] | None) -> list[Spec]:
        known = {spec["name"]: spec for spec in own or ()}
        wanted = [wanted] if isinstance(wanted, str | Mapping) else wanted or ()
        return [
            known[spec] if isinstance(spec, str) and spec in known else table.complete(spec, table.kind)
            for spec in wanted
        ]

    return Suite(
        probes=named(probes, PROBES, settings.probes),
        measures=named(measures, MEASURES, settings.measures),
    )


def usual(targets: set[Target]) -> Suite:
    """What a representation is scored by unless something is asked for; without labels by its rank alone."""
    return read_suite("fast") if "labels" in targets else Suite(probes=[], measures=[])


def applying(suite: Suite, targets: set[Target], subject: Subject | None, strict: bool, show: Show) -> Suite:
    """What of the suite applies; the rest is refused, or left out with a line that says why."""
    kept, against = applicable(suite, targets, subject)
    for reason, names in against.items():
        if strict:
            raise UserError(f"{names[0]}: {reason}")
        show.note(f"left out {', '.join(names)}: {reason}")
    return kept


def left_out(show: Show, why: UserError) -> None:
    show.note(f"left out {why}")
