"""Where image files lie: a folder, a zip or a tar. Nothing is ever unpacked to disk."""

import io
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from diabolo.errors import UserError

RASTER = (".bmp", ".gif", ".png", ".tga", ".tif", ".tiff", ".webp")
JPEG = (".jfif", ".jp2", ".jpeg", ".jpg")
NETPBM = (".pbm", ".pgm", ".pnm", ".ppm")
SUFFIXES = frozenset((*RASTER, *JPEG, *NETPBM))
CLUTTER = frozenset(("__macosx", "thumbs.db", "desktop.ini"))


@dataclass(frozen=True)
class ImageFile:
    """A file that should be an image."""

    name: str  # relative, with forward slashes
    open: Callable[[], IO[bytes]]


def is_image_name(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def is_clutter(name: str) -> bool:
    """Hidden files, and what operating systems leave behind."""
    return any(part.startswith(".") or part.lower() in CLUTTER for part in PurePosixPath(name).parts)


def single_file(path: Path) -> list[ImageFile]:
    return [ImageFile(path.name, partial(_open, path))]


def folder_files(path: Path) -> list[ImageFile]:
    found = [Path(root, file) for root, _, files in os.walk(path, followlinks=True) for file in files]
    return [ImageFile(file.relative_to(path).as_posix(), partial(_open, file)) for file in found]


def zip_files(path: Path) -> list[ImageFile]:
    """The files of a zip, read in place; its module serves several threads from one open file."""
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not a readable zip archive ({error}): is it complete?") from None
    members = [member for member in archive.infolist() if not member.is_dir()]
    if any(member.flag_bits & 1 for member in members):
        raise UserError(f"{path}: the archive is encrypted: unpack it and give the folder")
    return [ImageFile(member.filename, partial(_read_zipped, archive, member)) for member in members]


def tar_files(path: Path) -> list[ImageFile]:
    """The files of a tar; images are held in memory as stored, since it is only read in order."""
    files = []
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.isfile() else None
                if stream:
                    data = stream.read() if is_image_name(member.name) else b""
                    files.append(ImageFile(member.name, partial(io.BytesIO, data)))
    except (OSError, EOFError, tarfile.TarError, zlib.error, lzma.LZMAError):
        raise UserError(f"{path}: not a readable tar archive: is it complete?") from None
    return files


def _open(path: Path) -> IO[bytes]:
    return path.open("rb")


def _read_zipped(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> IO[bytes]:
    return io.BytesIO(archive.read(member))
