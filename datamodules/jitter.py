"""Random changes of exposure and hue that keep a pair a pair: what one side does, the other does through its curve."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from datamodules.shards import Sample
from zoo.color import convert_primaries, decode, encode, quantize, reinhard, reinhard_inverse
from zoo.errors import DataError
from zoo.signal import HDR10_VIDEO, SDR_VIDEO, Signal

# HDR light that the curve takes to SDR white, cd/m².
_CURVE_PEAK = 1000.0
_CURVE = "reinhard-1000"

_CHANNEL_ORDERS = tuple(itertools.permutations(range(3)))


class ColourJitter:
    """Change the light of both pictures of a pair, so that they stay related as the pair's tone curve relates them.

    The HDR picture is decoded to display light on BT.709 primaries, the SDR picture likewise and taken back through its
    curve to HDR light. Both are multiplied by one gain and get their R, G and B in one new order; then the SDR picture
    goes through the curve again, and both are encoded and rounded. Light above 1000 cd/m², which the curve can't tell
    from 1000, is held there on both sides.

    So only pairs by a known curve of each channel by itself can be changed: ``reinhard-1000``, that of the preset
    ``val-v1``. A new order of channels is exact up to rounding, whatever the scale. A gain is exact where the picture
    is flat; at edges the LR side was reduced after the curve, and the gained picture's own reduction would differ by a
    few codes.

    Args:
        exposure: largest gain up or down, in stops; 0 leaves the exposure. Gains are drawn evenly in stops.
        hue: give the channels one of their six orders, each equally often.
    """

    def __init__(self, exposure: float, hue: bool) -> None:
        self._exposure = exposure
        self._hue = hue

    def __call__(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """The sample in other colours.

        Args:
            sample: codes of ``SDR_VIDEO`` and ``HDR10_VIDEO``.
            generator: where gain and order are drawn from.

        Raises:
            DataError: the sample was made by another curve, or by one that nobody knows.
        """
        if (curve := sample.meta.get("curve")) != _CURVE:
            raise DataError(
                f"sample {sample.key} was made by the curve {curve}: exposure and hue jitter need {_CURVE}; set "
                "data.exposure_jitter to 0 and data.hue_jitter to false"
            )
        gain = 2.0 ** generator.uniform(-self._exposure, self._exposure) if self._exposure else 1.0
        order = _CHANNEL_ORDERS[generator.integers(len(_CHANNEL_ORDERS)) if self._hue else 0]

        def change(light: Tensor) -> Tensor:
            return (gain * light.clamp(max=_CURVE_PEAK)[list(order)]).clamp(max=_CURVE_PEAK)

        sdr = reinhard_inverse(decode(_values(sample.sdr, SDR_VIDEO), SDR_VIDEO).clamp(0, 100))
        hdr = convert_primaries(decode(_values(sample.hdr, HDR10_VIDEO), HDR10_VIDEO), "bt2020", "bt709")
        return sample._replace(
            sdr=_codes(reinhard(change(sdr)), SDR_VIDEO).astype(np.uint8),
            hdr=_codes(convert_primaries(change(hdr), "bt709", "bt2020"), HDR10_VIDEO).astype(np.uint16),
        )


def _values(codes: np.ndarray, signal: Signal) -> Tensor:
    """Codes ``(h, w, 3)``, views included, to a tensor on their signal, float32 ``(3, h, w)``."""
    return torch.from_numpy(np.ascontiguousarray(rearrange(codes, "h w c -> c h w"), dtype=np.float32)) / signal.peak


def _codes(light: Tensor, signal: Signal) -> np.ndarray:
    """Light ``(3, h, w)`` to whole codes ``(h, w, 3)``, float32."""
    return rearrange(quantize(signal.peak * encode(light, signal), signal), "c h w -> h w c").numpy()
