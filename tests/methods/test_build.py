"""Building a method: its first weights follow from its seed, and the caller's random numbers stay."""

import pytest
import torch

from diabolo.methods.build import Facts, build_method
from diabolo.seeds import seed_for
from diabolo.tables import ENCODERS
from tests.runs import digits_recipe

FACTS = Facts((1, 8, 8), (), 40, (0.3,), (0.4,))


def test_building_leaves_the_caller_s_random_numbers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", elsewhere.append)
    recipe = digits_recipe("vae")
    state = torch.get_rng_state()
    built = build_method(recipe, FACTS)
    assert torch.equal(torch.get_rng_state(), state)
    assert not elsewhere
    torch.manual_seed(seed_for(recipe.seed, "initialisation"))
    first = ENCODERS.build(recipe.encoder, shape=FACTS.shape).state_dict()
    assert all(torch.equal(value, first[key]) for key, value in built.encoder.network.state_dict().items())
