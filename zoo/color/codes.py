"""Code values: components (R'G'B' or Y'CbCr) to the integers that a signal carries (ITU-T H.273, 8.3).

Convention: components as in ``zoo.color.ycbcr``, R'G'B' in [0, 1]. Code units are floats on the scale of the codes. The
channel axis is -3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.precision import at_least_float32
from zoo.signal import Signal


def _gains_and_offsets(signal: Signal) -> tuple[tuple[float, float], ...]:
    """For each channel a and b of codes = a * component + b."""
    if signal.range == "narrow":
        step = 2 ** (signal.depth - 8)
        first, difference = (219 * step, 16 * step), (224 * step, 128 * step)
    else:
        first, difference = (signal.peak, 0), (signal.peak, 2 ** (signal.depth - 1))
    return (first, first, first) if signal.matrix == "rgb" else (first, difference, difference)


def components_to_codes(components: Tensor, signal: Signal) -> Tensor:
    """Components to code units, neither rounded nor clipped.

    Args:
        components: ``(..., 3, H, W)``, R'G'B' or Y'CbCr as ``signal.matrix`` says.
        signal: gives matrix, range and depth. Narrow range, 10 bit: 876 Y' + 64 and 896 C + 512.

    Returns:
        Same shape.
    """
    channels = at_least_float32(components).split(1, dim=-3)
    pairs = zip(channels, _gains_and_offsets(signal), strict=True)
    return torch.cat([gain * channel + offset for channel, (gain, offset) in pairs], dim=-3)


def codes_to_components(codes: Tensor, signal: Signal) -> Tensor:
    """Code units to components: the inverse of ``components_to_codes``.

    Args:
        codes: ``(..., 3, H, W)``; fractions and codes outside the nominal range are taken as they are.
        signal: gives matrix, range and depth.

    Returns:
        R'G'B' or Y'CbCr, same shape.
    """
    channels = at_least_float32(codes).split(1, dim=-3)
    pairs = zip(channels, _gains_and_offsets(signal), strict=True)
    return torch.cat([(channel - offset) / gain for channel, (gain, offset) in pairs], dim=-3)


def quantize(codes: Tensor, signal: Signal) -> Tensor:
    """Round code units to the codes that the signal may carry.

    Args:
        codes: any shape, code units.
        signal: gives range and depth.

    Returns:
        Whole numbers, floating point as the input: floor(x + 0.5), clipped to 1..254 (8 bit), 4..1019 (10), 16..4079
        (12) or 256..65279 (16) in narrow range, where the outer codes are kept for timing (ITU-R BT.2100, Table 9), to
        all codes in full range.
    """
    reserved = 2 ** (signal.depth - 8) if signal.range == "narrow" else 0
    return (at_least_float32(codes) + 0.5).floor().clamp(reserved, signal.peak - reserved)
