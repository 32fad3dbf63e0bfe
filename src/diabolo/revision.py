"""Which code runs, more closely than a version says."""

from hashlib import blake2b
from pathlib import Path


def _digest() -> str:
    digest, package = blake2b(digest_size=6), Path(__file__).parent
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


# Of the package's modules: what was computed by others need not be what these compute. It is taken on import,
# since they may be changed on the disk while a training goes on.
REVISION = _digest()
