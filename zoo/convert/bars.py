"""Black bars around a picture, which are written black whatever a network makes of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.sources.decoding import decode_planes
from zoo.color import components_to_codes
from zoo.convert.reading import SDRVideo
from zoo.signal import Signal

_LOOKS = 12  # frames that are looked at, spread over the film
_ABOVE_BLACK = 8  # 8-bit codes by which a coded bar may be brighter than black
_LEAST = 4  # rows or columns: fewer are an edge of the picture
_MOST = 0.35  # of a side to either end: more is a dark scene


class Bars(NamedTuple):
    """Rows and columns of the input that are bars."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    def active(self, size: tuple[int, int], scale: int = 1) -> tuple[slice, slice]:
        """Rows and columns of the picture between them.

        Args:
            size: height and width of the input.
            scale: of the picture that is cut over the input.
        """
        height, width = size
        return (
            slice(scale * self.top, scale * (height - self.bottom)),
            slice(scale * self.left, scale * (width - self.right)),
        )


def find_bars(source: SDRVideo, numbers: range) -> Bars:
    """The bars that all frames looked at have in common.

    Args:
        source: the film.
        numbers: the frames that are converted.
    """
    step = max(1, len(numbers) // _LOOKS)
    brightest: Any = None
    for planes in decode_planes(source.video, numbers[step // 2 :: step]):
        luma = planes.codes[0]
        brightest = luma.copy() if brightest is None else np.maximum(brightest, luma)
    if brightest is None:
        return Bars()
    bright = brightest > _bar_limit(source.signal)
    ends = []
    for lines in (bright.any(axis=1), bright.any(axis=0)):
        places = np.flatnonzero(lines)
        if not len(places):
            return Bars()
        for width in (int(places[0]), int(len(lines) - 1 - places[-1])):
            ends.append(width if _LEAST <= width <= _MOST * len(lines) else 0)
    return Bars(*ends)


def blacken(hdr: Tensor, sdr: Tensor, bars: Bars, signals: tuple[Signal, Signal], scale: int) -> Tensor:
    """The bars written black, unless this frame shows something there.

    Args:
        hdr: ``(3, scale h, scale w)``, code / peak.
        sdr: ``(3, h, w)``, code / peak.
        bars: as ``find_bars`` found them.
        signals: of ``sdr`` and of ``hdr``.
        scale: of ``hdr`` over ``sdr``.
    """
    if not any(bars):
        return hdr
    sdr_signal, hdr_signal = signals
    rows, columns = bars.active((sdr.shape[-2], sdr.shape[-1]))
    outside = torch.ones(sdr.shape[-2:], dtype=torch.bool, device=sdr.device)
    outside[rows, columns] = False
    if sdr[0][outside].max() * sdr_signal.peak > _bar_limit(sdr_signal):
        return hdr
    black = components_to_codes(torch.zeros(3, 1, 1), hdr_signal).to(hdr) / hdr_signal.peak
    rows, columns = bars.active((sdr.shape[-2], sdr.shape[-1]), scale)
    framed = black.expand_as(hdr).clone()
    framed[:, rows, columns] = hdr[:, rows, columns]
    return framed


def _bar_limit(signal: Signal) -> float:
    """The highest code of Y' (or R') that a bar has."""
    step = 2 ** (signal.depth - 8)
    return step * (_ABOVE_BLACK + (16 if signal.range == "narrow" else 0))
