"""A run on disk: where its method computes, and what it leaves of the caller's random numbers."""

from pathlib import Path

import pytest
import torch

from diabolo import Run, fit
from diabolo.runs.environment import default_device
from tests.runs import digits, digits_recipe


@pytest.mark.parametrize(
    ("cuda", "metal", "device"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_a_gpu_is_taken_where_there_is_one(
    cuda: bool, metal: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: metal)
    assert default_device() == torch.device(device)


def test_embedding_leaves_the_caller_s_random_numbers_alone(tmp_path: Path) -> None:
    recipe = digits_recipe("random", "training.epochs=0")
    fit(recipe=recipe.to_dict(), out=tmp_path / "run", evaluate=False, quiet=True)
    images = digits(recipe)[0].test.take(torch.arange(5))
    torch.manual_seed(5)  # a place in the stream that no building leaves
    state = torch.get_rng_state()
    Run.open(tmp_path / "run").embed(images)
    assert torch.equal(torch.get_rng_state(), state)
