"""Memory that is kept is not faulted in again; nothing happens where it was not asked for, or cannot."""

import os
import platform
import subprocess
import sys

import pytest

from diabolo import allocator

FAULTS = """
import resource
from types import SimpleNamespace
from diabolo.allocator import spare_page_faults

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        buffers = [bytearray(30 << 20) for _ in range(3)]  # together above where glibc trims
        del buffers
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

spare_page_faults(SimpleNamespace(type="{device}"))
faults()
print(faults())
"""


def faults(device: str, **environment: str) -> int:
    """How many pages a process faults in that allocates the same buffers again and again."""
    command = [sys.executable, "-c", FAULTS.format(device=device)]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_memory_is_kept_where_it_is_asked_for() -> None:
    pages = faults("cpu", DIABOLO_KEEP_MEMORY="0")
    kept = faults("cpu", DIABOLO_KEEP_MEMORY="1")
    assert (kept < pages / 10) == (platform.libc_ver()[0] == "glibc")
    assert faults("cuda", DIABOLO_KEEP_MEMORY="1") > pages / 2


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator.ctypes, "CDLL", None)  # calling it would be an error
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("", ""))
    assert not allocator.keep_memory.__wrapped__()
