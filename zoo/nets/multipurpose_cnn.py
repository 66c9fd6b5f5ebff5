"""Multi-purpose CNN (Kim, Kim: ACCV 2018) as its authors trained it again to compare with Deep SR-ITM."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn import init

from zoo.errors import ConfigError
from zoo.nets.blocks import InputConv, OutputConv, conv3x3, init_convs
from zoo.ops.pictures import check_pictures
from zoo.ops.resize import imresize
from zoo.precision import at_least_float32
from zoo.signal import HDR10_VIDEO, SDR_VIDEO, Signal

_BRANCH_CHANNELS = 40
_JOINT_CHANNELS = 64


class MultipurposeOutputs(NamedTuple):
    """The three pictures of the network, all unclipped.

    Attributes:
        pred: HR HDR ``(B, 3, scale H, scale W)``, from both branches.
        pred_hr: HR SDR ``(B, 3, scale H, scale W)``, on the input signal.
        pred_hdr: LR HDR ``(B, 3, H, W)``.
    """

    pred: Tensor
    pred_hr: Tensor
    pred_hdr: Tensor


class MultipurposeCNN(nn.Module):
    """Multi-purpose CNN: a super-resolution and an inverse tone mapping branch, joined after three convolutions.

    Both branches go on to outputs of their own, which serve as auxiliary targets in training.

    Args:
        scale: HR over LR size. (For scale 1 there is ``outputs(x).pred_hdr`` of either network.)

    Attributes:
        halo: rows and columns of the input, to each side, that an output pixel depends on.

    Raises:
        ConfigError: another scale.
    """

    input_signal: ClassVar[Signal] = SDR_VIDEO
    output_signal: ClassVar[Signal] = HDR10_VIDEO
    half_precision: ClassVar[tuple[torch.dtype, ...]] = (torch.bfloat16, torch.float16)

    def __init__(self, scale: Literal[2, 4] = 2) -> None:
        super().__init__()
        if scale not in (2, 4):
            raise ConfigError(f"MultipurposeCNN has no scale {scale!r}; use 2 or 4")
        self.scale = scale
        self.halo = (7, 7)  # seven convolutions; the bicubic reads no more than 2 pixels
        self.sr = _features(3, _BRANCH_CHANNELS)
        self.sr_output = _output(_BRANCH_CHANNELS, _BRANCH_CHANNELS, 2, 3 * scale**2)
        self.itm = _features(3, _BRANCH_CHANNELS)
        self.itm_output = _output(_BRANCH_CHANNELS, _BRANCH_CHANNELS, 2, 3)
        self.joint = _output(2 * _BRANCH_CHANNELS, _JOINT_CHANNELS, 3, 3 * scale**2)
        init_convs(self, init.xavier_normal_)

    def forward(self, x: Tensor) -> Tensor:
        """Convert LR SDR to HR HDR; the auxiliary outputs aren't computed.

        Args:
            x: ``(B, 3, H, W)`` on ``input_signal``, of any size and float type.

        Returns:
            ``(B, 3, scale H, scale W)`` on ``output_signal``, unclipped, in the parameters' type.

        Raises:
            SignalError: ``x`` has another shape, or isn't float.
        """
        check_pictures(x, self.input_signal)
        pred = self._joint(self.sr(x), self.itm(x), imresize(x, self.scale))
        return pred.to(next(self.parameters()).dtype)

    def outputs(self, x: Tensor) -> MultipurposeOutputs:
        """All three outputs, for training, at least float32; ``x`` as in :meth:`forward`."""
        check_pictures(x, self.input_signal)
        sr, itm, enlarged = self.sr(x), self.itm(x), imresize(x, self.scale)
        return MultipurposeOutputs(
            pred=self._joint(sr, itm, enlarged),
            pred_hr=F.pixel_shuffle(self.sr_output(sr), self.scale) + enlarged,
            pred_hdr=self.itm_output(itm) + at_least_float32(x),
        )

    def _joint(self, sr: Tensor, itm: Tensor, enlarged: Tensor) -> Tensor:
        return F.pixel_shuffle(self.joint(torch.cat([sr, itm], dim=1)), self.scale) + enlarged


def _features(in_channels: int, channels: int) -> nn.Sequential:
    """Three rectified convolutions."""
    return nn.Sequential(
        InputConv(in_channels, channels),
        nn.ReLU(inplace=True),
        conv3x3(channels, channels),
        nn.ReLU(inplace=True),
        conv3x3(channels, channels),
        nn.ReLU(inplace=True),
    )


def _output(in_channels: int, channels: int, hidden: int, out_channels: int) -> nn.Sequential:
    """``hidden`` rectified convolutions and the last one, which isn't."""
    layers: list[nn.Module] = []
    for _ in range(hidden):
        layers += [conv3x3(in_channels, channels), nn.ReLU(inplace=True)]
        in_channels = channels
    return nn.Sequential(*layers, OutputConv(channels, out_channels))
