"""Where image files lie: a folder, a zip or a tar. Nothing is unpacked to where it could be found."""

import io
import lzma
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import SpooledTemporaryFile
from threading import Lock
from typing import IO

from diabolo.errors import UnreadableError, UserError
from diabolo.files import cache_folder
from diabolo.suffixes import IMAGES

SPOOLED = 1 << 25  # bytes of a compressed archive that are held in memory
CLUTTER = frozenset(("__macosx", "thumbs.db", "desktop.ini"))


@dataclass(frozen=True)
class ImageFile:
    """A file that should be an image."""

    name: str  # relative, with forward slashes
    open: Callable[[], IO[bytes]]


def is_image_name(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in IMAGES


def is_clutter(name: str) -> bool:
    """Hidden files, and what operating systems leave behind."""
    return any(part.startswith(".") or part.lower() in CLUTTER for part in PurePosixPath(name).parts)


def single_file(path: Path) -> list[ImageFile]:
    """One image on its own, under its file name."""
    return [ImageFile(path.name, partial(_open, path))]


def folder_files(path: Path) -> list[ImageFile]:
    """Every file below a folder, links followed, under its path from there."""
    found = [Path(root, file) for root, _, files in os.walk(path, followlinks=True) for file in files]
    return [ImageFile(file.relative_to(path).as_posix(), partial(_open, file)) for file in found]


def zip_files(path: Path) -> list[ImageFile]:
    """The files of a zip, read in place; its module serves several threads from one open file."""
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise UnreadableError(f"{path}: not a readable zip archive ({error}): is it complete?") from None
    members = [member for member in archive.infolist() if not member.is_dir()]
    if any(member.flag_bits & 1 for member in members):
        raise UserError(f"{path}: the archive is encrypted: unpack it and give the folder")
    return [ImageFile(_plain(member.filename), partial(_read_zipped, archive, member)) for member in members]


def tar_files(path: Path) -> list[ImageFile]:
    """The files of a tar, read in place.

    A compressed one can only be read in order, so its images are held as stored: in memory while they are
    few, then in a temporary file without a name.
    """
    files = []
    try:
        with tarfile.open(path) as archive:
            in_place = isinstance(archive.fileobj, io.BufferedReader)  # not what decompresses
            held = path.open("rb") if in_place else _spool()
            shared = _Shared(held)
            for member in archive:
                if member.isfile():
                    start = member.offset_data if in_place else held.tell()
                    stream = archive.extractfile(member)
                    if stream and not in_place and is_image_name(member.name):
                        shutil.copyfileobj(stream, held)
                    files.append(ImageFile(_plain(member.name), partial(shared.open, start, member.size)))
    except (OSError, EOFError, tarfile.TarError, zlib.error, lzma.LZMAError):
        raise UnreadableError(f"{path}: not a readable tar archive: is it complete?") from None
    return files


class _Shared:
    """Stretches of one file, for several threads."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.lock = file, Lock()

    def open(self, start: int, size: int) -> IO[bytes]:
        with self.lock:
            self.file.seek(start)
            return io.BytesIO(self.file.read(size))


def _spool() -> IO[bytes]:
    """A temporary file, in the cache folder if there is one: the system's place for them may be memory."""
    folder = str(cache_folder()) if cache_folder().is_dir() else None
    return SpooledTemporaryFile(SPOOLED, dir=folder)


def _plain(name: str) -> str:
    """A member's name as a folder would give it: without the ./ that some archives begin with."""
    return PurePosixPath(name).as_posix()


def _open(path: Path) -> IO[bytes]:
    return path.open("rb")


def _read_zipped(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> IO[bytes]:
    return io.BytesIO(archive.read(member))
