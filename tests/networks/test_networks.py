"""Shapes, sizes and published architectures of all encoders and decoders, built as recipes build them."""

from itertools import chain

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from diabolo.errors import UserError
from diabolo.networks import default_encoder, mirror
from diabolo.networks.conv import ConvEncoder
from diabolo.networks.resnet import ResNet
from diabolo.networks.resnet_decoder import ResNetDecoder
from diabolo.networks.simvae import SimVAEEncoder
from diabolo.networks.simvae_as_coded import SimVAEDecoderAsCoded, SimVAEEncoderAsCoded
from diabolo.tables import DECODERS, ENCODERS

NARROW = {"width": 0.0625}
ENCODER_SPECS = [
    {"name": "linear"},
    {"name": "mlp", "widths": [16, 8]},
    {"name": "conv"},
    {"name": "conv", "batch_norm": True, "filters": [4, 8]},
    {"name": "simvae-resnet", "blocks": 1},
    {"name": "simvae-resnet-as-coded"},
    {"name": "vit", "width": 8, "depth": 1, "heads": 2},
    *({"name": "resnet18", "stem": stem} | NARROW for stem in ("cifar", "stl", "imagenet")),
    {"name": "resnet34"} | NARROW,
    {"name": "resnet50"} | NARROW,
]
DECODER_SPECS = [
    {"name": "linear"},
    {"name": "mlp", "widths": [8, 16]},
    {"name": "conv"},
    {"name": "conv", "batch_norm": True, "filters": [4]},
    {"name": "resize-conv"},
    {"name": "resize-conv", "width": 0.25},
    {"name": "simvae-resnet", "blocks": 1},
    {"name": "simvae-resnet-as-coded"},
    *({"name": "resnet", "stem": stem} | NARROW | {"hidden": 16} for stem in ("cifar", "stl", "imagenet")),
    {"name": "resnet", "depth": 50} | NARROW,
]
SIDES = (8, 28, 32, 64, 96)


def encoder(spec: dict, shape: tuple[int, ...]) -> nn.Module:
    return ENCODERS.build(ENCODERS.complete(spec, "encoder"), shape=shape).eval()


def decoder(spec: dict, shape: tuple[int, ...], latent: int = 5) -> nn.Module:
    return DECODERS.build(DECODERS.complete(spec, "decoder"), shape=shape, latent=latent).eval()


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def norms(network: nn.Module) -> int:
    return sum(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in network.modules())


@pytest.mark.parametrize("spec", ENCODER_SPECS, ids=str)
@torch.no_grad()
def test_encoders_give_their_width(spec: dict) -> None:
    for shape in [(3, side, side) for side in SIDES] + [(1, 28, 28), (6, 32, 32), (3, 24, 17)]:
        network = encoder(spec, shape)
        assert network(torch.rand(2, *shape)).shape == (2, network.width)


@pytest.mark.parametrize("spec", DECODER_SPECS, ids=str)
@torch.no_grad()
def test_decoders_give_the_asked_shape(spec: dict) -> None:
    for shape in [(3, side, side) for side in SIDES] + [(1, 28, 28), (6, 32, 32), (3, 24, 17)]:
        assert decoder(spec, shape)(torch.randn(2, 5)).shape == (2, *shape)


@given(height=st.integers(1, 40), width=st.integers(1, 40), index=st.integers(2, len(DECODER_SPECS) - 1))
@settings(max_examples=60, deadline=None)
@torch.no_grad()
def test_image_decoders_meet_any_size(height: int, width: int, index: int) -> None:
    shape = (2, height, width)
    assert decoder(DECODER_SPECS[index], shape)(torch.randn(1, 5)).shape == (1, *shape)


@pytest.mark.parametrize("name", ["linear", "mlp"])
@torch.no_grad()
def test_vectors(name: str) -> None:
    network = encoder({"name": name}, (7,))
    assert network(torch.randn(3, 7)).shape == (3, network.width)
    assert decoder({"name": name}, (7,))(torch.randn(3, 5)).shape == (3, 7)


@pytest.mark.parametrize("table", [ENCODERS, DECODERS], ids=["encoder", "decoder"])
def test_image_networks_refuse_vectors(table) -> None:
    for name in set(table.entries) - {"linear", "mlp", "timm"}:
        with pytest.raises(UserError, match="vector of 7: use 'mlp'"):
            table.build(table.complete(name, "network"), shape=(7,), latent=5)


@pytest.mark.parametrize(("depth", "count"), [(18, 11_176_512), (34, 21_284_672), (50, 23_508_032)])
def test_resnets_have_the_published_size(depth: int, count: int) -> None:
    network = ResNet((3, 224, 224), depth=depth, stem="imagenet")
    assert parameters(network) == count
    assert network.width == (2048 if depth == 50 else 512)


