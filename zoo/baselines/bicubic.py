"""Bicubic enlargement followed by an operator: what a network has to beat (docs/protocol.md, docs/baselines.md)."""

from __future__ import annotations

from torch import Tensor, nn

from zoo.baselines.operators import Operator
from zoo.color import bt1886_decode, encode, signal_to_rgb
from zoo.ops.pictures import check_pictures
from zoo.ops.resize import imresize
from zoo.signal import HDR10_VIDEO, SDR_VIDEO


class BicubicConverter(nn.Module):
    """Enlarge SDR by MATLAB's bicubic and convert it to HDR, with a network's interface and signals.

    Shape: ``(B, 3, h, w)``, code / 255 on ``input_signal``, to ``(B, 3, scale h, scale w)``, code / 1023 on
    ``output_signal``, not rounded.

    Args:
        operator: from SDR light to HDR light.
        scale: 1, 2 or 4.

    Attributes:
        halo: LR rows, columns that an output pixel depends on; None where it depends on the whole picture.
    """

    input_signal = SDR_VIDEO
    output_signal = HDR10_VIDEO

    def __init__(self, operator: Operator, scale: int) -> None:
        super().__init__()
        self.operator = operator
        self.scale = scale
        # Four taps along each axis; at x1 a pixel depends on itself.
        self.halo = None if operator.whole_picture else (0, 0) if scale == 1 else (2, 2)

    def forward(self, sdr: Tensor) -> Tensor:
        check_pictures(sdr, self.input_signal)
        # Enlarged as codes are, so bicubic's overshoots are clipped only once they are colours.
        rgb = signal_to_rgb(imresize(sdr, self.scale), self.input_signal).clamp(0, 1)
        return encode(self.operator.convert(bt1886_decode(rgb)), self.output_signal)
