"""Ways in which SDR is made of HDR: named curves from HDR display light to SDR display light.

Convention: display light in cd/m², linear RGB, ``(..., 3, H, W)``; SDR white is 100, the HDR peak 1000 cd/m². All
curves are absolute: no statistic of the picture enters, so one SDR level stands for one HDR level throughout a set.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from zoo.color.bt2446 import bt2446a, bt2446c
from zoo.color.primaries import convert_primaries
from zoo.color.tonemap import HDR_PEAK, reinhard
from zoo.color.transfer import SDR_WHITE, pq_decode, pq_encode
from zoo.color.ycbcr import luma
from zoo.errors import SignalError
from zoo.precision import at_least_float32

HDR_REFERENCE_WHITE = 203.0
"""Luminance of diffuse white in HDR, cd/m² (ITU-R BT.2408, Table 1)."""

# Hable, "Filmic Tonemapping for Real-time Rendering" (SIGGRAPH 2010 course): shoulder strength, linear strength and
# angle, toe strength, numerator and denominator, and the exposure of 2 that he draws his pictures with.
_HABLE_A, _HABLE_B, _HABLE_C, _HABLE_D, _HABLE_E, _HABLE_F = 0.15, 0.50, 0.10, 0.20, 0.02, 0.30
_HABLE_EXPOSURE = 2.0


def _pq(luminance: float) -> float:
    return pq_encode(torch.tensor(luminance, dtype=torch.float64)).item()


def bt2390_eetf(luminance: Tensor, source_peak: float, target_peak: float) -> Tensor:
    """Fit light of one peak onto a display of a lower one: the EETF of Report ITU-R BT.2390, 5.4.1, blacks at 0.

    In PQ, with the source's peak as 1 and the display's as p: unchanged below the knee k = 1.5 p - 0.5, above it a
    Hermite spline that leaves the straight line without a kink and ends flat at p.

    Args:
        luminance: cd/m², any shape, not negative. What lies above the source's peak becomes the display's.
        source_peak: cd/m².
        target_peak: cd/m², at most ``source_peak`` and high enough for a knee above 0.

    Returns:
        cd/m², [0, target_peak], same shape. Light below the knee comes back bit by bit.
    """
    luminance = at_least_float32(luminance)
    source = _pq(source_peak)
    peak = _pq(target_peak) / source
    knee = 1.5 * peak - 0.5
    assert 0 < knee < 1, (source_peak, target_peak)

    relative = (pq_encode(luminance) / source).clamp(max=1)
    t = (relative.clamp(min=knee) - knee) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * peak
    return torch.where(relative < knee, luminance, pq_decode(source * spline).clamp(max=target_peak))


def _scale_by(light: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Light times ``after / before``, a level of each pixel before and after a curve; black stays black."""
    return light * torch.where(before > 0, after / before.clamp(min=1e-30), 0.0)


def bt2390(light: Tensor) -> Tensor:
    """HDR to SDR by the EETF of Report ITU-R BT.2390 from 1000 to 100 cd/m², on the largest channel.

    max(R, G, B) goes through the curve and all channels are scaled as it is (ITU-R BT.2408, Annex 5, calls it maxRGB),
    which keeps the hue and leaves no channel above white. Light below 27.8 cd/m² stays as it is.

    Args:
        light: HDR, cd/m² on BT.2020 primaries.

    Returns:
        SDR, cd/m² on the same primaries, same shape; not above 100.
    """
    light = at_least_float32(light)
    largest = light.amax(dim=-3, keepdim=True).clamp(min=0)
    return _scale_by(light, largest, bt2390_eetf(largest, HDR_PEAK, SDR_WHITE))


def hable(light: Tensor) -> Tensor:
    """HDR to SDR by Hable's filmic curve, each channel by itself.

    h(x) = (x (A x + C B) + D E) / (x (A x + B) + D F) - E / F, x = 2 light / 100, over its value for the HDR peak, so
    that 1000 cd/m² becomes 100. The 2 is Hable's own exposure; without it mid-tones come out a stop darker.

    Args:
        light: HDR, cd/m², any shape. Negative values count as 0.

    Returns:
        SDR, cd/m², same shape; above 100 for light above 1000.
    """

    def curve(x: Tensor) -> Tensor:
        numerator = x * (_HABLE_A * x + _HABLE_C * _HABLE_B) + _HABLE_D * _HABLE_E
        denominator = x * (_HABLE_A * x + _HABLE_B) + _HABLE_D * _HABLE_F
        return numerator / denominator - _HABLE_E / _HABLE_F

    exposure = _HABLE_EXPOSURE / SDR_WHITE
    white = curve(torch.tensor(exposure * HDR_PEAK, dtype=torch.float64)).item()
    # h(0) is 0 only up to rounding, which would leave black a trifle below.
    return SDR_WHITE * (curve(exposure * at_least_float32(light).clamp(min=0)) / white).clamp(min=0)


