"""The vision transformer: its patches, positions and attention, and what it encodes of an image."""

import math
from pathlib import Path
from statistics import fmean

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diabolo.errors import UserError
from diabolo.networks.transformer import Attention, positions
from diabolo.networks.vit import ViT, patchify
from diabolo.verbs.fit import fit
from tests.runs import digits_recipe


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def network(shape: tuple[int, ...] = (2, 12, 8), **settings: int) -> ViT:
    return ViT(shape, **{"patch": 4, "width": 16, "depth": 2, "heads": 2} | settings).double()


def unpatchify(patches: Tensor, shape: tuple[int, int, int], p: int) -> Tensor:
    """Put each pixel of each patch back in its place."""
    C, H, W = shape
    x = torch.full((len(patches), C, H, W), torch.nan, dtype=patches.dtype)
    for row in range(H // p):
        for column in range(W // p):
            patch = patches[:, row * (W // p) + column]
            for c in range(C):
                for i in range(p):
                    for j in range(p):
                        x[:, c, row * p + i, column * p + j] = patch[:, (c * p + i) * p + j]
    return x


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
@settings(deadline=None)
def test_patches_hold_every_pixel_in_its_place(C: int, rows: int, columns: int, p: int) -> None:
    x = images(2, C, rows * p, columns * p)
    patches = patchify(x, p)
    assert patches.shape == (2, rows * columns, C * p * p)
    assert torch.equal(unpatchify(patches, (C, rows * p, columns * p), p), x)


def test_positions_are_sines_and_cosines_of_row_and_column() -> None:
    table = positions((3, 2), (3, 2), 12, images(1))
    for row in range(3):
        for column in range(2):
            waves = [
                wave(place / 10_000 ** (i / 3))
                for place in (row, column)
                for wave in (math.sin, math.cos)
                for i in range(3)
            ]
            expected = torch.tensor(waves, dtype=torch.float64)
            torch.testing.assert_close(table[row * 2 + column], expected)


def test_a_smaller_image_spans_the_same_square() -> None:
    """Each of 2 × 2 patches lies amid four of 4 × 4, where the slowest waves are all but linear."""
    coarse = positions((2, 2), (4, 4), 400, images(1)).view(2, 2, 400)
    fine = positions((4, 4), (4, 4), 400, images(1)).view(2, 2, 2, 2, 400).mean((1, 3))
    slow = [i for i in range(400) if i % 100 >= 60]  # rates below 1/250
    torch.testing.assert_close(coarse[..., slow], fine[..., slow], atol=1e-4, rtol=0)


def test_attention_is_a_softmax_of_products() -> None:
    layer, x = Attention(8, 2).double(), images(2, 5, 8)
    q, k, v = layer.qkv(x).split(8, 2)
    heads = []
    for part in (slice(0, 4), slice(4, 8)):
        scores = torch.einsum("nid,njd->nij", q[..., part], k[..., part]) / 2
        heads.append(torch.einsum("nij,njd->nid", scores.softmax(2), v[..., part]))
    torch.testing.assert_close(layer(x), layer.out(torch.cat(heads, 2)))


def test_the_patches_kept_are_encoded_as_if_there_were_no_others() -> None:
    vit, x = network(), images(3, 2, 12, 8)
    keep = torch.tensor([[5, 0], [2, 3], [1, 4]])
    blind = x.clone()
    for n, places in enumerate(keep):  # whatever the others hold
        for place in set(range(6)) - set(places.tolist()):
            row, column = divmod(place, 2)
            blind[n, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = n + place
    torch.testing.assert_close(vit.tokens(blind, keep), vit.tokens(x, keep))
    assert not torch.allclose(vit.tokens(blind), vit.tokens(x))
    everything = torch.arange(6).expand(3, 6)
    torch.testing.assert_close(vit.tokens(x, everything), vit.tokens(x))
    backwards = everything.flip(1)  # tokens carry their places with them
    torch.testing.assert_close(vit.tokens(x, backwards), vit.tokens(x).flip(1))


def test_the_feature_is_the_mean_of_the_map() -> None:
    vit, x = network(), images(3, 2, 12, 8)
    assert vit.map(x).shape == (3, 16, 3, 2)
    torch.testing.assert_close(vit(x), vit.map(x).mean((2, 3)))
    torch.testing.assert_close(vit.map(x)[:, :, 2, 1], vit.tokens(x)[:, 5])


def test_places_matter() -> None:
    vit, x = network(), images(3, 2, 12, 8)
    upside_down = torch.cat([x[:, :, 8:], x[:, :, 4:8], x[:, :, :4]], 2)  # the same patches
    assert (vit(upside_down) - vit(x)).norm() > 1e-3


def test_other_sizes_are_taken_where_patches_tile_them() -> None:
    vit = network()
    assert vit(images(3, 2, 4, 8)).shape == (3, 16)
    with pytest.raises(UserError, match="patches of 4×4 do not tile 6×8 pixels: set encoder"):
        vit(images(3, 2, 6, 8))
    with pytest.raises(UserError, match="do not tile 10×10"):
        network((1, 10, 10))


@pytest.mark.parametrize(
    ("size", "patch"),
    [((28, 28), 4), ((32, 32), 4), ((64, 64), 8), ((96, 96), 12), ((224, 224), 16), ((24, 17), 1)],
)
def test_the_patch_is_chosen_by_the_side(size: tuple[int, int], patch: int) -> None:
    assert ViT((3, *size), width=4, depth=1, heads=1).patch == patch


def test_a_width_that_heads_cannot_share_is_refused() -> None:
    with pytest.raises(UserError, match="must be a multiple of both 4 and its heads"):
        network(width=18)
    with pytest.raises(UserError, match="must be a multiple of both 4 and its heads"):
        network(width=16, heads=3)


@pytest.mark.parametrize("method", ["vae", "contractive-ae", "simclr", "moco"])
def test_methods_of_every_kind_train_it(method: str, tmp_path: Path) -> None:
    """Contraction takes the gradient of a gradient; an autoencoder is given a decoder.

    The loss falls from the first half to the second: MoCo's rises while its queue still fills.
    """
    small = "encoder={name: vit, patch: 2, width: 16, depth: 1, heads: 2}"
    recipe = digits_recipe(method, small, "training.epochs=1", "evaluation.live=0")
    run = fit(recipe=recipe.to_dict(), out=tmp_path / "run", evaluate=False, quiet=True)
    losses = [row["loss"] for row in run.metrics if row["kind"] == "train"]
    half = len(losses) // 2
    assert fmean(losses[half:]) < fmean(losses[:half])
