"""HDR video, PQ or HLG, of 10 to 16 bit: HDR10, HDR10+, HLG, and the HDR10 or HLG base of Dolby Vision."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from datamodules.sources.decoding import Planes, decode_planes, to_values
from datamodules.sources.frame import Frame, Picture
from datamodules.sources.panorama import scene_name
from datamodules.sources.shots import shot_starts
from datamodules.sources.tagged_signal import check_range, chroma_siting, hdr_signal
from datamodules.sources.video_file import VideoFile, open_video
from zoo.color.chroma import Siting
from zoo.signal import Signal


class HDRVideo:
    """A source of graded HDR frames; see ``Source``.

    Codes are the decoder's own, turned upright. Frames are numbered in the order of showing, and their times are kept
    (``meta["time"]``, seconds), so a variable frame rate needs no care. Metadata of mastering displays and of dynamic
    tone mapping is left aside: files are known to carry wrong ones.
    """

    panoramic = False

    def __init__(self, path: Path, signal: Signal | str | None = None, siting: Siting | None = None) -> None:
        """Open and check a file.

        Args:
            path: any container and codec that FFmpeg reads.
            signal: what the codes mean (or its text form), needed where tags don't say it all; must not contradict
                those that there are.
            siting: where chroma samples of 4:2:0 and 4:2:2 lie; without it ``topleft`` for BT.2020, ``left`` for
                others.

        Raises:
            DataError: the file can't be used, see ``open_video`` and ``hdr_signal``.
            SignalError: a text that names no signal.
        """
        self._video = open_video(path)
        stated = Signal.parse(signal) if isinstance(signal, str) else signal
        self.path = path
        self.scene = scene_name(path)
        self.signal = hdr_signal(self._video, stated)
        self.siting = chroma_siting(siting, self.signal)
        self.frame_count = self._video.frame_count
        self.size = self._video.size

    def frames(self, start: int = 0, stop: int | None = None, stride: int = 1) -> Iterator[Frame]:
        """Frames start, start + stride, ... below ``stop``; as ``range`` counts.

        ``frame_count`` of a file that ends early is what it should have been (an estimate in containers without an
        index), so whoever asks for all of it is told.

        Raises:
            DataError: a frame is damaged or missing, or the file ends early; the frames before it have been given.
        """
        for planes in decode_planes(self._video, range(self.frame_count)[start:stop:stride]):
            picture = video_picture(self._video, planes, self.signal, self.siting)
            yield Frame(planes.number, picture, meta={"time": float(self._video.seconds[planes.number])})

    def shots(self) -> tuple[int, ...]:
        """Numbers of the first frames of shots, 0 the first; see ``shot_starts``."""
        return shot_starts(self._video)

    def files(self) -> list[Path]:
        """The file."""
        return [self.path]


def video_picture(video: VideoFile, planes: Planes, signal: Signal, siting: Siting) -> Picture:
    """A decoded frame as a picture on its signal.

    Raises:
        DataError: codes that contradict the signal's range.
    """
    check_range(video.path, planes.codes[0], signal, f"frame {planes.number}")
    return Picture(to_values(planes, signal.depth, video.rotation, siting), signal)
