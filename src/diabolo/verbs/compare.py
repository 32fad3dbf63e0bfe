"""compare: several methods on one data set, under one protocol and over several seeds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import yaml
from filelock import FileLock

from diabolo.console import Show
from diabolo.data.images import Splits
from diabolo.data.splits import load
from diabolo.differences import first_difference
from diabolo.errors import UserError
from diabolo.evaluation.features import probe_images, targets_of
from diabolo.files import check_folder, expanded, write_json, write_text
from diabolo.memory import TO_TRAIN, enough
from diabolo.methods.build import facts_of
from diabolo.pages.comparison import content_of
from diabolo.recipe import Data, Recipe, complete_for, compose, pairs
from diabolo.report import comparison
from diabolo.runs.asked import path_of
from diabolo.runs.environment import default_device
from diabolo.runs.outputs import at_least
from diabolo.runs.preflight import preflight
from diabolo.runs.run import NOTHING
from diabolo.studies.results import Store
from diabolo.studies.section import COSTS, cost_cells
from diabolo.studies.study import Job, Study, study_from
from diabolo.studies.table import StudyTable, table_of
from diabolo.verbs.budget import epochs_encoding, epochs_within, seconds_of
from diabolo.verbs.work import share

Views = Literal["none", "simclr", "simvae", "own"]


def compare(
    data: str | Path,
    methods: Sequence[str],
    *,
    seeds: int = 3,
    epochs: int | None = None,
    budget: str | None = None,
    encoded: int | None = None,
    limit: int | None = None,
    views: Views | None = None,
    settings: Sequence[str] | Mapping[str, Any] = (),
    out: str | Path | None = None,
    workers: int = 1,
    quiet: bool = False,
) -> StudyTable:
    """Train and score each method with each seed, and write one table.

    Encoder, augmentations, epochs, probes and the scored space h are the same for all, but for methods that
    are their encoder, such as mae, which stand beside their own untrained twin, and for those that are their
    augmentation: denoising-ae keeps its noise, and has no other.

    data: a name of the catalog or a path. budget: the training time of each run, such as "20m", in place of
    epochs: each method's pace is measured once, on this machine, and the epochs that the time buys stand in
    the recipes. encoded: so many images that each run encodes, in place of epochs: of ten views a tenth of
    the epochs. limit: so many training images. views: a set of augmentations, "own" for those each method
    brings; by default "simclr" for colours, "simvae" for grey images. settings: keys of the recipe laid over
    all, such as {"encoder.name": "resnet18"} or ["encoder.name=resnet18"]. out: a folder, by default
    `comparisons/DATA`; what is finished there is not run again, what was stopped goes on, and methods or
    seeds can be added. workers: processes that share the work.

    Writes `comparison.html`, and small files of each run under `results/` (see docs/files.md).
    """
    data = path_of(data, "compare")
    at_least(1, seeds=seeds)
    folder = Path("comparisons", Data(name=data).stem) if out is None else expanded(out)
    check_folder(folder)
    over = ({} if limit is None else {"data.limit": limit}) | dict(
        settings if isinstance(settings, Mapping) else pairs(settings)
    )
    study, splits = _study(data, methods, seeds, epochs, views, over)
    seconds = None if budget is None else seconds_of(budget)
    told = "training.epochs" in study.shared or "epochs" in study.shared.get("training", {})
    if told + (budget is not None) + (encoded is not None) > 1:
        raise UserError("compare: give one of --epochs, --budget and --encoded")
    store = Store(folder / "results")
    _preflight(study, splits, store)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):  # another machine may be measuring: its epochs hold for all
        if seconds is not None:
            buy = partial(epochs_within, seconds, images=len(splits.train), workers=workers)
            study = _bought(study, folder, {"seconds": seconds}, buy, Show(quiet))
        if encoded is not None:
            buy = partial(epochs_encoding, encoded, images=len(splits.train))
            study = _bought(study, folder, {"encoded": encoded}, buy, Show(quiet))
        _claim(folder, study)
    failure: UserError | None = None
    try:
        share(study, store, folder / "runs", workers, quiet)
    except UserError as error:
        failure = error
    table = table_of(study, store.results(study))
    show = Show(quiet)
    page = folder / "comparison.html"
    content = content_of(study, store, table, folder / "runs", splits.train.shape)
    comparison.write(page, content)
    show.table(_lines(table), {line.name for line in table.lines if line.reference})
    for sentence in content.verdict:
        show.note(sentence)
    show.note(f"comparison: {page}")
    if failure is not None:  # the table shows what did come to its end
        raise failure
    return table


def _study(
    data: str,
    methods: Sequence[str],
    seeds: int,
    epochs: int | None,
    views: Views | None,
    settings: Mapping[str, Any],
) -> tuple[Study, Splits]:
    """The comparison as a study, and the data it is on."""
    if not methods:
        raise UserError("compare: name the methods, for example --methods ae,vae,simclr")
    _refuse_what_varies(settings)
    names = list(dict.fromkeys(methods))
    first = compose([{"data": {"name": data}, "method": names[0]}], settings)
    if first.training.precision == "auto":
        raise UserError("training.precision=auto: each run would choose for itself: name float32 or bf16")
    splits = load(first.data)
    shape, probes = splits.train.shape, ["linear", "knn"] * ("labels" in targets_of(*probe_images(splits)))
    shared: dict[str, Any] = {"data.name": data, "evaluation.space": "h", "evaluation.probes": probes}
    columns = [*probes, "rank"]
    if len(shape) == 3:
        shared["evaluation.measures"] = ["style", "reconstruction"]
        columns += ["style", "mse"]
        if views != "own":
            shared["views.transforms"] = views or ("simclr" if shape[0] == 3 else "simvae")
    if epochs is not None:
        shared["training.epochs"] = epochs
    study = study_from(
        {
            "title": f"{', '.join(names)} on {Path(data).name}",
            "rows": {name: _row(name, data, settings) for name in names},
            "columns": columns,
            "seeds": seeds,
            "shared": shared | dict(settings),
        },
        "compare",
    )
    return replace(study, references=_of_each_encoder(study)), splits


def _of_each_encoder(study: Study) -> list[str]:
    """The first row of each encoder: its runs bring the untrained twin."""
    first: dict[str, str] = {}
    for name in study.rows:
        first.setdefault(repr(study.recipe(Job(name, 0), {}).encoder), name)
    return list(first.values())


@enough(TO_TRAIN)
def _preflight(study: Study, splits: Splits, store: Store) -> None:
    """Refuse what of the rows without results can be known to fail, before a folder is taken."""
    facts = facts_of(splits)
    for name in study.rows:
        if not any(store.has(Job(name, seed)) for seed in range(study.seeds)):
            recipe = complete_for(study.recipe(Job(name, 0), {}), splits.train.shape)
            preflight(recipe, splits, facts, NOTHING, default_device())


def _row(method: str, data: str, over: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the study, and what it keeps of its own whatever all are given, but by the user's settings.

    What has nothing to train stays at no epochs; a method that lists its augmentations, and does not name a
    set of them, is nothing without them.
    """
    own = compose([{"data": {"name": data}, "method": method}])
    kept: dict[str, Any] = {} if own.training.epochs else {"training.epochs": 0}
    told = "transforms" in (over.get("views") or {}) or any(
        key.startswith("views.transforms") for key in over
    )
    if isinstance(own.views.transforms, list) and not told:
        kept["views.transforms"] = own.views.transforms
    return {"method": method, "settings": kept}


