"""reproduce: a paper's tables from our own runs, published beside obtained."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from diabolo.errors import UserError, several, unknown
from diabolo.files import expanded, write_text
from diabolo.pages.illustrate import illustrate
from diabolo.studies.results import Store
from diabolo.studies.section import claims, section
from diabolo.studies.study import PICTURES, Study, named_studies, read_study
from diabolo.verbs.work import share

RESULTS, PAGE, RUNS = "results", "RESULTS.md", "runs"
AT = "@"  # in the folder of a study at another budget, before the percentage

HEAD = """# Results

Every table here is written by its command from the files under `results/`: `diabolo reproduce` renews the
page, `diabolo reproduce NAME` first runs what is missing, which takes hours where a table is large.
Accuracies are percentages on test, mean ± standard deviation over seeds; every choice was made on validation.

- *h* is what the encoder gives, *z* the code or embedding behind it that the loss acts on; *rank* is the
  effective rank of the scored space (RankMe, with the mean removed).
- *of the recipe's budget*: the images encoded, as a share of those of the named recipe, which has the
  paper's. Images encoded are those that a gradient went through, every view counted; what a momentum encoder
  or a clustering looks at besides is not.
- *training* is wall time, in part on machines that did other work.
- *random encoder* is the network of the row that brings the references, as a rule the first, before training.
"""
CLAIMS = """## What is claimed, and what came of it

The words are about our budgets, named behind each title, and not about the papers' own results. *Held* and
*not held* where the 95 % interval of the paired difference over seeds (Student's) lies on one side of the
margin; else *undecided*, as every claim of a single seed is.
"""


def reproduce(
    what: str | None = None, *, budget: str | None = None, out: str | Path = ".", workers: int = 1
) -> Path:
    """Run what is missing of a paper's studies, and write `RESULTS.md` from all results there are.

    what: a paper ("simvae"), one of its tables ("simvae/mnist"), or None to write the page only.
    budget: the share of each named recipe's own, such as "10%"; "100%" at most, which is the paper's. By
    default what each study says. A table at another budget stands beside the study's own.
    out: the folder of `results/`, `RESULTS.md` and `runs/`. Runs resume where they stopped.
    workers: processes that share the work; several machines can share it through a common folder as well.
    What of a study fails stops nothing else: it is raised once the page is written.
    """
    out = expanded(out)
    failures = []
    for name, study in _asked(what, budget).items():
        store, runs = Store(out / RESULTS / name), out / RUNS / name
        for act in (partial(share, workers=workers), illustrate):
            try:
                act(study, store, runs)
            except UserError as error:
                failures.append(f"{name}: {error}")
    page = write_page(out)
    if failures:
        raise UserError(several(failures))
    return page


def studies_of(what: str) -> list[str]:
    """The names of a paper's studies, or of the one named."""
    known = named_studies()
    found = [name for name in known if what in (name, name.partition("/")[0])]
    if not found:
        raise unknown("study", what, [*known, *{name.partition("/")[0] for name in known}])
    return found


def _asked(what: str | None, budget: str | None) -> dict[str, Study]:
    """The studies to run, by the folders of their results."""
    if what is None:
        if budget is not None:
            raise UserError("--budget: name the paper or the table to run at it")
        return {}
    studies = {name: read_study(name) for name in studies_of(what)}
    if budget is None:
        return studies
    percent = _percent(budget)
    found = {
        f"{name}{AT}{percent:g}": study.at(percent / 100) for name, study in studies.items() if study.scales
    }
    if not found:
        raise UserError(f"--budget: no row of {what} has a recipe whose budget could be shared: leave it out")
    return found


def _percent(budget: str) -> float:
    try:
        percent = float(f"{float(budget.removesuffix('%')):g}") if budget.endswith("%") else 0.0
    except ValueError:
        percent = 0.0
    if not 0 < percent <= 100:
        raise UserError(f"--budget {budget}: write a share of the recipe's, for example 10% or 100%")
    return percent


def write_page(out: Path) -> Path:
    """Write `RESULTS.md` from the result files: studies without any are listed by their command."""
    sections, missing, claimed = [], [], []
    for name, title in named_studies().items():
        studies = {name: read_study(name)} | _at_other_budgets(name, out)
        for folder, study in studies.items():
            store, command = Store(out / RESULTS / folder), f"{name}{_option(folder)}"
            if not store.results(study) and any(not row.unrun for row in study.rows.values()):
                missing.append(f"- {title}: `diabolo reproduce {command}`")
                continue
            if found := claims(study, store):
                claimed.append(found)
            pictures = sorted(path for path in store.folder.glob("*.png") if _kind(path) in PICTURES)
            sections.append(section(command, study, store, [path.relative_to(out) for path in pictures]))
    if claimed:
        claimed.insert(0, CLAIMS)
    ending = ["\n".join(["## Not run yet", "", *missing]) + "\n"] if missing else []
    path = out / PAGE
    write_text(path, "\n".join([HEAD, *claimed, *sections, *ending]))
    return path


def _at_other_budgets(name: str, out: Path) -> dict[str, Study]:
    """Of a study, what was run at shares of the recipes' budgets, the least first."""
    folders = (out / RESULTS / name).parent.glob(f"{Path(name).name}{AT}*")
    texts = [path.name.partition(AT)[2] for path in folders]
    percents = sorted((text for text in texts if re.fullmatch(r"\d+(\.\d+)?", text)), key=float)
    return {f"{name}{AT}{percent}": read_study(name).at(float(percent) / 100) for percent in percents}


def _option(folder: str) -> str:
    _, at, percent = folder.partition(AT)
    return f" --budget {percent}%" if at else ""


def _kind(picture: Path) -> str:
    return picture.stem.partition("-")[0]
