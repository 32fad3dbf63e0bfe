"""Arrays that take long to decode, kept in the cache folder and opened as memory maps."""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diabolo.errors import UserError
from diabolo.files import cache_folder, write_whole


def decoded(
    sources: Sequence[Path], settings: object, build: Callable[[], NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    """What `build` makes of `sources`, remembered while their paths, sizes and times of change stay the same.

    `settings` is everything else the result depends on, told apart by its `repr`. The map is copy-on-write.
    """
    stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in sources]
    digest = blake2b(repr((stats, settings)).encode(), digest_size=16).hexdigest()
    file = cache_folder() / "decoded" / f"{digest}.npy"
    if not file.exists():
        array = build()
        try:
            write_whole(file, lambda path: _save(path, array))
        except UserError:  # no place for it: as good, only slower the next time
            return array
    return np.load(file, mmap_mode="c", allow_pickle=False)


def _save(path: Path, array: NDArray[np.uint8]) -> None:
    with path.open("wb") as file:  # a file, since np.save would add a suffix to a name
        np.save(file, array, allow_pickle=False)
