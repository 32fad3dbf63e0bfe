"""The published binary formats, written byte by byte."""

import gzip
import lzma
import struct
from pathlib import Path

import numpy as np
import pytest

from diabolo.data import formats
from diabolo.errors import UserError

RNG = np.random.default_rng(0)
HERE = Path("somewhere/file.bin")


def idx_bytes(array, code, form):
    return (
        bytes([0, 0, code, array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.astype(form).tobytes()
    )


def as_bytes(raw):
    return np.frombuffer(raw, np.uint8)


@pytest.mark.parametrize(("code", "form"), formats.IDX_TYPES.items())
def test_idx_of_every_type(code, form):
    array = RNG.integers(0, 100, (3, 4, 5))
    read = formats.idx(as_bytes(idx_bytes(array, code, form)), HERE)
    assert read.dtype == np.dtype(form).newbyteorder("=")
    assert (read == array).all()


@pytest.mark.parametrize(
    "spoil", [lambda raw: raw[:-1], lambda raw: raw + b"\0", lambda raw: raw[:6], lambda raw: b"\x89PNG"]
)
def test_wrong_idx_names_the_file(spoil):
    raw = spoil(idx_bytes(RNG.integers(0, 256, (2, 3, 3)), 0x08, ">u1"))
    with pytest.raises(UserError, match=r"file\.bin"):
        formats.idx(as_bytes(raw), HERE)


@pytest.mark.parametrize(
    ("suffix", "compress"), [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress)]
)
def test_contents_decompresses(tmp_path, suffix, compress):
    path = tmp_path / f"data.bin{suffix}"
    path.write_bytes(compress(b"abcdef" * 100))
    assert formats.contents(path).tobytes() == b"abcdef" * 100


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".xz", lzma.compress)])
@pytest.mark.parametrize("spoil", [lambda raw: raw[: len(raw) // 2], lambda raw: b"no such stream"])
def test_broken_compression_names_the_file(tmp_path, suffix, compress, spoil):
    path = tmp_path / f"data.bin{suffix}"
    path.write_bytes(spoil(compress(RNG.bytes(1000))))
    with pytest.raises(UserError, match=f"data.bin{suffix}"):
        formats.contents(path)


@pytest.mark.parametrize(("label_bytes", "label"), [(1, 7), (2, 93)])
def test_cifar_records(label_bytes, label):
    pixels = RNG.integers(0, 256, (4, 3, 32, 32), np.uint8)
    prefix = bytes([label]) if label_bytes == 1 else bytes([19, label])
    raw = b"".join(prefix + image.tobytes() for image in pixels)
    read, labels = formats.cifar(as_bytes(raw), HERE, label_bytes=label_bytes)
    assert (read == pixels).all()
    assert labels.tolist() == [label] * 4
    for wrong in (raw[:-1], b"", b"\xff" * len(raw)):
        with pytest.raises(UserError, match=r"file\.bin"):
            formats.cifar(as_bytes(wrong), HERE, label_bytes=label_bytes)


def test_stl10_channels_are_stored_column_by_column():
    images = RNG.integers(0, 256, (2, 3, 96, 96), np.uint8)
    raw = bytes(
        images[n, c, row, column]
        for n in range(2)
        for c in range(3)
        for column in range(96)
        for row in range(96)
    )
    assert (formats.stl10_images(as_bytes(raw), HERE) == images).all()
    with pytest.raises(UserError, match=r"file\.bin"):
        formats.stl10_images(as_bytes(raw[:-1]), HERE)


def test_stl10_labels_count_from_one():
    assert formats.stl10_labels(as_bytes(bytes([1, 10, 3])), HERE).tolist() == [0, 9, 2]
    with pytest.raises(UserError, match=r"file\.bin"):
        formats.stl10_labels(as_bytes(bytes([0, 1])), HERE)


def test_celeba_attributes():
    text = "2\nBald Male \n000001.jpg  1 -1\n000002.jpg -1  1\n"
    names, attribute_names, attributes = formats.celeba_attributes(text, HERE)
    assert (names, attribute_names) == (["000001.jpg", "000002.jpg"], ["Bald", "Male"])
    assert attributes.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    "text", ["", "2\nBald Male\n000001.jpg 1 -1\n", "1\nBald Male\n000001.jpg 1\n", "1\nBald\n000001.jpg 0\n"]
)
def test_wrong_celeba_attributes_name_the_file(text):
    with pytest.raises(UserError, match=r"file\.bin"):
        formats.celeba_attributes(text, HERE)


def test_celeba_partition():
    assert formats.celeba_partition("a.jpg 0\nb.jpg 2\n", HERE) == {"a.jpg": 0, "b.jpg": 2}
    with pytest.raises(UserError, match=r"file\.bin"):
        formats.celeba_partition("a.jpg 3\n", HERE)
