"""Work: run what is missing of a study, alone or beside other workers on the same folders."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from threadpoolctl import threadpool_limits

from diabolo.errors import Interrupted, SettingsError, UserError, in_one_line, several
from diabolo.recipe import departs
from diabolo.run import Run
from diabolo.studies.results import Store
from diabolo.studies.study import Job, Study
from diabolo.verbs.console import Show
from diabolo.verbs.criterion import value_of
from diabolo.verbs.fit import fit

PAUSE = 5.0  # seconds between looks at what others are doing


def work(study: Study, store: Store, runs: Path, quiet: bool = False) -> None:
    """Run every job that has no result of what the study asks for now, and return when all have one.

    A run lives in `runs`, so that whoever was stopped goes on where it stopped. A job that another worker
    holds is left to it, and taken over should that worker stop. A job that fails stops no other that does
    not depend on it; `UserError` is then raised at the end.
    """
    show, over = Show(quiet), set[Job]()
    failures: dict[Job, str] = {}
    while pending := [
        job for job in _open(study, failures) if not (job in over or store.current(study, job))
    ]:
        before = len(over)
        for job in pending:
            try:
                if store.ready(study, job) and _try(study, store, job, runs, show):
                    over.add(job)
            except UserError as error:
                over.add(job)
                failures[job] = f"{job.name}: {error}"
                show.note(f"  failed: {failures[job]}")
        if len(over) == before:
            time.sleep(PAUSE)
    if failures:
        raise UserError(several(list(failures.values())))


def _open(study: Study, failures: Mapping[Job, str]) -> Iterator[Job]:
    """The jobs that can still be done: a row of which a trial could not be run has none to choose from."""
    lost = {job.row for job in failures if job.trial is not None}
    return (job for job in study.jobs() if job.trial is not None or job.row not in lost)


def share(study: Study, store: Store, runs: Path, workers: int, quiet: bool = False) -> None:
    """Let several processes work on a study."""
    in_parallel(workers, work, study, store, runs, quiet)


def in_parallel(workers: int, function: Callable[..., None], *arguments: Any) -> None:
    """Call a function in so many processes; the machine's threads are divided among them.

    Raises the `UserError` of the first process that ends with one.
    """
    if workers == 1:
        function(*arguments)
        return
    from torch.multiprocessing.spawn import ProcessExitedException, spawn

    refusals = get_context("spawn").SimpleQueue()
    with threads_each(workers):
        try:
            spawn(_worker, (torch.get_num_threads(), refusals, function, arguments), nprocs=workers)
        except ProcessExitedException as error:
            if refusals.empty():  # killed, most often for its memory
                ended = (
                    f"a worker ended early ({error}): the same command again goes on, with fewer --workers"
                )
                raise UserError(ended) from None
            raise UserError(refusals.get()) from None


@contextmanager
def threads_each(workers: int) -> Iterator[None]:
    """Use as many threads as each of so many workers gets."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // workers))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _worker(
    _: int,
    threads: int,
    refusals: SimpleQueue[str],
    function: Callable[..., None],
    arguments: tuple[Any, ...],
) -> None:
    torch.set_num_threads(threads)
    with threadpool_limits(threads):  # of BLAS and scikit-learn
        try:
            function(*arguments)
        except UserError as error:
            refusals.put(str(error))
            sys.exit(2)
        except OSError as error:
            refusals.put(in_one_line(error))
            sys.exit(2)


def _try(study: Study, store: Store, job: Job, runs: Path, show: Show) -> bool:
    """Do a job unless somebody else is at it; whether it is done."""
    folder = runs / job.name
    runs.mkdir(parents=True, exist_ok=True)
    lock = FileLock(runs / f".{job.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    try:
        if not store.current(study, job):
            show.note(f"{job.row}, {f'seed {job.seed}' if job.trial is None else f'trial {job.trial}'}")
            (_run if job.trial is None else _run_trial)(study, store, job, folder, show)
        return True
    except Interrupted:
        raise Interrupted(f"stopped in {job.name}; the same command again goes on from there") from None
    finally:
        lock.release()


def _run(study: Study, store: Store, job: Job, folder: Path, show: Show) -> None:
    """Train and score a row with a seed. A run that was scored in another way is scored anew."""
    recipe = study.recipe(job, store.chosen(study, job.row))
    if folder.exists():
        run = Run.open(folder)
        if departs(run.recipe, recipe) and not departs(run.recipe, recipe, scored=False):
            run.rescore(recipe.evaluation)
    store.keep(
        job, fit(recipe=recipe.to_dict(), out=folder, resume=folder.exists(), quiet=show.console.quiet)
    )


def _run_trial(study: Study, store: Store, job: Job, folder: Path, show: Show) -> None:
    """Train a trial, and judge it on validation. One whose settings cannot be trained is over as well."""
    recipe = study.recipe(job, {}).to_dict()
    try:
        run = fit(recipe=recipe, out=folder, resume=folder.exists(), evaluate=False, quiet=show.console.quiet)
        store.keep_trial(study, job, run, value_of(run, study.by))
    except SettingsError as error:
        store.keep_failed(study, job, str(error))
        show.note(f"  {job.name} failed: {error}")
