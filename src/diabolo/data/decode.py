"""Image files to one array, by all cores, in threads: Pillow lets go of the interpreter while it decodes."""

import os
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from tqdm import tqdm

from diabolo.data.decoded import Make
from diabolo.data.sources import ImageFile
from diabolo.errors import UnreadableError

Colour = Literal["as-is", "grey", "rgb"]
T = TypeVar("T")

DEFAULT_SIZE = 64  # of images that come in several sizes
FEW = 3  # names in a message
BLOCK = 64  # files that a thread takes at a time, at most
GREY_MODES = frozenset(("1", "L", "LA", "I", "I;16", "I;16L", "I;16B", "I;16N"))
ORIENTATION, SIDEWAYS = 0x0112, 5  # the EXIF tag; from this value on, width and height change places
# What Pillow and the archive modules raise on damaged files.
UNREADABLE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    IndexError,
    KeyError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    Image.DecompressionBombError,
)


@dataclass(frozen=True)
class Reading:
    """How images are read: those settings of `diabolo.recipe.Data` that change them, or where they lie."""

    size: int | None = None
    colour: Colour = "as-is"
    strict: bool = False
    resident: bool | None = None
    classes: str = "folder"


AS_IT_IS = Reading()


@dataclass(frozen=True)
class Header:
    height: int
    width: int
    grey: bool


def decode(
    files: Sequence[ImageFile], how: Reading, *, make: Make = np.zeros, threads: int | None = None
) -> tuple[NDArray[np.uint8], dict[int, str], list[str]]:
    """Pixels uint8 [N, C, H, W] of N files, why which positions could not be read, and notes to show.

    With a size, the central square is scaled to it (with antialiasing); without, images of one size keep it
    and others become 64×64. Unreadable files stay black, with a note; if strict, or when nothing else is
    left, they raise `UserError`. make: gives the array that is filled. threads: by default one for each core.
    """
    failures: dict[int, str] = {}  # position → reason
    threads = threads or cores()
    headers = _attempt(lambda i: read_header(files[i]), range(len(files)), failures, threads, "looking at")
    readable = [i for i in range(len(files)) if i not in failures]
    _refuse(files, failures, how.strict)
    (height, width), notes = _common_size([headers[i] for i in readable], how.size)
    grey = how.colour == "grey" or (how.colour == "as-is" and all(headers[i].grey for i in readable))
    pixels = make((len(files), 1 if grey else 3, height, width), np.uint8)

    def fill(position: int) -> None:
        pixels[position] = read_pixels(files[position], height, width, grey=grey)

    _attempt(fill, readable, failures, threads, "decoding")
    _refuse(files, failures, how.strict)
    if failures:
        names = [files[i].name for i in sorted(failures)]
        notes.append(
            f"{len(names)} unreadable file{'s' * (len(names) > 1)} skipped: {first_few(names)}"
            + " ('diabolo preview' lists them all)" * (len(names) > FEW)
        )
    return pixels, failures, notes


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _attempt(
    read: Callable[[int], T],
    positions: Sequence[int],
    failures: dict[int, str],
    threads: int,
    doing: str,
) -> dict[int, T]:
    """What `read` returns for each position, from threads; where it cannot, the reason goes to `failures`."""
    results = {}
    size = min(BLOCK, -(-len(positions) // threads))

    def some(start: int) -> int:
        block = positions[start : start + size]
        for position in block:
            try:
                results[position] = read(position)
            except UNREADABLE as error:
                failures[position] = str(error).partition(" <")[0] or type(error).__name__  # no stream's repr
        return len(block)

    show = tqdm(total=len(positions), desc=f"{doing} images", delay=1, disable=None, leave=False)
    pool = ThreadPoolExecutor(threads)
    try:
        with show as bar:
            for done in pool.map(some, range(0, len(positions), size)):
                bar.update(done)
    finally:  # Ctrl-C does not wait for the images that are left
        pool.shutdown(cancel_futures=True)
    return results


def _refuse(files: Sequence[ImageFile], failures: Mapping[int, str], strict: bool) -> None:
    if not failures:
        return
    first = min(failures)
    if len(failures) == len(files):
        others = f", and so are all {len(files)}" if len(files) > 1 else ""
        raise UnreadableError(f"{files[first].name}: unreadable image ({failures[first]}){others}")
    if strict:
        raise UnreadableError(
            f"{files[first].name}: unreadable image ({failures[first]}); data.strict refuses such files"
        )


def read_header(file: ImageFile) -> Header:
    """Size and colour, without decoding the pixels."""
    with _image(file) as image:
        width, height = image.size
        if image.getexif().get(ORIENTATION, 1) >= SIDEWAYS:
            width, height = height, width
        return Header(height, width, image.mode in GREY_MODES)


def read_pixels(file: ImageFile, height: int, width: int, *, grey: bool) -> NDArray[np.uint8]:
    """uint8 [C, height, width]: upright, on white where transparent, its central square scaled if need be."""
    with _image(file) as image:
        # JPEG can decode at 1/2, 1/4 or 1/8; twice the wanted size leaves antialiasing to the resize below.
        image.draft(None, (2 * width, 2 * height))
        image = to_colour(ImageOps.exif_transpose(image), grey=grey)
        if image.size != (width, height):
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            image = image.crop((left, top, left + side, top + side))
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(image)
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def to_colour(image: Image.Image, *, grey: bool) -> Image.Image:
    """Mode L or RGB: 16 bits keep their upper 8, palettes are looked up, alpha is laid on white."""
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known scale")
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if grey else "RGB")


def first_few(names: Sequence[str], count: int = FEW) -> str:
    """Names for a message: "a, b, c, …"."""
    return ", ".join(names[:count]) + (", …" if len(names) > count else "")


@contextmanager
def _image(file: ImageFile) -> Iterator[Image.Image]:
    with file.open() as stream, Image.open(stream) as image:
        yield image


def _common_size(headers: Sequence[Header], size: int | None) -> tuple[tuple[int, int], list[str]]:
    sizes = Counter((header.height, header.width) for header in headers)
    if size is not None:
        return (size, size), []
    (common, count), *others = sizes.most_common()
    if not others:
        return common, []
    most = f" ({count:,} of {len(headers):,} are {common[1]}×{common[0]})" * (2 * count > len(headers))
    (low, *_, high) = sorted(sizes, key=lambda side: side[0] * side[1])
    note = (
        f"images come in {len(sizes)} sizes, {low[1]}×{low[0]} to {high[1]}×{high[0]}{most}: "
        f"their central squares are scaled to {DEFAULT_SIZE}×{DEFAULT_SIZE} (data.size chooses)"
    )
    return (DEFAULT_SIZE, DEFAULT_SIZE), [note]