def video_site(light: Tensor) -> Tensor:
    """HDR to SDR about as sites do that show HDR uploads on SDR screens.

    Sites don't publish their tables. This puts together what the public guidance has in common: diffuse white of
    203 cd/m² belongs at SDR white (ITU-R BT.2408, 2.1), so light is scaled by 100 / 203; highlights are fitted in by
    the EETF of ITU-R BT.2390 on luminance (BT.2408, Annex 5: YRGB); what then lies outside the gamut is drawn towards
    the grey of its luminance, so that luminance and hue stay and saturation pays. Diffuse white comes out at 78 cd/m²,
    90 % signal.

    Args:
        light: HDR, cd/m² on BT.709 primaries; negative parts are colours outside that gamut.

    Returns:
        SDR, cd/m² on BT.709 primaries, [0, 100] up to rounding, same shape.
    """
    light = at_least_float32(light) * (SDR_WHITE / HDR_REFERENCE_WHITE)
    luminance = luma(light, "ycbcr709").clamp(min=0)
    fitted = bt2390_eetf(luminance, HDR_PEAK * SDR_WHITE / HDR_REFERENCE_WHITE, SDR_WHITE)
    return _desaturate(_scale_by(light, luminance, fitted), fitted)


def _desaturate(light: Tensor, luminance: Tensor) -> Tensor:
    """Draw colours towards the grey of their luminance, as little as brings all channels into [0, white].

    Args:
        light: cd/m².
        luminance: of ``light``, ``(..., 1, H, W)``, [0, white].
    """
    tiny = 1e-30  # a grey's distance to its own luminance is 0: any saturation does
    above = (light.amax(dim=-3, keepdim=True) - luminance).clamp(min=tiny)
    below = (luminance - light.amin(dim=-3, keepdim=True)).clamp(min=tiny)
    saturation = torch.minimum((SDR_WHITE - luminance) / above, luminance / below).clamp(max=1)
    return luminance + saturation * (light - luminance)


# Each curve by the primaries that it works on.
_ON_BT709: dict[str, Callable[[Tensor], Tensor]] = {
    "reinhard-1000": reinhard,
    "hable": hable,
    "video-site": video_site,
}
_ON_BT2020: dict[str, Callable[[Tensor], Tensor]] = {"bt2446a": bt2446a, "bt2446c": bt2446c, "bt2390": bt2390}

SDR_CURVES = (*_ON_BT709, *_ON_BT2020)
"""Names that ``to_sdr`` knows; ``reinhard-1000`` is the fixed curve of the preset ``val-v1``."""


def to_sdr(light: Tensor, primaries: str, curve: str) -> Tensor:
    """HDR display light to SDR display light.

    ``reinhard-1000``, ``hable`` and ``video-site`` work on BT.709 primaries, the others on BT.2020, as their
    definitions say. What BT.709 can't show is clipped, but by ``video-site`` desaturated.

    Args:
        light: HDR, ``(..., 3, H, W)``, cd/m².
        primaries: of ``light``, ``bt709`` or ``bt2020``.
        curve: one of ``SDR_CURVES``.

    Returns:
        SDR on BT.709 primaries, cd/m², clipped to [0, 100], same shape.

    Raises:
        SignalError: a curve or primaries that aren't known.
    """
    if primaries not in ("bt709", "bt2020"):
        raise SignalError(f"SDR is made of light on bt709 or bt2020 primaries, not {primaries!r}; convert it first")
    if curve in _ON_BT709:
        sdr = _ON_BT709[curve](convert_primaries(light, primaries, "bt709"))
    elif curve in _ON_BT2020:
        sdr = _ON_BT2020[curve](convert_primaries(light, primaries, "bt2020"))
        sdr = convert_primaries(sdr, "bt2020", "bt709")
    else:
        raise SignalError(f"unknown SDR curve {curve!r}; known: {', '.join(SDR_CURVES)}")
    return sdr.clamp(0, SDR_WHITE)
