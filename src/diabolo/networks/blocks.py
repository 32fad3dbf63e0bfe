"""Residual blocks with batch norm (He et al. 2016), the stride in the 3×3 convolution."""

from torch import Tensor, nn
from torch.nn import functional as F


class Residual(nn.Module):
    """relu(branch(x) + shortcut(x))."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.branch(x) + self.shortcut(x), inplace=True)


def conv_norm(before: int, after: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """A convolution that keeps the size at stride 1, and batch norm, which brings the bias."""
    conv = nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after))


def relu() -> nn.ReLU:
    return nn.ReLU(inplace=True)  # no layer before one needs its own output: less memory


def basic_block(before: int, after: int, stride: int = 1) -> Residual:
    """Two 3×3 convolutions: [n, before, H, W] → [n, after, H / stride, W / stride]."""
    branch = nn.Sequential(conv_norm(before, after, 3, stride), relu(), conv_norm(after, after, 3))
    return Residual(branch, _shortcut(before, after, stride))


def bottleneck(before: int, after: int, stride: int = 1) -> Residual:
    """1×1, 3×3 and 1×1 convolutions, the inner ones of a quarter of the channels."""
    inner = after // 4
    branch = nn.Sequential(
        conv_norm(before, inner, 1),
        relu(),
        conv_norm(inner, inner, 3, stride),
        relu(),
        conv_norm(inner, after, 1),
    )
    return Residual(branch, _shortcut(before, after, stride))


def initialise(network: nn.Module) -> None:
    """He et al. 2015: convolutions from N(0, 2 / fan-out)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _shortcut(before: int, after: int, stride: int) -> nn.Module:
    if before == after and stride == 1:
        return nn.Identity()
    return conv_norm(before, after, 1, stride)
