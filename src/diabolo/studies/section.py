"""A study as a section of `RESULTS.md`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from diabolo.evaluation.suite import representations
from diabolo.studies.beside import REFERENCES
from diabolo.studies.results import Result, Store
from diabolo.studies.study import PICTURES, Job, Row, Settings, Study
from diabolo.studies.table import Judged, Line, StudyTable, table_of
from diabolo.tuning.criteria import CRITERIA, Criterion

COSTS = ("images encoded", "steps", "training")
BOLD = "Bold: what no other row is ahead of by more than the seeds can tell."


def section(name: str, study: Study, store: Store, pictures: Sequence[Path] = ()) -> str:
    """Title, protocol, command, table, choices, claims and pictures; from the result files alone."""
    results = store.results(study)
    table = table_of(study, results)
    parts = [
        f"## {study.title}",
        study.about.strip(),
        f"    diabolo reproduce {name}",
        _markdown(table),
        " ".join([*_footnotes(table), *_projected(study, results), *_outdated(study, store)]),
        "\n".join(f"- **failed**: {sentence}." for sentence in table.failed),
        _choices(study, store),
        "\n".join(_claim(claim) for claim in table.claims),
        "\n\n".join(_picture(study, path) for path in pictures),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def claims(study: Study, store: Store) -> str:
    """What is claimed of a study, a line each with the word on it; of one without results nothing."""
    table = table_of(study, store.results(study))
    if not table.claims or not any(line.seeds for line in table.lines):
        return ""
    lines = [f"- **{claim.word}**: {claim.says}" for claim in table.claims]
    return "\n".join([f"**{study.title}**, {_extent(table)}:", "", *lines, ""])


def _extent(table: StudyTable) -> str:
    """Seeds, and shares of the recipes' budgets: from what the words on claims come."""
    seeds = sorted({line.seeds for line in table.lines if line.seeds and not line.reference})
    shares = sorted({line.budget for line in table.lines if line.budget is not None and line.seeds})
    texts = [f"{_range([str(n) for n in seeds])} seed{'s' * (seeds[-1] > 1)}"]
    if shares:
        texts.append(f"{_range([f'{100 * share:.3g}' for share in shares])} % of the recipes' budgets")
    return ", ".join(texts)


