"""Files that are written whole or not at all."""

import csv
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

from numpy.typing import NDArray
from torch import Tensor

from diabolo.errors import UserError


def expanded(path: str | Path) -> Path:
    """A path as a user names it, where ~ is the home folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no user is called so, and a name may begin with ~
        return Path(path)


def cache_folder() -> Path:
    """Where what can be had again is kept: `DIABOLO_CACHE`, or the platform's cache folder."""
    import platformdirs

    folder = os.environ.get("DIABOLO_CACHE")
    return expanded(folder) if folder else Path(platformdirs.user_cache_dir("diabolo"))


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then move it there in one step.

    Raises `UserError` when the disk is full or the folder cannot be written; `path` is then as it was.
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        if temporary.exists():
            temporary.unlink()


def check_folder(folder: Path) -> None:
    """Raise `UserError` where no file can be written into a folder, which may not be there yet."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise UserError(f"{there} is a file, and files were to be written into a folder of that name")
    if not os.access(there, os.W_OK):
        raise UserError(f"{there}: nothing may be written there")


def check_file(path: Path) -> None:
    """Raise `UserError` where a file cannot be written."""
    if path.is_dir():
        raise UserError(f"{path} is a folder, and a file of that name was to be written")
    check_folder(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    write_whole(path, lambda temporary: temporary.write_bytes(data))


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """As indented text, a list of numbers on one line."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    # Only the layout of a list has a bare line break behind its bracket: in a text it is written "\n".
    text = re.sub(r"\[\n([-+.,\deE\s]+)\]", lambda numbers: f"[{' '.join(numbers[1].split())}]", text)
    write_text(path, text + "\n")


def write_csv(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """A table that spreadsheets read, the first row being its heading."""
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_bytes(path, text.getvalue().encode(errors="backslashreplace"))  # a file's name may be any bytes


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Plain arrays as an `.npz`."""
    import numpy as np

    named: Any = dict(arrays)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # a file, since np.savez would add a suffix to a name
            np.savez(file, **named)

    write_whole(path, write)


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Tensors as safetensors, with a few strings beside them."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}

    def write(temporary: Path) -> None:
        try:
            save_file(whole, temporary, dict(metadata or {}))
        except SafetensorError as error:  # how the library reports a full disk
            raise UserError(f"cannot write {path}: {error}") from None

    write_whole(path, write)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and strings of a safetensors file. Nothing in it is ever executed."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"no model file at {path}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error}") from None
    except SafetensorError as error:
        raise UserError(f"{path} is not a readable model file: {error}") from None
