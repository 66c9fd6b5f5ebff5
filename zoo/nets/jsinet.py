"""JSInet, the generator of JSI-GAN (Kim, Oh, Kim: AAAI 2020): three subnets, two of which predict dynamic filters.

Where the paper and the authors' released code differ, this is the code: the 2-D filters are normalised by a softmax.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from zoo.errors import ConfigError
from zoo.nets.blocks import InputConv, OutputConv, ResBlock, conv3x3, init_convs, truncated_normal_
from zoo.ops.dynamic import TAPS_2D, TAPS_SEPARABLE, dynamic_upsample_2d, dynamic_upsample_separable
from zoo.ops.guided import detail_layer, guided_filter
from zoo.ops.pictures import check_pictures
from zoo.precision import at_least_float32
from zoo.signal import HDR10_VIDEO, SDR_VIDEO, Signal

DIVISION_EPS = 1e-15
_CHANNELS = 64

Subnet = Literal["ir", "dr", "lce"]


class ConcatResBlock(nn.Module):
    """Residual block that also reads another subnet's features; only its own are carried on (JSI-GAN, Eq. 8).

    Shape: x and other ``(B, channels, H, W)``; returns the same.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.ReLU(), conv3x3(2 * channels, channels), nn.ReLU(inplace=True), conv3x3(channels, channels)
        )

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        return x + self.residual(torch.cat([x, other], dim=1))


class LocalContrastEnhancement(nn.Module):
    """The LCE subnet: a mask in 1..2 from the base layer (Eq. 5 and 6).

    The softmax in the 2-D filter keeps the mask in 1..1.46 for a base layer in 0..1.
    """

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.first = InputConv(3, _CHANNELS)
        self.blocks = nn.Sequential(*(ResBlock(_CHANNELS) for _ in range(4)))
        self.filters = conv3x3(_CHANNELS, TAPS_2D**2 * scale**2)

    def forward(self, base: Tensor) -> Tensor:
        """Mask C ``(B, 3, scale H, scale W)`` from the base layer ``(B, 3, H, W)``."""
        features = self.blocks(self.first(base))
        # Twice the sigmoid. torch's sigmoid rounds what is left over of a vector in another way, so that a pixel would
        # depend on where in the tensor it lies; its tanh doesn't.
        return 1 + torch.tanh(dynamic_upsample_2d(base, self.filters(features.relu()), self.scale) / 2)


class DetailRestoration(nn.Module):
    """The DR subnet: HR details from the detail layer (Eq. 2 to 4)."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.first = InputConv(3, _CHANNELS)
        self.blocks = nn.ModuleList(ResBlock(_CHANNELS) for _ in range(4))
        self.vertical = conv3x3(_CHANNELS, TAPS_SEPARABLE * scale**2)
        self.horizontal = conv3x3(_CHANNELS, TAPS_SEPARABLE * scale**2)

    def forward(self, detail: Tensor) -> tuple[Tensor, Tensor]:
        """Details D ``(B, 3, scale H, scale W)`` from the detail layer ``(B, 3, H, W)``.

        Also the features ``(B, 64, H, W)`` after the first block, which the IR subnet reads.
        """
        features = shared = self.blocks[0](self.first(detail))
        for block in self.blocks[1:]:
            features = block(features)
        features = features.relu()
        details = dynamic_upsample_separable(detail, self.vertical(features), self.horizontal(features), self.scale)
        return details, shared


class ImageReconstruction(nn.Module):
    """The IR subnet: the coarse HR HDR picture, by sub-pixel convolution (Eq. 7 and 8).

    Args:
        shared: whether the second block reads features of the DR subnet.
    """

    def __init__(self, scale: int, shared: bool) -> None:
        super().__init__()
        self.first = InputConv(3, _CHANNELS)
        self.blocks = nn.ModuleList(ResBlock(_CHANNELS) for _ in range(4))
        if shared:
            self.blocks[1] = ConcatResBlock(_CHANNELS)
        self.upsampling = nn.Sequential(
            nn.ReLU(), conv3x3(_CHANNELS, _CHANNELS * scale**2), nn.ReLU(inplace=True), nn.PixelShuffle(scale)
        )
        self.head = OutputConv(_CHANNELS, 3)

    def forward(self, x: Tensor, shared: Tensor | None) -> Tensor:
        """Picture I ``(B, 3, scale H, scale W)`` from the input ``(B, 3, H, W)`` and the DR subnet's features."""
        x = self.first(x)
        for block in self.blocks:
            x = block(x, shared) if isinstance(block, ConcatResBlock) else block(x)
        return self.head(self.upsampling(x))


