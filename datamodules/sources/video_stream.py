"""The picture stream of a video file, and what it says of its colour."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av

from zoo.errors import DataError

_UNSPECIFIED = 2


class Tags(NamedTuple):
    """What a stream says of its colour, in code points of ITU-T H.273; 2 is unspecified.

    Attributes:
        primaries: Table 2.
        transfer: Table 3.
        matrix: Table 4.
        full_range: None where the stream doesn't say.
    """

    primaries: int
    transfer: int
    matrix: int
    full_range: bool | None

    @property
    def unspecified(self) -> tuple[str, ...]:
        """Names of the parts that are left open."""
        return tuple(part for part, tag in zip(self._fields, self, strict=True) if tag in (_UNSPECIFIED, None))

    def completed(self, others: Tags) -> Tags:
        """These tags, with the parts that are left open from ``others``."""
        return self._replace(**{part: getattr(others, part) for part in self.unspecified})

    def __str__(self) -> str:
        sides = {None: "unspecified", False: "narrow", True: "full"}
        return f"{self.primaries}/{self.transfer}/{self.matrix} {sides[self.full_range]}"


def opened(path: Path) -> av.container.InputContainer:
    """A video file, to be closed by ``with``."""
    try:
        return av.open(str(path), metadata_errors="replace")  # titles in another encoding are no reason to refuse
    except (av.FFmpegError, ValueError) as error:
        raise DataError(f"{path}: can't be read as video ({reason(error)}); is the file whole?") from error


def picture_stream(path: Path, container: av.container.InputContainer) -> av.VideoStream:
    """The main picture stream, set to decode with all threads."""
    stream = container.streams.best("video")
    if not isinstance(stream, av.VideoStream):
        raise DataError(f"{path}: has no picture stream; name a video file")
    if stream.codec_context is None:
        raise DataError(f"{path}: no decoder for its codec; convert it, to FFV1 for example")
    stream.thread_type = "AUTO"
    return stream


def time_base_of(stream: av.VideoStream) -> Fraction:
    """Seconds in a unit of a stream's times."""
    assert stream.time_base is not None  # of an opened file it is known
    return stream.time_base


def reason(error: BaseException) -> str:
    """One short line of what FFmpeg says."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def tags_of(tagged: av.VideoFrame | av.VideoCodecContext) -> Tags:
    """What a frame or a codec says of its colour."""
    full_range = {1: False, 2: True}.get(tagged.color_range)
    return Tags(int(tagged.color_primaries), int(tagged.color_trc), int(tagged.colorspace), full_range)


def check_progressive(path: Path, number: int, frame: av.VideoFrame) -> None:
    """Refuse a frame of two fields."""
    # Two fields of a frame show two moments, which no network of the zoo can tell apart.
    if frame.interlaced_frame:
        raise DataError(f"{path}: frame {number} is interlaced; deinterlace the video first")
