"""HLG between signal and display: its camera curve and the OOTF, which depends on the display (ITU-R BT.2100, Table 5).

Convention: linear RGB on BT.2020 primaries, ``(..., 3, H, W)``. Scene light is relative to the peak, display light in
cd/m² for a display whose black emits nothing (L_B = 0). Half precision is lifted to float32.
"""

from __future__ import annotations

import math

from torch import Tensor

from zoo.color.transfer import hlg_oetf, hlg_oetf_inverse
from zoo.color.ycbcr import luma
from zoo.precision import at_least_float32

HLG_PEAK = 1000.0
"""Luminance of the display that HLG is graded on, cd/m²."""

# Scene luminance below which the OOTF goes on in a straight line: its power has an infinite slope at 0. No code comes
# so low, the first above black of 16 bits stands for about 1e-10.
_LINEAR_END = 1e-12


def hlg_system_gamma(peak: float) -> float:
    """Exponent of the OOTF for a display: 1.2 at 1000 cd/m².

    1.2 * 1.111^log2(peak / 1000), the form for a wide range of peaks (ITU-R BT.2390), which between 400 and 2000 cd/m²
    keeps within 0.012 of BT.2100's 1.2 + 0.42 log10(peak / 1000).

    Args:
        peak: nominal peak luminance of the display, cd/m².

    Returns:
        The system gamma.
    """
    return 1.2 * 1.111 ** math.log2(peak / 1000)


def hlg_ootf(scene: Tensor, peak: float = HLG_PEAK) -> Tensor:
    """Scene light to display light: all channels scaled by luminance^(gamma - 1), which keeps chromaticity.

    Args:
        scene: relative to the peak, [0, 1]; not clipped.
        peak: nominal peak luminance of the display, cd/m².

    Returns:
        Display light in cd/m², same shape.
    """
    scene = at_least_float32(scene)
    return peak * scene * luma(scene, "ycbcr2020").clamp(min=_LINEAR_END) ** (hlg_system_gamma(peak) - 1)


def hlg_ootf_inverse(light: Tensor, peak: float = HLG_PEAK) -> Tensor:
    """Display light to scene light: the inverse of ``hlg_ootf``.

    Args:
        light: cd/m²; not clipped.
        peak: nominal peak luminance of the display, cd/m².

    Returns:
        Scene light relative to the peak, same shape.
    """
    gamma = hlg_system_gamma(peak)
    relative = at_least_float32(light) / peak
    return relative * luma(relative, "ycbcr2020").clamp(min=_LINEAR_END**gamma) ** (1 / gamma - 1)


def hlg_decode(signal: Tensor, peak: float = HLG_PEAK) -> Tensor:
    """HLG signal to display light: the EOTF of ITU-R BT.2100, Table 5.

    Args:
        signal: R'G'B', [0, 1]. Negative values decode as 0, super-whites as more than ``peak``.
        peak: nominal peak luminance of the display, cd/m².

    Returns:
        Light in cd/m², same shape.

    Example:
        >>> import torch
        >>> reference_white = torch.full((3, 1, 1), 0.75, dtype=torch.float64)
        >>> hlg_decode(reference_white).flatten()
        tensor([203.1521, 203.1521, 203.1521], dtype=torch.float64)
    """
    return hlg_ootf(hlg_oetf_inverse(signal), peak)


def hlg_encode(light: Tensor, peak: float = HLG_PEAK) -> Tensor:
    """Display light to HLG signal: the inverse of ``hlg_decode``.

    Args:
        light: cd/m². Negative values encode as 0, light above the peak as more than 1.
        peak: nominal peak luminance of the display, cd/m².

    Returns:
        R'G'B' signal, same shape.
    """
    return hlg_oetf(hlg_ootf_inverse(light, peak))
