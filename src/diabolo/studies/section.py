"""A study as a section of `RESULTS.md`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from diabolo.evaluation.suite import representations
from diabolo.studies.results import Result, Store
from diabolo.studies.study import Row, Settings, Study
from diabolo.studies.table import REFERENCES, Judged, Line, StudyTable, table_of
from diabolo.tuning.criteria import CRITERIA, Criterion

PICTURES = {
    "curves": "kNN accuracy on validation by images encoded",
    "losses": "Loss on train by images encoded",
    "style": "R² of each change, by method",
    "reconstructions": "Test images, and what each decoder makes of their codes",
    "samples": "Samples of each row",
    "denoised": "Original, noisy and denoised",
    "similarity": "Cosines between representations of views",
    "latents": "Representations of test images: PCA and t-SNE",
    "confusion": "Confusion on test",
}
COSTS = ("images encoded", "steps", "training")
BOLD = "Bold: the best of a column, and what its seeds cannot tell from it."


def section(name: str, study: Study, store: Store, pictures: Sequence[Path] = ()) -> str:
    """Title, protocol, command, table, choices, claims and pictures; from the result files alone."""
    results = store.results(study)
    table = table_of(study, results)
    parts = [
        f"## {study.title}",
        study.about.strip(),
        f"    diabolo reproduce {name}",
        _markdown(table),
        " ".join([*_footnotes(table), *_projected(study, results)]),
        "\n".join(f"- **failed**: {sentence}." for sentence in table.failed),
        _choices(study, store),
        "\n".join(_claim(claim) for claim in table.claims),
        "\n\n".join(_picture(path) for path in pictures),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def claims(study: Study, store: Store) -> list[str]:
    """What is claimed of a study, a line each with the word on it; of one without results nothing."""
    results = store.results(study)
    judged = table_of(study, results).claims if results else ()
    return [f"- **{claim.word}**: {claim.says}" for claim in judged]


def _picture(path: Path) -> str:
    """With what is seen in it: a picture of one row is named KIND-ROW-SEED."""
    kind, _, row = path.stem.partition("-")
    caption = f"{PICTURES[kind]}{', ' * bool(row)}{row}"
    return f"![{caption}]({path.as_posix()})\n\n*{caption}*"


def duration(seconds: float) -> str:
    """Short, for a table."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _markdown(table: StudyTable) -> str:
    shares = any(line.budget not in (None, 1) for line in table.lines)
    head = ["", *table.titles, *["of the recipe's budget"] * shares, *COSTS, "seeds"]
    rule = ["---", *["---:"] * (len(head) - 1)]
    rows = [_cells(line, shares) for line in table.lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def _cells(line: Line, shares: bool) -> list[str]:
    name = f"*{line.name}*" if line.reference else line.name
    cells = [f"**{cell.text}**" if cell.best else cell.text for cell in line.cells]
    share = ["" if line.budget is None else f"{100 * line.budget:.3g} %"] * shares
    seeds = str(line.seeds) if line.seeds else line.unrun or "not run yet"
    if 0 < line.seeds < line.wanted:
        seeds += f" of {line.wanted}"
    return [name, *cells, *share, *cost_cells(line), seeds]


def cost_cells(line: Line) -> list[str]:
    """What stands under `COSTS`, of one run of a row; empty where nothing was trained."""
    if line.cost is None:
        return [""] * len(COSTS)
    return [_count(line.cost.examples), _count(line.cost.steps), duration(line.cost.seconds)]


def _count(n: int) -> str:
    return f"{n / 1e6:.2f} M" if n >= 1_000_000 else f"{n:,}"


def _footnotes(table: StudyTable) -> list[str]:
    bold = [BOLD] if any(cell.best for line in table.lines for cell in line.cells) else []
    unreached = [f"{sentence}." for sentence in table.unreached]
    machines = [f"Measured on {machine}." for machine in table.hardware]
    return [*bold, *unreached, *_extractors(table), *machines]


def _extractors(table: StudyTable) -> list[str]:
    """A sentence on whose features Fréchet distances are in, where there are any."""
    if not table.extractors:
        return []
    one = len(table.extractors) == 1
    whose = "the features of" if one else "features of different extractors, which do not compare"
    return [f"Fréchet distances are in {whose}: {'; '.join(table.extractors)}."]


def _projected(study: Study, results: Sequence[Result]) -> list[str]:
    """Which mixtures did not see the representation as it is."""
    found: dict[str, set[int]] = {}
    for result in results if any(key.startswith("gmm") for key in study.columns) else ():
        scored = representations(result.scores)
        for name, entry in ((name, scored[name]) for name in ("encoder", *REFERENCES) if name in scored):
            seen = entry.get("gmm", {}).get("chosen", {}).get("width", entry["width"])
            if seen < entry["width"]:
                found.setdefault(REFERENCES.get(name, result.row), set()).add(seen)
    return [
        f"Mixtures of {name}: of the first {' or '.join(map(str, sorted(widths)))} principal components."
        for name, widths in found.items()
    ]


def _choices(study: Study, store: Store) -> str:
    criterion, lines = CRITERIA[study.by], []
    for name, row in study.rows.items():
        trials = store.trials(study, name)
        if trials and len(trials) == len(row.tried):
            lines.append(
                f"- {name}: {_settings(store.chosen(study, name))} ({_tried(row, trials, criterion)})"
            )
    return "\n".join([f"Chosen by {criterion.title}:", "", *lines]) if lines else ""


def _tried(row: Row, trials: Sequence[tuple[Settings, float]], criterion: Criterion) -> str:
    """What each trial gave, named by its values; of many that were drawn the best, median and worst."""
    values = [criterion.scale * value for _, value in trials]
    if isinstance(row.trials, list):
        return "; ".join(
            f"{', '.join(map(str, settings.values()))}: {value:#.3g}"
            for (settings, _), value in zip(trials, values, strict=True)
        )
    best, worst = sorted((min(values), max(values)), reverse=criterion.rises)
    drawn = f"{len(values)} drawn from {row.trials.space}"
    return f"{drawn}: best {best:#.3g}, median {median(values):#.3g}, worst {worst:#.3g}"


def _settings(settings: Settings) -> str:
    return ", ".join(f"`{key}` {value}" for key, value in settings.items())


def _claim(claim: Judged) -> str:
    differences = "".join(f"\n  - {text}" for text in claim.differences)
    return f"- **{claim.word}**: {claim.says}.{differences}"
