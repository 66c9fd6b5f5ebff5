"""Raw planar video: HDR codes without a container, of which the user knows all that the file doesn't say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from datamodules.sources.decoding import Planes, to_values
from datamodules.sources.frame import Frame, Picture
from datamodules.sources.panorama import scene_name
from datamodules.sources.tagged_signal import HDR_TRANSFERS, chroma_siting
from zoo.color.chroma import Siting
from zoo.errors import DataError
from zoo.signal import Signal

Layout = Literal["420", "422", "444"]

# By what the chroma planes are smaller, rounded up: rows, columns.
_SUBSAMPLING = {"420": (2, 2), "422": (1, 2), "444": (1, 1)}


class RawYUV:
    """A source of frames from a ``.yuv`` file; see ``Source``.

    Frames follow each other without headers, each as three planes (Y', Cb, Cr, or R', G', B' on a signal without
    matrix) of 16-bit little-endian codes in the low bits. There are no times.
    """

    panoramic = False

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        signal: Signal | str,
        layout: Layout = "420",
        siting: Siting | None = None,
    ) -> None:
        """Check a file against its geometry.

        Args:
            path: the file.
            size: height and width.
            signal: what the codes mean (or its text form): PQ or HLG, 10 bit or more.
            layout: chroma planes: half in both directions, half the width, or whole.
            siting: where chroma samples lie, for 4:2:0 and 4:2:2; without it ``topleft`` for BT.2020, ``left`` for
                others.

        Raises:
            DataError: no such file, not a whole number of frames, a layout that isn't known or doesn't go with R'G'B',
                or a signal that is SDR or of 8 bit.
            SignalError: a text that names no signal.
        """
        self.path = path
        self.scene = scene_name(path)
        self.size = size
        self.signal = Signal.parse(signal) if isinstance(signal, str) else signal
        self.siting = chroma_siting(siting, self.signal)
        if self.signal.depth < 10 or self.signal.transfer not in HDR_TRANSFERS:
            raise DataError(
                f"{path}: signal {self.signal} isn't HDR, which has the transfer {' or '.join(HDR_TRANSFERS)} "
                "and 10 bits or more"
            )
        if layout not in _SUBSAMPLING or (self.signal.matrix == "rgb" and layout != "444"):
            raise DataError(f"{path}: layout {layout} on {self.signal}; Y'CbCr is 420, 422 or 444, R'G'B' is 444")
        height, width = size
        rows, columns = _SUBSAMPLING[layout]
        chroma = (-(-height // rows), -(-width // columns))
        self._plane_sizes = (size, chroma, chroma)
        self._codes = sum(plane_height * plane_width for plane_height, plane_width in self._plane_sizes)
        self.frame_count = self._count_frames(layout)

    def frames(self, start: int = 0, stop: int | None = None, stride: int = 1) -> Iterator[Frame]:
        """Frames start, start + stride, ... below ``stop``; as ``range`` counts.

        Raises:
            DataError: the file has become shorter, or holds codes above the signal's peak.
        """
        for number in range(self.frame_count)[start:stop:stride]:
            planes = Planes(number, self._planes(number))
            yield Frame(number, Picture(to_values(planes, self.signal.depth, 0, self.siting), self.signal))

    def files(self) -> list[Path]:
        """The file."""
        return [self.path]

    def _count_frames(self, layout: Layout) -> int:
        if not self.path.is_file():
            raise DataError(f"{self.path}: no such file")
        frame_bytes, file_bytes = 2 * self._codes, self.path.stat().st_size
        if not file_bytes or file_bytes % frame_bytes:
            height, width = self.size
            raise DataError(
                f"{self.path}: {file_bytes} bytes are no whole number of frames {width}x{height} {layout}, 16 bit "
                f"({frame_bytes} bytes each); check size, layout and whether the file is whole"
            )
        return file_bytes // frame_bytes

    def _planes(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        codes = np.fromfile(self.path, "<u2", self._codes, offset=2 * self._codes * number)
        if codes.size < self._codes:
            raise DataError(f"{self.path}: ends within frame {number}; it has become shorter")
        if codes.max() > self.signal.peak:
            raise DataError(
                f"{self.path}: frame {number} holds code {codes.max()}, above {self.signal.peak}; "
                "check the depth, and that codes are little-endian and in the low bits"
            )
        ends = np.cumsum([height * width for height, width in self._plane_sizes])
        first, second, third = (
            plane.reshape(size) for plane, size in zip(np.split(codes, ends[:-1]), self._plane_sizes, strict=True)
        )
        return first, second, third
