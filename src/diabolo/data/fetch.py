"""Bringing the files of a named data set into the cache folder: whole and checked, or not at all."""

import os
import shutil
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path

import pooch
from filelock import FileLock
from requests.exceptions import HTTPError, RequestException

from diabolo.data.catalog import DataSetEntry, Download
from diabolo.errors import UserError
from diabolo.files import cache_folder, expanded

COMPRESSED = (".gz", ".xz")
BLOCK = 1 << 20  # bytes read at a time


def data_folder() -> Path:
    """Where named data sets lie or are fetched to: `DIABOLO_DATA` if set, else the cache folder."""
    folder = os.environ.get("DIABOLO_DATA")
    return expanded(folder) if folder else cache_folder()


def find(folder: Path, name: str) -> Path | None:
    """A file, plain or compressed; or, for an archive's name, the folder it was unpacked to."""
    base = name.removesuffix(".gz").removesuffix(".xz")
    candidates = [base, *(base + suffix for suffix in COMPRESSED), base.removesuffix(".zip")]
    return next((folder / candidate for candidate in candidates if (folder / candidate).exists()), None)


def is_there(entry: DataSetEntry) -> bool:
    """Whether nothing would have to be downloaded."""
    return not _missing(entry, data_folder() / entry.folder)


def fetch(entry: DataSetEntry) -> Path:
    """The folder that holds all files of a data set; what is missing is downloaded.

    Files already there are used as they are. Raises `UserError`, and leaves nothing behind, when a transfer
    fails or a checksum is wrong.
    """
    folder = data_folder() / entry.folder
    if not _missing(entry, folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(
            folder.parent / f".{entry.folder}.lock"
        ):  # one process downloads, the others find it done
            for download in _missing(entry, folder):
                _bring(download, folder)
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.strerror or error}; DIABOLO_DATA chooses another"
        ) from None
    return folder


def _missing(entry: DataSetEntry, folder: Path) -> list[Download]:
    return [d for d in entry.downloads if not all(find(folder, name) for name in d.brings)]


def _bring(download: Download, folder: Path) -> None:
    """Download, check and unpack beside the folder, then move each file into it by one rename."""
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as name:
        scratch = Path(name)
        file = _download(download, scratch, folder)
        if len(download.brings) > 1:
            _unpack(file, download, scratch)
        folder.mkdir(exist_ok=True)
        for brought in download.brings:
            if not find(folder, brought):
                (scratch / brought).replace(folder / brought)


def _download(download: Download, scratch: Path, folder: Path) -> Path:
    single = download.brings[0] if len(download.brings) == 1 else "archive"
    show = sys.stderr.isatty()
    pooch.get_logger().setLevel("WARNING")
    try:
        downloader = pooch.HTTPDownloader(progressbar=show, chunk_size=BLOCK)
        return Path(pooch.retrieve(download.url, download.checksum, single, scratch, downloader=downloader))
    except HTTPError as error:
        reason = f"the server refuses ({error})".replace(f" for url: {download.url}", "")
    except RequestException as error:
        reason = f"no connection, or it broke ({type(error).__name__})"
    except ValueError:
        reason = f"what came does not have the published checksum {download.checksum}"
    raise UserError(
        f"cannot download {download.url}: {reason}; try again later, or put {', '.join(download.brings)} "
        f"into {folder}"
    )


def _unpack(archive: Path, download: Download, scratch: Path) -> None:
    """Write the wanted members under names of our own, whatever paths the archive holds."""
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = Path(member.name).name
                stream = tar.extractfile(member) if name in download.brings and member.isfile() else None
                if stream:
                    with stream, (scratch / name).open("wb") as target:
                        shutil.copyfileobj(stream, target, BLOCK)
    except (EOFError, tarfile.TarError, zlib.error) as error:
        raise UserError(f"{download.url}: the archive cannot be unpacked ({error})") from None
    if absent := [name for name in download.brings if not (scratch / name).exists()]:
        raise UserError(f"{download.url}: the archive lacks {', '.join(absent)}")
