"""What a run's page says of its budget, and shows of its views."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from diabolo.pages import gallery
from diabolo.pages.run import _summary
from diabolo.runs.run import Run
from diabolo.verbs.fit import fit
from diabolo.views.base import View
from tests.runs import digits, digits_recipe

LOCAL = ("local_views={count: 2, transforms: [{name: random-resized-crop, size: 6}]}",)


def trained(name: str, out: Path, *settings: str) -> Run:
    recipe = digits_recipe(name, "training.epochs=1", "evaluation.live=0", *settings)
    return fit(recipe=recipe.to_dict(), out=out, evaluate=False, quiet=True)


@pytest.mark.parametrize(
    ("name", "settings", "times"),
    [("ae", (), "once"), ("cr-vae", (), "2 times"), ("rotnet", (), "4 times"), ("swav", LOCAL, "4 times")],
)
def test_the_budget_counts_every_encoding(
    name: str, settings: tuple[str, ...], times: str, tmp_path: Path
) -> None:
    run = trained(name, tmp_path / "run", *settings)
    steps = run.facts.size // 32
    encoded = steps * 32 * (1 if times == "once" else int(times[0]))
    said = f"1 epoch, {steps} steps of 32 images, each encoded {times}: {encoded:,} in all"
    assert _summary(run)["budget"] == said


def test_views_are_shown_beside_their_image_in_each_size(tmp_path: Path) -> None:
    run = trained("swav", tmp_path / "run", *LOCAL)
    splits, _ = digits(run.recipe)
    found = gallery.views(run, splits)
    assert [(one.name, one.title) for one in found] == [
        ("views", "2 views of each image in a step"),
        ("smaller-views", "2 smaller views of each image in a step"),
    ]
    for one in found:
        assert one.note == "By RandomResizedCrop."
        assert [name for name, _ in one.rows] == ["0", "1", "2", "3", "4", "5"]
        for label, (_, row) in enumerate(one.rows):
            assert row.shape == (9, 1, 8, 8)
            of_class = splits.train.floats(torch.nonzero(splits.train.labels == label).flatten())
            assert (row[0] == of_class[0].numpy()).all()
            assert len(np.unique(row.reshape(9, -1), axis=0)) > 6  # small crops may coincide
    again = gallery.views(run, splits)
    assert all((a[1] == b[1]).all() for a, b in zip(found[0].rows, again[0].rows, strict=True))


def test_there_are_none_without_augmentations_or_without_those_of_one_s_own(tmp_path: Path) -> None:
    class Darker(View):
        def apply(self, x: torch.Tensor, drawn: dict[str, torch.Tensor]) -> torch.Tensor:
            return x / 2

    run = trained("vae", tmp_path / "vae")
    splits, _ = digits(run.recipe)
    assert gallery.views(run, splits) == []
    own = fit("digits", "simclr", transforms=[Darker()], epochs=0, out=tmp_path / "own", evaluate=False)
    [one] = gallery.views(own, splits)
    assert all(np.allclose(row[1:], row[0] / 2) for _, row in one.rows)
    assert gallery.views(Run.open(own.folder), splits) == []
    unknown = replace(splits, train=splits.train.without_labels())
    assert {name for name, _ in gallery.views(own, unknown)[0].rows} == {""}