def _range(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{texts[0]} to {texts[-1]}"


def _picture(study: Study, path: Path) -> str:
    """With what is seen in it: a picture of one row is named KIND-ROW-SEED."""
    kind, _, job = path.stem.partition("-")
    rows = {Job(row, 0).name: row for row in study.rows}
    caption = PICTURES[kind] + (f": {rows.get(job, job)}" if job else "")
    return f"![{caption}]({path.as_posix()})\n\n*{caption}*"


def duration(seconds: float) -> str:
    """Short, for a table."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _markdown(table: StudyTable) -> str:
    shares = any(line.budget not in (None, 1) for line in table.lines)
    costs = any(line.cost is not None for line in table.lines)
    last = "seeds" if all(line.seeds for line in table.lines) else "seeds, or why not run"
    head = ["", *table.titles, *["of the recipe's budget"] * shares, *COSTS * costs, last]
    rule = ["---", *["---:"] * (len(head) - 1)]
    rows = [_cells(line, shares, costs) for line in table.lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def _cells(line: Line, shares: bool, costs: bool) -> list[str]:
    name = f"*{line.name}*" if line.reference else line.name
    cells = [f"**{cell.text}**" if cell.best else cell.text for cell in line.cells]
    share = ["" if line.budget is None else f"{100 * line.budget:.3g} %"] * shares
    seeds = str(line.seeds) if line.seeds else line.unrun or "not run yet"
    if 0 < line.seeds < line.wanted:
        seeds += f" of {line.wanted}"
    return [name, *cells, *share, *(cost_cells(line) if costs else []), seeds]


def cost_cells(line: Line) -> list[str]:
    """What stands under `COSTS`, of one run of a row; empty where nothing was trained."""
    if line.cost is None:
        return [""] * len(COSTS)
    return [_count(line.cost.examples), _count(line.cost.steps), duration(line.cost.seconds)]


def _count(n: int) -> str:
    return f"{n / 1e6:.2f} M" if n >= 1_000_000 else f"{n:,}"


def _footnotes(table: StudyTable) -> list[str]:
    bold = [BOLD] if any(cell.best for line in table.lines for cell in line.cells) else []
    noted = [f"{sentence}." for sentence in (*table.unreached, *table.lent)]
    precisions = [f"Trained in {' and '.join(table.precisions)}."] if table.precisions else []
    machines = [*precisions, *(f"Measured on {machine}." for machine in table.hardware)]
    if table.revisions > 1:
        machines.append(f"By {table.revisions} revisions of the code (`environment` of each result).")
    return [*bold, *noted, *_extractors(table), *machines]


def _extractors(table: StudyTable) -> list[str]:
    """A sentence on whose features Fréchet distances are in, where there are any."""
    if not table.extractors:
        return []
    one = len(table.extractors) == 1
    whose = "the features of" if one else "features of different extractors, do not compare and have no best"
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


def _outdated(study: Study, store: Store) -> list[str]:
    """Which results are not of what the study asks for now."""
    found: dict[str, dict[str, None]] = {}  # row → why
    for job in study.jobs():
        if store.has(job) and (why := store.outdated(study, job)):
            found.setdefault(job.row, {})[why] = None
    rows = [f"{row} ({'; '.join(why)})" for row, why in found.items()]
    anew = "made anew by the command, a run that is still under `runs/` once it is removed"
    return [f"Made with earlier settings, and {anew}: {', '.join(rows)}."] if rows else []


def _choices(study: Study, store: Store) -> str:
    criterion, lines = CRITERIA[study.by], []
    for name, row in study.rows.items():
        trials = store.trials(study, name)
        if not trials or len(trials) < len(row.tried):
            continue
        if all(value is None for _, value in trials):
            lines.append(f"- {name}: every trial failed")
            continue
        chosen = store.chosen(study, name)
        edge = isinstance(row.trials, list) and _at_edge(chosen, row.trials)
        tried = _tried(row, trials, criterion) + "; the best is at the edge of what was tried" * edge
        lines.append(f"- {name}: {_settings(chosen)} ({tried})")
    return "\n".join([f"Chosen by {criterion.title}:", "", *lines]) if lines else ""


def _at_edge(chosen: Settings, trials: Sequence[Settings]) -> bool:
    """Whether a number that was varied is the least or the greatest that was tried, of three or more."""
    for key, value in chosen.items():
        tried = [trial[key] for trial in trials if key in trial]
        numbers = all(isinstance(one, int | float) for one in tried)
        if numbers and len(set(tried)) > 2 and value in (min(tried), max(tried)):
            return True
    return False


def _tried(row: Row, trials: Sequence[tuple[Settings, float | None]], criterion: Criterion) -> str:
    """What each trial gave, named by its values; of many that were drawn the best, median and worst."""
    if isinstance(row.trials, list):
        return "; ".join(
            f"{', '.join(map(str, settings.values()))}: {_figure(criterion, value)}"
            for settings, value in trials
        )
    values = [value for _, value in trials if value is not None]
    best, worst = sorted((min(values), max(values)), reverse=criterion.rises)
    figures = zip(("best", "median", "worst"), (best, median(values), worst), strict=True)
    failed = len(trials) - len(values)
    drawn = f"{len(trials)} drawn from {row.trials.space}" + f", of which {failed} failed" * (failed > 0)
    return f"{drawn}: {', '.join(f'{name} {_figure(criterion, value)}' for name, value in figures)}"


def _figure(criterion: Criterion, value: float | None) -> str:
    return "failed" if value is None else f"{criterion.scale * value:#.3g}"


def _settings(settings: Settings) -> str:
    return ", ".join(f"`{key}` {value}" for key, value in settings.items())


def _claim(claim: Judged) -> str:
    differences = "".join(f"\n  - {text}" for text in claim.differences)
    return f"- **{claim.word}**: {claim.says}.{differences}"
