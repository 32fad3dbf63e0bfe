"""search: the settings of a recipe, chosen by short trainings on validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from filelock import FileLock

from diabolo.console import Show
from diabolo.data.images import Splits
from diabolo.data.splits import load
from diabolo.errors import Interrupted, SettingsError, UserError, blaming_settings, unknown
from diabolo.evaluation.features import probe_images
from diabolo.evaluation.suite import QUICK_VALIDATION
from diabolo.evaluation.verdict import differ
from diabolo.files import check_folder, expanded, write_json, write_text
from diabolo.recipe import Data, Recipe, complete_for, compose, pairs
from diabolo.report import search as page
from diabolo.runs.asked import asked_recipe, path_of
from diabolo.runs.outputs import at_least
from diabolo.runs.preflight import check_batches, check_labels
from diabolo.tables import METHODS
from diabolo.tuning.criteria import CRITERIA, LIVE, By
from diabolo.tuning.ledger import (
    BEFORE,
    LOCK,
    REASON,
    SECONDS,
    Ledger,
    Sampler,
    importances,
    require_optuna,
    values_of,
)
from diabolo.tuning.space import SPACES, Space, corners, default_space, settings_from, space_from
from diabolo.verbs.criterion import before_training, value_of
from diabolo.verbs.fit import fit
from diabolo.verbs.work import in_parallel

if TYPE_CHECKING:
    from optuna import Trial

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Plan:
    """What determines a search but the number of its trials: all in plain values."""

    recipe: dict[str, Any]
    space: dict[str, Any]
    by: By
    budget: dict[str, Any]
    sampler: Sampler
    seed: int
    prune: bool

    @property
    def name(self) -> str:
        """Of the study in the store: another plan is another study."""
        digest = blake2b(yaml.safe_dump(asdict(self)).encode(), digest_size=5).hexdigest()
        return f"{Data(name=self.recipe['data']['name']).stem}-{self.recipe['method']['name']}-{digest}"

    def ledger(self, folder: Path, store: str) -> Ledger:
        rises = CRITERIA[self.by].rises
        rest = {"sampler": self.sampler, "seed": self.seed, "prune": self.prune}
        return Ledger(folder, store, self.name, rises=rises, **rest)  # type: ignore[arg-type]


def search(
    data: str | Path,
    method: str | None = None,
    *,
    recipe: str | Path | Mapping[str, Any] | None = None,
    space: str | Path | Mapping[str, Any] | None = None,
    vary: Sequence[str] | Mapping[str, Any] = (),
    trials: int = 30,
    epochs: int = 7,
    limit: int | None = None,
    by: By | None = None,
    sampler: Sampler = "tpe",
    prune: bool = False,
    settings: Sequence[str] | Mapping[str, Any] = (),
    seed: int = 0,
    out: str | Path | None = None,
    store: str | None = None,
    workers: int = 1,
    quiet: bool = False,
) -> dict[str, Any]:
    """Try settings of a recipe in short trainings, and choose the best on validation. Needs Optuna.

    data, method, recipe, settings: as in `fit`. space: a named one, a YAML file, or a mapping of keys of the
    recipe to lists of values or ranges {low, high, log, step}; vary: the same, laid over it, or alone the
    whole of it. By default the learning rate, the batch size, and the width of the code or embedding.
    trials: how many in all, those of a search that was stopped or goes on included. epochs, limit: of each
    trial, and of the trials only. by: "knn", the last point of the live curve, by default where there are
    labels; else "reconstruction", the mean squared error on validation, of a method with a decoder; else
    "rank", the effective rank on validation (RankMe, Garrido et al. 2023). prune: stop a trial whose curve is
    below the median of those before it. out: a folder, by default `searches/DATA-METHOD`. store: where
    workers meet, a URL such as sqlite:///file or the file of a journal, by default in `out`.

    Writes `search.json`, which is returned, `best.yaml`, the recipe of the best with its own budget, and
    `search.html`. The test set is not touched.
    """
    require_optuna()
    show = Show(quiet)
    at_least(1, trials=trials, epochs=epochs, workers=workers)
    base = asked_recipe(path_of(data, "search"), method, recipe, settings)
    folder = Path("searches", f"{base.data.stem}-{base.method['name']}") if out is None else expanded(out)
    check_folder(folder)
    splits = load(base.data)
    by = _by(by, base, labelled=all(part.labels is not None for part in probe_images(splits)[:2]))
    if prune and by not in LIVE:
        raise UserError(f"prune: only the live curve can be judged early, by knn or rank, not by {by}")
    values = _values(base, space, vary, min(limit or len(splits.train), len(splits.train)))
    budget = {"training.epochs": epochs, "evaluation.live": 1 if prune else epochs}
    budget |= {} if limit is None else {"data.limit": limit}
    plan = Plan(base.to_dict(), values, by, budget, sampler, seed, prune)
    chosen = _check(plan, splits)
    store = store or str(folder / "trials.journal")
    _claim(folder, plan, store)
    in_parallel(workers, work, plan, chosen, trials, folder, store, quiet)
    return _results(plan, chosen, folder, store, splits, show)


def work(plan: Plan, space: Space, trials: int, folder: Path, store: str, quiet: bool) -> None:
    """Do trials until there are as many as asked for."""
    ledger, show = plan.ledger(folder, store), Show(quiet)
    while True:
        with ledger.take(trials, space) as trial:
            if trial is None:
                return
            chosen = settings_from(space, trial.params)
            show.note(f"trial {trial.number + 1} of {trials}: {page.in_words(chosen)}")
            _try(plan, ledger, trial, chosen, show)


def _try(plan: Plan, ledger: Ledger, trial: Trial, settings: dict[str, Any], show: Show) -> None:
    """Train a trial, or go on where it was stopped, and enter what came of it."""
    from optuna import TrialPruned
    from optuna.trial import TrialState

    def watch(row: Mapping[str, Any]) -> None:
        if plan.prune and row["kind"] == "curve" and row["step"]:
            trial.report(row[LIVE[plan.by]], row["epoch"])
            if trial.should_prune():
                raise TrialPruned

    folder = ledger.run_of(trial.number)
    try:
        with blaming_settings():
            recipe = compose([plan.recipe], settings | plan.budget)
        run = fit(
            recipe=recipe.to_dict(),
            out=folder,
            resume=folder.exists(),
            evaluate=False,
            watch=watch,
            quiet=True,
        )
        value = value_of(run, plan.by)
    except TrialPruned:
        ledger.study.tell(trial, state=TrialState.PRUNED)
        show.note(f"  trial {trial.number + 1} is below the median: stopped")
    except SettingsError as error:  # after any other the trial stays open
        trial.set_user_attr(REASON, str(error))
        ledger.study.tell(trial, state=TrialState.FAIL)
        show.note(f"  trial {trial.number + 1} failed: {error}")
    except Interrupted:
        raise Interrupted(
            f"stopped in trial {trial.number + 1}; the same command again goes on from there"
        ) from None
    else:
        if (before := before_training(run, plan.by)) is not None:
            trial.set_user_attr(BEFORE, before)
        trial.set_user_attr(SECONDS, round(run.seconds, 1))
        ledger.study.tell(trial, value)
        show.note(f"  trial {trial.number + 1}: {page.figure(CRITERIA[plan.by], value)}")


def _values(base: Recipe, space: Any, vary: Sequence[str] | Mapping[str, Any], images: int) -> dict[str, Any]:
    """The space in plain values. images: that a trial trains on."""
    varied = dict(vary) if isinstance(vary, Mapping) else pairs(vary, "--vary", "optimiser.lr=[0.001, 0.01]")
    if space is None:
        return varied or default_space(base, images)
    return (dict(space) if isinstance(space, Mapping) else SPACES.read(str(space))) | varied


def _by(by: By | None, base: Recipe, labelled: bool) -> By:
    """The criterion, if the data and the method have it."""
    decodes = hasattr(METHODS.load(base.method["name"]), "reconstruct")
    if by is None:
        return "knn" if labelled else "reconstruction" if decodes else "rank"
    if by not in CRITERIA:
        raise unknown("criterion", by, CRITERIA)
    if by == "knn" and not labelled:
        raise UserError(f"by knn: {base.data.name} has no labels: choose by reconstruction or rank")
    if by == "reconstruction" and not decodes:
        raise UserError(
            f"by reconstruction: method '{base.method['name']}' has no decoder: choose by knn or rank"
        )
    return by


def _check(plan: Plan, splits: Splits) -> Space:
    """The space, every value of which the recipe and the data take."""
    space = space_from(plan.space, "space")
    for key in plan.budget.keys() & space.keys():
        raise UserError(f"space: {key} is the budget of the trials, which is the same for all")
    for settings in corners(space):
        recipe = complete_for(compose([plan.recipe], settings | plan.budget), splits.train.shape)
        check_labels(recipe, splits)
        check_batches(recipe, min(recipe.data.limit or len(splits.train), len(splits.train)))
    return space


def _claim(folder: Path, plan: Plan, store: str) -> None:
    """Take a folder for this search. Refuses one that another has begun, and a store that cannot be used."""
    path, text = folder / "search.yaml", yaml.safe_dump(asdict(plan), sort_keys=False, allow_unicode=True)
    if not path.exists():
        plan.ledger(folder, store)
        folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / LOCK):
        if not path.exists():
            write_text(path, text)
        elif path.read_text("utf-8") != text:
            raise UserError(f"{folder} holds another search (see {path}): choose another --out, or remove it")


def _results(
    plan: Plan, space: Space, folder: Path, store: str, splits: Splits, show: Show
) -> dict[str, Any]:
    """Write what all trials so far came to."""
    ledger, criterion = plan.ledger(folder, store), CRITERIA[plan.by]
    trials = [values_of(t) | {"settings": settings_from(space, t.params)} for t in ledger.trials]
    done = [trial for trial in trials if trial["state"] == "complete"]
    if not done:
        reasons = [trial[REASON] for trial in trials if REASON in trial]
        raise UserError(f"no trial came to its end{f'; the last: {reasons[-1]}' if reasons else ''}")
    best = (max if criterion.rises else min)(done, key=lambda trial: trial["value"])
    found = {
        "by": plan.by,
        "best": {key: best[key] for key in ("number", "value", BEFORE, "settings") if key in best},
        "importance": importances(ledger.study, space),
        "trials": trials,
        "format_version": FORMAT_VERSION,
    }
    write_json(folder / "search.json", found)
    recipe = folder / "best.yaml"
    write_text(recipe, complete_for(compose([plan.recipe], best["settings"]), splits.train.shape).to_yaml())
    title = f"{plan.recipe['method']['name']} on {Path(plan.recipe['data']['name']).name}: a search"
    protocol = yaml.safe_dump(asdict(plan), sort_keys=False, allow_unicode=True)
    command = f"diabolo fit --recipe {recipe}"
    judged = min(len(probe_images(splits)[1]), QUICK_VALIDATION)
    gained = plan.by != "knn" or BEFORE not in best or differ(best["value"], judged, best[BEFORE], judged)
    content = page.Content(title, criterion, found, space, command, protocol, plan.budget, gained)
    page.write(folder / "search.html", content)
    for sentence in content.verdict:
        show.note(sentence)
    show.note(f"{content.command}; page: {folder / 'search.html'}")
    return found
