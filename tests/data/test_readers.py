"""What a user may bring: folders, archives, arrays, single files."""

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diabolo.data.arrays import conform
from diabolo.data.classes import arrange, merged
from diabolo.data.decode import Reading, decode
from diabolo.data.readers import read
from diabolo.data.sources import folder_files
from diabolo.data.splits import splits_from
from diabolo.errors import UserError
from diabolo.recipe import Data

RNG = np.random.default_rng(0)


def picture(height=8, width=8, channels=3):
    return RNG.integers(0, 256, (height, width, channels), np.uint8)


def save(folder: Path, name: str, pixels: np.ndarray) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.squeeze()).save(path)


@pytest.fixture
def classes(tmp_path):
    """Two classes of RGB images, with clutter beside them."""
    folder = tmp_path / "photos"
    pictures = {f"{kind}/{i}.png": picture() for kind in ("dog", "cat") for i in range(3)}
    for name, pixels in pictures.items():
        save(folder, name, pixels)
    for clutter in (".hidden.png", "__MACOSX/cat/._0.png", "cat/Thumbs.db"):
        (folder / clutter).parent.mkdir(parents=True, exist_ok=True)
        (folder / clutter).write_bytes(b"clutter")
    return folder, pictures


def pack_zip(folder, target):
    with zipfile.ZipFile(target, "w") as archive:
        for file in folder.rglob("*"):
            archive.write(file, file.relative_to(folder.parent))


def pack_tar(folder, target):
    with tarfile.open(
        target, "w:" + {".tar": "", ".gz": "gz", ".tgz": "gz", ".xz": "xz"}[target.suffix]
    ) as archive:
        archive.add(folder, folder.name)


@pytest.mark.parametrize("form", ["folder", "x.zip", "x.tar", "x.tar.gz", "x.tgz", "x.tar.xz"])
def test_class_folders_in_every_wrapping(classes, tmp_path, form):
    path, pictures = classes
    if form != "folder":
        (pack_zip if form == "x.zip" else pack_tar)(path, tmp_path / form)
        path = tmp_path / form
    before = sorted(tmp_path.rglob("*"))
    parts = read(path)
    assert sorted(tmp_path.rglob("*")) == before  # nothing is unpacked
    train = parts.train
    assert train.classes == ("cat", "dog")
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert [name.removeprefix("photos/") for name in train.names] == sorted(pictures)
    for pixels, name in zip(train.pixels, train.names, strict=True):
        assert (pixels.permute(1, 2, 0).numpy() == pictures[name.removeprefix("photos/")]).all()
    assert parts.test is None
    assert parts.notes == ()


def test_flat_folder_has_no_labels(tmp_path):
    for i in range(3):
        save(tmp_path, f"{i}.png", picture(channels=1))
    train = read(tmp_path).train
    assert train.labels is None
    assert train.pixels.shape == (3, 1, 8, 8)


def test_images_beside_class_folders_have_no_label(classes):
    folder, _ = classes
    save(folder, "loose.png", picture())
    train = read(folder).train
    assert train.labels[train.names.index("loose.png")] == -1
    assert train.labels.tolist().count(-1) == 1


def test_parts_share_their_classes(tmp_path):
    for name in ("train/b/0", "train/c/0", "test/a/0", "test/c/0", "val/b/0"):
        save(tmp_path, f"{name}.png", picture())
    parts = read(tmp_path)
    assert parts.train.classes == parts.test.classes == ("a", "b", "c")
    assert parts.train.labels.tolist() == [1, 2]
    assert parts.test.labels.tolist() == [0, 2]
    assert parts.validation.labels.tolist() == [1]
    images = read(tmp_path).together()
    assert images.labels.tolist() == [1, 2, 1, 0, 2]
    assert len(images.names) == 5


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["cat/0", "dog/0", "unlabelled/0", "Unlabeled/deep/1"], {"train": ["cat", "dog", None, None]}),
        (["labelled/cat/0", "labelled/dog/0", "unlabelled/2026/0"], {"train": ["cat", "dog", None]}),
        (
            ["train/cat/0", "train/dog/0", "unlabelled/cat/0", "test/dog/0"],
            {"train": ["cat", "dog", None], "test": ["dog"]},
        ),
        (["unlabeled/0", "unlabeled/1", "test/cat/0", "test/dog/0"], {"train": None, "test": ["cat", "dog"]}),
        (["train/cat/0", "train/dog/0", "train/unlabelled/0"], {"train": ["cat", "dog", None]}),
        (["unlabelled/2025/0", "unlabelled/2026/0"], {"train": None}),
    ],
)
def test_unlabelled_is_no_class_but_belongs_to_train(tmp_path, names, expected):
    for name in names:
        save(tmp_path, f"{name}.png", picture())
    parts = read(tmp_path).present()
    assert parts.keys() == expected.keys()
    for part, images in parts.items():
        found = None if images.labels is None else [[*images.classes, None][i] for i in images.labels]
        assert (found if found is None else sorted(found, key=str)) == (
            expected[part] and sorted(expected[part], key=str)
        )
        assert images.labels is None or images.classes == ("cat", "dog")


