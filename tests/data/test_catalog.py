"""Named data sets: the real files where they are at hand, small ones in the published formats elsewhere."""

import lzma
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from diabolo.data.catalog import CATALOG
from diabolo.data.splits import load
from diabolo.errors import UserError
from diabolo.recipe import Data

RNG = np.random.default_rng(0)
HAIR = CATALOG["celeba"].classes


@pytest.fixture
def root(cache, tmp_path, monkeypatch):
    """A data folder of our own; decoded arrays go to a cache folder of the test."""
    monkeypatch.setenv("DIABOLO_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def test_the_table_needs_no_pytorch():
    code = "import sys, diabolo.data.catalog; sys.exit('torch' in sys.modules or 'pooch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_digits():
    splits = load(Data(name="digits"))
    assert len(splits.test) == 360
    assert len(splits.train) + len(splits.validation) == 1797 - 360
    assert splits.train.shape == (1, 8, 8)
    assert splits.train.pixels.max() == 255
    shares = splits.test.labels.bincount()
    assert shares.min() >= 34  # stratified
    assert torch.equal(splits.test.pixels, load(Data(name="digits", split_seed=1)).test.pixels)


@pytest.mark.data("mnist")
@pytest.mark.data("fashion-mnist")
@pytest.mark.parametrize(("name", "mean"), [("mnist", 0.1307), ("fashion-mnist", 0.2860)])
def test_mnist_and_fashion(name, mean):
    splits = load(Data(name=name))
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [54000, 6000, 10000]
    whole = torch.cat([splits.train.pixels, splits.validation.pixels])
    assert abs(whole.float().mean().item() / 255 - mean) < 5e-5
    assert splits.test.labels.bincount(minlength=10).min() > 800


def cifar_file(path, count, label_bytes):
    labels = RNG.integers(0, 10, (count, label_bytes))
    pixels = RNG.integers(0, 256, (count, 3072))
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = np.concatenate([labels, pixels], 1).astype(np.uint8).tobytes()
    path.write_bytes(lzma.compress(raw) if path.suffix == ".xz" else raw)
    return torch.from_numpy(labels[:, -1]), torch.from_numpy(pixels.astype(np.uint8)).reshape(-1, 3, 32, 32)


@pytest.mark.parametrize("suffix", ["", ".xz"])
def test_cifar10_joins_its_batches_in_order(root, suffix):
    folder = root / "cifar-10-batches-bin"
    written = [cifar_file(folder / f"data_batch_{i}.bin{suffix}", 4, 1) for i in range(1, 6)]
    labels, pixels = cifar_file(folder / f"test_batch.bin{suffix}", 3, 1)
    for _ in range(2):  # the second time from what was decoded the first time
        splits = load(Data(name="cifar10"))
        assert torch.equal(splits.test.pixels, pixels)
        assert torch.equal(splits.test.labels, labels)
        together = torch.cat([splits.train.pixels, splits.validation.pixels]).flatten(1)
        assert {bytes(row.tolist()) for row in together} == {
            bytes(row.tolist()) for _, batch in written for row in batch.flatten(1)
        }
    cifar_file(folder / f"test_batch.bin{suffix}", 5, 1)
    assert len(load(Data(name="cifar10")).test) == 5


def test_cifar100_takes_the_fine_label(root):
    folder = root / "cifar-100-binary"
    cifar_file(folder / "train.bin", 10, 2)
    labels, _ = cifar_file(folder / "test.bin", 5, 2)
    splits = load(Data(name="cifar100"))
    assert torch.equal(splits.test.labels, labels)
    assert len(splits.test.classes) == len(set(splits.test.classes)) == 100
    assert list(splits.test.classes) == sorted(splits.test.classes)


def test_a_truncated_file_is_named(root):
    folder = root / "cifar-100-binary"
    cifar_file(folder / "train.bin", 10, 2)
    cifar_file(folder / "test.bin", 5, 2)
    (folder / "test.bin").write_bytes((folder / "test.bin").read_bytes()[:-7])
    with pytest.raises(UserError, match=r"test\.bin"):
        load(Data(name="cifar100"))


def test_stl10_trains_on_the_unlabelled_part(root):
    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    written = {}
    for prefix, count in (("unlabeled", 10), ("train", 5), ("test", 4)):
        images = RNG.integers(0, 256, (count, 3, 96, 96), np.uint8)
        written[prefix] = torch.from_numpy(images)
        (folder / f"{prefix}_X.bin").write_bytes(images.transpose(0, 1, 3, 2).tobytes())
    (folder / "train_y.bin").write_bytes(bytes([1, 2, 3, 4, 10]))
    (folder / "test_y.bin").write_bytes(bytes([10, 9, 8, 7]))
    splits = load(Data(name="stl10"))
    assert (len(splits.train), len(splits.validation)) == (9, 1)
    assert splits.train.labels is None
    assert torch.equal(splits.labelled.pixels, written["train"])
    assert splits.labelled.labels.tolist() == [0, 1, 2, 3, 9]
    assert torch.equal(splits.test.pixels, written["test"])
    assert splits.test.labels.tolist() == [9, 8, 7, 6]
    assert splits.train.pixels.is_contiguous()
    (row,) = (written["unlabeled"] == splits.validation.pixels).flatten(1).all(1).nonzero()
    assert len(row) == 1
    small = load(Data(name="stl10", size=32, colour="grey"))
    assert small.train.shape == small.labelled.shape == small.test.shape == (1, 32, 32)


def celeba(root, packed):
    """Ten faces, grey bars at top and bottom that the crop must remove; hair as listed."""
    folder = root / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    hair = ["10000", "01000", "00100", "00010", "00001", "00000", "11000", "01000", "01000", "01000"]
    names = [f"{i:06}.jpg" for i in range(1, 11)]
    rows = []
    for i, (name, bits) in enumerate(zip(names, hair, strict=True)):
        face = np.full((218, 178, 3), 20 * i, np.uint8)
        face[:20] = face[-20:] = 255
        Image.fromarray(face).save(folder / "img_align_celeba" / name, quality=95)
        rows.append(f"{name} {' '.join('1' if bit == '1' else '-1' for bit in bits)} 1")
    (folder / "list_attr_celeba.txt").write_text("\n".join(["10", f"{' '.join(HAIR)} Male", *rows, ""]))
    partition = [f"{name} {part}" for name, part in zip(names, "0000000122", strict=True)]
    (folder / "list_eval_partition.txt").write_text("\n".join(partition))
    if packed:
        with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
            for name in names:
                archive.write(folder / "img_align_celeba" / name, f"img_align_celeba/{name}")
                (folder / "img_align_celeba" / name).unlink()
        (folder / "img_align_celeba").rmdir()
    return folder


@pytest.mark.parametrize("packed", [False, True])
def test_celeba(root, packed):
    celeba(root, packed)
    for _ in range(2):  # the second time from what was decoded the first time
        splits = load(Data(name="celeba"))
        assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [7, 1, 2]
        assert splits.train.shape == (3, 64, 64)
        assert splits.train.labels.tolist() == [0, 1, 2, 3, 4, -1, -1]
        assert splits.train.attributes.dtype == torch.int8
        assert splits.train.attributes[0].tolist() == [1, 0, 0, 0, 0, 1]
        assert splits.train.attribute_names == (*HAIR, "Male")
        assert splits.test.names == ("000009.jpg", "000010.jpg")
        for i, pixels in enumerate(splits.train.pixels):
            assert (pixels[:, 4:-4] - 20.0 * i).abs().max() <= 2
            assert (pixels - 20.0 * i).abs().max() < 60
    assert load(Data(name="celeba", size=32, colour="grey")).train.shape == (1, 32, 32)


def test_a_face_that_was_replaced_is_read_anew(root):
    folder = celeba(root, packed=False)
    first = load(Data(name="celeba")).train.pixels[:]
    Image.new("RGB", (178, 218), "white").save(folder / "img_align_celeba" / "000002.jpg")
    again = load(Data(name="celeba")).train.pixels[:]
    assert (again[1] == 255).all()
    assert torch.equal(again[2:], first[2:])


def test_a_missing_face_is_named(root):
    folder = celeba(root, packed=False)
    (folder / "img_align_celeba" / "000003.jpg").unlink()
    with pytest.raises(UserError, match=r"000003\.jpg"):
        load(Data(name="celeba"))
