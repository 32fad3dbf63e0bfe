"""Pixels that stay on disk: the same examples as in memory, in a memory that stays bounded."""

import os
import pickle
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diabolo.data.decode import Reading
from diabolo.data.readers import read
from diabolo.data.rows import Rows, join, select
from diabolo.data.splits import load
from diabolo.recipe import Data

RNG = np.random.default_rng(0)


def numbers(n, start=0):
    return np.arange(2 * start, 2 * (start + n), dtype=np.float32).reshape(n, 2)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.data())
def test_rows_are_indexed_like_a_tensor(lengths, data):
    """Of several stores, after any number of choices."""
    starts = np.cumsum([0, *lengths])
    parts = [numbers(n, start) for n, start in zip(lengths, starts, strict=False)]
    rows, whole = join([Rows([part]) for part in parts]), torch.from_numpy(np.concatenate(parts))
    for _ in range(2):
        index = torch.tensor(data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=8)))
        assert torch.equal(rows[index], whole[index])
        rows, whole = select(rows, index), whole[index]
    assert isinstance(rows, Rows)
    assert (rows.shape, len(rows), rows.ndim, rows.dtype) == (whole.shape, len(whole), 2, torch.float32)
    assert rows.nbytes == whole.nbytes
    cut = slice(data.draw(st.integers(0, 3)), data.draw(st.integers(0, 9)))
    assert torch.equal(rows[cut], whole[cut])
    assert torch.equal(join([whole, rows])[:], torch.cat([whole, whole]))


def test_splits_of_a_map_are_views_of_one_map(tmp_path, monkeypatch):
    monkeypatch.setenv("DIABOLO_CACHE", str(tmp_path / "cache"))
    array = RNG.integers(0, 256, (50, 3, 8, 9), np.uint8)
    np.savez(tmp_path / "a.npz", images=array, labels=np.arange(50) % 2)
    mapped, resident = (load(Data(name=str(tmp_path / "a.npz"), resident=r, limit=20)) for r in (False, True))
    for part in ("train", "validation", "test"):
        one, other = getattr(mapped, part), getattr(resident, part)
        assert isinstance(one.pixels, Rows)
        assert isinstance(other.pixels, torch.Tensor)
        assert np.shares_memory(one.pixels.stores[0], mapped.train.pixels.stores[0])
        assert torch.equal(one.pixels[:], other.pixels)
        assert torch.equal(one.labels, other.labels)
    assert mapped.digest() == resident.digest()
    assert not (tmp_path / "cache").exists()  # it is read where it lies


def test_a_map_goes_to_another_process_by_its_name(tmp_path):
    array = RNG.integers(0, 256, (500, 3, 8, 8), np.uint8)
    np.savez(tmp_path / "a.npz", x_train=array, x_test=array[::-1].copy())
    parts = read(tmp_path / "a.npz", Reading(resident=False))
    for part, expected in ((parts.train, array), (parts.test, array[::-1])):
        few = part.take(torch.tensor([400, 3]))
        sent = pickle.dumps(few)
        assert len(sent) < 2000
        np.testing.assert_array_equal(pickle.loads(sent).pixels[:], expected[[400, 3]])


ARRAYS = {
    "grey": RNG.integers(0, 256, (7, 6, 5), np.uint8),
    "channels last": RNG.integers(0, 256, (7, 6, 5, 3), np.uint8),
    "three of everything": RNG.integers(0, 256, (7, 3, 3, 3), np.uint8),
    "channels first": RNG.integers(0, 256, (7, 3, 6, 5), np.uint8),
    "alpha": RNG.integers(0, 256, (7, 6, 5, 4), np.uint8),
    "floats": RNG.random((7, 6, 5, 3)),
    "booleans": RNG.random((7, 6, 5)) < 0.5,
    "by columns": np.asfortranarray(RNG.integers(0, 256, (7, 3, 6, 5), np.uint8)),
    "vectors": RNG.normal(size=(7, 4)).astype(np.float32),
    "double vectors": RNG.normal(size=(7, 4)),
}


@pytest.mark.parametrize("form", ["npy", "npz", "compressed"])
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_are_the_same_on_disk_as_in_memory(cache, tmp_path, monkeypatch, name, form):
    monkeypatch.setattr("diabolo.data.arrays.CHUNK", 300)  # so that they are converted in several pieces
    path = tmp_path / f"a.{form[:3] if form != 'compressed' else 'npz'}"
    if form == "npy":
        np.save(path, ARRAYS[name])
    else:
        (np.savez if form == "npz" else np.savez_compressed)(path, images=ARRAYS[name])
    vectors = ARRAYS[name].ndim == 2
    for options in [{}] if vectors else [{}, {"size": 4}, {"colour": "grey"}, {"size": 3, "colour": "rgb"}]:
        mapped, resident = (read(path, Reading(resident=r, **options)).train.pixels for r in (False, True))
        assert isinstance(mapped, Rows)
        assert isinstance(resident, torch.Tensor)
        assert mapped.dtype == resident.dtype
        assert torch.equal(mapped[:], resident)


