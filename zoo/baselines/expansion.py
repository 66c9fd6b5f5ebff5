"""Expansion operators that the papers compare with: Kovaleski and Oliveira 2014, Masia et al. 2017, Huo et al. 2014.

Deep SR-ITM's Table 4 and JSI-GAN's Table 2 were made with HDR Toolbox, on linearised SDR, with a peak of 1000 cd/m²,
then BT.709 to BT.2020 and PQ. These are the toolbox's formulas at its default parameters; what the papers leave open is
decided in docs/baselines.md. Each works on relative luminance L in [0, 1] and scales R, G and B alike, so hues stay.

Convention: SDR display light on BT.709 primaries, ``(B, 3, H, W)`` in cd/m², [0, 100], to HDR display light on the same
primaries, [0, 1000]. Statistics and filters take in the whole picture, each picture of a batch by itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.baselines.bilateral import cross_bilateral
from zoo.color import luma
from zoo.color.tonemap import HDR_PEAK
from zoo.color.transfer import SDR_WHITE
from zoo.precision import at_least_float32

_GAMMA = 2.4  # of BT.1886: thresholds are given for codes, the pictures come as light

# Kovaleski and Oliveira: black of the display in cd/m², how far clipped regions are brightened, codes from 254 on count
# as clipped in stills, and the filter's sigmas in pixels and codes.
_KOVALESKI_BLACK = 0.3
_KOVALESKI_BOOST = 4.0
_KOVALESKI_CLIPPED = (254 / 255) ** _GAMMA
_KOVALESKI_SPATIAL, _KOVALESKI_RANGE = 150.0, (25 / 255) ** _GAMMA

_MASIA_CLIPPED = 254 / 255  # of luminance, not of codes
_LOG_OFFSET = 1e-6  # keeps the logarithm of black finite

_HUO_N = 0.86  # sensitivity of the retina's response


def kovaleski(light: Tensor) -> Tensor:
    """Expand linearly, and brighten where the picture is clipped (Kovaleski, Oliveira: SIBGRAPI 2014).

    E = 1 + 3 F, F the mask of clipped pixels smoothed by a cross-bilateral filter with L as its edges (150 pixels,
    25/255 as light); luminance is E (0.3 + 999.7 L). Black stays black, however.

    Returns:
        cd/m², [0, 1000]: E only matters below 1000 cd/m² and raises what is near highlights.
    """
    rgb, luminance = _relative(light)
    clipped = (rgb.amax(dim=-3, keepdim=True) > _KOVALESKI_CLIPPED).to(rgb.dtype)
    mask = cross_bilateral(clipped, luminance, _KOVALESKI_SPATIAL, _KOVALESKI_RANGE)
    boost = 1 + (_KOVALESKI_BOOST - 1) * mask
    return _with_luminance(rgb, luminance, boost * (_KOVALESKI_BLACK + (HDR_PEAK - _KOVALESKI_BLACK) * luminance))


def masia(light: Tensor) -> Tensor:
    """Expand by a power that the picture's statistics set (Masia, Serrano, Gutierrez: MTAP 2017, Eq. 5).

    gamma = 2.4379 + 0.2319 ln Lav - 1.1228 key + 0.0085 p: Lav is the logarithmic mean, key where ln Lav lies between
    the logarithms of the 1st and 99th percentile of L > 0 (-1 where these are equal), p the percentage of clipped
    pixels. Luminance is 1000 D S^gamma: S is L smoothed bilaterally (a 16th of the shorter side, a tenth of the
    picture's range), D = L / S is left as it is. A gamma below 0, which a dark picture without contrast may get,
    inverts it; so does the toolbox's, with a warning.

    Returns:
        cd/m², [0, 1000].
    """
    rgb, luminance = _relative(light)
    gamma = _masia_gamma(luminance)
    low, high = luminance.amin(dim=(-2, -1), keepdim=True), luminance.amax(dim=(-2, -1), keepdim=True)
    span = (high - low).clamp(min=torch.finfo(luminance.dtype).tiny)
    smooth = cross_bilateral(luminance, (luminance - low) / span, min(luminance.shape[-2:]) / 16, 0.1)
    tiny = torch.finfo(luminance.dtype).tiny
    detail = torch.where(smooth > 0, luminance / smooth.clamp(min=tiny), 0)
    return _with_luminance(rgb, luminance, HDR_PEAK * detail * smooth.clamp(min=tiny) ** gamma)


def huo(light: Tensor) -> Tensor:
    """Expand by the inverse of the retina's local response (Huo, Yang, Dong, Brost: The Visual Computer, 2014).

    Luminance is L / max(L) ((1000 S)^n + (1000 Lav)^n)^(1/n), n = 0.86: S is L smoothed by two bilateral filters
    (16 pixels and 0.3, then 10 pixels and 0.1), Lav its logarithmic mean.

    Returns:
        cd/m², [0, 1000]: a bright picture's highlights would reach 2239 cd/m² and are clipped.
    """
    rgb, luminance = _relative(light)
    highest = luminance.amax(dim=(-2, -1), keepdim=True).clamp(min=torch.finfo(luminance.dtype).tiny)
    smooth = cross_bilateral(luminance, luminance, 16, 0.3)
    smooth = cross_bilateral(smooth, smooth, 10, 0.1)
    local, overall = (HDR_PEAK * smooth) ** _HUO_N, (HDR_PEAK * _log_mean(luminance)) ** _HUO_N
    return _with_luminance(rgb, luminance, luminance / highest * (local + overall) ** (1 / _HUO_N))


def _relative(light: Tensor) -> tuple[Tensor, Tensor]:
    """RGB in [0, 1] and its luminance ``(B, 1, H, W)``."""
    rgb = (at_least_float32(light) / SDR_WHITE).clamp(0, 1)
    return rgb, luma(rgb, "ycbcr709").clamp(0, 1)


def _with_luminance(rgb: Tensor, luminance: Tensor, expanded: Tensor) -> Tensor:
    """RGB scaled to the luminance ``expanded``, in cd/m², each channel held within [0, 1000]; black stays black."""
    gain = torch.where(luminance > 0, expanded / luminance.clamp(min=torch.finfo(luminance.dtype).tiny), 0)
    return (rgb * gain.clamp(max=1e30)).clamp(0, HDR_PEAK)


def _log_mean(luminance: Tensor) -> Tensor:
    """Logarithmic mean of each picture, ``(B, 1, 1, 1)``."""
    return (luminance.double() + _LOG_OFFSET).log().mean(dim=(-2, -1), keepdim=True).exp().to(luminance.dtype)


def _masia_gamma(luminance: Tensor) -> Tensor:
    """The exponent of each picture, ``(B, 1, 1, 1)``."""
    average = _log_mean(luminance).double().flatten()
    values = luminance.double().flatten(1)
    # Black sorts last and out of the way; no number leaves the device.
    ordered = torch.where(values > 0, values, torch.inf).sort(dim=1).values
    count = (values > 0).sum(dim=1)
    low, high = (
        ordered.gather(1, (torch.floor(count * share + 0.5).clamp(min=1) - 1).long()[:, None])[:, 0]
        for share in (0.01, 0.99)
    )
    span = high.log() - low.log()  # NaN for a black picture
    key = torch.where(span > 0, (average.log() - low.log()) / span.clamp(min=1e-300), -1)
    clipped = 100 * (values >= _MASIA_CLIPPED).double().mean(dim=1)
    gamma = 2.4379 + 0.2319 * average.log() - 1.1228 * key + 0.0085 * clipped
    return gamma.to(luminance.dtype).view(-1, 1, 1, 1)
