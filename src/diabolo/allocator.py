"""Keep freed memory for the next step, instead of mapping and unmapping large buffers at each.

glibc maps buffers of some hundred KiB and more (the bound moves, up to 32 MiB) by themselves and unmaps them
when they are freed, and returns what is free at the top of its heap. The activations of one step are then
faulted in anew, page by page, in the next. Three bounds of `mallopt(3)` end that. The process stays as
large as it once was.
"""

from __future__ import annotations

import ctypes
import os
import platform
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SWITCH = "DIABOLO_KEEP_MEMORY"  # an environment variable, so that it reaches every verb and its workers

# of malloc.h
M_TRIM_THRESHOLD = -1
M_TOP_PAD = -2
M_MMAP_THRESHOLD = -3

MAPPED = (2**30, 2**25)  # bytes from which a buffer is mapped by itself; older glibc takes 32 MiB at most
TRIMMED = 2**31 - 1  # free bytes at the heap's top from which they are returned: mallopt takes an int
PADDED = 2**26  # bytes by which the heap grows beyond what is asked for


def spare_page_faults(device: torch.device) -> None:
    """Where `DIABOLO_KEEP_MEMORY` asks for it, let this process keep its memory for computing on a CPU.

    It acts on glibc only, once, and cannot be undone.
    """
    if device.type == "cpu" and os.environ.get(SWITCH, "0") not in ("", "0"):
        keep_memory()


@cache
def keep_memory() -> bool:
    """Raise glibc's bounds; whether there was a glibc that took them."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    mapped = any(mallopt(M_MMAP_THRESHOLD, size) for size in MAPPED)
    return mapped and bool(mallopt(M_TRIM_THRESHOLD, TRIMMED) and mallopt(M_TOP_PAD, PADDED))
