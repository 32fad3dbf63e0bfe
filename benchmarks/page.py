"""What the benchmarks share: timing, and the page BENCHMARKS.md with all that was measured."""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from diabolo.files import write_bytes, write_json, write_text
from diabolo.runs.environment import environment

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parent.parent / "BENCHMARKS.md"
HEAD = """# Benchmarks

Written by the scripts in `benchmarks/`: each measures in one run, turn by turn, renews its table here, and
is repeated by the command above it. Ratios are of medians unless a table says otherwise. They depend on the
machine, named below each table.
"""


def timed(act: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall seconds, processor seconds of all threads, and what `act` returns."""
    wall, processor = time.perf_counter(), time.process_time()
    result = act()
    return time.perf_counter() - wall, time.process_time() - processor, result


def keep(
    name: str,
    title: str,
    about: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    figure: bytes | None = None,
    command: str | None = None,
    machines: Mapping[str, Any] | None = None,
    **more: Any,
) -> None:
    """Keep a table as `results/<name>.json`, print it, and write the page anew.

    figure: a PNG to stand above the table. command: what repeats it; None: what was called. machines: of a
    table made in several runs, the `environment` of each part. more: kept in the file alone.
    """
    called = ["python", f"benchmarks/{Path(sys.argv[0]).name}", *map(_quoted, sys.argv[1:])]
    command = command or " ".join(called)
    found = {"title": title, "about": about, "command": command, "columns": columns, "rows": rows} | more
    if machines is not None:
        found["machines"] = machines
    if figure is not None:
        write_bytes(RESULTS / f"{name}.png", figure)
        found["figure"] = f"benchmarks/results/{name}.png"
    write_json(RESULTS / f"{name}.json", found | {"environment": environment()})
    files = sorted(RESULTS.glob("*.json"))
    write_text(PAGE, "\n".join([HEAD, *(_section(json.loads(file.read_text("utf-8"))) for file in files)]))
    print("\n".join(_table(columns, rows)))


def _section(found: dict[str, Any]) -> str:
    table = "\n".join(_table(found["columns"], found["rows"]))
    measured: dict[str, list[str]] = {}  # by machine, the parts of the table
    for part, machine in found.get("machines", {"": found["environment"]}).items():
        measured.setdefault(_described(machine), []).append(part)
    lines = [
        f"Measured on {machine}" + (f": {'; '.join(parts)}." if len(measured) > 1 else ".")
        for machine, parts in measured.items()
    ]
    figure = [f"![{found['title']}]({found['figure']})"] if "figure" in found else []
    return "\n\n".join(
        [f"## {found['title']}", found["about"], f"    {found['command']}", *figure, table, *lines, ""]
    )


def _described(machine: dict[str, Any]) -> str:
    packages = [f"{name} {machine['packages'][name]}" for name in ("torch", "scikit-learn")]
    return ", ".join([*machine["gpus"], machine["processor"], f"{machine['cores']} cores", *packages])


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---", *["---:"] * (len(columns) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (columns, rule, *rows)]


def _quoted(argument: str) -> str:
    return f"'{argument}'" if set(argument) & set(" []{}*") else argument
