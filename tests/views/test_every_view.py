"""What holds for every view: names, settings, purity, determinism, independent samples, compilation."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diabolo.errors import UserError
from diabolo.tables import VIEWS
from diabolo.views.base import Drawn, View

REQUIRED: dict[str, dict[str, Any]] = {
    "rotation": {"degrees": 30},
    "translation": {"share": 0.2},
    "colour-jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    "gaussian-blur": {"kernel": 3},
}
ON_VECTORS = [
    "gaussian-noise",
    "masking",
    "salt-and-pepper",
    "threshold",
    "sampled-binarisation",
    "dequantisation",
]
ON_IMAGES = sorted(set(VIEWS.entries) - set(ON_VECTORS))
WITH_PROBABILITY = ["horizontal-flip", "vertical-flip", "colour-jitter", "grayscale", "gaussian-blur"]

names = st.sampled_from(sorted(VIEWS.entries))
seeds = st.integers(0, 2**31)
shapes = st.tuples(st.sampled_from([1, 3]), st.integers(2, 12), st.integers(2, 12))


def build(name: str, **others: Any) -> View:
    return VIEWS.build(VIEWS.complete({"name": name} | REQUIRED.get(name, {}) | others, "view"))


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int, shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.rand(n, *shape, generator=rng(seed))


def equal(a: Drawn, b: Drawn) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@settings(max_examples=60, deadline=None)
@given(names, seeds, shapes, st.integers(1, 6))
def test_shape_dtype_range_and_purity(name: str, seed: int, shape: tuple[int, ...], n: int) -> None:
    view, x = build(name), images(n, shape, seed)
    before = x.clone()
    drawn = view.draw(n, shape, rng(seed))
    kept = {key: value.clone() for key, value in drawn.items()}
    result = view.apply(x, drawn)
    assert result.shape == (n, *view.shape(shape))
    assert result.dtype == x.dtype
    assert all(len(value) == n for value in drawn.values())
    assert torch.equal(x, before)
    assert equal(drawn, kept)
    if name != "gaussian-noise":
        assert result.min() >= -1e-6
        assert result.max() <= (256 / 255 if name == "dequantisation" else 1) + 1e-6


@settings(max_examples=60, deadline=None)
@given(names, seeds, shapes, st.lists(st.booleans(), min_size=2, max_size=8).filter(any))
def test_samples_do_not_touch_each_other(
    name: str, seed: int, shape: tuple[int, ...], chosen: list[bool]
) -> None:
    view, x, some = build(name), images(len(chosen), shape, seed), torch.tensor(chosen)
    drawn = view.draw(len(x), shape, rng(seed))
    of_some = {key: value[some] for key, value in drawn.items()}
    torch.testing.assert_close(view.apply(x[some], of_some), view.apply(x, drawn)[some], atol=1e-5, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(WITH_PROBABILITY), seeds, shapes)
def test_probability_zero_is_the_identity(name: str, seed: int, shape: tuple[int, ...]) -> None:
    view, x = build(name, p=0), images(5, shape, seed)
    torch.testing.assert_close(view.apply(x, view.draw(5, shape, rng(seed))), x, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("name", "off"),
    [
        ("rotation", {"degrees": 0}),
        ("translation", {"share": 0}),
        ("gaussian-noise", {"scale": 0}),
        ("masking", {"share": 0}),
        ("salt-and-pepper", {"share": 0}),
        ("random-resized-crop", {"scale": [1, 1], "ratio": [1, 1]}),
    ],
)
def test_zero_strength_is_the_identity(name: str, off: dict[str, Any]) -> None:
    view, x = build(name, **off), images(5, (3, 8, 8))
    torch.testing.assert_close(view.apply(x, view.draw(5, (3, 8, 8), rng(0))), x, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", sorted(VIEWS.entries))
def test_draws_depend_on_the_given_generator_alone(name: str) -> None:
    view = build(name)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = view.draw(64, (3, 8, 8), rng(1))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(5)
    assert equal(first, view.draw(64, (3, 8, 8), rng(1)))
    assert name == "threshold" or not equal(first, view.draw(64, (3, 8, 8), rng(2)))


@pytest.mark.parametrize("name", ON_VECTORS)
def test_noise_takes_vectors(name: str) -> None:
    view, x = build(name), images(7, (11,))
    assert view.shape((11,)) == (11,)
    assert view.apply(x, view.draw(7, (11,), rng(0))).shape == (7, 11)


@pytest.mark.parametrize("name", ON_IMAGES)
def test_geometry_and_colour_refuse_vectors(name: str) -> None:
    with pytest.raises(UserError, match="needs images, not vectors"):
        build(name).shape((11,))


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("random-resized-crop", "scale", [0.0, 1.0]),
        ("random-resized-crop", "scale", [0.5, 1.5]),
        ("random-resized-crop", "scale", [1.0, 0.5]),
        ("random-resized-crop", "ratio", [-1.0, 1.0]),
        ("random-resized-crop", "ratio", [1.0]),
        ("random-resized-crop", "size", 0),
        ("horizontal-flip", "p", 1.1),
        ("vertical-flip", "p", -0.1),
        ("rotation", "degrees", 181),
        ("translation", "share", -0.2),
        ("colour-jitter", "brightness", -0.1),
        ("colour-jitter", "contrast", -0.1),
        ("colour-jitter", "saturation", -0.1),
        ("colour-jitter", "hue", 0.6),
        ("colour-jitter", "p", 2),
        ("grayscale", "p", float("nan")),
        ("gaussian-blur", "kernel", 4),
        ("gaussian-blur", "kernel", -1),
        ("gaussian-blur", "sigma", [0.0, 1.0]),
        ("gaussian-blur", "sigma", [2.0, 1.0]),
        ("gaussian-blur", "p", -1),
        ("gaussian-noise", "scale", -0.3),
        ("masking", "share", 1.5),
        ("salt-and-pepper", "share", -0.5),
        ("threshold", "value", "high"),
    ],
)
def test_a_bad_setting_is_refused_by_name(name: str, setting: str, value: Any) -> None:
    with pytest.raises(UserError, match=setting):
        build(name, **{setting: value})


@pytest.mark.parametrize("name", sorted(VIEWS.entries))
def test_apply_traces_as_one_graph(name: str) -> None:
    view, x = build(name), images(4, (3, 8, 8))
    drawn = view.draw(4, (3, 8, 8), rng(0))
    traced = torch.compile(view.apply, fullgraph=True, backend="aot_eager", dynamic=False)
    torch.testing.assert_close(traced(x, drawn), view.apply(x, drawn), atol=1e-6, rtol=1e-5)


def test_compiled_equals_eager() -> None:
    chain = [
        build("random-resized-crop"),
        build("horizontal-flip"),
        build("colour-jitter"),
        build("grayscale"),
    ]
    x = images(8, (3, 8, 8))
    drawn = [view.draw(8, (3, 8, 8), rng(i)) for i, view in enumerate(chain)]

    def apply(x: torch.Tensor, drawn: list[Drawn]) -> torch.Tensor:
        for view, parameters in zip(chain, drawn, strict=True):
            x = view.apply(x, parameters)
        return x

    compiled = torch.compile(apply, fullgraph=True, dynamic=False)
    torch.testing.assert_close(compiled(x, drawn), apply(x, drawn), atol=1e-5, rtol=1e-5)
