"""Suites: probes and measures with their settings, under one name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from diabolo.components import complete
from diabolo.evaluation.features import Target, lacking
from diabolo.evaluation.measures import Subject, objection
from diabolo.evaluation.suite import needing, target
from diabolo.tables import MEASURES, PROBES, SUITES

Spec = dict[str, Any]  # {"name": …, setting: …}, complete


@dataclass(frozen=True, kw_only=True)
class Suite:
    """What a representation is scored by. measures: of what represents, beside the probes."""

    probes: list[Annotated[Spec, PROBES]]
    measures: list[Annotated[Spec, MEASURES]]


def read_suite(name: str) -> Suite:
    """A suite by its name, or a YAML file of the user's with the keys `probes` and `measures`."""
    return Suite(**complete(Suite, {"probes": [], "measures": []} | SUITES.read(name), "suite"))


def applicable(
    suite: Suite, targets: set[Target], subject: Subject | None
) -> tuple[Suite, dict[str, list[str]]]:
    """What of a suite has an answer here; and by reason, what has none.

    targets: what there is to predict. subject: None where there are features alone.
    """
    kept = Suite(probes=[], measures=[])
    against: dict[str, list[str]] = {}
    for spec in suite.probes:
        if reason := _against_probe(spec, targets, subject):
            against.setdefault(reason, []).append(f"probe '{spec['name']}'")
        else:
            kept.probes.append(spec)
    for spec in suite.measures:
        if reason := _against_measure(spec, subject):
            against.setdefault(reason, []).append(f"measure '{spec['name']}'")
        else:
            kept.measures.append(spec)
    return kept, against


def _against_probe(spec: Spec, targets: set[Target], subject: Subject | None) -> str | None:
    if (wanted := target(spec)) not in targets:
        return f"it {lacking(wanted)}"
    if subject is None and needing("method", [spec]):
        return "it passes images through an encoder, and these are features alone"
    return None


def _against_measure(spec: Spec, subject: Subject | None) -> str | None:
    if subject is None:
        return "it passes images through an encoder, and these are features alone"
    return objection(MEASURES.build(spec), subject)
