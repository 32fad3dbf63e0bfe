"""A training reads the same from disk as from memory, to the bit."""

from concurrent.futures import wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from diabolo.data.images import Images
from diabolo.data.rows import Rows
from diabolo.files import read_tensors
from diabolo.methods.build import build_pipelines
from diabolo.training.loop import Feed
from diabolo.verbs.fit import fit
from tests.runs import digits, digits_recipe


@pytest.fixture(scope="module")
def digit_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The digits as an array with labels, and some of them as a folder."""
    folder = tmp_path_factory.mktemp("data")
    train = digits(digits_recipe("vae"))[0].train
    array, labels = train.pixels[:300, 0].numpy(), train.labels[:300].numpy()
    np.savez(folder / "digits.npz", images=array, labels=labels)
    for i, (image, label) in enumerate(zip(array, labels, strict=True)):
        (folder / "photos" / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / "photos" / str(label) / f"{i}.png")
    return {"array": folder / "digits.npz", "folder": folder / "photos"}


@pytest.mark.parametrize(
    ("method", "form"), [("vae", "array"), ("simclr", "folder"), ("deepcluster", "array")]
)
def test_from_disk_equals_from_memory(
    method: str, form: str, digit_files: dict[str, Path], tmp_path: Path
) -> None:
    runs = []
    for resident in (True, False):
        recipe = digits_recipe(method, f"data.resident={resident}", f"data.name={digit_files[form]}")
        out = tmp_path / str(resident)
        runs.append(fit(recipe=recipe.to_dict(), out=out, evaluate=False, quiet=True))
    (one, _), (other, _) = (read_tensors(run.folder / "model.safetensors") for run in runs)
    assert one.keys() == other.keys()
    for name, weights in one.items():
        assert torch.equal(weights, other[name]), name
    assert runs[0].metrics == runs[1].metrics
    assert runs[0].facts == runs[1].facts


def feeds(images: Images) -> list[Feed]:
    """Of the images in memory, and of the same on disk."""
    pipelines = build_pipelines(digits_recipe("simclr"))
    on_disk = replace(images, pixels=Rows([images.pixels[:].numpy()]))
    return [Feed(one, pipelines, 32, 0, torch.device("cpu")) for one in (images, on_disk)]


def test_batches_may_be_asked_for_in_any_order() -> None:
    """As a resumed training does, or the trial that measures a step."""
    memory, disk = feeds(digits(digits_recipe("simclr"))[0].train)
    last = memory.batches.steps_per_epoch - 1
    for epoch, position in [(0, 0), (0, 1), (0, 0), (3, last), (4, 0), (4, 1), (2, 7)]:
        one, other = memory(epoch, position, 0.0), disk(epoch, position, 0.0)
        assert torch.equal(one.views[0], other.views[0])
        assert torch.equal(one.clean, other.clean)
        assert torch.equal(one.index, other.index)
        assert torch.equal(one.labels, other.labels)
    for one, other in zip(memory.clean(100), disk.clean(100), strict=True):
        assert torch.equal(one, other)


def test_the_next_batches_are_read_before_they_are_asked_for() -> None:
    _, feed = feeds(digits(digits_recipe("simclr"))[0].train)
    read = []
    rows = feed.ahead.rows

    class Noted(Rows):
        def read(self, index: Any, into: torch.Tensor) -> torch.Tensor:
            read.append(index.tolist())
            return super().read(index, into)

    feed.ahead.rows = Noted(rows.stores)
    last = feed.batches.steps_per_epoch - 1
    feed(0, last - 1, 0.0)
    wait(feed.ahead.coming.values())
    expected = [(0, last - 1), (0, last), (1, 0), (1, 1)]
    assert sorted(read) == sorted(feed.batches.indices(*one).tolist() for one in expected)
