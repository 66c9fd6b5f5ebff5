"""A finished file, opened again: is it what was meant?"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from zoo.convert.encoding import Geometry
from zoo.convert.formats import VideoFormat
from zoo.convert.joining import Companions, Joined
from zoo.errors import DataError

_MATROSKA_ROUNDING = Fraction(1, 1000)  # its times are whole milliseconds


@dataclass(frozen=True)
class Checked:
    """What a file holds.

    Attributes:
        frames: that were decoded.
        seconds: from the first frame's time to the last's.
        tags: code points of ITU-T H.273 and the range, of the bitstream.
        display: red, green, blue, white as x, y, then lowest and highest luminance, cd/m²; None without.
        levels: MaxCLL and MaxFALL; None without.
        packets: of further streams.
        bytes: of the file.
    """

    frames: int
    seconds: float
    tags: tuple[int, int, int, int]
    display: tuple[float, ...] | None
    levels: tuple[int, int] | None
    packets: tuple[int, ...]
    bytes: int


def check_file(
    path: Path,
    video_format: VideoFormat,
    geometry: Geometry,
    times: Sequence[int],
    levels: tuple[int, int] | None,
    companions: Companions,
    joined: Joined,
) -> Checked:
    """Decode a file from its start to its end, against what was meant.

    Args:
        path: the file.
        video_format: that it should have.
        geometry: that it should have.
        times: of its frames, in units of ``geometry.time_base``.
        levels: MaxCLL and MaxFALL that it should state.
        companions: what was copied.
        joined: what was written.

    Raises:
        DataError: the first thing that differs.
    """
    size = path.stat().st_size
    if video_format.codec == "raw":
        height, width = geometry.size
        frame_bytes = 2 * (height * width + 2 * -(-height // 2) * -(-width // 2))
        _same(path, "bytes", size, frame_bytes * len(times))
        return Checked(len(times), 0.0, (2, 2, 2, 0), None, None, (), size)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        assert stream.time_base is not None
        time_base, aspect = stream.time_base, Fraction(stream.sample_aspect_ratio or 1)
        shown: list[Fraction] = []
        tags, display, stated = (0, 0, 0, 0), None, None
        for frame in container.decode(stream):
            if not shown:
                tags = (frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range)
                display, stated = _metadata(frame)
                _same(path, "size", (frame.height, frame.width), geometry.size)
                _same(path, "pixel format", frame.format.name, video_format.pixel_format)
            if frame.is_corrupt or frame.pts is None:
                raise DataError(f"{path}: frame {len(shown)} of what was written can't be decoded")
            shown.append(frame.pts * time_base)
    _same(path, "frames", len(shown), len(times))
    wanted = [time * geometry.time_base for time in times]
    _same(path, "tags", tags, (*video_format.signal.cicp[:3], 2 if video_format.signal.cicp.full_range else 1))
    _same(path, "sample aspect", aspect, geometry.sample_aspect)
    # Matroska starts at 0, however early audio begins that has to be decoded ahead.
    offset = shown[0] - wanted[0] if video_format.container == "matroska" else Fraction(0)
    late = max(abs(a - b - offset) for a, b in zip(shown, wanted, strict=True))
    if late > (_MATROSKA_ROUNDING if video_format.container == "matroska" else time_base / 2):
        raise DataError(f"{path}: a frame is {float(late):.4f} s away from its time")
    if video_format.codec in ("hevc", "av1"):
        _same(path, "MaxCLL and MaxFALL", stated, levels)
        _same(path, "mastering display", display is not None, levels is not None)
    packets = _count_packets(path, len(companions.streams))
    _same(path, "packets of audio and subtitles", packets, joined.packets)
    return Checked(len(shown), float(shown[-1] - shown[0]), tags, display, stated, packets, size)


def _same(path: Path, what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise DataError(f"{path}: {what} of what was written: {found}, not {wanted}")


def _count_packets(path: Path, streams: int) -> tuple[int, ...]:
    if not streams:
        return ()
    with av.open(str(path)) as container:
        counted = {stream.index: 0 for stream in container.streams if stream.type in ("audio", "subtitle")}
        for packet in container.demux([container.streams[index] for index in counted]):
            if packet.size:  # what stands for the end of a stream may bear another's number
                counted[packet.stream_index] += 1
    return tuple(counted.values())


def _metadata(frame: av.VideoFrame) -> tuple[tuple[float, ...] | None, tuple[int, int] | None]:
    display, levels = None, None
    if (data := frame.side_data.get("MASTERING_DISPLAY_METADATA")) is not None:
        numbers = struct.unpack("<22i", bytes(memoryview(data)))  # type: ignore[arg-type]
        display = tuple(round(numbers[2 * i] / (numbers[2 * i + 1] or 1), 5) for i in range(10))
    if (data := frame.side_data.get("CONTENT_LIGHT_LEVEL")) is not None:
        max_cll, max_fall = struct.unpack("<2I", bytes(memoryview(data)))  # type: ignore[arg-type]
        levels = max_cll, max_fall
    return display, levels
