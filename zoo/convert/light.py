"""Content light levels of HDR10: what a film asks of a display (CTA-861.3, annex P)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from zoo.color import codes_to_components, pq_decode, upsample_chroma, ycbcr_to_rgb
from zoo.color.chroma import Siting
from zoo.color.transfer import PQ_PEAK
from zoo.signal import Signal

# PQ is decoded by a table of so many steps, a sixteenth of a 12-bit code.
_LEVELS = 65536


@dataclass(frozen=True)
class LightLevels:
    """Content light levels in cd/m².

    Attributes:
        max_cll: the brightest pixel's max(R, G, B), bars and what is shown on them included.
        max_fall: the brightest frame's mean of max(R, G, B) over the active picture.
    """

    max_cll: float
    max_fall: float

    def __or__(self, other: LightLevels) -> LightLevels:
        """The levels of two parts together."""
        return LightLevels(max(self.max_cll, other.max_cll), max(self.max_fall, other.max_fall))

    @property
    def message(self) -> tuple[int, int]:
        """MaxCLL and MaxFALL as they are written: rounded up, at least 1.

        A MaxCLL whose low byte is 0 is one more: HEVC would have to put a byte before it, and messages keep their size.
        """
        max_cll, max_fall = (min(max(math.ceil(level), 1), int(PQ_PEAK)) for level in (self.max_cll, self.max_fall))
        return max_cll + (max_cll % 256 == 0), max_fall


class LightMeter:
    """Measures frames as a file holds them.

    Args:
        signal: of the codes, PQ.
        siting: of 4:2:0 chroma.
        active: rows and columns that hold a picture, without letterbox bars, whose light is averaged.
    """

    def __init__(
        self, signal: Signal, siting: Siting, active: tuple[slice, slice] = (slice(None), slice(None))
    ) -> None:
        assert signal.transfer == "pq"
        self._signal, self._siting, self._active = signal, siting, active
        self.levels = LightLevels(0.0, 0.0)

    def update(self, planes: Sequence[np.ndarray]) -> None:
        """Add a frame.

        Args:
            planes: codes of Y', Cb, Cr (4:2:0 or 4:4:4), or of R', G', B'.
        """
        first, second, third = (torch.from_numpy(plane.astype(np.float32)) for plane in planes)
        if first.shape == second.shape:
            codes = torch.stack([first, second, third])
        else:
            codes = upsample_chroma(first, second, third, self._siting)
        components = codes_to_components(codes, self._signal)
        rgb = components if self._signal.matrix == "rgb" else ycbcr_to_rgb(components, self._signal.matrix)
        # PQ rises, so that the largest signal is the largest light.
        levels = (rgb.amax(dim=0).clamp(0, 1) * (_LEVELS - 1)).round().int()
        counts = torch.bincount(levels[self._active].flatten(), minlength=_LEVELS)
        light = _table()
        mean = float((counts * light).sum() / counts.sum())
        self.levels |= LightLevels(float(light[int(levels.max())]), mean)


@cache
def _table() -> Tensor:
    """cd/m² of evenly spaced PQ signals, float64."""
    return pq_decode(torch.linspace(0, 1, _LEVELS, dtype=torch.float64))
