"""How long a command takes before it does anything.

    python benchmarks/startup.py

Each line is a fresh process of this interpreter, turn by turn; the first turn fills the caches and is not
counted. An empty interpreter and `import torch` stand beside them: what the first costs nobody can save, what
the second costs is paid by commands that compute.
"""

import argparse
import statistics
import subprocess
import sys
import time

from page import keep

LINES = {
    "python, doing nothing": ["-c", "pass"],
    "diabolo --help": ["-m", "diabolo", "--help"],
    "diabolo methods": ["-m", "diabolo", "methods"],
    "diabolo recipes": ["-m", "diabolo", "recipes"],
    "import diabolo": ["-c", "import diabolo"],
    "import torch": ["-c", "import torch"],
    "import diabolo, and its fit": ["-c", "import diabolo; diabolo.fit"],
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=11)
    turns = parser.parse_args().turns
    seconds: dict[str, list[float]] = {name: [] for name in LINES}
    for _ in range(turns + 1):
        for name, arguments in LINES.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - started)
    keep(
        "startup",
        "Start-up",
        f"Wall time of a fresh process, the median of {turns} turns and the longest.",
        ["process", "median, s", "longest, s"],
        [
            [f"`{name}`", f"{statistics.median(found[1:]):.2f}", f"{max(found[1:]):.2f}"]
            for name, found in seconds.items()
        ],
    )


if __name__ == "__main__":
    main()
