"""Components: looked up by name in a table, checked against their constructor's signature, then built.

A constructor's keyword-only parameters are its settings, open to recipes and `--set`; its positional
parameters are given by the code that builds it. So a new component needs no configuration class:

    class SimCLR(Method):
        def __init__(self, encoder: Backbone, *, temperature: PositiveFloat = 0.5): ...

A parameter may itself be a component: annotate it with its table, `prior: Annotated[Prior, PRIORS]`.
"""

import dataclasses
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from diabolo.errors import UserError, unknown

if TYPE_CHECKING:
    from pydantic import TypeAdapter

LISTS = ("list_type", "tuple_type")  # pydantic's errors for what is no list
CUSTOM = "custom"  # the name that stands for an object the user brought


@dataclass(frozen=True)
class Entry:
    """One line of a table: where a component lives, what it is, and the settings its name stands for."""

    path: str  # "package.module:Name", imported only when needed
    summary: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Table:
    """All components of one kind, by the name a recipe uses.

    Beside its own `entries` it knows those that installed packages offer as entry points of the group
    `diabolo.KIND`, such as `diabolo.method`, each an `Entry`; and what `add` gave it in this process.
    """

    kind: str
    entries: Mapping[str, Entry]
    added: dict[str, Entry] = field(default_factory=dict, init=False)

    def __getitem__(self, name: str) -> Entry:
        entry = self.entries.get(name) or self.added.get(name)
        if entry is None and name in self._offered:
            self.add(name, self._offered[name].load())
            entry = self.added[name]
        if entry is None:
            raise unknown(self.kind, name, self)
        return entry

    def __iter__(self) -> Iterator[str]:
        """All names."""
        return iter({**self.entries, **self.added, **self._offered})

    def __contains__(self, name: object) -> bool:
        return name in self.entries or name in self.added or name in self._offered

    def add(self, name: str, entry: Entry) -> None:
        """Give a component of one's own a name, in this process; again, to change it.

        Raises `UserError` where the name is the table's own, or the entry is not of its kind.
        """
        expected = type(next(iter(self.entries.values())))
        if not isinstance(entry, expected):
            raise UserError(f"{self.kind} '{name}': give a {expected.__name__}, not a {type(entry).__name__}")
        if name in self.entries:
            raise UserError(f"there is a {self.kind} '{name}' already: choose another name")
        self.added[name] = entry

    def foreign(self, name: str) -> bool:
        """Whether a component's code is not this package's, so that no revision of it is known."""
        return name not in self.entries

    @cached_property
    def _offered(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=f"diabolo.{self.kind.replace(' ', '-')}")}

    def load(self, name: str) -> Any:
        """Import and return the constructor behind a name."""
        module, _, attribute = self[name].path.partition(":")
        return getattr(import_module(module), attribute)

    def complete(self, spec: Any, where: str) -> dict[str, Any]:
        """Return `{name: …, setting: …}` with every setting present and valid.

        `spec` is a name, or a mapping with the key `name`. Raises `UserError`, one line, that says where.
        """
        spec = {"name": spec} if isinstance(spec, str) else spec
        if not isinstance(spec, Mapping) or not isinstance(spec.get("name"), str):
            raise UserError(
                f"{where}: expected the {self.kind}'s name, or a mapping with 'name', got {spec!r}"
            )
        name = spec["name"]
        if name == CUSTOM:
            return {"name": CUSTOM}
        values = merge(self[name].settings, {k: v for k, v in spec.items() if k != "name"})
        return {"name": name} | complete(self.load(name), values, where)

    def build(self, spec: Mapping[str, Any], **given: Any) -> Any:
        """Construct the component of a completed spec; its positional parameters are taken from `given`."""
        constructor = self.load(spec["name"])
        settings = {key: value for key, value in spec.items() if key != "name"}
        for name, parameter in settings_of(constructor).items():
            if settings.get(name) is not None:
                settings[name] = _built(parameter.annotation, settings[name])
        return constructor(*(given[name] for name in given_to(constructor)), **settings)


