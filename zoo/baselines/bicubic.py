"""Bicubic enlargement followed by a static converter: what a network has to beat (docs/protocol.md)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from zoo.color import bt1886_decode, encode, signal_to_rgb
from zoo.ops.pictures import check_pictures
from zoo.ops.resize import imresize
from zoo.signal import HDR10_VIDEO, SDR_VIDEO


class BicubicConverter(nn.Module):
    """Enlarge SDR by MATLAB's bicubic and convert it to HDR pixel by pixel, with a network's interface and signals.

    Shape: ``(B, 3, h, w)``, code / 255 on ``input_signal``, to ``(B, 3, scale h, scale w)``, code / 1023 on
    ``output_signal``, not rounded.

    Args:
        converter: SDR display light, linear RGB on BT.709 primaries in cd/m², [0, 100], to HDR display light on
            BT.2020 primaries in cd/m²; ``(B, 3, H, W)`` both.
        scale: 1, 2 or 4.
    """

    input_signal = SDR_VIDEO
    output_signal = HDR10_VIDEO

    def __init__(self, converter: Callable[[Tensor], Tensor], scale: int) -> None:
        super().__init__()
        self.converter = converter
        self.scale = scale
        # Four taps along each axis; at x1 a pixel depends on itself.
        self.halo = (0, 0) if scale == 1 else (2, 2)

    def forward(self, sdr: Tensor) -> Tensor:
        check_pictures(sdr, self.input_signal)
        # Enlarged as codes are, so bicubic's overshoots are clipped only once they are colours.
        rgb = signal_to_rgb(imresize(sdr, self.scale), self.input_signal).clamp(0, 1)
        return encode(self.converter(bt1886_decode(rgb)), self.output_signal)
