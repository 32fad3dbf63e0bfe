"""The ledger: who tries what in a search, and what came of it, in an Optuna store that many can share.

Workers on one folder take trials one after another, under a lock beside it, so that there are never more
than were asked for. A trial is held by a lock of its own: one that is open but held by nobody was stopped,
and whoever comes next to the same folder takes it over. Machines that share the store alone leave each
other's trials to each other, and may together try one more than was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from filelock import FileLock, Timeout

from diabolo.errors import UserError
from diabolo.files import write_text
from diabolo.seeds import seed_for
from diabolo.tuning.space import Space, suggest

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

Sampler = Literal["tpe", "random"]
# What a trial remembers: whose folder it is in, its value before training, how long that took, why it failed.
WHERE, BEFORE, SECONDS, REASON = "where", "before", "seconds", "reason"
LOCK = ".take.lock"  # in a search's folder: held by whoever takes the folder, or a trial of it


class Ledger:
    """The trials of one search. folder: where its runs lie. What has the same name and store is shared."""

    def __init__(
        self, folder: Path, store: str, name: str, *, rises: bool, sampler: Sampler, seed: int, prune: bool
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.folder, self.sampler, self.seed = folder, sampler, seed
        pruner = optuna.pruners.MedianPruner() if prune else optuna.pruners.NopPruner()
        try:
            self.study: Study = optuna.create_study(
                storage=_storage(store),
                study_name=name,
                direction="maximize" if rises else "minimize",
                pruner=pruner,
                load_if_exists=True,
            )
        except Exception as error:  # each kind of store has errors of its own
            raise UserError(f"--store {store}: {str(error).splitlines()[0]}") from None

    @cached_property
    def where(self) -> str:
        """What tells this folder from those of other machines on the same store."""
        path = self.folder / ".identity"
        if not path.exists():
            write_text(path, uuid4().hex)
        return path.read_text("utf-8")

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials that were begun, in their order; one that was never given to a folder is none."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if WHERE in trial.user_attrs]

    def run_of(self, number: int) -> Path:
        return self.folder / "runs" / f"trial-{number:03d}"

    @contextmanager
    def take(self, most: int, space: Space) -> Iterator[Trial | None]:
        """A trial to do, held until the end: one that was stopped, or a new one; None where none is left."""
        held: FileLock | None = None
        try:
            with FileLock(self.folder / LOCK):
                trial, held = self._stopped() or (
                    self._new(space) if len(self.trials) < most else (None, None)
                )
            yield trial
        finally:
            if held is not None:
                held.release()

    def _stopped(self) -> tuple[Trial, FileLock] | None:
        from optuna import Trial

        for trial in self.trials:
            if not trial.state.is_finished() and trial.user_attrs[WHERE] == self.where:
                lock = self._lock(trial.number)
                try:
                    lock.acquire(timeout=0)
                except Timeout:
                    continue
                # whoever held it may have ended it since the trials were read
                if not self.study.get_trials(deepcopy=False)[trial.number].state.is_finished():
                    return Trial(self.study, trial._trial_id), lock
                lock.release()
        return None

    def _new(self, space: Space) -> tuple[Trial, FileLock]:
        trial = self.study.ask()
        lock = self._lock(trial.number)
        lock.acquire()
        self.study.sampler = _sampler(self.sampler, seed_for("search", self.seed, trial.number))
        suggest(space, trial)
        trial.set_user_attr(WHERE, self.where)
        return trial, lock

    def _lock(self, number: int) -> FileLock:
        run = self.run_of(number)
        run.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(run.with_name(f".{run.name}.lock"))


def values_of(trial: FrozenTrial) -> dict[str, Any]:
    """A trial in plain values, without its settings."""
    found: dict[str, Any] = {"number": trial.number, "state": trial.state.name.lower(), "value": trial.value}
    return found | {
        key: trial.user_attrs[key] for key in (BEFORE, SECONDS, REASON) if key in trial.user_attrs
    }


def importances(study: Study, space: Mapping[str, Any]) -> dict[str, float]:
    """How much of the value's variation each key explains (fANOVA), most first; none of too few trials."""
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances
    from optuna.trial import TrialState

    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(done) < 4 or len({trial.value for trial in done}) == 1:
        return {}
    found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0), params=list(space))
    return {key: round(float(share), 4) for key, share in found.items()}


def require_optuna() -> None:
    """Raise `UserError` where the package is missing."""
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise UserError("search needs the package optuna: pip install optuna") from None


def _storage(store: str) -> Any:
    if "://" in store:
        return store
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    Path(store).parent.mkdir(parents=True, exist_ok=True)
    # Optuna's default lock, a link to the file, is never broken where a path is relative or other machines
    # have the disk elsewhere; this one is, half a minute after its holder was killed.
    return JournalStorage(JournalFileBackend(store, JournalFileOpenLock(store)))


def _sampler(name: Sampler, seed: int) -> Any:
    """Of one trial: seeded by its number, so that trials do not repeat after a restart or between workers."""
    from optuna.samplers import RandomSampler, TPESampler

    kind = {"tpe": TPESampler, "random": RandomSampler}[name]
    return kind(seed=seed % 2**32)
