"""Work: run what is missing of a study, alone or beside other workers on the same folders."""

from __future__ import annotations

import os
import signal
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

from diabolo.console import Show
from diabolo.errors import (
    Interrupted,
    MemoryTooSmallError,
    SettingsError,
    UserError,
    in_one_line,
    several,
)
from diabolo.recipe import Recipe, departs
from diabolo.runs.run import Run
from diabolo.studies.results import Store
from diabolo.studies.study import Job, Study
from diabolo.verbs.criterion import value_of
from diabolo.verbs.fit import fit

PAUSE = 5.0  # seconds between looks at what others are doing


def work(study: Study, store: Store, runs: Path, quiet: bool = False) -> None:
    """Run every job that has no result of what the study asks for now, and return when all have one.

    A run lives in `runs`, so that whoever was stopped goes on where it stopped. A job that another worker
    holds is left to it, and taken over should that worker stop. A job that fails stops no other that does
    not depend on it; `UserError` is then raised at the end.
    """
    show = Show(quiet)
    failures: dict[Job, str] = {}
    while pending := [job for job in _open(study, failures) if not store.current(study, job)]:
        done = False
        for job in pending:
            try:
                done |= store.ready(study, job) and _try(study, store, job, runs, show)
            except (UserError, OSError) as error:
                what = in_one_line(error) if isinstance(error, OSError) else str(error)
                failures[job] = f"{job.name}: {what}"
                show.note(f"  failed: {failures[job]}")
                done = True
        if not done:
            time.sleep(PAUSE)
    if left := [why for job, why in failures.items() if not store.current(study, job)]:
        raise UserError(several(left))  # but what another worker could do


def _open(study: Study, failures: Mapping[Job, str]) -> Iterator[Job]:
    """The jobs that can still be done: a row of which a trial could not be run has none to choose from."""
    lost = {job.row for job in failures if job.trial is not None}
    return (
        job for job in study.jobs() if job not in failures and (job.trial is not None or job.row not in lost)
    )


def share(study: Study, store: Store, runs: Path, workers: int, quiet: bool = False) -> None:
    """Let several processes work on a study."""
    in_parallel(workers, work, study, store, runs, quiet)


def in_parallel(workers: int, function: Callable[..., None], *arguments: Any) -> None:
    """Call a function in so many processes; the machine's threads are divided among them.

    Raises `UserError` when all have ended, where one of them did, and `Interrupted` on Ctrl-C.
    """
    if workers < 1:
        raise UserError(f"--workers {workers}: one process at least does the work")
    if workers == 1:
        function(*arguments)
        return
    from torch.multiprocessing.spawn import ProcessExitedException, start_processes

    refusals = get_context("spawn").SimpleQueue()
    with threads_each(workers):
        given = (torch.get_num_threads(), refusals, function, arguments)
        context = start_processes(_worker, given, nprocs=workers, join=False, start_method="spawn")
    try:
        while not context.join():
            pass
    except ProcessExitedException as error:  # killed, most often for its memory
        raise UserError(
            f"a worker ended early ({error}): the same command again goes on, with fewer --workers"
        ) from None
    except KeyboardInterrupt:
        for process in context.processes:
            if process.pid is not None and process.is_alive():
                os.kill(process.pid, signal.SIGINT)
        for process in context.processes:
            process.join()
        raise Interrupted("stopped; the same command again goes on from there") from None
    messages = []
    while not refusals.empty():
        messages.append(refusals.get())
    if messages:
        raise UserError(several(messages))


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
    if hasattr(os, "setpgrp"):  # Ctrl-C reaches the first process alone, which tells each once
        os.setpgrp()
    torch.set_num_threads(threads)
    with threadpool_limits(threads):  # of BLAS and scikit-learn
        try:
            function(*arguments)
        except (UserError, Interrupted) as error:
            refusals.put(str(error))
        except OSError as error:
            refusals.put(in_one_line(error))


def _try(study: Study, store: Store, job: Job, runs: Path, show: Show) -> bool:
    """Do a job unless somebody else is at it; whether it is done.

    Raises `UserError` where what came of it is not what was asked for.
    """
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
            if departure := store.outdated(study, job):
                raise UserError(f"its result is not what the study asks for: {departure}")
        return True
    except (Interrupted, KeyboardInterrupt):
        raise Interrupted(f"stopped in {job.name}; the same command again goes on from there") from None
    finally:
        lock.release()


def _run(study: Study, store: Store, job: Job, folder: Path, show: Show) -> None:
    """Train and score a row with a seed."""
    recipe = study.recipe(job, store.chosen(study, job.row))
    store.keep(job, _fitted(recipe, folder, show, evaluate=True))


def _run_trial(study: Study, store: Store, job: Job, folder: Path, show: Show) -> None:
    """Train a trial, and judge it on validation. One whose settings cannot be trained is over as well."""
    try:
        run = _fitted(study.recipe(job, {}), folder, show, evaluate=False)
        store.keep_trial(study, job, run, value_of(run, study.by))
    except MemoryTooSmallError:  # another device, or this one when it is left alone, may have enough
        raise
    except SettingsError as error:
        store.keep_failed(study, job, str(error))
        show.note(f"  {job.name} failed: {error}")


def _fitted(recipe: Recipe, folder: Path, show: Show, evaluate: bool) -> Run:
    """A run from its newest checkpoint. One that was to be scored in another way is scored anew."""
    begun = (folder / "recipe.yaml").exists()
    if begun:
        run = Run.open(folder)
        shape = run.facts.shape
        if departs(run.recipe, recipe, shape) and not departs(run.recipe, recipe, shape, scored=False):
            with run.lock():
                run.rescore(recipe.evaluation)
    return fit(
        recipe=recipe.to_dict(),
        out=folder,
        resume=begun,
        evaluate=evaluate,
        quiet=show.console.quiet,
    )