@cache
def settings_of(constructor: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of a constructor, with their annotations resolved."""
    target = constructor.__init__ if inspect.isclass(constructor) else constructor
    hints = get_type_hints(target, include_extras=True)
    return {
        name: parameter.replace(annotation=hints.get(name, Any))
        for name, parameter in inspect.signature(constructor).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


def given_to(constructor: Callable[..., Any]) -> list[str]:
    """The names of a constructor's positional parameters: what whoever builds it must give."""
    parameters = inspect.signature(constructor).parameters.values()
    return [p.name for p in parameters if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]


def complete(constructor: Callable[..., Any], values: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Every setting of a constructor, from `values` or its default, validated against its annotation."""
    if not isinstance(values, Mapping):
        raise UserError(f"{where}: expected a mapping of settings, got {values!r}")
    settings = settings_of(constructor)
    place = f"{where}." if where else ""
    for key in values:
        if not settings:
            raise UserError(f"unknown key '{place}{key}': {where} has no settings (see 'diabolo settings')")
        if key not in settings:
            raise unknown("key", f"{place}{key}", [place + name for name in settings])
    result = {}
    for name, parameter in settings.items():
        default = {} if parameter.default is inspect.Parameter.empty else {name: parameter.default}
        given = merge(default, {name: values[name]}) if name in values else default
        if name not in given:
            raise UserError(f"{place}{name} is required")
        result[name] = _check(parameter.annotation, given[name], place + name)
    return result


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one nested mapping over another.

    Naming another component drops the settings of the first; a mapping over a list changes the items it
    names, by their component's name or by position.
    """
    return dict(below) | {key: _lay(below.get(key), value) for key, value in above.items()}


def _lay(old: Any, new: Any) -> Any:
    if not isinstance(new, Mapping):
        return new
    if isinstance(old, list):
        return _lay_items(old, new)
    old = {"name": old} if isinstance(old, str) else old
    if isinstance(old, Mapping) and new.get("name", old.get("name")) == old.get("name"):
        return merge(old, new)
    return dict(new)


def _lay_items(items: list[Any], changes: Mapping[str, Any]) -> list[Any]:
    items = list(items)
    names = [str(item["name"]) if isinstance(item, Mapping) else str(item) for item in items]
    for key, change in changes.items():
        if key not in names and not (str(key).isdecimal() and int(key) < len(items)):
            raise unknown("item of a list", str(key), names)
        i = names.index(key) if key in names else int(key)
        items[i] = _lay(items[i], change)
    return items


def parts_of(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the annotation itself."""
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def table_of(annotation: Any) -> Table | None:
    """The table that an annotation such as `Annotated[Prior, PRIORS] | None` names, if any."""
    for part in parts_of(annotation):
        for extra in getattr(part, "__metadata__", ()):
            if isinstance(extra, Table):
                return extra
    return None


def items_table_of(annotation: Any) -> Table | None:
    """The table that a list such as `list[Annotated[Penalty, PENALTIES]] | None` takes its items from."""
    lists = (part for part in parts_of(annotation) if get_origin(part) is list)
    return next((table_of(get_args(part)[0]) for part in lists), None)


def _built(annotation: Any, value: Any) -> Any:
    """The component, or list of components, that a completed setting stands for; else the setting itself."""
    if table := table_of(annotation):
        return table.build(value)
    if (table := items_table_of(annotation)) and isinstance(value, list):
        return [table.build(item) for item in value]
    return value


def _check(annotation: Any, value: Any, where: str) -> Any:
    """Validate one value: a component, a list of components, a section of the recipe, or a plain value."""
    parts = parts_of(annotation)
    if value is None and type(None) in parts:
        return None
    if table := table_of(annotation):
        return table.complete(value, where)
    for part in parts:
        if inspect.isclass(part) and dataclasses.is_dataclass(part):
            return value if isinstance(value, part) else part(**complete(part, value, where))
    if (table := items_table_of(annotation)) and isinstance(value, list):
        return [table.complete(item, f"{where}.{i}") for i, item in enumerate(value)]
    return _plain(annotation, value, where)


@cache
def _adapter(annotation: Any) -> "TypeAdapter[Any]":
    from pydantic import ConfigDict, TypeAdapter

    # YAML takes a class that is called 9 for a number.
    return TypeAdapter(annotation, config=ConfigDict(coerce_numbers_to_str=True))


def _plain(annotation: Any, value: Any, where: str) -> Any:
    from pydantic import ValidationError

    try:
        try:
            adapter = _adapter(annotation)
        except TypeError:  # metadata that cannot be hashed
            adapter = _adapter.__wrapped__(annotation)
        return adapter.validate_python(value)
    except ValidationError as error:
        choices = [choice for choice in _choices(annotation) if isinstance(choice, str)]
        if choices and isinstance(value, str):
            raise unknown(f"value of {where}", value, choices) from None
        found = error.errors()[0]
        reason = "expected a list, such as [a, b]" if found["type"] in LISTS else found["msg"]
        raise UserError(f"{where}: {reason[0].lower()}{reason[1:]}, got {value!r}") from None


def _choices(annotation: Any) -> list[Any]:
    """Every value that a `Literal` somewhere in an annotation allows."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    parts = parts_of(annotation)
    return [choice for part in parts for choice in _choices(part)] if len(parts) > 1 else []
