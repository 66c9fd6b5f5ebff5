"""Whether a conversion looks right: flicker, white and greys, held against stated limits (docs/conversion.md)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from datamodules.grading import given_code_units, reduce_sdr
from zoo.color import luma
from zoo.evaluation.conditions import Flicker, above_black, grey_chart, grey_light, grey_shift, white_light
from zoo.signal import SDR_VIDEO, Signal

FLICKER_LIMIT = 1.0
"""10-bit codes of the mean Y' from frame to frame beyond what the input's levels explain."""

GREY_LIMIT = 3.0
"""Delta E ITP of the grey that is furthest from neutral; 1 is just noticeable."""

WHITE_LIMITS = (100.0, 600.0)
"""cd/m² of SDR white: darker looks dull, brighter glares (ITU-R BT.2408 has 203)."""

BLACK_LIMIT = 0.1
"""cd/m² of SDR black: brighter looks grey in a dark room."""


@dataclass(frozen=True)
class Looks:
    """Figures of a file; None where nothing tells.

    Attributes:
        flicker: change of the mean Y' beyond what the input's levels explain, 10-bit codes from frame to frame.
        input_change: the change that they explain.
        white: mean luminance where the input is white (luma 235 and above), cd/m².
        grey_shift: of the network's greys above black, the furthest from neutral, delta E ITP.
        black: luminance of the network's black, cd/m².
        grey_white: luminance of the network's white on the chart of greys, cd/m².
    """

    flicker: float | None
    input_change: float | None
    white: float | None
    grey_shift: float
    black: float
    grey_white: float

    def warnings(self) -> list[str]:
        """A line for each limit that is passed."""
        lines = []
        if self.flicker is not None and self.flicker > FLICKER_LIMIT:
            lines.append(
                f"flickers: the mean changes by {self.flicker:.2f} codes from frame to frame beyond the input's "
                f"{self.input_change:.2f} (limit {FLICKER_LIMIT:g})"
            )
        if self.grey_shift > GREY_LIMIT:
            lines.append(f"greys are tinted: delta E ITP {self.grey_shift:.1f} (limit {GREY_LIMIT:g})")
        low, high = WHITE_LIMITS
        white = self.grey_white if self.white is None else self.white
        if not low <= white <= high:
            lines.append(f"white lies at {white:.0f} cd/m² (limits {low:g} to {high:g}; ITU-R BT.2408 has 203)")
        if self.black > BLACK_LIMIT:
            lines.append(f"black isn't black: {self.black:.2f} cd/m² (limit {BLACK_LIMIT:g})")
        return lines


@dataclass
class Sums:
    """What parts add up to.

    Attributes:
        flicker: sum over pairs of frames.
        input_change: likewise.
        pairs: of frames in a row.
        white: sum of the luminance of white pixels.
        white_pixels: their number.
    """

    flicker: float = 0.0
    input_change: float = 0.0
    pairs: int = 0
    white: float = 0.0
    white_pixels: int = 0

    def add(self, other: dict[str, Any]) -> None:
        """Add another part's, as :func:`dataclasses.asdict` writes them."""
        for key, value in other.items():
            setattr(self, key, getattr(self, key) + value)


class Watcher:
    """Looks at the first frames of a part, which stand for all of them.

    Args:
        signal: of the input.
        count: how many frames.
    """

    def __init__(self, signal: Signal, count: int = 24) -> None:
        self._signal, self._left = signal, count
        self._flicker = Flicker()
        self._frames = 0
        self._sums = Sums()

    def update(self, sdr: Tensor, hdr: Tensor) -> None:
        """Look at the next frame: ``(3, h, w)`` on the input's signal, ``(3, s h, s w)`` on ``HDR10_VIDEO``."""
        if not self._left:
            return
        self._left -= 1
        codes = reduce_sdr(given_code_units(sdr.double(), self._signal), 1).float() / SDR_VIDEO.peak
        white, pixels = white_light(codes, hdr)
        self._sums.white += white
        self._sums.white_pixels += pixels
        self._flicker.update(codes, hdr)
        self._frames += 1

    def sums(self) -> dict[str, Any]:
        """Of the frames so far, as JSON takes it."""
        figures = self._flicker.compute()
        if figures.excess is not None and figures.input is not None:
            self._sums.pairs = self._frames - 1
            self._sums.flicker = figures.excess * self._sums.pairs
            self._sums.input_change = figures.input * self._sums.pairs
        return asdict(self._sums)


def looks(net: Any, parts: Iterable[dict[str, Any]]) -> Looks:
    """The figures of a file.

    Args:
        net: that converted it; it is shown the chart of greys.
        parts: ``Watcher.sums`` of each part.
    """
    sums = Sums()
    for part in parts:
        sums.add(part)
    parameter = next(net.parameters(), torch.empty(0))
    with torch.inference_mode():
        chart = net(grey_chart()[None].to(parameter))[0].float().cpu()
    light = grey_light(chart)
    luminance = luma(light[:, None], "ycbcr2020")[0, 0]
    return Looks(
        flicker=sums.flicker / sums.pairs if sums.pairs else None,
        input_change=sums.input_change / sums.pairs if sums.pairs else None,
        white=sums.white / sums.white_pixels if sums.white_pixels else None,
        grey_shift=max(above_black(grey_shift(light).tolist())),
        black=float(luminance[0]),
        grey_white=float(luminance[-1]),
    )
