"""What would be trained on is counted and shown before it is."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import diabolo
from diabolo.data.decode import FEW
from diabolo.data.images import Images
from diabolo.data.splits import load
from diabolo.errors import UserError
from diabolo.recipe import Data
from diabolo.views.base import View
from tests.test_cli import run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve cats, six dogs, two images without a class, five files that are none."""
    rng, folder = np.random.default_rng(0), tmp_path / "photos"
    for name, count in (("cat", 12), ("dog", 6), ("unlabelled", 2)):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)).save(folder / name / f"{i}.png")
    for i in range(5):
        (folder / "cat" / f"broken-{i}.png").write_bytes(b"no image")
    return folder


def test_counts_name_every_class_part_and_unreadable_file(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("preview", photos, "--method", "simclr", "--set", "data.validation=0.2", "--n", 3) == 0
    said = capsys.readouterr().err
    rows = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line.split()[-1:] != []}
    splits = load(Data(name=str(photos), validation=0.2))
    parts = (splits.train, splits.validation, splits.test)
    assert rows["all"] == [str(len(part)) for part in parts]
    assert rows["cat"] == [str(int((part.labels == 0).sum())) for part in parts]
    assert rows["without"][1:] == [str(int((part.labels == -1).sum())) for part in parts]
    assert sum(map(int, rows["dog"])) == 6
    assert f"5 unreadable files skipped: {', '.join(f'cat/broken-{i}.png' for i in range(FEW))}, …" in said
    assert all(f"  cat/broken-{i}.png: cannot identify image file\n" in said for i in range(5))
    assert "2 views of each image, by\n  RandomResizedCrop(" in said
    with Image.open(tmp_path / "previews" / "photos-simclr.png") as picture:
        assert picture.format == "PNG"


def test_views_are_those_of_the_method_and_images_those_of_train(photos: Path, tmp_path: Path) -> None:
    def shown(**options: object) -> dict[str, np.ndarray]:
        return diabolo.preview(photos, out=tmp_path / "p.png", quiet=True, **options)

    assert list(shown()) == ["images"]
    assert list(shown(method="vae")) == ["images"]
    small = {"views.transforms": [{"name": "random-resized-crop", "size": 10}]}
    found = shown(method="simclr", n=2, settings=small)
    assert found["images"].shape == (2, 3, 20, 20)
    assert found["views"].shape == (2, 8, 3, 10, 10)
    assert len(np.unique(found["views"].reshape(16, -1), axis=0)) == 16
    two = shown(recipe="cifar10-dino", settings={"local_views": {"count": 4, "transforms": "simclr"}})
    assert two["local_views"].shape == two["views"].shape


def test_views_of_one_s_own_can_be_looked_at(tmp_path: Path) -> None:
    class Darker(View):
        def apply(self, x: torch.Tensor, drawn: dict[str, torch.Tensor]) -> torch.Tensor:
            return x / 2

    images = np.random.default_rng(0).integers(0, 256, (30, 16, 16), np.uint8)
    found = diabolo.preview(images, "simclr", transforms=[Darker()], out=tmp_path / "p.png", quiet=True)
    expected = np.repeat(found["images"][:, None] / 2, 8, axis=1)
    np.testing.assert_allclose(found["views"], expected)


def test_classes_that_train_lacks_are_counted_and_none_is_no_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = torch.zeros(12, 1, 16, 16, dtype=torch.uint8)
    two = Images(pixels, torch.arange(12) % 2, ("a", "b"))
    three = Images(pixels, torch.arange(12) % 3, ("a", "b", "c"))
    diabolo.preview(diabolo.Splits(two, two, three), out=tmp_path / "p.png")
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().err.splitlines()}
    assert rows["c"] == ["0", "0", "4"]
    none = Images(pixels, torch.full((12,), -1), ("a", "b"))
    diabolo.preview(diabolo.Splits(none, none, none), out=tmp_path / "q.png", quiet=True)
    assert (tmp_path / "q.png").exists()


def test_examples_that_are_no_images_are_counted_alone(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    assert diabolo.preview(vectors, "vae", out=tmp_path / "p.png", quiet=True) == {}
    assert not (tmp_path / "p.png").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"out": "p.jpg"}, "the picture is a .png"),
        ({"n": 0}, "n must be at least 1"),
        ({"method": 3}, "name"),
    ],
)
def test_what_makes_no_picture_is_refused(options: dict, says: str) -> None:
    images = np.zeros((30, 16, 16), np.uint8)
    with pytest.raises(UserError, match=says):
        diabolo.preview(images, **options)


@pytest.mark.parametrize("verb", [diabolo.compare, diabolo.search])
def test_verbs_of_many_processes_take_names_and_paths_alone(verb) -> None:
    with pytest.raises(UserError, match=r"data of type ndarray: give a name or a path"):
        verb(np.zeros((30, 16, 16), np.uint8), ["vae"] if verb is diabolo.compare else "vae")
