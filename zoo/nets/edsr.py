"""EDSR (Lim et al., CVPR workshops 2017): the super-resolver that both papers put in front of the ITM operators."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from zoo.errors import ConfigError
from zoo.nets.blocks import InputConv, OutputConv, conv3x3
from zoo.ops.pictures import check_pictures
from zoo.signal import Signal

# Mean R'G'B' of DIV2K, which the authors subtract, over 255.
_MEAN = (0.4488, 0.4371, 0.4040)

# Blocks, channels and the factor of each residual: the paper's network and the smaller "baseline".
_SIZES = {"full": (32, 256, 0.1), "baseline": (16, 64, 1.0)}


class EDSR(nn.Module):
    """Enhanced deep super-resolution network: residual blocks without normalisation, pixel shuffles at the end.

    Shape: R'G'B' ``(B, 3, H, W)`` in [0, 255] to ``(B, 3, scale H, scale W)``, unclipped. The range is the authors';
    their weights need it.

    Args:
        scale: 2 or 4.
        size: ``full`` (32 blocks of 256 channels, 41 or 43 million parameters) or ``baseline`` (16 of 64, 1.4 or 1.5).

    Attributes:
        halo: rows and columns of the input, to each side, that an output pixel depends on.
        rgb_range: what stands for white.

    Raises:
        ConfigError: another scale or size.
    """

    rgb_signal: ClassVar[Signal] = Signal("bt709", "srgb", "rgb", "full", 8)
    rgb_range: ClassVar[float] = 255.0

    def __init__(self, scale: Literal[2, 4] = 2, size: Literal["full", "baseline"] = "full") -> None:
        super().__init__()
        if scale not in (2, 4):
            raise ConfigError(f"EDSR has no scale {scale!r}; use 2 or 4")
        if size not in _SIZES:
            raise ConfigError(f"EDSR has no size {size!r}; use {' or '.join(_SIZES)}")
        self.scale = scale
        blocks, channels, residual_scale = _SIZES[size]
        self.head = InputConv(3, channels)
        self.blocks = nn.Sequential(*(_Block(channels, residual_scale) for _ in range(blocks)))
        self.body = conv3x3(channels, channels)
        stages = [stage for _ in range(scale // 2) for stage in (conv3x3(channels, 4 * channels), nn.PixelShuffle(2))]
        self.up = nn.Sequential(*stages)
        self.tail = OutputConv(channels, 3)
        reach = 1 + 2 * blocks + 1 + 1 + 1  # at x4 the second up-convolution and the tail reach a pixel between them
        self.halo = (reach, reach)

    def forward(self, rgb: Tensor) -> Tensor:
        check_pictures(rgb, self.rgb_signal)
        mean = self.rgb_range * torch.tensor(_MEAN, device=rgb.device).view(3, 1, 1)
        features = self.head(rgb - mean)
        return self.tail(self.up(self.body(self.blocks(features)) + features)) + mean


class _Block(nn.Module):
    """``x + scale conv(relu(conv(x)))``."""

    def __init__(self, channels: int, residual_scale: float) -> None:
        super().__init__()
        self.residual = nn.Sequential(conv3x3(channels, channels), nn.ReLU(), conv3x3(channels, channels))
        self.residual_scale = residual_scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.residual_scale * self.residual(x)


def edsr_names(net: EDSR) -> dict[str, str]:
    """What the authors' PyTorch files call the parameters of ``net``: their name to ours.

    Their files also hold ``sub_mean`` and ``add_mean``, which are constants here.
    """
    blocks = len(net.blocks)
    layers = {"head.0": "head", f"body.{blocks}": "body", "tail.1": "tail"}
    layers |= {f"body.{i}.body.{j}": f"blocks.{i}.residual.{j}" for i in range(blocks) for j in (0, 2)}
    layers |= {f"tail.0.{i}": f"up.{i}" for i in range(0, len(net.up), 2)}
    return {f"{theirs}.{kind}": f"{ours}.{kind}" for theirs, ours in layers.items() for kind in ("weight", "bias")}