def _refuse_what_varies(settings: Mapping[str, Any]) -> None:
    """Refuse settings of what tells the runs of a comparison apart: the seed, and which method it is."""
    if "seed" in settings:
        raise UserError("seed: each run of a comparison has its own: say with --seeds how many")
    method = settings.get("method", {})
    if "method.name" in settings or not isinstance(method, Mapping) or "name" in method:
        raise UserError("method: each row of a comparison has its own: name them all with --methods")


def _bought(
    study: Study, folder: Path, budget: dict[str, float], buy: Callable[[Recipe], int], show: Show
) -> Study:
    """The study with the epochs that each method can afford, worked out where they are not known yet.

    budget: of each run, in "seconds" or in images "encoded". buy: the epochs of a recipe.
    """
    path = folder / "budget.json"
    trained = [name for name, row in study.rows.items() if "training.epochs" not in row.settings]
    if path.exists():
        known = json.loads(path.read_text("utf-8"))
        epochs = known.pop("epochs")
        if known != budget:
            raise _taken(folder, f"{path}: a budget of {_in_words(known)}, not {_in_words(budget)}")
    elif (folder / "study.yaml").exists():
        raise _taken(folder, f"{folder / 'study.yaml'}: of a number of epochs, not of {_in_words(budget)}")
    else:
        epochs = {}
    for name in (name for name in trained if name not in epochs):
        epochs[name] = buy(study.recipe(Job(name, 0), {}))
        show.note(f"{name}: the budget buys {epochs[name]:,} epoch{'s' * (epochs[name] > 1)}")
        write_json(path, {**budget, "epochs": epochs})
    bought = {
        name: replace(row, settings=row.settings | {"training.epochs": epochs[name]})
        for name, row in study.rows.items()
        if name in trained
    }
    return replace(study, rows=study.rows | bought)


def _in_words(budget: Mapping[str, float]) -> str:
    [(unit, amount)] = budget.items()
    return f"{amount:g} s" if unit == "seconds" else f"{amount:,} images encoded"


def _lines(table: StudyTable) -> list[list[str]]:
    """The table as cells of text, headings first."""
    rows = [
        [line.name, *(cell.text for cell in line.cells), *cost_cells(line), str(line.seeds)]
        for line in table.lines
    ]
    return [["", *table.titles, *COSTS, "seeds"], *rows]


def _claim(folder: Path, study: Study) -> None:
    """Take a folder for this comparison, or refuse one that another has begun.

    With other methods or another number of seeds it is the same: what is finished stays.
    """
    path, values = folder / "study.yaml", asdict(study)
    if path.exists():
        before = yaml.safe_load(path.read_text("utf-8"))
        if differs := first_difference(_of_all_rows(before), _of_all_rows(values)):
            raise _taken(folder, f"{path}: {differs}")
    write_text(path, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def _taken(folder: Path, why: str) -> UserError:
    return UserError(f"{folder} holds another comparison ({why}): choose another --out, or remove it")


def _of_all_rows(study: Mapping[str, Any]) -> dict[str, Any]:
    """What of a study's plain values is the same for all rows and seeds."""
    rows = ("title", "rows", "seeds", "references")
    return {k: v for k, v in study.items() if k not in (*rows, "shared")} | study["shared"]
