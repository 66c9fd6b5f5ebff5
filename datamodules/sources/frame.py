"""What every kind of source gives: frames with their signal, and where they come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from zoo.signal import Signal


@dataclass(frozen=True)
class Picture:
    """A picture and what its numbers mean.

    Attributes:
        values: ``(3, H, W)`` float64. On a signal: code / ``signal.peak``, codes as stored. Without one: linear RGB on
            BT.709 primaries in a unit of the picture's own (scene light), finite, which may be negative.
        signal: None for scene light.
    """

    values: Tensor
    signal: Signal | None = None


@dataclass(frozen=True)
class Frame:
    """One frame of a source.

    Attributes:
        number: which frame of the source, counted from 0 in the order of showing, whatever was left out before it.
        hdr: the HDR side, scene light or on a signal with PQ or HLG.
        sdr: the SDR side of a pair that was graded as one: HR size, or already LR for sets that come so. None where the
            SDR side has to be made.
        meta: what else is to be recorded, as JSON takes it: time in seconds, file of a frame in a folder, ...
    """

    number: int
    hdr: Picture
    sdr: Picture | None = None
    meta: dict[str, Any] = field(default_factory=dict)


class Source(Protocol):
    """A file or folder that frames come from. Making one opens and checks it; it holds nothing open and can be pickled.

    Attributes:
        path: the file or folder.
        scene: its name in a set: letters, digits, ``_`` and ``-``.
        frame_count: frames that ``frames`` gives at stride 1; exact where the file says so, else an estimate.
        size: HR height and width of the frames (of the first where they differ).
        panoramic: whether frames are equirectangular panoramas, whose left and right edges meet.
    """

    path: Path
    scene: str
    frame_count: int
    size: tuple[int, int]
    panoramic: bool

    def frames(self, start: int = 0, stop: int | None = None, stride: int = 1) -> Iterator[Frame]:
        """Frames start, start + stride, ... below ``stop``; as ``range`` counts.

        Raises:
            DataError: a frame can't be used; those before it have been given.
        """
        ...

    def files(self) -> list[Path]:
        """The files that the frames depend on, in a fixed order: their bytes are the source's identity."""
        ...
