"""Arrays that take long to decode, kept in the platform's cache folder and opened as memory maps."""

import tempfile
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pooch
from numpy.typing import NDArray


def decoded(
    sources: Sequence[Path], settings: object, build: Callable[[], NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    """What `build` makes of `sources`, remembered while their paths, sizes and times of change stay the same.

    `settings` is everything else the result depends on, told apart by its `repr`. The map is copy-on-write.
    """
    stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in sources]
    digest = blake2b(repr((stats, settings)).encode(), digest_size=16).hexdigest()
    file = Path(pooch.os_cache("diabolo")) / "decoded" / f"{digest}.npy"
    if not file.exists():
        array = build()
        try:
            _write(file, array)
        except OSError:  # no place for it: as good, only slower the next time
            return array
    return np.load(file, mmap_mode="c", allow_pickle=False)


def _write(file: Path, array: NDArray[np.uint8]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".partial", delete=False) as target:
        try:
            np.save(target, array, allow_pickle=False)
            target.close()
            Path(target.name).replace(file)
        except BaseException:
            Path(target.name).unlink()
            raise
