"""The cache of what was decoded: built once, by one process, whole or not at all."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diabolo.data import decoded as module
from diabolo.data import readers
from diabolo.data.decode import Reading
from diabolo.data.decoded import decoded
from diabolo.errors import UserError

FORK = multiprocessing.get_context("fork")  # what is loaded need not be loaded again


@pytest.fixture
def source(cache, tmp_path) -> Path:
    (tmp_path / "source").write_text("one")
    return tmp_path / "source"


def counting(values):
    """A build of these values, and how often it was asked."""
    asked = []

    def build(make):
        asked.append(1)
        array = make((len(values),), np.uint8)
        array[:] = values
        return array, {"times": len(asked)}

    return build, asked


def test_it_is_built_once_until_source_or_settings_change(cache, source):
    build, asked = counting([7, 8])
    for _ in range(2):
        array, about = decoded([source], "s", build)
        assert isinstance(array, np.memmap)
        assert array.tolist() == [7, 8]
        assert about == {"times": 1}
    decoded([source], "other settings", build)
    source.write_text("longer")
    assert decoded([source], "s", build)[1] == {"times": 3}
    assert len(asked) == 3
    assert not list(cache.rglob("*.tmp"))


def test_what_is_small_is_not_remembered(cache, source, monkeypatch):
    build, asked = counting([7])
    for _ in range(2):
        decoded([source], "s", build, least=4)
    assert len(asked) == 2
    assert not cache.exists()
    monkeypatch.setattr(module, "fits", lambda size: False)  # but it is, where memory cannot hold it
    for _ in range(2):
        assert isinstance(decoded([source], "s", build, least=4)[0], np.memmap)
    assert len(asked) == 4  # one of them to see how large it is


def test_a_cache_that_cannot_be_written_is_done_without(cache, source):
    cache.write_text("a file where the folder should be")
    assert decoded([source], "s", counting([7])[0])[0].tolist() == [7]


def test_a_full_disk_is_done_without_or_refused(cache, source, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert decoded([source], "s", counting([7])[0])[0].tolist() == [7]
    monkeypatch.setattr(module, "fits", lambda size: False)
    with pytest.raises(UserError, match=r"no place for .*No space left on device.*data\.size"):
        decoded([source], "s", counting([7])[0])
    assert [file.suffix for file in (cache / "decoded").iterdir()] == [".lock"]


def test_an_interrupted_build_leaves_nothing_and_is_done_again(cache, source):
    def interrupted(make):
        make((3,), np.uint8)[0] = 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decoded([source], "s", interrupted)
    assert [file.suffix for file in (cache / "decoded").iterdir()] == [".lock"]
    assert decoded([source], "s", counting([7, 8, 9])[0])[0].tolist() == [7, 8, 9]


def test_a_killed_build_is_done_again(cache, source):
    def killed(make):
        make((3,), np.uint8)[:2] = 1
        os.kill(os.getpid(), signal.SIGKILL)

    process = FORK.Process(target=decoded, args=([source], "s", killed))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not list(cache.rglob("*.npy"))
    assert decoded([source], "s", counting([7, 8, 9])[0])[0].tolist() == [7, 8, 9]
    assert not list(cache.rglob("*.tmp"))


def pictures(folder, count=5):
    folder.mkdir()
    for i in range(count):
        Image.fromarray(np.full((6, 6, 3), 10 * i, np.uint8)).save(folder / f"{i}.png")
    return folder


def levels(images):
    """The level of each picture, all of whose pixels are alike."""
    return images.pixels[:].flatten(1).float().mean(1).tolist()


def test_two_processes_decode_once(cache, tmp_path, monkeypatch):
    folder, together, found = pictures(tmp_path / "photos"), FORK.Barrier(2), FORK.Queue()
    decode = readers.decode

    def slow(*arguments, **options):
        found.put("decoded")
        time.sleep(0.3)
        return decode(*arguments, **options)

    def run():
        together.wait()
        found.put(levels(readers.read(folder, Reading(resident=False)).train))

    monkeypatch.setattr(readers, "decode", slow)
    processes = [FORK.Process(target=run) for _ in range(2)]
    for process in processes:
        process.start()
    outcome = [found.get(timeout=60) for _ in range(3)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert outcome == ["decoded", *[[0, 10, 20, 30, 40]] * 2]
    assert found.empty()


def test_a_decoded_folder_is_found_again_with_its_names_and_notes(cache, tmp_path, monkeypatch):
    folder = pictures(tmp_path / "photos")
    (folder / "3.png").write_bytes(b"no image")
    first = readers.read(folder, Reading(resident=False))
    monkeypatch.setattr(readers, "decode", None)  # not asked again
    again = readers.read(folder, Reading(resident=False))
    assert again.train.names == first.train.names == ("0.png", "1.png", "2.png", "4.png")
    assert again.notes == first.notes == ("1 unreadable file skipped: 3.png",)
    assert levels(again.train) == levels(first.train) == [0, 10, 20, 40]
