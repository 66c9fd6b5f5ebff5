"""What can be said of a prediction without its truth: flicker, codes, gamut, and where white and greys land.

Convention: ``sdr`` is ``(3, h, w)``, code / 255 on ``SDR_VIDEO``; ``preds`` ``(3, s h, s w)``, code / 1023 on
``HDR10_VIDEO``, unclipped. What the figures mean for a reader is in docs/realistic.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.color import convert_primaries, decode, light_to_ictcp, luma, pq_decode, quantize, signal_to_rgb
from zoo.signal import HDR10_VIDEO, SDR_VIDEO

GREYS = tuple(round(16 + 219 * step / 11) for step in range(12))
"""Luma codes of the grey chart, 8-bit black to white."""

_SDR_WHITE_CODE = 235
_SDR_NEUTRAL_CODE = 128

# Nominal 10-bit codes of Y', Cb and Cr in narrow range (ITU-R BT.2100, Table 9).
_LOWEST_CODE, _HIGHEST_CODES = 64, (940, 960, 960)

# A colour counts as outside BT.2020 from one code beyond [0, 1] on, as outside BT.709 from 1 % of its largest component
# below 0 on. Below 0.1 cd/m² nobody sees a colour.
_ONE_CODE = 1 / 876
_NEGATIVE_SHARE = 0.01
_DARK = 0.1

# A pixel is still while nothing in the square of so many LR pixels around it changes: what lies further off moves a
# network's output little, and what moves beside a pixel may well change it.
_STILL_SQUARE = 9

_STEP = 48  # LR pixels of a side of a grey of the chart; the middle third is measured
_DELTA_E_ITP = 720  # ITU-R BT.2124-0, annex 1


class Codes(NamedTuple):
    """Shares of codes.

    Attributes:
        clipped: rounded to 0 or below, or to 1023 or above.
        outside_narrow: below 64 or above 940 (Y') or 960 (Cb, Cr), those that are clipped included.
    """

    clipped: float
    outside_narrow: float


class Gamut(NamedTuple):
    """Shares of pixels.

    Attributes:
        outside_709: outside BT.709, inside BT.2020.
        outside_2020: outside BT.2020: R'G'B' below 0 or above 1 by more than a code.
    """

    outside_709: float
    outside_2020: float


class FlickerFigures(NamedTuple):
    """Mean absolute changes from one frame to the next, in 10-bit codes of Y'.

    Attributes:
        excess: of the frame's mean, beyond what the input's levels explain; None without two frames in a row.
        input: of the frame's mean, as the input's levels explain it; None likewise.
        still: of pixels around which the input repeats exactly; None without such pixels.
        still_share: of all pixels; None without two frames in a row.
    """

    excess: float | None
    input: float | None
    still: float | None
    still_share: float | None


def code_shares(preds: Tensor) -> Codes:
    """How many codes can't be carried, and how many lie outside nominal black and peak."""
    codes = (HDR10_VIDEO.peak * preds.double() + 0.5).floor()
    clipped = (codes <= 0) | (codes >= HDR10_VIDEO.peak)
    highest = codes.new_tensor(_HIGHEST_CODES).view(3, 1, 1)
    outside = (codes < _LOWEST_CODE) | (codes > highest)
    return Codes(clipped.double().mean().item(), outside.double().mean().item())


def gamut_shares(preds: Tensor) -> Gamut:
    """How many colours the input's gamut doesn't have, and how many are none at all.

    A colour is outside BT.709 if a component of its light there is negative by more than 1 % of the largest, which has
    to be above 0.1 cd/m².
    """
    rgb = signal_to_rgb(preds, HDR10_VIDEO)
    outside_2020 = ((rgb < -_ONE_CODE) | (rgb > 1 + _ONE_CODE)).any(dim=-3)
    light = convert_primaries(pq_decode(rgb.clamp(0, 1)), "bt2020", "bt709")
    largest = light.amax(dim=-3)
    outside_709 = (light.amin(dim=-3) < -_NEGATIVE_SHARE * largest) & (largest > _DARK) & ~outside_2020
    return Gamut(outside_709.double().mean().item(), outside_2020.double().mean().item())


def white_light(sdr: Tensor, preds: Tensor) -> tuple[float, int]:
    """Luminance that the white of a picture gets.

    Returns:
        The sum in cd/m² over the LR pixels whose luma is 235 or more, each the mean of its HR pixels; and their number.
    """
    white = _luma_codes(sdr) >= _SDR_WHITE_CODE
    if not white.any():
        return 0.0, 0
    luminance = luma(decode(preds.clamp(0, 1), HDR10_VIDEO), "ycbcr2020")
    return _at_lr(luminance, sdr)[white].double().sum().item(), int(white.sum())


def grey_chart() -> Tensor:
    """The greys from black to white beside each other, each 48 pixels square: ``(3, 48, 576)``, code / 255."""
    chart = torch.full((3, _STEP, _STEP * len(GREYS)), float(_SDR_NEUTRAL_CODE))
    chart[0] = torch.tensor(GREYS, dtype=torch.float32).repeat_interleave(_STEP)
    return chart / SDR_VIDEO.peak


def grey_light(preds: Tensor) -> Tensor:
    """What the greys of the chart become, measured in the middle of each.

    Args:
        preds: of ``grey_chart``.

    Returns:
        ``(3, 12)``, cd/m² on BT.2020 primaries.
    """
    light = decode(preds.double().clamp(0, 1), HDR10_VIDEO)
    side = light.shape[-2]
    middle = slice(side // 3, side - side // 3)
    return torch.stack([grey[:, middle, middle].mean(dim=(-2, -1)) for grey in light.split(side, dim=-1)], dim=-1)


def grey_shift(light: Tensor) -> Tensor:
    """How far greys are from neutral: delta E ITP (ITU-R BT.2124) to the grey of the same intensity.

    Args:
        light: ``(3, N)``, cd/m² on BT.2020 primaries.

    Returns:
        ``(N,)``; 1 is just noticeable.
    """
    _, ct, cp = light_to_ictcp(light[:, None])[:, 0]
    return _DELTA_E_ITP * (ct.square() / 4 + cp.square()).sqrt()


def above_black(shifts: Sequence[float]) -> Sequence[float]:
    """Shifts of the chart's greys but black's, whose hue nobody sees, however large delta E ITP makes it."""
    return shifts[1:]


class Flicker:
    """Changes in time that the input doesn't have, gathered frame by frame.

    A picture may change because its content does. So the change of the prediction's mean Y' from frame to frame is held
    against the one that a fixed curve would give: g(code), the mean Y' of the prediction where the input's luma has
    that code, over the frames of a shot. A converter that treats every pixel alike, whatever else is in the picture,
    has an excess near 0, however fast the picture changes. What happens locally shows where the input stands still.
    """

    def __init__(self) -> None:
        self._excess = self._input = self._still = 0.0
        self._pairs = self._still_pixels = self._pixels = 0
        self._previous: tuple[Tensor, Tensor] | None = None
        self._levels: list[tuple[Tensor, Tensor]] = []

    def update(self, sdr: Tensor, preds: Tensor) -> None:
        """Add the next frame."""
        codes = _luma_codes(sdr)
        shown = HDR10_VIDEO.peak * _at_lr(preds[:1].clamp(0, 1), sdr)
        counts = torch.bincount(codes.flatten(), minlength=256).double()
        sums = torch.bincount(codes.flatten(), shown.flatten().double(), minlength=256)
        self._levels.append((counts / codes.numel(), sums / codes.numel()))
        if self._previous is not None:
            before, shown_before = self._previous
            changed = (sdr != before).any(dim=0).float()[None]
            still = F.max_pool2d(changed, _STILL_SQUARE, 1, _STILL_SQUARE // 2)[0] == 0
            self._still += (shown - shown_before)[still].abs().sum(dtype=torch.float64).item()
            self._still_pixels += int(still.sum())
            self._pixels += still.numel()
        self._previous = sdr, shown

    def cut(self) -> None:
        """The next frame doesn't follow on the last: a new shot, or a frame between is lost."""
        self._previous = None
        if not self._levels:
            return
        shares, sums = map(torch.stack, zip(*self._levels, strict=True))
        curve = sums.sum(dim=0) / shares.sum(dim=0).clamp(min=1e-300)
        change, explained = sums.sum(dim=1).diff(), (shares @ curve).diff()
        self._excess += (change - explained).abs().sum().item()
        self._input += explained.abs().sum().item()
        self._pairs += len(change)
        self._levels.clear()

    def compute(self) -> FlickerFigures:
        """The figures so far; what comes after counts as another shot."""
        self.cut()
        if not self._pairs:
            return FlickerFigures(None, None, None, None)
        still = self._still / self._still_pixels if self._still_pixels else None
        return FlickerFigures(
            self._excess / self._pairs, self._input / self._pairs, still, self._still_pixels / self._pixels
        )


def _luma_codes(sdr: Tensor) -> Tensor:
    """``(h, w)`` int64, 1..254."""
    return quantize(SDR_VIDEO.peak * sdr[0], SDR_VIDEO).long()


def _at_lr(plane: Tensor, sdr: Tensor) -> Tensor:
    """``(1, s h, s w)`` to ``(h, w)``, means of the pixels that stand for one of the input."""
    return F.avg_pool2d(plane, plane.shape[-1] // sdr.shape[-1])[0]