def test_beside_unlabelled_a_class_may_be_called_test():
    parts, classes = arrange(["car/0.png", "test/0.png", "unlabelled/0.png"])
    assert parts == ["train"] * 3
    assert classes == ["car", "test", None]


def test_a_class_may_be_called_train():
    parts, classes = arrange(["car/0.png", "plane/0.png", "train/0.png"])
    assert parts == ["train"] * 3
    assert classes == ["car", "plane", "train"]


NESTED = ["animals/cats/0.png", "animals/dogs/0.png", "animals/1.png", "cars/0.png"]


def test_folders_within_a_class_are_one_class_and_said_to_be_or_classes_of_their_own(tmp_path):
    for name in NESTED:
        save(tmp_path, name, picture())
    parts = read(tmp_path)
    assert parts.train.classes == ("animals", "cars")
    said = "folders within animals (cats, dogs, …) are one class: data.classes=path tells them apart"
    assert parts.notes == (said,)
    apart = read(tmp_path, Reading(classes="path"))
    assert apart.train.classes == ("animals", "animals/cats", "animals/dogs", "cars")
    assert [apart.train.classes[label] for label in apart.train.labels] == [
        {"1": "animals"}.get(Path(name).stem, str(Path(name).parent)) for name in apart.train.names
    ]
    assert apart.notes == ()


@pytest.mark.parametrize("names", [["cat/0.png", "dog/0.png"], ["cat/x/0.png", "dog/y/0.png"], ["0.png"]])
def test_nothing_is_said_of_folders_that_merge_nothing(names):
    assert merged(names) is None


@pytest.mark.parametrize("key", ["path", "name", "stem"])
def test_a_table_says_the_classes(tmp_path, key):
    names = ["a/one.png", "a/two.png", "b/three.png", "b/four.png"]
    for name in names:
        save(tmp_path / "images", name, picture())
    called = {"path": str, "name": lambda name: Path(name).name, "stem": lambda name: Path(name).stem}[key]
    table = tmp_path / "classes.csv"
    rows = zip([*map(called, names), "gone"], ["cat", "dog", "cat", "", "cat"], strict=True)
    table.write_text("\ufeffimage,class\n" + "".join(f"{name}, {label}\n" for name, label in rows))
    parts = read(tmp_path / "images", Reading(classes=str(table)))
    found = dict(zip(parts.train.names, parts.train.labels.tolist(), strict=True))
    assert parts.train.classes == ("cat", "dog")
    assert found == {"a/one.png": 0, "a/two.png": 1, "b/three.png": 0, "b/four.png": -1}
    assert parts.notes == (
        f"{table}: 1 name is of no image: gone",
        f"{table}: 1 of 4 images have no class",
    )


def test_a_path_in_a_table_is_one_image_whatever_else_is_called_so(tmp_path):
    for name in ("x.png", "sub/x.png"):
        save(tmp_path / "images", name, picture())
    table = tmp_path / "classes.csv"
    table.write_text("image,class\nx.png,cat\nsub\\x.png,dog\n")
    train = read(tmp_path / "images", Reading(classes=str(table))).train
    assert [train.classes[label] for label in train.labels] == ["dog", "cat"]
    assert train.names == ("sub/x.png", "x.png")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "cannot be read"),
        ("image\nx\n", "needs two columns"),
        ("image,class\nx,cat\n", "names none of the images; they are called a/0.png, b/0.png"),
        ("image,class\n0,cat\n", "0 could be 2 images"),
        ("image,class\na/0.png,cat\na/0.png,dog\n", "names a/0.png twice"),
        ("a/0.png,cat\nb/0.png,dog\n", "has no heading"),
    ],
)
def test_a_table_that_says_no_classes_is_refused(tmp_path, text, says):
    for name in ("a/0.png", "b/0.png"):
        save(tmp_path / "images", name, picture())
    table = tmp_path / "classes.csv"
    if text is not None:
        table.write_text(text)
    with pytest.raises(UserError, match=f"^data.classes: .*{says}"):
        read(tmp_path / "images", Reading(classes=str(table)))


