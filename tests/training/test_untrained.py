"""Batch norm of encoders that are not trained, and of those that hardly were."""

from pathlib import Path

import pytest
import torch

from diabolo.data.images import Images
from diabolo.methods.build import build_method
from diabolo.training.untrained import estimate_statistics
from diabolo.verbs.fit import fit
from tests.runs import digits, digits_recipe


@pytest.mark.parametrize("size", [257, 258, 511])
def test_statistics_do_not_depend_on_how_many_are_left_over(size: int) -> None:
    recipe = digits_recipe("simclr")
    splits, facts = digits(recipe)
    few = splits.train.take(torch.arange(size))
    method = build_method(recipe, facts)
    estimate_statistics(method, few)
    seen: dict[str, torch.Tensor] = {}
    first = next(m for m in method.modules() if isinstance(m, torch.nn.BatchNorm2d))
    first.register_forward_hook(lambda module, inputs, _: seen.update(x=inputs[0]))
    method.represent(few.floats())
    torch.testing.assert_close(first.running_var, seen["x"].var((0, 2, 3)), rtol=0.02, atol=0)


def test_nor_on_the_order_of_the_classes() -> None:
    recipe = digits_recipe("simclr")
    _, facts = digits(recipe)
    levels = torch.arange(1024) // 256  # four classes of one grey each, in order
    images = Images((levels * 60).to(torch.uint8)[:, None, None, None].expand(-1, 1, 8, 8).contiguous())
    method = build_method(recipe, facts)
    estimate_statistics(method, images)
    first = next(m for m in method.modules() if isinstance(m, torch.nn.BatchNorm2d))
    assert (first.running_var > 0.01).any()  # between the classes; within them there is none


@pytest.mark.parametrize(("size", "batches"), [(2, [2]), (5, [2, 2]), (6, [2, 2, 2])])
def test_of_large_images_two_at_once(size: int, batches: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Never one by itself, nor three."""
    monkeypatch.setattr("diabolo.training.untrained.at_once", lambda shape, device: 1)
    recipe = digits_recipe("simclr")
    splits, facts = digits(recipe)
    method = build_method(recipe, facts)
    seen: dict[str, list[int]] = {space: [] for space in method.spaces}
    represent = method.represent

    def noted(x: torch.Tensor, space: str) -> torch.Tensor:
        seen[space].append(len(x))
        return represent(x, space)

    monkeypatch.setattr(method, "represent", noted)
    estimate_statistics(method, splits.train.take(torch.arange(size)))
    assert seen.pop("map", []) == []
    assert all(sizes == batches for sizes in seen.values())


def test_a_short_training_is_read_with_the_statistics_of_what_it_saw(tmp_path: Path) -> None:
    recipe = digits_recipe("vae", "training.batch_size=1024", "training.epochs=5", "optimiser.lr=1e-6")
    run = fit(recipe=recipe.to_dict(), out=tmp_path / "run", evaluate=False, quiet=True)
    untrained = build_method(run.recipe, run.facts)
    estimate_statistics(untrained, digits(recipe)[0].train)
    for name, expected in untrained.encoder.named_buffers():
        if name.endswith("running_var"):  # the fifth batch has moved the 1 it began with to 0.59
            torch.testing.assert_close(run.method.encoder.get_buffer(name), expected, rtol=0.1, atol=0)
