"""Transfer curves: light to signal (``encode``) and signal to light (``decode``).

Convention: signals are R'G'B' values with black at 0 and nominal white (PQ, HLG: the peak) at 1. Light is in cd/m² for
the curves of displays, BT.1886 and PQ; for BT.709 and sRGB it is relative to white, for HLG's camera curve to the peak
(``zoo.color.hlg`` has the way from there to a display). Any shape and device; half precision is
lifted to float32, float32 and float64 are kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from zoo.precision import at_least_float32

SDR_WHITE = 100.0
"""Luminance of nominal white on a display that SDR is graded on, cd/m² (ITU-R BT.2035)."""

PQ_PEAK = 10000.0
"""Luminance that a PQ signal of 1 stands for, cd/m²."""

# ITU-R BT.2100, Table 4.
PQ_M1 = 2610 / 16384
PQ_M2 = 2523 / 4096 * 128
PQ_C1 = 3424 / 4096
PQ_C2 = 2413 / 4096 * 32
PQ_C3 = 2392 / 4096 * 32

# The inverse's denominator PQ_C2 - PQ_C3 p vanishes at a signal of (PQ_C2 / PQ_C3)^PQ_M2 = 1.992.
_PQ_DECODE_LIMIT = 1.9

_BT1886_GAMMA = 2.4

# ITU-R BT.2100, Table 5; b and c follow from a.
_HLG_A = 0.17883277
_HLG_B = 1 - 4 * _HLG_A
_HLG_C = 0.5 - _HLG_A * math.log(4 * _HLG_A)

# Curves of infinite slope at 0 hand back the chord's gradient from 0 to here, a share of the peak.
_CHORD_END = 1e-6


def _with_chord_gradient(curve: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``curve(x)`` for x >= 0, exactly; below ``_CHORD_END`` its gradient is the slope of the chord."""
    if not x.requires_grad:
        return curve(x)
    end = torch.tensor(_CHORD_END, dtype=torch.float64)
    slope = (curve(end) - curve(torch.zeros_like(end))) / end
    chord = curve(x.detach()) + slope * (x - x.detach())
    return torch.where(x < _CHORD_END, chord, curve(x.clamp(min=_CHORD_END)))


def bt709_encode(light: Tensor) -> Tensor:
    """Scene light to signal: the OETF of ITU-R BT.709-6, item 1.2.

    Args:
        light: relative to white, [0, 1]. The curve goes on above 1; below 0 its straight part does.

    Returns:
        R'G'B' signal. At 0.018 the standard's rounded constants leave a step of 2.4e-4.

    Example:
        >>> bt709_encode(torch.tensor([0.0, 0.18, 1.0]))
        tensor([0.0000, 0.4090, 1.0000])
    """
    light = at_least_float32(light)
    # The clamp keeps the power's gradient finite where the straight part is chosen.
    power = 1.099 * light.clamp(min=0.018) ** 0.45 - 0.099
    return torch.where(light < 0.018, 4.5 * light, power)


def bt709_decode(signal: Tensor) -> Tensor:
    """Signal to scene light: the inverse of ``bt709_encode``.

    Args:
        signal: R'G'B', [0, 1]; treated outside as by ``bt709_encode``.

    Returns:
        Light relative to white.
    """
    signal = at_least_float32(signal)
    power = ((signal.clamp(min=0.081) + 0.099) / 1.099) ** (1 / 0.45)
    return torch.where(signal < 0.081, signal / 4.5, power)


def bt1886_decode(signal: Tensor, white: float = SDR_WHITE) -> Tensor:
    """Signal to display light: the EOTF of ITU-R BT.1886 for a display whose black emits nothing (L_B = 0).

    Args:
        signal: R'G'B', [0, 1]. Negative values decode as 0, super-whites as more than ``white``.
        white: luminance that a signal of 1 is shown at (L_W), cd/m².

    Returns:
        Light in cd/m².

    Example:
        >>> bt1886_decode(torch.tensor([0.0, 0.5, 1.0]))
        tensor([  0.0000,  18.9465, 100.0000])
    """
    return white * at_least_float32(signal).clamp(min=0) ** _BT1886_GAMMA


def bt1886_encode(light: Tensor, white: float = SDR_WHITE) -> Tensor:
    """Display light to signal: the inverse of ``bt1886_decode``.

    Args:
        light: cd/m². Negative values encode as 0, those above ``white`` exceed 1.
        white: luminance that a signal of 1 is shown at, cd/m².

    Returns:
        R'G'B' signal. The slope at 0 is infinite: the gradient below 1e-6 of white is the chord's.
    """
    relative = at_least_float32(light).clamp(min=0) / white
    return _with_chord_gradient(lambda x: x ** (1 / _BT1886_GAMMA), relative)