def test_what_lies_beside_the_parts_is_left_out(tmp_path):
    for name in ("train/0", "test/0", "sample"):
        save(tmp_path, f"{name}.png", picture())
    parts = read(tmp_path)
    assert (len(parts.train), len(parts.test)) == (1, 1)
    assert "sample.png" in parts.notes[0]


def test_unreadable_files_are_skipped_and_named_or_refused(classes):
    folder, pictures = classes
    (folder / "cat/broken.png").write_bytes(b"not an image")
    whole = (folder / "cat/0.png").read_bytes()
    (folder / "cat/cut.png").write_bytes(whole[: len(whole) // 2])  # its header is intact
    parts = read(folder)
    assert len(parts.train) == len(pictures)
    assert parts.notes == ("2 unreadable files skipped: cat/broken.png, cat/cut.png",)
    for pixels, name in zip(parts.train.pixels, parts.train.names, strict=True):
        assert (pixels.permute(1, 2, 0).numpy() == pictures[name]).all()
    with pytest.raises(UserError, match=r"broken\.png"):
        read(folder, Reading(strict=True))


def test_nothing_to_read_is_refused(tmp_path):
    with pytest.raises(UserError, match="no image found"):
        read(tmp_path)
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(UserError, match=r"no image found .*notes\.txt"):
        read(tmp_path)
    with pytest.raises(UserError, match=r"notes\.txt"):
        read(tmp_path / "notes.txt")
    (tmp_path / "fake.png").write_text("no image")
    with pytest.raises(UserError, match=r"fake\.png"):
        read(tmp_path)
    with pytest.raises(UserError, match=r"fake\.png"):
        read(tmp_path / "fake.png")


@pytest.mark.parametrize(
    "name", ["x.zip", "x.tar", "x.tar.gz", "x.tar.xz", "x.npy", "x.npz", "x.bin", "x.gz"]
)
@pytest.mark.parametrize("raw", [b"", b"rubbish" * 50])
def test_rubbish_is_refused_by_name(tmp_path, name, raw):
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(UserError, match=name) as error:
        read(tmp_path / name)
    assert "\n" not in str(error.value)


def test_mixed_sizes_become_64_unless_told(tmp_path):
    save(tmp_path, "a.png", picture(20, 30))
    save(tmp_path, "b.png", picture(100, 80))
    parts = read(tmp_path)
    assert parts.train.shape == (3, 64, 64)
    assert "2 sizes, 30×20 to 80×100: their central" in parts.notes[0]
    save(tmp_path, "c.png", picture(20, 30))
    assert "30×20 to 80×100 (2 of 3 are 30×20): their central" in read(tmp_path).notes[0]
    parts = read(tmp_path, Reading(size=16))
    assert parts.train.shape == (3, 16, 16)
    assert parts.notes == ()


def test_resizing_keeps_the_centre(tmp_path):
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200
    save(tmp_path, "a.png", wide)
    assert (read(tmp_path, Reading(size=5)).train.pixels == 200).all()
    array = conform(torch.from_numpy(wide).permute(2, 0, 1)[None].contiguous(), size=5, colour="as-is")
    assert (array == 200).all()


def test_colours(tmp_path):
    grey, colour = picture(channels=1), picture()
    save(tmp_path, "a.png", grey)
    save(tmp_path, "b.png", colour)
    both = read(tmp_path).train.pixels
    assert both.shape == (2, 3, 8, 8)
    assert (both[0] == torch.from_numpy(grey.transpose(2, 0, 1))).all()
    assert read(tmp_path, Reading(colour="grey")).train.pixels.shape == (2, 1, 8, 8)
    (tmp_path / "b.png").unlink()
    assert read(tmp_path).train.shape == (1, 8, 8)
    assert read(tmp_path, Reading(colour="rgb")).train.shape == (3, 8, 8)


def test_unusual_modes(tmp_path):
    transparent = np.dstack([np.full((4, 4, 3), 10, np.uint8), np.zeros((4, 4), np.uint8)])
    Image.fromarray(transparent).save(tmp_path / "a.png")
    Image.fromarray(np.full((4, 4), 0x8000, np.uint16)).save(tmp_path / "b.png")
    Image.fromarray(np.full((4, 4, 3), (0, 0, 255), np.uint8)).convert("P").save(tmp_path / "c.png")
    sideways = Image.fromarray(np.zeros((4, 8, 3), np.uint8))
    exif = sideways.getexif()
    exif[0x0112] = 6
    (tmp_path / "turned").mkdir()
    sideways.save(tmp_path / "turned/d.jpg", exif=exif)
    pixels = read(tmp_path, Reading(colour="rgb", size=4)).train.pixels[:3, :, 0, 0]
    assert pixels.tolist() == [[255, 255, 255], [128, 128, 128], [0, 0, 255]]
    assert read(tmp_path / "turned").train.shape == (3, 8, 4)


def test_arrays_are_recoloured_and_resized_like_files(tmp_path):
    smooth = np.linspace(0, 255, 40 * 40 * 3).reshape(40, 40, 3).astype(np.uint8)
    save(tmp_path, "a.png", smooth)
    np.save(tmp_path / "a.npy", smooth[None])
    for options in ({"colour": "grey"}, {"size": 16}, {"size": 16, "colour": "grey"}):
        from_file, *_ = decode(
            [f for f in folder_files(tmp_path) if f.name == "a.png"],
            Reading(**options),
        )
        from_array = read(tmp_path / "a.npy", Reading(**options)).train.pixels.numpy()
        assert np.abs(from_file.astype(int) - from_array).max() <= 1


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 8, 8), (1, 8, 8)),
        ((5, 8, 9, 1), (1, 8, 9)),
        ((5, 8, 9, 3), (3, 8, 9)),
        ((5, 8, 9, 4), (3, 8, 9)),
        ((5, 3, 8, 9), (3, 8, 9)),
        ((5, 2, 8, 9), (2, 8, 9)),
    ],
)
def test_array_layouts(tmp_path, shape, expected):
    array = RNG.integers(0, 256, shape, np.uint8)
    np.save(tmp_path / "a.npy", array)
    train = read(tmp_path / "a.npy").train
    assert train.shape == expected
    assert train.pixels.dtype == torch.uint8
    if shape == (5, 8, 9, 3):
        assert (train.pixels.permute(0, 2, 3, 1).numpy() == array).all()