class JSINetComponents(NamedTuple):
    """What JSInet's prediction is made of; ``pred = (I + D) * C`` (JSI-GAN, Eq. 9).

    Attributes:
        pred: prediction ``(B, 3, scale H, scale W)`` on the output signal, unclipped.
        I: coarse picture of the IR subnet, as large; zeros without it.
        D: details of the DR subnet, as large; zeros without it.
        C: contrast mask of the LCE subnet, as large; ones without it.
        base: base layer of the input ``(B, 3, H, W)``.
        detail: detail layer of the input ``(B, 3, H, W)``.
    """

    pred: Tensor
    I: Tensor  # noqa: E741 (the paper's letter)
    D: Tensor
    C: Tensor
    base: Tensor
    detail: Tensor


class JSINet(nn.Module):
    """JSInet::

        base = guided(x);  detail = x / base
        pred = (IR(x) + DR(detail)) * LCE(base)

    Args:
        scale: HR over LR size. Scale 1 is ours: inverse tone mapping alone, by the same graph.
        subnets: those to build, of ``ir``, ``dr`` and ``lce``; the paper's ablation (Table 1) leaves out DR, LCE or
            both. At least ``ir`` or ``dr``. Without DR the second block of IR is a plain residual block.
        decomposition: how the detail layer is made: ``x / base``, or ``x - base`` as in Table 1's columns (b), (e).

    Attributes:
        halo: rows and columns of the input, to each side, that an output pixel depends on.

    Raises:
        ConfigError: another scale, subnet or decomposition, or no subnet that makes a picture.
    """

    input_signal: ClassVar[Signal] = SDR_VIDEO
    output_signal: ClassVar[Signal] = HDR10_VIDEO
    half_precision: ClassVar[tuple[torch.dtype, ...]] = (torch.bfloat16, torch.float16)

    def __init__(
        self,
        scale: Literal[1, 2, 4] = 2,
        subnets: Sequence[Subnet] = ("ir", "dr", "lce"),
        decomposition: Literal["division", "subtraction"] = "division",
    ) -> None:
        super().__init__()
        if scale not in (1, 2, 4):
            raise ConfigError(f"JSINet has no scale {scale!r}; use 1, 2 or 4")
        if not set(subnets) <= {"ir", "dr", "lce"} or not {"ir", "dr"} & set(subnets):
            raise ConfigError(f"JSINet can't be built of subnets {list(subnets)}; use ir or dr, or both, and lce")
        if decomposition not in ("division", "subtraction"):
            raise ConfigError(f"JSINet has no decomposition {decomposition!r}; use division or subtraction")
        self.scale = scale
        self.decomposition = decomposition
        self.lce = LocalContrastEnhancement(scale) if "lce" in subnets else None
        self.dr = DetailRestoration(scale) if "dr" in subnets else None
        self.ir = ImageReconstruction(scale, shared="dr" in subnets) if "ir" in subnets else None
        # Rows: 4 of the guided filter and 20 of the vertical filter. Columns: 20 of the horizontal filter to a column
        # whose vertical filter saw 10 convolutions and the guided filter. Without DR it is LCE's 10 convolutions and
        # guided filter, or IR's 11 convolutions.
        if self.dr is not None:
            self.halo = (24, 34)
        else:
            self.halo = (14, 14) if self.lce is not None else (11, 11)
        init_convs(self, _init_kernel_)

    def components(self, x: Tensor) -> JSINetComponents:
        """The prediction and what it is made of, all at least float32; ``x`` as in :meth:`forward`."""
        check_pictures(x, self.input_signal)
        base = guided_filter(x, border="reflect")
        x = at_least_float32(x)
        detail = detail_layer(x, base, DIVISION_EPS) if self.decomposition == "division" else x - base

        hr_shape = (*x.shape[:-2], self.scale * x.shape[-2], self.scale * x.shape[-1])
        zeros = x.new_zeros(()).expand(hr_shape)
        details, shared = self.dr(detail) if self.dr is not None else (zeros, None)
        image = self.ir(x, shared) if self.ir is not None else zeros
        contrast = self.lce(base) if self.lce is not None else x.new_ones(()).expand(hr_shape)
        return JSINetComponents((image + details) * contrast, image, details, contrast, base, detail)

    def forward(self, x: Tensor) -> Tensor:
        """Convert LR SDR to HR HDR.

        Args:
            x: ``(B, 3, H, W)`` on ``input_signal``, at least 3 pixels a side, of any float type.

        Returns:
            ``(B, 3, scale H, scale W)`` on ``output_signal``, unclipped, in the parameters' type.

        Raises:
            SignalError: ``x`` has another shape, or isn't float.
            DataError: a side of ``x`` is shorter than 3 pixels.
        """
        return self.components(x).pred.to(next(self.parameters()).dtype)


def _init_kernel_(kernel: Tensor) -> None:
    """TensorFlow 1's Xavier start, normal form: variance 1.3 over the mean of the fans, cut at two sigma."""
    fan_in, fan_out = kernel[0].numel(), kernel.shape[0] * kernel[0, 0].numel()
    truncated_normal_(kernel, std=(1.3 / ((fan_in + fan_out) / 2)) ** 0.5)
