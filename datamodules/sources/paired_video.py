"""Two videos of one film: the HDR master and its SDR grading, a true pair."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from datamodules.sources.alignment import check_alignment
from datamodules.sources.decoding import decode_planes
from datamodules.sources.frame import Frame
from datamodules.sources.panorama import scene_name
from datamodules.sources.shots import shot_starts
from datamodules.sources.tagged_signal import chroma_siting, hdr_signal, sdr_signal
from datamodules.sources.video import video_picture
from datamodules.sources.video_file import VideoFile, open_video
from zoo.color.chroma import Siting
from zoo.errors import DataError
from zoo.signal import Signal


class PairedVideo:
    """A source of frames that were graded twice; see ``Source``.

    Frame n of one file goes with frame n of the other. That they belong together is checked when the files are opened:
    as many frames, shown at the same times (each file's counted from its first frame, to a quarter of the shortest
    frame, since Matroska rounds to milliseconds), and alike in luma at three places (``check_alignment``).
    """

    panoramic = False

    def __init__(
        self,
        hdr_path: Path,
        sdr_path: Path,
        hdr_signal: Signal | str | None = None,
        sdr_signal: Signal | str | None = None,
        hdr_siting: Siting | None = None,
        sdr_siting: Siting | None = None,
    ) -> None:
        """Open and check two files.

        Args:
            hdr_path: PQ or HLG, 10 to 16 bit.
            sdr_path: SDR, of the same size or smaller by a whole number.
            hdr_signal: what the HDR codes mean (or its text form), as for ``HDRVideo``.
            sdr_signal: what the SDR codes mean, needed where the file's tags don't say it all.
            hdr_siting: where the HDR side's chroma samples lie, as for ``HDRVideo``.
            sdr_siting: where the SDR side's chroma samples lie.

        Raises:
            DataError: a file can't be used (see ``HDRVideo``), the SDR side is HDR, or the two don't belong together.
            SignalError: a text that names no signal.
        """
        self._hdr, self._sdr = open_video(hdr_path), open_video(sdr_path)
        self.path = hdr_path
        self.scene = scene_name(hdr_path)
        self.hdr_signal, self.sdr_signal = _signals(self._hdr, hdr_signal, self._sdr, sdr_signal)
        self.hdr_siting = chroma_siting(hdr_siting, self.hdr_signal)
        self.sdr_siting = chroma_siting(sdr_siting, self.sdr_signal)
        self.frame_count = self._hdr.frame_count
        self.size = self._hdr.size
        _check_sizes(self._hdr, self._sdr)
        _check_times(self._hdr, self._sdr)
        check_alignment(self._hdr, self._sdr)

    def frames(self, start: int = 0, stop: int | None = None, stride: int = 1) -> Iterator[Frame]:
        """Frames start, start + stride, ... below ``stop``, each with both sides; as ``range`` counts.

        Raises:
            DataError: a frame of either side is damaged or missing; the frames before it have been given.
        """
        numbers = range(self.frame_count)[start:stop:stride]
        for hdr, sdr in zip(decode_planes(self._hdr, numbers), decode_planes(self._sdr, numbers), strict=True):
            yield Frame(
                hdr.number,
                hdr=video_picture(self._hdr, hdr, self.hdr_signal, self.hdr_siting),
                sdr=video_picture(self._sdr, sdr, self.sdr_signal, self.sdr_siting),
                meta={"time": float(self._hdr.seconds[hdr.number]), "sdr_file": self._sdr.path.name},
            )

    def shots(self) -> tuple[int, ...]:
        """Numbers of the first frames of shots, 0 the first, by the HDR side; see ``shot_starts``."""
        return shot_starts(self._hdr)

    def files(self) -> list[Path]:
        """The HDR file, the SDR file."""
        return [self._hdr.path, self._sdr.path]


def _signals(
    hdr: VideoFile, stated_hdr: Signal | str | None, sdr: VideoFile, stated_sdr: Signal | str | None
) -> tuple[Signal, Signal]:
    parsed = [Signal.parse(stated) if isinstance(stated, str) else stated for stated in (stated_hdr, stated_sdr)]
    return hdr_signal(hdr, parsed[0]), sdr_signal(sdr, parsed[1])


def _check_sizes(hdr: VideoFile, sdr: VideoFile) -> None:
    (height, width), (sdr_height, sdr_width) = hdr.size, sdr.size
    scale = height // sdr_height
    if (sdr_height * scale, sdr_width * scale) != (height, width):
        raise DataError(
            f"{hdr.path} is {width}x{height}, {sdr.path} {sdr_width}x{sdr_height}; the SDR side must have the "
            "same size, or one that is smaller by a whole number"
        )


def _check_times(hdr: VideoFile, sdr: VideoFile) -> None:
    if hdr.frame_count != sdr.frame_count:
        raise DataError(
            f"{hdr.path} has {hdr.frame_count} frames, {sdr.path} {sdr.frame_count}; "
            "cut both to the same frames, since which belong together can't be told"
        )
    count = min(len(hdr.pts), len(sdr.pts))
    hdr_seconds, sdr_seconds = (video.seconds[:count] - video.seconds[0] for video in (hdr, sdr))
    if count < 2:
        return
    apart = np.abs(hdr_seconds - sdr_seconds) > np.diff(hdr_seconds).min() / 4
    if apart.any():
        number = int(apart.argmax())
        raise DataError(
            f"{hdr.path} shows frame {number} at {hdr_seconds[number]:.3f} s, {sdr.path} at "
            f"{sdr_seconds[number]:.3f} s (from the first frame on); give both the same frame times"
        )