def test_float_images_are_rounded_and_out_of_range_refused(tmp_path):
    levels = np.arange(256, dtype=np.float32).reshape(1, 16, 16) / 255
    np.save(tmp_path / "a.npy", levels)
    assert read(tmp_path / "a.npy").train.pixels.flatten().tolist() == list(range(256))
    for wrong in (
        levels * 2,
        -levels,
        levels * np.nan,
        np.full((1, 4, 4), 300),
        np.zeros((0, 4, 4)),
        np.zeros(5),
    ):
        np.save(tmp_path / "b.npy", wrong)
        with pytest.raises(UserError, match=r"b\.npy"):
            read(tmp_path / "b.npy")


def test_vectors_stay_as_they_are(tmp_path):
    vectors = RNG.normal(size=(6, 7))
    np.savez(tmp_path / "a.npz", x=vectors, y=[3, 5, 5, 3, -1, 9], names=list("abcdef"))
    train = read(tmp_path / "a.npz").train
    assert torch.equal(train.pixels, torch.from_numpy(vectors.astype(np.float32)))
    assert train.classes == ("3", "5", "9")
    assert train.labels.tolist() == [0, 1, 1, 0, -1, 2]
    assert train.names == tuple("abcdef")
    with pytest.raises(UserError, match=r"data\.size"):
        read(tmp_path / "a.npz", Reading(size=8))


def test_keras_style_npz_brings_a_test_part(tmp_path):
    np.savez(
        tmp_path / "a.npz",
        x_train=RNG.integers(0, 256, (4, 8, 8, 3), np.uint8),
        y_train=np.array([["b"], ["a"], ["b"], ["a"]]),
        x_test=RNG.integers(0, 256, (2, 8, 8, 3), np.uint8),
        y_test=np.array([["c"], ["a"]]),
    )
    parts = read(tmp_path / "a.npz")
    assert parts.train.labels.tolist() == [1, 0, 1, 0]
    assert parts.test.labels.tolist() == [2, 0]
    assert parts.test.classes == ("a", "b", "c")


