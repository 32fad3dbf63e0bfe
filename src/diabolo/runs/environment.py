"""Where and with what a run takes place."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from diabolo.revision import REVISION


def default_device() -> torch.device:
    """The first GPU, if there is one that CUDA or Metal can use, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def environment() -> dict[str, Any]:
    """Where a run takes place, and with what code: versions, processor, threads."""
    packages = ("diabolo", "torch", "lightning-fabric", "numpy", "scikit-learn")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "packages": {name: version(name) for name in packages},
        "revision": REVISION,
    }


def machine_in(environment: Mapping[str, Any]) -> str:
    """The machine of an `environment`, in words: what computed, and on how many threads."""
    threads = environment["threads"]
    processor = f"{environment['processor']}, {threads} thread{'s' * (threads != 1)}"
    return ", ".join([*environment["gpus"], processor])


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [
            line.partition(":")[2].strip()
            for line in info.read_text().splitlines()
            if line.startswith("model name")
        ]
        if info.exists()
        else []
    )
    return names[0] if names else platform.processor() or platform.machine()
