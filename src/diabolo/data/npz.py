"""The arrays of an `.npz`: as memory maps where it stores them as they are."""

import zipfile
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diabolo.data.decoded import Built, Make, decoded
from diabolo.memory import resides

LOCAL_HEADER = 30  # bytes before a member's name; the lengths of name and extra field are its last four
CHUNK = 1 << 24  # bytes decompressed at once


class Header(NamedTuple):
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype


def members(path: Path, resident: bool | None) -> dict[str, NDArray[Any]]:
    """Every array by its name. Raises `ValueError`, and what `zipfile` raises, for what is none.

    What is compressed is read into memory, or where that is too small (see `resides`) unpacked into the
    cache.
    """
    with zipfile.ZipFile(path) as archive:
        return {
            info.filename.removesuffix(".npy"): _array(path, archive, info, resident)
            for info in archive.infolist()
        }


def _array(
    path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, resident: bool | None
) -> NDArray[Any]:
    if info.compress_type == zipfile.ZIP_STORED:
        return _mapped(path, info)
    if resides(info.file_size, resident):
        with archive.open(info) as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)

    def build(make: Make) -> Built:
        with archive.open(info) as stream:
            header = _header(stream)
            array = make(header.shape[:: -1 if header.fortran else 1], header.dtype)
            into = array.reshape(-1).view(np.uint8).data
            at = 0
            while count := stream.readinto(into[at : at + CHUNK]):  # type: ignore[attr-defined]
                at += count
        return array, header.fortran

    array, fortran = decoded([path], info.filename, build)
    return array.T if fortran else array


def _mapped(path: Path, info: zipfile.ZipInfo) -> NDArray[Any]:
    """A member that lies in the archive as it is; an array without elements cannot be mapped."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        lengths = np.frombuffer(file.read(LOCAL_HEADER)[-4:], "<u2")
        file.seek(int(lengths.sum()), 1)
        shape, fortran, dtype = _header(file)
        start = file.tell()
    if 0 in shape:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")


def _header(stream: IO[bytes]) -> Header:
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read:
        raise ValueError(f"arrays of format {version} are not known")
    header = Header(*read[version](stream))
    if header.dtype.hasobject:
        raise ValueError("it holds Python objects: save numbers or strings, as by x.astype(str)")
    return header
