"""settings: what a recipe can name, and what each of it can be told, from the signatures themselves."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, get_args, get_origin

import yaml

from diabolo.components import Table, items_table_of, parts_of, settings_of, table_of
from diabolo.errors import unknown
from diabolo.recipe import Data, Evaluation, Recipe, Training, Views
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
SECTIONS = {
    "data": Data,
    "views": Views,
    "local_views": Views,
    "training": Training,
    "evaluation": Evaluation,
}
LISTS = ("method.penalties", "views.transforms", "evaluation.probes", "evaluation.measures")
BOUNDS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}  # attributes of `annotated_types`
WIDTH = 100  # of the text


def settings(name: str | None = None) -> str:
    """What a recipe can name and set; of a section of it, its keys; of a key that names a component, what
    each name is; of a component, its settings; of one setting, what each component that has it takes.

    Raises `UserError` for what is none of these.
    """
    if name is None:
        known = {place: list(table) for place, table in PLACES.items()}
        known |= {section: list(settings_of(of)) for section, of in SECTIONS.items()}
        names = (f"{key}: {', '.join(of)}" for key, of in known.items())
        return "\n".join(textwrap.fill(line, WIDTH, subsequent_indent="    ") for line in names)
    key = next((place for place in PLACES if name in (place, place.rpartition(".")[2])), None)
    if key is not None:  # such as method.prior, or prior
        table = PLACES[key]
        width = max(map(len, table))
        return "\n".join(f"{known:<{width}}  {table[known].summary}" for known in table)
    place, _, setting = name.rpartition(".")
    if place in PLACES:  # such as method.latent
        return _of_several(place, PLACES[place], setting)
    section = name.partition(".")[0]  # of training.precision, all of training
    if section in SECTIONS:
        return _shown(section, section, SECTIONS[section], {})
    own = settings_of(Recipe)
    if name in own:  # seed, init: what is in no section
        return "  ".join([name, in_words(own[name].annotation), _value(own[name].default)])
    found = [_component(place, table, name) for place, table in PLACES.items() if name in table]
    if not found:
        components = {known for table in PLACES.values() for known in table}
        raise unknown("component", name, components | SECTIONS.keys())
    return "\n\n".join(found)


def _of_several(place: str, table: Table, setting: str) -> str:
    """What each component that has a setting takes for it. Raises `UserError` where none has."""
    known: dict[str, list[tuple[str, str, str]]] = {}
    for name in table:
        for key, takes, default in _rows("", table.load(name), table[name].settings):
            known.setdefault(key.removeprefix("."), []).append((name, takes, default))
    if setting not in known:
        raise unknown(f"setting of a {table.kind}", setting, known)
    return "\n\n".join([f"{place}.{setting}", "\n".join(_columns(known[setting]))])


def _columns(rows: Sequence[tuple[str, str, str]]) -> list[str]:
    """Name, what it takes, and its default, below one another."""
    widths = [max((len(row[i]) for row in rows), default=0) for i in (0, 1)]
    return [f"    {name:<{widths[0]}}  {takes:<{widths[1]}}  {default}" for name, takes, default in rows]


def _component(place: str, table: Table, name: str) -> str:
    entry = table[name]
    head = f"{place}: {name}" if place in LISTS else f"{place}={name}"
    prefix = f"{place}.{name}" if place in LISTS else place
    return _shown(f"{head}  {entry.summary}", prefix, table.load(name), entry.settings)


def _shown(head: str, prefix: str, constructor: Callable[..., Any], own: Any) -> str:
    """A heading, the docstring, and a line for each setting: key, what it takes, its default."""
    lines = _columns(list(_rows(prefix, constructor, own)))
    about = textwrap.indent(inspect.getdoc(constructor) or "", "    ")
    return "\n\n".join([head, about, "\n".join(lines) or "    It has no settings."])


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
    parts = parts_of(annotation)
    if table := items_table_of(annotation):
        others = [in_words(part) for part in parts if get_origin(part) is Literal]
        return " or ".join([*others, f"a list, each a {table.kind}"])
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
