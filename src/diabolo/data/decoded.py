"""Arrays that take long to decode, or are larger than memory: kept in the cache folder as memory maps."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import DTypeLike, NDArray

from diabolo.errors import UserError
from diabolo.files import cache_folder, write_json
from diabolo.memory import fits

VERSION = 2  # of what is decoded from the same files with the same settings

Array = NDArray[Any]
Make = Callable[[tuple[int, ...], DTypeLike], Array]  # zeros of a shape and type, to be filled
Built = tuple[Array, Any]  # the array, and what else is to be remembered, as plain values


class _LargeError(Exception):
    """An array does not fit into memory."""


def decoded(
    sources: Sequence[Path], settings: object, build: Callable[[Make], Built], least: int = 0
) -> Built:
    """What `build` makes of `sources`, remembered while their paths, sizes and times of change stay the same.

    `settings` is everything else the result depends on, told apart by its `repr`. The array is a memory map
    to read. Of several processes one builds, and the others wait. A file appears whole or not at all. Where
    the cache folder has no place for it, it is built in memory if that can hold it; else a `UserError` says
    what to do. What sources of fewer than `least` bytes give is not remembered, if it fits into memory.
    """
    stats = [(str(path.absolute()), *_stamp(path)) for path in sources]
    digest = blake2b(repr((VERSION, stats, settings)).encode(), digest_size=16).hexdigest()
    file = cache_folder() / "decoded" / f"{digest}.npy"
    if not file.exists():
        if sum(size for _, size, _ in stats) < least:
            with suppress(_LargeError):
                return build(_in_memory)
        with _alone(file):
            if not file.exists() and (built := _built(file, build)) is not None:
                return built
    about = file.with_suffix(".json")
    remembered = json.loads(about.read_text("utf-8")) if about.exists() else None
    return np.load(file, mmap_mode="r", allow_pickle=False), remembered


def _in_memory(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    if not fits(int(np.prod(shape)) * np.dtype(dtype).itemsize):
        raise _LargeError
    return np.zeros(shape, dtype)


def _stamp(path: Path) -> tuple[int, int]:
    """The size, bytes, and the time of the last change, ns, of a file or of nothing."""
    try:
        stat = path.stat()
    except OSError:  # such as a broken link
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def _built(file: Path, build: Callable[[Make], Built]) -> Built | None:
    """Build into `file`, and what is remembered beside it; where there is no place, return it instead."""
    temporary = file.with_name(f".{file.name}.tmp")  # of a run that was killed, if there is one
    try:
        array, remembered = build(partial(_reserved, temporary))
        if not isinstance(array, np.memmap):
            return array, remembered
        if remembered is not None:
            write_json(file.with_suffix(".json"), remembered)
        array.flush()
        temporary.replace(file)
    finally:
        if temporary.exists():
            temporary.unlink()
    return None


def _reserved(file: Path, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Zeros on disk, their place taken at once: a disk that is full only later would end the process."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    try:
        array = np.lib.format.open_memmap(file, "w+", np.dtype(dtype), shape)
        if hasattr(os, "posix_fallocate"):
            with file.open("r+b") as opened:
                os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
    except OSError as error:
        if fits(size):
            return np.zeros(shape, dtype)
        raise UserError(
            f"{file.parent}: no place for {size / 1e9:.1f} GB of decoded images, too many for memory "
            f"({error.strerror or error}): set data.size, or DIABOLO_CACHE to a larger disk"
        ) from None
    return array


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """One process at a time; where there can be no lock there can be no file, so nobody is in the way."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file.with_name(f".{file.stem}.lock"))
        try:
            lock.acquire(timeout=1)
        except Timeout:
            print("another run is decoding the same data: waiting for it", file=sys.stderr)
            lock.acquire()
    except OSError:
        yield
        return
    try:
        yield
    finally:
        lock.release()
