"""Work: run what is missing of a study, alone or beside other workers on the same folders."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from threadpoolctl import threadpool_limits

from diabolo.errors import Interrupted, UserError
from diabolo.run import Run
from diabolo.studies.results import Store
from diabolo.studies.study import Job, Study
from diabolo.verbs.console import Show
from diabolo.verbs.criterion import value_of
from diabolo.verbs.evaluate import measure_run
from diabolo.verbs.fit import fit

PAUSE = 5.0  # seconds between looks at what others are doing


def work(study: Study, store: Store, runs: Path, quiet: bool = False) -> None:
    """Run every job that has no result yet, and return when all have one.

    Of one that has, what the study has come to measure since is measured on its run.

    A run lives in `runs`, so that whoever was stopped goes on where it stopped. A job that another worker
    holds is left to it, and taken over should that worker stop.
    """
    show = Show(quiet)
    while pending := [job for job in study.jobs() if not store.has(job) or store.lacking(study, job)]:
        done = [_try(study, store, job, runs, show) for job in pending if store.ready(study, job)]
        if not any(done):
            time.sleep(PAUSE)


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
        except ProcessExitedException:
            if refusals.empty():
                raise
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


def _try(study: Study, store: Store, job: Job, runs: Path, show: Show) -> bool:
    """Do a job unless somebody else is at it; whether it was done here."""
    folder = runs / job.name
    runs.mkdir(parents=True, exist_ok=True)
    lock = FileLock(runs / f".{job.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    try:
        what = f"seed {job.seed}" if job.trial is None else f"trial {job.trial}"
        if not store.has(job):
            show.note(f"{job.row}, {what}")
            _run(study, store, job, folder, show)
        elif measures := store.lacking(study, job):
            show.note(f"{job.row}, {what}: further measures")
            if (folder / "model.safetensors").exists():
                store.add(study, job, measure_run(Run.open(folder), measures, show))
            else:  # the run is elsewhere: made anew, so that all figures are of one model
                _run(study, store, job, folder, show)
        return True
    except Interrupted:
        raise Interrupted(f"stopped in {job.name}; the same command again goes on from there") from None
    finally:
        lock.release()


def _run(study: Study, store: Store, job: Job, folder: Path, show: Show) -> None:
    """Train and keep what a job gives: a trial by its criterion, a run by its scores."""
    recipe = study.recipe(job, store.chosen(study, job.row) if job.trial is None else {})
    run = fit(
        recipe=recipe.to_dict(),
        out=folder,
        resume=folder.exists(),
        evaluate=job.trial is None,
        quiet=show.console.quiet,
    )
    if job.trial is None:
        store.keep(job, run)
    else:
        store.keep_trial(study, job, run, value_of(run, study.by))
