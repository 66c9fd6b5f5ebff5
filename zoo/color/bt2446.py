"""Methods A and C of Report ITU-R BT.2446-1 between HDR and SDR, in both directions.

Convention: display light in cd/m², linear RGB on BT.2020 primaries, ``(..., 3, H, W)``; SDR white is 100, the HDR peak
1000 cd/m². All curves are absolute: no statistic of the picture enters.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zoo.color.primaries import apply_matrix
from zoo.color.tonemap import HDR_PEAK
from zoo.color.transfer import SDR_WHITE, bt1886_decode, bt1886_encode
from zoo.color.ycbcr import luma, rgb_to_ycbcr, ycbcr_to_rgb
from zoo.precision import at_least_float32

# ITU-R BT.2446-1, method C (6.1.5). The inflection in SDR light is 80 % signal, printed as 58.5.
_C_K1, _C_K2, _C_K3, _C_K4 = 0.83802, 15.09968, 0.74204, 78.99439
_C_SDR_INFLECTION = 58.5
_C_HDR_INFLECTION = _C_SDR_INFLECTION / _C_K1


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


def bt2446c(light: Tensor, crosstalk: float = 0.0) -> Tensor:
    """HDR to SDR by method C of ITU-R BT.2446-1 (6.1), without chroma correction.

    The curve acts on luminance, colours keep their chromaticity; crosstalk brings vivid colours nearer to grey for the
    curve and takes them back after it. 203 cd/m² goes to 90.7, 1000 to 118.4 cd/m².

    Args:
        light: HDR, cd/m² on BT.2020 primaries.
        crosstalk: the Report's alpha, [0, 0.33].

    Returns:
        SDR, cd/m² on BT.2020 primaries, white 100, same shape. Super-white is not clipped: HDR above 332 cd/m² exceeds
        100. Negative values become 0.
    """
    assert 0 <= crosstalk <= 0.33, crosstalk
    light = _mixed(light, 1 - 2 * crosstalk, crosstalk)
    y = luma(light, "ycbcr2020")
    bright = y.clamp(min=_C_HDR_INFLECTION)  # where the logarithm isn't chosen its ratio stays finite
    ratio = (_C_K2 * torch.log(bright / _C_HDR_INFLECTION - _C_K3) + _C_K4) / bright
    sdr = light * torch.where(y < _C_HDR_INFLECTION, _C_K1, ratio)
    share = 1 - 3 * crosstalk
    return _mixed(sdr, (1 - crosstalk) / share, -crosstalk / share).clamp(min=0)


def _mixed(light: Tensor, own: float, others: float) -> Tensor:
    """Each channel times ``own`` plus the two other channels times ``others``."""
    return apply_matrix(((own, others, others), (others, own, others), (others, others, own)), light)


def bt2446a(light: Tensor) -> Tensor:
    """HDR to SDR by method A of ITU-R BT.2446-1 (4.1, Tables 2 and 3), for a peak of 1000 cd/m².

    Mid-tones come out dark: greys of 6.39, 80.7, 342 and 1000 cd/m² give signals of 0.2, 0.5, 0.8 and 1.

    Args:
        light: HDR, cd/m² on BT.2020 primaries, [0, 1000]. Negative values count as 0, the curve goes on above.

    Returns:
        SDR, cd/m² on BT.2020 primaries, white 100, same shape. Vivid colours can exceed 100; what the SDR signal holds
        as negative R'G'B' is 0.
    """
    rho_hdr, rho_sdr = _perceptual_base(HDR_PEAK), _perceptual_base(SDR_WHITE)
    y, cb, cr = rgb_to_ycbcr(bt1886_encode(light, HDR_PEAK), "ycbcr2020").split(1, dim=-3)
    y_p = torch.log1p((rho_hdr - 1) * y) / math.log(rho_hdr)
    middle = -1.1510 * y_p**2 + 2.7811 * y_p - 0.6302
    y_c = torch.where(y_p <= 0.7399, 1.0770 * y_p, torch.where(y_p < 0.9909, middle, 0.5 * y_p + 0.5))
    y_sdr = torch.expm1(y_c * math.log(rho_sdr)) / (rho_sdr - 1)

    scale = _ratio(y_sdr, 1.1 * y)
    cb, cr = scale * cb, scale * cr
    return bt1886_decode(ycbcr_to_rgb(torch.cat([y_sdr - (0.1 * cr).clamp(min=0), cb, cr], dim=-3), "ycbcr2020"))


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
    return _with_luma(y_hdr, _ratio(1.1 * y_hdr, y_sdr), cb, cr)


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
    return _with_luma(y_hdr, _ratio(1.075 * y_hdr, y), cb, cr)


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The scale of colour differences; 0 where the denominator is, which is black and has no differences."""
    return torch.where(denominator > 0, numerator / denominator.clamp(min=1e-30), 0.0)


def _with_luma(y_hdr: Tensor, scale: Tensor, cb: Tensor, cr: Tensor) -> Tensor:
    """Light of luma ``y_hdr`` and the SDR's colour differences times ``scale``."""
    rgb = ycbcr_to_rgb(torch.cat([y_hdr, scale * cb, scale * cr], dim=-3), "ycbcr2020")
    return bt1886_decode(rgb.clamp(0, 1), white=HDR_PEAK)
