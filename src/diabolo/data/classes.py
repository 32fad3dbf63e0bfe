"""The class of each image: by the folders it lies in, or by a table of names and classes."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from diabolo.errors import UserError

# The folders, or prefixes of array names, that make a part.
PARTS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
UNLABELLED = {"unlabelled", "unlabeled"}  # folders that are no class
FOLDERS = PARTS | dict.fromkeys(("labelled", "labeled", *UNLABELLED), "train")
FOLDER, PATH = "folder", "path"  # what makes a class: the first folder below a part, or all of them
SHOWN = 3  # names in a message


def arrange(names: Sequence[str], by: str = FOLDER) -> tuple[list[str | None], list[str | None]]:
    """The part and the class of each file, from its path; None where it has none.

    A folder that wraps all others is passed over. `train` beside `test`, or beside nothing but parts, makes
    parts, and what lies outside them belongs to none. Below, the first folder is the class, or all folders
    together, such as animals/cats; `labelled` and `unlabelled` make up train, and what is in the latter, here
    or among the classes, has none.
    """
    folders = [PurePosixPath(name).parts[:-1] for name in names]
    while len(tops := {folder[:1] for folder in folders}) == 1 and all(_class(top, by) for top in tops):
        folders = [folder[1:] for folder in folders]
    top_names = {top[0].lower() for top in tops if top}
    in_parts = {"train", "test"} <= top_names or (
        () not in tops and top_names <= FOLDERS.keys() and "train" in map(FOLDERS.get, top_names)
    )
    if not in_parts:
        return ["train"] * len(names), [_class(folder, by) for folder in folders]
    parts = [FOLDERS.get(folder[0].lower()) if folder else None for folder in folders]
    return parts, [_class(folder, by) and _class(folder[1:], by) for folder in folders]


def _class(folders: Sequence[str], by: str) -> str | None:
    if not folders or folders[0].lower() in UNLABELLED:
        return None
    return "/".join(folders) if by == PATH else folders[0]


def merged(names: Sequence[str]) -> str | None:
    """A sentence where folders within the folders that are classes are taken together."""
    within: dict[str, set[str]] = defaultdict(set)
    for top, whole in zip(arrange(names)[1], arrange(names, PATH)[1], strict=True):
        if top is not None and whole is not None:
            within[top].add(whole.removeprefix(top).lstrip("/"))
    for top, inner in within.items():
        if len(inner) > 1:
            some = ", ".join(sorted(inner - {""})[:SHOWN])
            return f"folders within {top} ({some}, …) are one class: data.classes=path tells them apart"
    return None


def listed(table: Path, names: Sequence[str]) -> tuple[list[str | None], list[str]]:
    """The class of each file by a .csv table, and notes to show.

    Below a heading, the table's first column is a file's path among the images, its name or its name without
    the suffix, where that is one file's alone; the second is its class, empty for none. Raises `UserError`
    where the table cannot be read, speaks of no image, or twice of one.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"data.classes: {table} cannot be read ({error})") from None
    if any(len(row) < 2 for row in rows):
        raise UserError(f"data.classes: {table} needs two columns, an image's name and its class")
    paths = {name: {i} for i, name in enumerate(names)}
    called: dict[str, set[int]] = defaultdict(set)
    for i, name in enumerate(names):
        called[PurePosixPath(name).name].add(i)
        called[PurePosixPath(name).stem].add(i)
    called |= paths  # a path is one image, whatever else is called so
    if rows and rows[0][0].strip().replace("\\", "/") in called:
        raise UserError(f"data.classes: {table} has no heading: its first line is of an image")
    classes: dict[int, str] = {}
    lost = []
    for first, second, *_ in rows[1:]:
        name, label = first.strip().replace("\\", "/"), second.strip()
        found = called.get(name, set())
        if len(found) > 1:
            raise UserError(f"data.classes: {table}: {name} could be {len(found)} images: give its path")
        if found & classes.keys():
            raise UserError(f"data.classes: {table} names {name} twice")
        classes |= dict.fromkeys(found, label)
        if not found:
            lost.append(name)
    if not classes:
        raise UserError(
            f"data.classes: {table} names none of the images; they are called {', '.join(names[:SHOWN])}, …"
        )
    count = "1 name is" if len(lost) == 1 else f"{len(lost)} names are"
    notes = [f"{table}: {count} of no image: {', '.join(lost[:SHOWN])}"] if lost else []
    if missing := sum(not classes.get(i) for i in range(len(names))):
        notes.append(f"{table}: {missing:,} of {len(names):,} images have no class")
    return [classes.get(i) or None for i in range(len(names))], notes
