"""The ledger: a trial is done by one worker, once."""

import os
import sys
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

from filelock import FileLock
from optuna.storages.journal import JournalFileBackend

from diabolo.tuning.ledger import Ledger
from diabolo.tuning.space import space_from

SPACE = space_from({"optimiser.lr": [0.1, 0.2]}, "space")


def ledger(folder: Path) -> Ledger:
    store = str(folder / "trials.journal")
    return Ledger(folder, store, "name", rises=True, sampler="random", seed=0, prune=False)


def test_a_trial_ended_between_the_reading_and_the_taking_is_left_alone(tmp_path: Path, monkeypatch) -> None:
    one, two = ledger(tmp_path), ledger(tmp_path)
    with one.take(2, SPACE) as first:
        assert first is not None

    def ended_meanwhile(number: int) -> FileLock:
        if number == 0:
            one.study.tell(first, 0.5)
        return Ledger._lock(two, number)

    monkeypatch.setattr(two, "_lock", ended_meanwhile)
    with two.take(2, SPACE) as second:
        assert second is not None
        assert second.number == 1


def test_what_a_worker_left_is_taken_over_unless_another_holds_it(tmp_path: Path) -> None:
    one, two = ledger(tmp_path), ledger(tmp_path)
    with one.take(2, SPACE) as first, two.take(2, SPACE) as second:
        assert first is not None
        assert second is not None
        assert (first.number, second.number) == (0, 1)
    with two.take(2, SPACE) as again:
        assert again is not None
        assert again.number == 0


def killed_as_it_writes(folder: Path) -> None:
    os.fsync = lambda _: os._exit(9)
    ledger(folder)


def test_the_lock_of_a_process_that_was_killed_is_broken(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("searches", "s")
    process = get_context("fork").Process(target=killed_as_it_writes, args=(folder,))
    process.start()
    process.join()
    assert process.exitcode == 9
    seconds = count(step=5)

    def monotonic() -> int:
        now = next(seconds)
        assert now < 600, "it waits for ever"
        return now

    clock = SimpleNamespace(monotonic=monotonic, sleep=lambda _: None)
    monkeypatch.setattr(sys.modules[JournalFileBackend.__module__], "time", clock)
    with ledger(folder).take(1, SPACE) as trial:
        assert trial is not None
