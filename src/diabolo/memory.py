"""How much memory is free, what is therefore kept in it, and what to do where it was too little."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from diabolo.errors import MemoryTooSmallError

TO_TRAIN = "lower training.batch_size; training.accumulate, raised by as much, keeps the examples of a step"
TO_SCORE = "score by fewer probes and measures, or go on with --resume --accelerator cpu"
SHARE = 4  # of what is free, a quarter is for pixels: splitting them takes another, half is for the work
CGROUPS = (  # the limit, what is taken of it, and how much of that is cached files, which give way
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
    ),
)


def fits(size: int, device: torch.device | str = "cpu") -> bool:
    """Whether `size` bytes are at most a quarter of the memory that is free on a device."""
    device = torch.device(device)
    return size * SHARE <= (_free_on(device) if device.type == "cuda" else free_memory())


def send(x: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A copy on a device, which the host does not wait for: from pinned memory, where it is a GPU's."""
    return (x.pin_memory() if device.type == "cuda" else x).to(device, non_blocking=True)


def resides(size: int, resident: bool | None) -> bool:
    """Whether pixels of `size` bytes go to memory: as `resident` says, or for None where they fit."""
    return fits(size) if resident is None else resident


@contextmanager
def enough(advice: str) -> Iterator[None]:
    """Raise `MemoryTooSmallError`, which says what to do, where a device's memory does not hold the work."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        traceback.clear_frames(error.__traceback__)  # it would keep what they hold of that memory
        raise MemoryTooSmallError(f"{str(error).partition('.')[0]}: {advice}") from None


def _free_on(device: torch.device) -> int:
    """What nobody holds of a GPU's memory, and what this process holds without using it."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def free_memory() -> int:
    """Bytes this process may still take: the least of what the machine, its container and `ulimit` leave."""
    return min([*_of_machine(), *_of_container(), *_of_limits(), sys.maxsize])


def _of_machine() -> Iterator[int]:
    info = Path("/proc/meminfo")
    if info.exists():
        yield from (int(line.split()[1]) * 1024 for line in info.open() if line.startswith("MemAvailable:"))
    elif "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):  # macOS does not say what is free of it
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _of_container() -> Iterator[int]:
    for limit, current, stat in (map(Path, paths) for paths in CGROUPS):
        if limit.exists() and (text := limit.read_text().strip()).isdigit():
            taken = int(current.read_text()) if current.exists() else 0
            lines = stat.read_text().splitlines() if stat.exists() else []
            cached = sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
            yield max(0, int(text) - max(0, taken - cached))


def _of_limits() -> Iterator[int]:
    used = Path("/proc/self/statm")
    if not used.exists():
        return
    import resource

    fields = [int(pages) * resource.getpagesize() for pages in used.read_text().split()]
    for limit, taken in ((resource.RLIMIT_AS, fields[0]), (resource.RLIMIT_DATA, fields[5])):
        if (most := resource.getrlimit(limit)[0]) != resource.RLIM_INFINITY:
            yield max(0, most - taken)