def test_folders_and_tars_are_the_same_on_disk_as_in_memory(cache, tmp_path):
    for name in ("train/a/0", "train/b/1", "test/a/2", "train/b/3"):
        file = tmp_path / "photos" / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RNG.integers(0, 256, (6, 5, 3), np.uint8)).save(file)
    (tmp_path / "photos/train/a/broken.png").write_bytes(b"no image")
    for suffix in ("tar", "tar.gz"):
        with tarfile.open(tmp_path / f"x.{suffix}", "w:gz" if suffix == "tar.gz" else "w") as archive:
            archive.add(tmp_path / "photos", "photos")
    expected = read(tmp_path / "photos", Reading(resident=True))
    for form in ("photos", "x.tar", "x.tar.gz"):
        for _ in range(2):  # the second time from what was decoded the first time
            parts = read(tmp_path / form, Reading(resident=False))
            for one, other in ((parts.train, expected.train), (parts.test, expected.test)):
                assert isinstance(one.pixels, Rows)
                assert torch.equal(one.pixels[:], other.pixels)
                assert torch.equal(one.labels, other.labels)
            assert "1 unreadable file skipped" in parts.notes[0]
            together = parts.together()
            assert torch.equal(together.pixels[:], expected.together().pixels)
    assert len(list(cache.rglob("*.npy"))) == 3


def test_published_files_are_the_same_on_disk_as_in_memory(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("DIABOLO_DATA", str(tmp_path))
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    for prefix, count in (("unlabeled", 10), ("train", 5), ("test", 4)):
        RNG.integers(0, 256, (count, 3, 96, 96), np.uint8).tofile(folder / f"{prefix}_X.bin")
        (np.arange(count, dtype=np.uint8) + 1).tofile(folder / f"{prefix}_y.bin")
    mapped, resident = (load(Data(name="stl10", resident=r)) for r in (False, True))
    assert isinstance(mapped.train.pixels, Rows)
    assert torch.equal(mapped.train.pixels[:], resident.train.pixels)
    assert mapped.digest() == resident.digest()


# The limit is on private memory that can be written. RLIMIT_DATA counts the heap, anonymous maps and
# stacks, but not maps of files that are only read, nor shared ones that are written back: the system drops
# both when it has other use for the memory. RLIMIT_AS would count them too, and so refuse the map itself.
# What each step may take beyond what was taken before it is far less than the pixels: no copy of them, or of
# most, has room.
BOUNDED = """
import resource, sys
from pathlib import Path
import diabolo
from diabolo.data.splits import load
from diabolo.representation import extract
from diabolo.recipe import Data

class Enough(Exception):
    pass

def enough(row):
    if row["kind"] == "train":  # behind the live curve's point before training
        raise Enough

def steps(path, resident):
    recipe = {"method": "simclr", "data": {"resident": resident},
              "encoder": {"name": "resnet18", "width": 0.0625},
              "views": {"count": 2, "transforms": [{"name": "random-resized-crop", "size": 16}]},
              "training": {"batch_size": 4, "log_every": 3}}
    try:
        diabolo.fit(path, recipe=recipe, out=folder / f"run-{path.stem}-{resident}", watch=enough, quiet=True)
    except Enough:
        print(path.stem, "trained")

def bound():
    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (used + int(sys.argv[2]), resource.RLIM_INFINITY))

folder = Path(sys.argv[1])
large = folder / "large.npy"
steps(folder / "warm.npy", True)  # what is loaded on first use
bound()
try:
    load(Data(name=str(large), resident=True))
except MemoryError:
    print("no room for a copy")
bound()
steps(large, None)
train = load(Data(name=str(large))).train
bound()
print(len(extract(lambda x: x.flatten(1)[:, :2], train)), "represented")
bound()
steps(folder / "photos", None)
"""
PIXELS, MORE = 300_000_000, 150_000_000  # bytes


def test_what_is_larger_than_memory_is_trained_on(cache, tmp_path):
    """An array and a folder; the same array with a copy in memory does not pass under this limit."""
    images = PIXELS // 128**2
    np.save(tmp_path / "warm.npy", np.zeros((100, 8, 8), np.uint8))
    # A map of nothing but zeros takes no place on the disk.
    np.lib.format.open_memmap(tmp_path / "large.npy", "w+", np.uint8, (images, 1, 128, 128)).flush()
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.zeros((512, 512), np.uint8)).save(tmp_path / "photos/0.png")
    for i in range(1, PIXELS // 512**2):
        os.link(tmp_path / "photos/0.png", tmp_path / f"photos/{i}.png")
    command = [sys.executable, "-c", BOUNDED, str(tmp_path), str(MORE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        "warm trained",
        "no room for a copy",
        "large trained",
        f"{images - round(0.1 * images) - round(0.1 * round(0.9 * images))} represented",
        "photos trained",
    ], done.stderr
