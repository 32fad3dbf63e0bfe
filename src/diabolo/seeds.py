"""Seeds: a random choice follows from what it is for, never from how many were made before it."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

import torch


def seed_for(*parts: int | str) -> int:
    """A stable seed of 63 bits for what `parts` name, such as `seed_for("batches", seed, epoch)`.

    Equal parts give equal seeds on every machine and in every version; other parts give unrelated ones.
    """
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest(), "big") >> 1


def generator(*parts: int | str) -> torch.Generator:
    """A new CPU generator, seeded for `parts`."""
    return torch.Generator().manual_seed(seed_for(*parts))


def seed_device(device: torch.device, *parts: int | str) -> None:
    """Seed the global generators that operations on a device draw from.

    `torch.manual_seed` would do, but where CUDA is not in use it keeps a stack trace of every call.
    """
    torch.default_generator.manual_seed(seed_for(*parts))
    if device.type == "cuda":
        torch.cuda.manual_seed(seed_for(*parts))
    elif device.type == "mps":
        torch.mps.manual_seed(seed_for(*parts))


@contextmanager
def seeded(device: torch.device | str, *parts: int | str) -> Iterator[None]:
    """Seed the global generators as `seed_device` does, and put them back: the user draws from them too."""
    device = torch.device(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        seed_device(device, *parts)
        yield
