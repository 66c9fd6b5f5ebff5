"""Tone curves between HDR and SDR, and the static converters that a network has to beat.

Convention: display light in cd/m², linear RGB, ``(..., 3, H, W)``; SDR white is 100, the HDR peak 1000 cd/m². All
curves are absolute: no statistic of the picture enters, so the level of the one side is a function of the other.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zoo.color.precision import at_least_float32
from zoo.color.transfer import SDR_WHITE, bt1886_decode, bt1886_encode
from zoo.color.ycbcr import luma, rgb_to_ycbcr, ycbcr_to_rgb

HDR_PEAK = 1000.0
"""Luminance that the curves end at on the HDR side, cd/m²."""

_ROLL_OFF_START = 500.0

# Square of the light that Reinhard's extended curve takes to white, in units of white.
_REINHARD_WHITE_SQUARED = (HDR_PEAK / SDR_WHITE) ** 2

# ITU-R BT.2446-1, method C (6.1.5). The inflection in SDR light is 80 % signal, printed as 58.5.
_C_K1, _C_K2, _C_K3, _C_K4 = 0.83802, 15.09968, 0.74204, 78.99439
_C_SDR_INFLECTION = 58.5
_C_HDR_INFLECTION = _C_SDR_INFLECTION / _C_K1


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
        light: HDR, cd/m², any shape, not negative.

    Returns:
        SDR, cd/m², clipped to [0, 100]; same shape.
    """
    x = at_least_float32(light) / SDR_WHITE
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


def bt2446c_inverse(light: Tensor) -> Tensor:
    """SDR to HDR by method C of ITU-R BT.2446-1 (6.2), without crosstalk and chroma correction.

    The curve acts on luminance, colours keep their chromaticity. SDR white reaches 332 cd/m².

    Args:
        light: SDR, cd/m² on BT.2020 primaries, white 100.

    Returns:
        HDR, cd/m² on BT.2020 primaries, same shape. At 58.5 cd/m² the Report's rounded constants leave a step of
        0.04 cd/m².
    """
    light = at_least_float32(light)
    y = luma(light, "ycbcr2020")
    bright = y.clamp(min=_C_SDR_INFLECTION)  # where the exponential isn't chosen its ratio stays finite
    ratio = _C_HDR_INFLECTION * (torch.exp((bright - _C_K4) / _C_K2) + _C_K3) / bright
    return light * torch.where(y < _C_SDR_INFLECTION, 1 / _C_K1, ratio)


def _perceptual_base(peak: float) -> float:
    """rho of ITU-R BT.2446-1, 4.1: the base of its logarithmic response for a display of this peak in cd/m²."""
    return 1 + 32 * (peak / 10000) ** (1 / 2.4)


def bt2446a_inverse(light: Tensor) -> Tensor:
    """SDR to HDR by the inverse of the HDR-to-SDR transform that is method A of ITU-R BT.2446-1 (4.1, Tables 2, 3).

    Mid-tones come out bright: greys of signal 0.2, 0.5, 0.8 and 1 give 6.39, 80.7, 342 and 1000 cd/m².

    Args:
        light: SDR, cd/m² on BT.2020 primaries, white 100.

    Returns:
        HDR, cd/m² on BT.2020 primaries, [0, 1000], same shape.
    """
    rho_hdr, rho_sdr = _perceptual_base(HDR_PEAK), _perceptual_base(SDR_WHITE)
    y, cb, cr = rgb_to_ycbcr(bt1886_encode(light), "ycbcr2020").split(1, dim=-3)
    y_sdr = y + (0.1 * cr).clamp(min=0)
    y_c = torch.log1p((rho_sdr - 1) * y_sdr) / math.log(rho_sdr)

    # The three pieces of Table 3, inverted. They don't quite meet, hence the middle one is held within its ends.
    dark, bright = y_c / 1.0770, 2 * y_c - 1
    discriminant = (2.7811**2 - 4 * 1.1510 * (y_c + 0.6302)).clamp(min=1e-6)  # 1e-6: beyond the middle piece's end
    middle = ((2.7811 - discriminant.sqrt()) / (2 * 1.1510)).clamp(0.7399, 0.9909)
    y_p = torch.where(dark <= 0.7399, dark, torch.where(bright >= 0.9909, bright, middle))

    y_hdr = torch.expm1(y_p * math.log(rho_hdr)) / (rho_hdr - 1)
    return _with_luma(y_hdr, 1.1 * y_hdr, y_sdr, cb, cr)


def bt2446a_table4(light: Tensor) -> Tensor:
    """SDR to HDR as method A of ITU-R BT.2446-1 prints it (4.2, Table 4): a fit for a peak of 1000 cd/m² alone.

    Greys of signal 0.2, 0.5, 0.8 and 1 give 6.51, 76.3, 357.7 and 999.5 cd/m².

    Args:
        light: SDR, cd/m² on BT.2020 primaries, white 100.

    Returns:
        HDR, cd/m² on BT.2020 primaries, [0, 1000], same shape.
    """
    y, cb, cr = rgb_to_ycbcr(bt1886_encode(light), "ycbcr2020").split(1, dim=-3)
    y_255 = 255 * y
    exponent = torch.where(
        y_255 <= 70,
        1.8712e-5 * y_255**2 - 2.7334e-3 * y_255 + 1.3141,
        2.8305e-6 * y_255**2 - 7.4622e-4 * y_255 + 1.2528,
    )
    y_hdr = y_255**exponent / HDR_PEAK
    return _with_luma(y_hdr, 1.075 * y_hdr, y, cb, cr)


def _with_luma(y_hdr: Tensor, numerator: Tensor, denominator: Tensor, cb: Tensor, cr: Tensor) -> Tensor:
    """Light of luma ``y_hdr`` and the SDR's colour differences scaled by ``numerator / denominator``.

    A denominator of 0 is black, whose differences are 0 whatever the scale.
    """
    scale = torch.where(denominator > 0, numerator / denominator.clamp(min=1e-30), 0.0)
    rgb = ycbcr_to_rgb(torch.cat([y_hdr, scale * cb, scale * cr], dim=-3), "ycbcr2020")
    return bt1886_decode(rgb.clamp(0, 1), white=HDR_PEAK)
