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

_PRESET = "val-v1"

_REMEDY = "set data.exposure_jitter to 0 and data.hue_jitter to false"

_CHANNEL_ORDERS = tuple(itertools.permutations(range(3)))


class ColourJitter:
    """Change the light of both pictures of a pair, so that they stay related as the pair's tone curve relates them.

    The HDR picture is decoded to display light on BT.709 primaries, the SDR picture likewise and taken back through its
    curve to HDR light. Both are multiplied by one gain and get their R, G and B in one new order; then the SDR picture
    goes through the curve again, and both are encoded and rounded. Light that a gain takes above 1000 cd/m², where the
    curve ends, is held there on both sides.

    So only pairs by a known curve of each channel by itself can be changed: ``reinhard-1000``, that of the preset
    ``val-v1``, and among them those of scene light, whose roll-off ends at 1000 cd/m² and whose colours lie in BT.709.
    Of graded HDR the curve dims what is brighter and clips other colours, which can't be undone; with an expanded gamut
    the two sides have other colours. A new order of channels is exact up to rounding, whatever the scale. A gain is
    exact where the picture is flat; at edges the LR side was reduced after the curve, and the gained picture's own
    reduction would differ by a few codes.

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
            DataError: as ``check_pair``.
        """
        check_pair(sample)
        gain = 2.0 ** generator.uniform(-self._exposure, self._exposure) if self._exposure else 1.0
        order = _CHANNEL_ORDERS[generator.integers(len(_CHANNEL_ORDERS)) if self._hue else 0]

        def change(light: Tensor) -> Tensor:
            return (gain * light[list(order)]).clamp(max=_CURVE_PEAK)

        sdr = reinhard_inverse(decode(_values(sample.sdr, SDR_VIDEO), SDR_VIDEO).clamp(0, 100))
        hdr = convert_primaries(decode(_values(sample.hdr, HDR10_VIDEO), HDR10_VIDEO), "bt2020", "bt709")
        return sample._replace(
            sdr=_codes(reinhard(change(sdr)), SDR_VIDEO).astype(np.uint8),
            hdr=_codes(convert_primaries(change(hdr), "bt709", "bt2020"), HDR10_VIDEO).astype(np.uint16),
        )


def check_preset(name: str, preset: str) -> None:
    """Refuse a set that can't be jittered, as far as its preset tells.

    Raises:
        DataError: another preset than that of the curve.
    """
    if preset != _PRESET:
        raise DataError(f"{name} was made by the preset {preset}: exposure and hue jitter need {_PRESET}; {_REMEDY}")


def check_pair(sample: Sample) -> None:
    """Refuse a pair whose sides can't be changed alike.

    Raises:
        DataError: it was made by another curve or by one that nobody knows, of graded HDR, or with an expanded gamut.
    """
    if (curve := sample.meta.get("curve")) != _CURVE:
        obstacle = f"was made by the curve {curve}"
    elif sample.meta.get("exposure") is None:
        obstacle = "was made of graded HDR"
    elif "gamut_expansion" in sample.meta:
        obstacle = "has an expanded gamut"
    else:
        return
    raise DataError(
        f"sample {sample.key} {obstacle}: exposure and hue jitter need {_CURVE} and scene light in its own gamut; "
        f"{_REMEDY}"
    )


def _values(codes: np.ndarray, signal: Signal) -> Tensor:
    """Codes ``(h, w, 3)``, views included, to a tensor on their signal, float32 ``(3, h, w)``."""
    return torch.from_numpy(np.ascontiguousarray(rearrange(codes, "h w c -> c h w"), dtype=np.float32)) / signal.peak


def _codes(light: Tensor, signal: Signal) -> np.ndarray:
    """Light ``(3, h, w)`` to whole codes ``(h, w, 3)``, float32."""
    return rearrange(quantize(signal.peak * encode(light, signal), signal), "c h w -> h w c").numpy()