def test_parts_whose_labels_are_of_two_kinds_are_refused(tmp_path):
    arrays = {f"x_{part}": RNG.integers(0, 256, (2, 8, 8), np.uint8) for part in ("train", "test")}
    np.savez(tmp_path / "a.npz", **arrays, y_train=["a", "b"], y_test=[0, 1])
    with pytest.raises(UserError, match="the labels of one part are numbers, those of another are names"):
        read(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", **arrays, y_train=["a", "b"], y_test=[-1, -1])
    assert read(tmp_path / "b.npz").test.labels.tolist() == [-1, -1]


def test_pickles_and_wrong_counts_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "b.npz", x=np.zeros((4, 8, 8), np.uint8), y=[0, 1])
    np.savez(tmp_path / "c.npz", first=np.zeros((4, 8, 8)), second=np.zeros((4, 8, 8)))
    for name, reason in (
        ("a.npy", "not a readable array"),
        ("b.npz", "4 images but 2 labels"),
        ("c.npz", "'images'"),
    ):
        with pytest.raises(UserError, match=reason):
            read(tmp_path / name)


def test_encrypted_zip_is_refused(tmp_path):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.png", b"x")
    raw = bytearray(stream.getvalue())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1  # the directory's flag for an encrypted member
    (tmp_path / "x.zip").write_bytes(raw)
    with pytest.raises(UserError, match="encrypted"):
        read(tmp_path / "x.zip")


@pytest.mark.data("mnist")
def test_mnist_in_every_form_is_the_same(tmp_path, data_root):
    source = data_root / "mnist" / "t10k-images-idx3-ubyte.gz"
    whole = read(source).train
    assert whole.pixels.shape == (10000, 1, 28, 28)
    assert whole.labels.bincount().sum() == 10000
    assert abs(whole.floats().mean().item() - 0.1325) < 1e-3
    (tmp_path / "raw-idx3-ubyte").write_bytes(gzip.decompress(source.read_bytes()))
    assert torch.equal(read(tmp_path / "raw-idx3-ubyte").train.pixels, whole.pixels)
    few = whole.pixels[:200, 0].numpy()
    for i, (image, label) in enumerate(zip(few, whole.labels, strict=False)):
        save(tmp_path / "png", f"{label}/{i:03}.png", image)
    folder = read(tmp_path / "png").train
    order = [int(Path(name).stem) for name in folder.names]
    assert (folder.pixels[:, 0].numpy() == few[order]).all()
    assert torch.equal(folder.labels, whole.labels[order])


@pytest.mark.data("cifar10")
def test_a_cifar_file(data_root):
    train = read(data_root / "cifar-10-batches-bin" / "test_batch.bin.xz", Reading(colour="grey")).train
    assert train.pixels.shape == (10000, 1, 32, 32)
    assert train.labels.bincount().tolist() == [1000] * 10


@pytest.mark.parametrize("kind", [np.uint8, np.int64, bool])
def test_integers_that_are_only_0_and_1_are_refused(tmp_path, kind):
    """As levels of 255 both are black; booleans are white, and one level of 2 is an image."""
    masks = np.random.default_rng(0).integers(0, 2, (3000, 4, 4)).astype(kind)
    np.save(tmp_path / "masks.npy", masks)
    if kind is bool:
        assert set(read(tmp_path / "masks.npy").train.pixels[:].unique().tolist()) == {0, 255}
        return
    for bring in (lambda: read(tmp_path / "masks.npy"), lambda: splits_from(masks, Data(name="mine"))):
        with pytest.raises(
            UserError, match=r"only 0 and 1, as integers.* Store booleans, or multiply by 255"
        ):
            bring()
    masks[1501, 2, 2] = 2
    np.save(tmp_path / "levels.npy", masks)
    assert read(tmp_path / "levels.npy").train.pixels[:].max() == 2
    np.save(tmp_path / "black.npy", np.zeros((5, 4, 4), kind))
    assert read(tmp_path / "black.npy").train.pixels[:].max() == 0
