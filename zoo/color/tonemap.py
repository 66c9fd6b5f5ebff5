"""Tone curves of the protocol: the roll-off of scene light to display light, and the fixed curve from HDR to SDR.

Convention: display light in cd/m², linear RGB, ``(..., 3, H, W)``; SDR white is 100, the HDR peak 1000 cd/m². All
curves are absolute: no statistic of the picture enters, so the level of the one side is a function of the other.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.color.transfer import SDR_WHITE
from zoo.precision import at_least_float32

HDR_PEAK = 1000.0
"""Luminance that the curves end at on the HDR side, cd/m²."""

_ROLL_OFF_START = 500.0

# Square of the light that Reinhard's extended curve takes to white, in units of white.
_REINHARD_WHITE_SQUARED = (HDR_PEAK / SDR_WHITE) ** 2


def roll_off(light: Tensor) -> Tensor:
    """Compress light above 500 cd/m² so that it stays below 1000 cd/m².

    Works on m = max(R, G, B): m' = 1000 - 500 exp(-(m - 500) / 500) above 500, m below; all channels are scaled by
    m' / m, which keeps the hue. The slope is continuous.

    Args:
        light: ``(..., 3, H, W)``, cd/m², not negative.

    Returns:
        Same shape.
    """
    light = at_least_float32(light)
    # Held from below: where the curve isn't chosen it divides by nothing small and its gradient stays finite.
    m = light.amax(dim=-3, keepdim=True).clamp(min=_ROLL_OFF_START)
    span = HDR_PEAK - _ROLL_OFF_START
    return light * ((HDR_PEAK - span * torch.exp((_ROLL_OFF_START - m) / span)) / m)


def reinhard(light: Tensor) -> Tensor:
    """HDR to SDR by Reinhard's extended curve (Reinhard et al. 2002, Eq. 4), each channel by itself.

    With x = light / 100: 100 x (1 + x / 100) / (1 + x), which takes 1000 to 100 cd/m².

    Args:
        light: HDR, cd/m², any shape. Negative values count as 0: the curve has a pole at -100.

    Returns:
        SDR, cd/m², clipped to [0, 100]; same shape.
    """
    x = at_least_float32(light).clamp(min=0) / SDR_WHITE
    return (SDR_WHITE * x * (1 + x / _REINHARD_WHITE_SQUARED) / (1 + x)).clamp(0, SDR_WHITE)


def reinhard_inverse(light: Tensor) -> Tensor:
    """SDR to HDR: the exact inverse of ``reinhard``.

    Args:
        light: SDR, cd/m², [0, 100], any shape.

    Returns:
        HDR, cd/m², [0, 1000]; same shape.
    """
    t = at_least_float32(light) / SDR_WHITE
    # The quadratic's root in the form without cancellation: in float32 the usual one loses the shadows.
    root = torch.sqrt((1 - t) ** 2 + 4 * t / _REINHARD_WHITE_SQUARED)
    return SDR_WHITE * 2 * t / (1 - t + root)
