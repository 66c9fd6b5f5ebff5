"""Luma and colour differences: R'G'B' to Y'CbCr and back (ITU-R BT.709-6, BT.2020-2, BT.601-7).

Convention: Y' in [0, 1], Cb and Cr in [-0.5, 0.5] for R'G'B' in [0, 1]; no ranges or offsets of codes, nothing clipped.
BT.2020 is the form with non-constant luminance. The channel axis is -3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.precision import at_least_float32

# Weights of R and B in luma; G has the rest: BT.709-6, item 3.2; BT.2020-2, Table 4; BT.601-7, item 2.5.1.
_WEIGHTS = {"ycbcr709": (0.2126, 0.0722), "ycbcr2020": (0.2627, 0.0593), "ycbcr601": (0.299, 0.114)}


def luma(rgb: Tensor, matrix: str) -> Tensor:
    """The weighted sum that is luma of R'G'B', and luminance of linear RGB on BT.709 or BT.2020 primaries.

    Args:
        rgb: ``(..., 3, H, W)``, any unit.
        matrix: ``ycbcr709``, ``ycbcr2020`` or ``ycbcr601``, whose weights are no set of primaries' luminance.

    Returns:
        ``(..., 1, H, W)``, same unit.
    """
    red, blue = _WEIGHTS[matrix]
    r, g, b = at_least_float32(rgb).split(1, dim=-3)
    return red * r + (1 - red - blue) * g + blue * b


def rgb_to_ycbcr(rgb: Tensor, matrix: str) -> Tensor:
    """R'G'B' to Y'CbCr.

    Args:
        rgb: ``(..., 3, H, W)``.
        matrix: ``ycbcr709``, ``ycbcr2020`` or ``ycbcr601``.

    Returns:
        Y', Cb, Cr, same shape.

    Example:
        >>> rgb_to_ycbcr(torch.tensor([0.0, 0.0, 1.0]).view(3, 1, 1), "ycbcr2020").flatten()
        tensor([ 0.0593,  0.5000, -0.0402])
    """
    red, blue = _WEIGHTS[matrix]
    rgb = at_least_float32(rgb)
    y = luma(rgb, matrix)
    r, _, b = rgb.split(1, dim=-3)
    return torch.cat([y, (b - y) / (2 * (1 - blue)), (r - y) / (2 * (1 - red))], dim=-3)


def ycbcr_to_rgb(ycbcr: Tensor, matrix: str) -> Tensor:
    """Y'CbCr to R'G'B': the inverse of ``rgb_to_ycbcr``.

    Args:
        ycbcr: ``(..., 3, H, W)``.
        matrix: ``ycbcr709``, ``ycbcr2020`` or ``ycbcr601``.

    Returns:
        R'G'B', same shape; outside [0, 1] where Y'CbCr stands for no colour that R'G'B' holds.
    """
    red, blue = _WEIGHTS[matrix]
    y, cb, cr = at_least_float32(ycbcr).split(1, dim=-3)
    r = y + 2 * (1 - red) * cr
    b = y + 2 * (1 - blue) * cb
    g = (y - red * r - blue * b) / (1 - red - blue)
    return torch.cat([r, g, b], dim=-3)
