"""settings: what a recipe can name, and what each of it can be told, from the signatures themselves."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args, get_origin

import yaml

from diabolo.components import Table, items_table_of, parts_of, settings_of, table_of
from diabolo.errors import unknown
from diabolo.tables import (
    DECODERS,
    ENCODERS,
    LIKELIHOODS,
    MEASURES,
    METHODS,
    OPTIMISERS,
    PENALTIES,
    PRIORS,
    PROBES,
    SCHEDULES,
    VIEWS,
)

PLACES = {  # the key that names a component; of one of a list, NAME stands behind it
    "method": METHODS,
    "method.prior": PRIORS,
    "method.likelihood": LIKELIHOODS,
    "method.penalties": PENALTIES,
    "encoder": ENCODERS,
    "decoder": DECODERS,
    "views.transforms": VIEWS,
    "optimiser": OPTIMISERS,
    "schedule": SCHEDULES,
    "evaluation.probes": PROBES,
    "evaluation.measures": MEASURES,
}
LISTS = ("method.penalties", "views.transforms", "evaluation.probes", "evaluation.measures")
BOUNDS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}  # attributes of `annotated_types`
WIDTH = 100  # of the text


def settings(name: str | None = None) -> str:
    """The names that each key of a recipe takes; of such a key, what each name is; of a name, its settings.

    Raises `UserError` for what is neither.
    """
    if name is None:
        names = (f"{place}: {', '.join(table.entries)}" for place, table in PLACES.items())
        return "\n".join(textwrap.fill(line, WIDTH, subsequent_indent="    ") for line in names)
    if name in PLACES:
        entries = PLACES[name].entries
        width = max(map(len, entries))
        return "\n".join(f"{known:<{width}}  {entry.summary}" for known, entry in entries.items())
    found = [_shown(place, table, name) for place, table in PLACES.items() if name in table.entries]
    if not found:
        raise unknown("component", name, {known for table in PLACES.values() for known in table.entries})
    return "\n\n".join(found)


def _shown(place: str, table: Table, name: str) -> str:
    """Name and summary, the docstring, and a line for each setting: key, what it takes, its default."""
    entry, constructor = table[name], table.load(name)
    prefix = f"{place}.{name}" if place in LISTS else place
    rows = list(_rows(prefix, constructor, entry.settings))
    widths = [max((len(row[i]) for row in rows), default=0) for i in (0, 1)]
    lines = [f"    {key:<{widths[0]}}  {takes:<{widths[1]}}  {default}" for key, takes, default in rows]
    about = textwrap.indent(inspect.getdoc(constructor) or "", "    ")
    head = f"{place}: {name}" if place in LISTS else f"{place}={name}"
    return "\n\n".join([f"{head}  {entry.summary}", about, "\n".join(lines) or "    It has no settings."])


def _rows(prefix: str, constructor: Callable[..., Any], own: Any) -> Iterator[tuple[str, str, str]]:
    """own: the settings that the name stands for."""
    for key, parameter in settings_of(constructor).items():
        value = own.get(key, parameter.default)
        default = "required" if value is inspect.Parameter.empty else _value(value)
        yield f"{prefix}.{key}", in_words(parameter.annotation), default


def _value(value: Any) -> str:
    """As `--set` takes it."""
    plain = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=1000)
    return text.removesuffix("\n").removesuffix("\n...")


def in_words(annotation: Any) -> str:
    """What a setting takes: "float > 0", "linear | mlp", "a prior", "int or null"."""
    if table := table_of(annotation):
        return f"a {table.kind}"
    if table := items_table_of(annotation):
        return f"a list, each a {table.kind}"
    parts = parts_of(annotation)
    if len(parts) > 1:
        return " or ".join(in_words(part) for part in parts)
    if get_origin(annotation) is Literal:
        return " | ".join(map(str, get_args(annotation)))
    if metadata := getattr(annotation, "__metadata__", ()):
        limits = [
            f"{sign} {getattr(one, key)}"
            for one in metadata
            for key, sign in BOUNDS.items()
            if hasattr(one, key)
        ]
        return " ".join([in_words(get_args(annotation)[0]), ", ".join(limits)]).strip()
    if get_origin(annotation) in (tuple, list):
        items = dict.fromkeys(in_words(part) for part in get_args(annotation) if part is not ...)
        return f"a list of {' or '.join(items)}"
    return "null" if annotation is type(None) else getattr(annotation, "__name__", str(annotation))