def test_a_quarter_width_resnet18() -> None:
    network = ResNet((3, 32, 32), width=0.25)
    channels = [m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert sorted(set(channels)) == [16, 32, 64, 128]
    assert network.map(torch.rand(2, 3, 32, 32)).shape == (2, 128, 4, 4)


@pytest.mark.parametrize(("stem", "side"), [("cifar", 12), ("stl", 6), ("imagenet", 3)])
def test_stems_halve_as_they_should(stem: str, side: int) -> None:
    network = ResNet((3, 96, 96), width=0.0625, stem=stem)
    assert network.map(torch.rand(2, 3, 96, 96)).shape[2:] == (side, side)


def test_resnet_is_pooled_from_its_map() -> None:
    network = ResNet((3, 32, 32), width=0.0625).double().eval()
    x = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(network(x), network.map(x).flatten(2).mean(2))


def test_a_width_without_channels_is_refused() -> None:
    with pytest.raises(UserError, match=r"at least 0\.015625"):
        ResNet((3, 32, 32), width=0.001)


def test_mancini_has_512_features() -> None:
    network = ConvEncoder((1, 28, 28))
    assert network.map(torch.rand(2, 1, 28, 28)).shape == (2, 32, 4, 4)
    # 80 + 1168 + 4640 in the convolutions, 512 × 64 + 64 in the hidden layer
    assert parameters(network) == 38_720
    assert norms(network) == 0
    assert norms(ConvEncoder((1, 28, 28), batch_norm=True)) == 3


def test_mancini_is_mirrored_layer_by_layer() -> None:
    network = decoder({"name": "conv"}, (1, 28, 28), latent=20)
    x = torch.randn(2, 20)
    sides = []
    for layer in chain(network.hidden, network.layers):
        x = layer(x)
        sides.append(tuple(x.shape[1:]))
    assert sides == [(64,), (64,), (512,), (512,), (32, 4, 4), (16, 7, 7), (8, 14, 14), (1, 28, 28)]


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_the_aavae_decoder(depth: int) -> None:
    network = ResNetDecoder(128, (3, 32, 32), depth=depth)
    hidden = 2048 if depth == 50 else 512
    assert norms(network) == 0
    assert network.spread[0].out_features == hidden
    assert network.spread[5].in_channels == hidden // 16
    reversed_blocks = {18: [2, 2, 2, 2], 34: [3, 6, 4, 3], 50: [3, 6, 4, 3]}[depth]
    assert len(network.blocks) == sum(reversed_blocks)
    expanding = [i for i, b in enumerate(network.blocks) if not isinstance(b.shortcut, nn.Identity)]
    assert expanding == [sum(reversed_blocks[:i]) for i in range(4)]  # each stage's first block


@pytest.mark.parametrize(
    ("side", "stem", "sides"),
    [(32, "cifar", [4, 8, 16, 32]), (96, "stl", [6, 12, 24, 48]), (8, "cifar", [4, 4, 4, 8])],
)
@torch.no_grad()
def test_aavae_stages_mirror_the_encoders_sizes(side: int, stem: str, sides: list[int]) -> None:
    network = ResNetDecoder(5, (3, side, side), width=0.0625, stem=stem, hidden=16)
    x = network.spread(torch.randn(1, 5))
    seen = []
    for block in network.blocks:
        x = block(x)
        seen.append(x.shape[-1])
    assert seen[::2] == seen[1::2] == sides


def test_aavae_upsampling_is_as_published() -> None:
    """Upsampling after the shortcut's 1×1 convolution equals the authors' order, upsampling before it."""
    block = ResNetDecoder(5, (3, 32, 32), width=0.0625, hidden=16).double().blocks[2]
    convolution, upsample = block.shortcut
    x = torch.randn(2, convolution.in_channels, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(block.shortcut(x), convolution(upsample(x)))


def test_a_hidden_width_that_fills_no_map_is_refused() -> None:
    with pytest.raises(UserError, match="set it to 32"):
        ResNetDecoder(5, (3, 32, 32), hidden=24)


@pytest.mark.parametrize(("side", "width"), [(64, 4096), (32, 1024), (28, 1024)])
def test_simvae_sizes(side: int, width: int) -> None:
    network = SimVAEEncoder((3, side, side))
    assert network.width == width
    convolutions = [
        m for m in network.stages.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)
    ]
    assert [c.out_channels for c in convolutions] == [32] * 4 + [64] * 4 + [128] * 4 + [256] * 4


def test_simvae_convolves_around_the_centre() -> None:
    """Its even kernel sees one pixel before and two after, and keeps the size."""
    pad, convolution = SimVAEEncoder((1, 8, 8)).stem[:2]
    nn.init.ones_(convolution.weight)
    out = convolution(pad(torch.ones(1, 1, 8, 8)))
    assert out.shape == (1, 16, 8, 8)
    assert out[0, 0, 0, 0] == 9  # 3 × 3 of the 4 × 4 lie inside
    assert out[0, 0, -1, -1] == 4


def convolutions(*layers: tuple[int, int, int]) -> int:
    """The parameters of (before, after, kernel), each with its batch norm."""
    return sum(before * after * kernel**2 + 2 * after for before, after, kernel in layers)


@pytest.mark.parametrize(("side", "kernel", "width"), [(32, 3, 2048), (64, 4, 8192)])
def test_simvae_as_coded_is_a_resnet18_without_its_last_stage(side: int, kernel: int, width: int) -> None:
    network = SimVAEEncoderAsCoded((3, side, side))
    assert network.width == width  # 512 · 2 · 2 and 512 · 4 · 4 in the code
    first = [(before, after, size) for before, after in ((64, 32), (32, 64), (64, 128)) for size in (3, 1)]
    rest = [(channels, channels, 3) for channels in (32, 64, 128) for _ in range(3)]
    assert parameters(network) == convolutions((3, 64, kernel), *first, *rest)


@pytest.mark.parametrize("side", [32, 64])
@torch.no_grad()
def test_simvae_decodes_as_coded(side: int) -> None:
    network = SimVAEDecoderAsCoded(64, (3, side, side))
    x = network.linear(torch.randn(2, 64))
    seen = []
    for layer in network.stages:
        x = layer(x)
        seen.append(tuple(x.shape[1:]))
    s = side // 16
    wider = [(512, s), (512, s), (256, 2 * s), (256, 2 * s), (128, 4 * s), (128, 4 * s), *[(64, 8 * s)] * 3]
    assert seen == [(channels, size, size) for channels, size in wider]
    kept = [(channels, channels, 3) for channels in (512, 256, 128) for _ in range(2)]
    doubled = [
        layer for a, b in ((512, 256), (256, 128), (128, 64)) for layer in ((a, b, 3), (b, b, 3), (a, b, 1))
    ]
    ends = 65 * 512 * s**2 + 64 * 3 * 7**2 + 3
    assert parameters(network) == convolutions(*kept, *doubled, *[(64, 64, 3)] * 4) + ends


@pytest.mark.parametrize("shape", [(7,), (1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 96, 96), (2, 16, 40)])
@torch.no_grad()
def test_defaults_and_their_mirrors_fit(shape: tuple[int, ...]) -> None:
    spec = ENCODERS.complete(default_encoder(shape), "encoder")
    h = encoder(spec, shape)(torch.rand(2, *shape))
    assert decoder(mirror(spec), shape, latent=h.shape[1])(h).shape == (2, *shape)


def test_default_encoders() -> None:
    assert default_encoder((784,)) == default_encoder((3, 12, 40)) == {"name": "mlp", "widths": [256, 256]}
    assert default_encoder((1, 32, 32)) == {"name": "mlp", "widths": [500, 500, 2000]}
    assert default_encoder((3, 64, 64)) == {"name": "resnet18", "width": 0.25, "stem": "cifar"}
    assert default_encoder((1, 33, 65)) == {"name": "resnet18", "width": 0.25, "stem": "imagenet"}


def test_mirrors_keep_the_settings() -> None:
    def completed(spec: dict) -> dict:
        return mirror(ENCODERS.complete(spec, "encoder"))

    assert completed({"name": "mlp", "widths": [9, 5]}) == {"name": "mlp", "widths": [5, 9]}
    assert completed({"name": "linear", "width": 9}) == {"name": "linear"}
    assert completed({"name": "conv", "hidden": 9})["hidden"] == 9
    assert completed({"name": "resnet50", "width": 0.5, "stem": "stl"}) == {
        "name": "resnet",
        "depth": 50,
        "width": 0.5,
        "stem": "stl",
    }
    assert completed({"name": "simvae-resnet-as-coded"}) == {"name": "simvae-resnet-as-coded"}
    assert completed({"name": "vit"}) == {"name": "resize-conv"}
    assert mirror({"name": "custom"}) is None


@pytest.mark.parametrize("spec", DECODER_SPECS, ids=str)
def test_decoders_end_in_a_linear_layer(spec: dict) -> None:
    """The output changes its sign with the last layer's parameters, and every parameter has a gradient."""
    network = decoder(spec, (2, 16, 16))
    z = torch.randn(4, 5)
    out: Tensor = network(z)
    out.square().sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    last = [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)][-1]
    with torch.no_grad():
        last.weight.neg_()
        last.bias.neg_()
    assert torch.equal(network(z), -out)
