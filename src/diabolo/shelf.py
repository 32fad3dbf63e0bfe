"""Recipes, studies, suites and search spaces: YAML files that ship with the package, each with a name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from diabolo.errors import UserError, unknown


@dataclass(frozen=True)
class Shelf:
    """The files of one kind: `kind` is what an error calls one, `folder` where in the package they lie.

    The name of a file in a subfolder begins with that folder's, as in "simvae/mnist"; `between` joins them.
    """

    kind: str
    folder: str
    between: str = "/"

    def texts(self) -> dict[str, str]:
        """name → text, in the order of the names."""
        return dict(sorted(self._below(resources.files("diabolo") / self.folder)))

    def titles(self) -> dict[str, str]:
        """name → the first line of the file's header, which says what it is."""
        return {name: text.splitlines()[0].lstrip("# ") for name, text in self.texts().items()}

    def text(self, name: str) -> str:
        """The text of a file by its name; `UserError` with the nearest name where there is none."""
        file = resources.files("diabolo") / self.folder / f"{name.replace(self.between, '/')}.yaml"
        if ".." in name or not file.is_file():
            raise unknown(self.kind, name, self.texts())
        return file.read_text("utf-8")

    def read(self, name: str) -> dict[str, Any]:
        """The values of a file by its name, or of the user's own by its path, which ends in .yaml or .yml."""
        if not name.endswith((".yaml", ".yml")):
            return parse(self.text(name), name)
        if not Path(name).is_file():
            raise UserError(f"no {self.kind} file at {name}")
        try:
            text = Path(name).read_text("utf-8")
        except UnicodeDecodeError:
            raise UserError(f"{name}: not UTF-8 text: save it as that") from None
        return parse(text, name)

    def _below(self, folder: Traversable, before: str = "") -> Iterator[tuple[str, str]]:
        for item in folder.iterdir():
            if item.is_dir():
                yield from self._below(item, before + item.name + self.between)
            elif item.name.endswith(".yaml"):
                yield before + item.name.removesuffix(".yaml"), item.read_text("utf-8")


def parse(text: str, where: str) -> dict[str, Any]:
    """The mapping that a YAML text holds. Raises `UserError`, one line, for anything else."""
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(f"{where}: expected a mapping of keys to values")
    return values
