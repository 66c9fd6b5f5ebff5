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
_ABOVE_BLACK = 6  # 8-bit codes by which a coded bar may be off black
_EDGE = 16  # 8-bit codes off black that the picture has within a few lines, or it is a shadow that ends the bar
_SOFT = 3  # lines that a coded or scaled edge may take
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
    most: Any = None
    for planes in decode_planes(source.video, numbers[step // 2 :: step]):
        off = _off_black(planes.codes, source.signal)
        most = off if most is None else np.maximum(most, off)
    if most is None:
        return Bars()
    ends = []
    for lines in (most.max(axis=1), most.max(axis=0)):
        if lines.max() <= _ABOVE_BLACK:
            return Bars()
        for inward in (lines, lines[::-1]):
            width = int(np.argmax(inward > _ABOVE_BLACK))
            ends_there = inward[width : width + _SOFT].max() > _EDGE
            ends.append(width if ends_there and _LEAST <= width <= _MOST * len(lines) else 0)
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
    # Chroma of the picture's border has been interpolated into the bars.
    outside[max(0, rows.start - _SOFT) : rows.stop + _SOFT, max(0, columns.start - _SOFT) : columns.stop + _SOFT] = (
        False
    )
    codes = (sdr * sdr_signal.peak).cpu().numpy()
    if _off_black(codes, sdr_signal)[outside.cpu().numpy()].max(initial=0) > _ABOVE_BLACK + 0.5:
        return hdr
    black = components_to_codes(torch.zeros(3, 1, 1), hdr_signal).to(hdr) / hdr_signal.peak
    rows, columns = bars.active((sdr.shape[-2], sdr.shape[-1]), scale)
    framed = black.expand_as(hdr).clone()
    framed[:, rows, columns] = hdr[:, rows, columns]
    return framed


def _off_black(planes: Any, signal: Signal) -> np.ndarray:
    """How far each pixel is off black, in 8-bit codes: the most of its three components, the colour's either way.

    Args:
        planes: codes of Y', Cb, Cr, the latter perhaps subsampled, or of R', G', B'.
        signal: that they are on.
    """
    step = 2 ** (signal.depth - 8)
    black = 16 * step if signal.range == "narrow" else 0
    first, *others = (np.asarray(plane, np.float32) for plane in planes)
    off = first - black
    for plane in others:
        distance = plane - black if signal.matrix == "rgb" else np.abs(plane - 128 * step)
        down, across = (-(-whole // part) for whole, part in zip(off.shape, distance.shape, strict=True))
        distance = distance.repeat(down, axis=0).repeat(across, axis=1)
        off = np.maximum(off, distance[: off.shape[0], : off.shape[1]])
    return off / step