def srgb_encode(light: Tensor) -> Tensor:
    """Display light to signal, IEC 61966-2-1.

    Args:
        light: relative to white, [0, 1]. The curve goes on above 1; below 0 its straight part does.

    Returns:
        R'G'B' signal.

    Example:
        >>> srgb_encode(torch.tensor([0.0, 0.18, 1.0]))
        tensor([0.0000, 0.4614, 1.0000])
    """
    light = at_least_float32(light)
    power = 1.055 * light.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(light <= 0.0031308, 12.92 * light, power)


def srgb_decode(signal: Tensor) -> Tensor:
    """Signal to display light, IEC 61966-2-1: the inverse of ``srgb_encode``.

    Args:
        signal: R'G'B', [0, 1]; treated outside as by ``srgb_encode``.

    Returns:
        Light relative to white.
    """
    signal = at_least_float32(signal)
    power = ((signal.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(signal <= 0.04045, signal / 12.92, power)


def pq_encode(luminance: Tensor) -> Tensor:
    """Absolute light to PQ signal: the inverse EOTF of SMPTE ST 2084 (ITU-R BT.2100, Table 4).

    Args:
        luminance: cd/m², [0, 10000]. Negative values encode as 0, higher ones exceed 1.

    Returns:
        PQ signal; [0, 1] for light in range. The slope at 0 is infinite: the gradient below 1e-6 of the peak
        (0.01 cd/m²) is the chord's.

    Example:
        >>> pq_encode(torch.tensor([0.0, 100.0, 10000.0]))
        tensor([7.3096e-07, 5.0808e-01, 1.0000e+00])
    """

    def curve(y: Tensor) -> Tensor:
        power = y**PQ_M1
        return ((PQ_C1 + PQ_C2 * power) / (1 + PQ_C3 * power)) ** PQ_M2

    return _with_chord_gradient(curve, at_least_float32(luminance).clamp(min=0) / PQ_PEAK)


def pq_decode(signal: Tensor) -> Tensor:
    """PQ signal to absolute light: the EOTF of SMPTE ST 2084 (ITU-R BT.2100, Table 4).

    Args:
        signal: PQ signal, [0, 1]. What lies below the signal of black decodes as 0. The curve has a pole at 1.992,
            which B' of an unclipped Y'CbCr prediction can pass: values above 1.9 decode as 1.9 does.

    Returns:
        Light in cd/m²; above 10000 for signals above 1.

    Example:
        >>> pq_decode(torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64))
        tensor([    0.0000,    92.2457, 10000.0000], dtype=torch.float64)
    """
    # Black is PQ_C1^PQ_M2, not 0; below it the root's gradient grows without bound.
    root = at_least_float32(signal).clamp(PQ_C1**PQ_M2, _PQ_DECODE_LIMIT) ** (1 / PQ_M2)
    return PQ_PEAK * ((root - PQ_C1).clamp(min=0) / (PQ_C2 - PQ_C3 * root)) ** (1 / PQ_M1)


def hlg_oetf(light: Tensor) -> Tensor:
    """Scene light to HLG signal: the OETF of ITU-R BT.2100, Table 5.

    Args:
        light: relative to the peak, [0, 1]. Negative values encode as 0, the curve goes on above 1.

    Returns:
        HLG signal. The slope at 0 is infinite: the gradient below 1e-6 of the peak is the chord's.

    Example:
        >>> hlg_oetf(torch.tensor([0.0, 1 / 12, 1.0]))
        tensor([0.0000, 0.5000, 1.0000])
    """
    light = at_least_float32(light).clamp(min=0)
    root = _with_chord_gradient(lambda x: (3 * x).sqrt(), light)
    # The clamp keeps the logarithm real where the root is chosen.
    logarithm = _HLG_A * torch.log(12 * light.clamp(min=1 / 12) - _HLG_B) + _HLG_C
    return torch.where(light <= 1 / 12, root, logarithm)


def hlg_oetf_inverse(signal: Tensor) -> Tensor:
    """HLG signal to scene light: the inverse of ``hlg_oetf``.

    Args:
        signal: HLG signal, [0, 1]. Negative values decode as 0, super-whites as more than 1.

    Returns:
        Scene light relative to the peak.
    """
    signal = at_least_float32(signal).clamp(min=0)
    exponential = (torch.exp((signal.clamp(min=0.5) - _HLG_C) / _HLG_A) + _HLG_B) / 12
    return torch.where(signal <= 0.5, signal**2 / 3, exponential)
