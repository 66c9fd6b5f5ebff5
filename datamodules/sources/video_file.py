"""Which frames a video file has, and what they are; what can't be read exactly is refused."""

from __future__ import annotations

import functools
import logging
import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.bitstream import BitStreamFilterContext

from datamodules.sources.video_stream import (
    Tags,
    check_progressive,
    opened,
    picture_stream,
    reason,
    tags_of,
    time_base_of,
)
from zoo.errors import DataError

logger = logging.getLogger(__name__)

# Seconds by which a container may overstate its duration.
_ROUNDING = Fraction(1, 20)


@dataclass(frozen=True, eq=False)
class VideoFile:
    """The picture stream of a video file.

    Attributes:
        path: the file.
        coded_size: height and width of the planes.
        pixel_format: FFmpeg's name of it.
        depth: bits of a code.
        is_rgb: whether planes hold R'G'B'.
        bitstream_tags: what decoders go by.
        container_tags: what the container says, which counts where the bitstream is silent.
        rotation: quarter turns to the left that set the planes upright.
        sample_aspect: width over height of a pixel of the planes.
        time_base: seconds in a unit of ``pts``.
        pts: int64, when each frame is shown, rising; frame n is the n-th.
        keys: numbers of the frames that decoding can start at, rising, 0 the first.
        frame_count: frames the file should hold; more than there are in ``pts`` if it ends early.
        ending: why it ends early; empty for a whole file.
    """

    path: Path
    coded_size: tuple[int, int]
    pixel_format: str
    depth: int
    is_rgb: bool
    bitstream_tags: Tags
    container_tags: Tags
    rotation: int
    sample_aspect: Fraction
    time_base: Fraction
    pts: np.ndarray
    keys: np.ndarray
    frame_count: int
    ending: str

    @property
    def size(self) -> tuple[int, int]:
        """Height and width as shown."""
        return self.coded_size[::-1] if self.rotation % 2 else self.coded_size

    @property
    def tags(self) -> Tags:
        """The bitstream's tags, filled up from the container's."""
        return self.bitstream_tags.completed(self.container_tags)

    @property
    def seconds(self) -> np.ndarray:
        """When each frame is shown, float64, on the file's own clock."""
        return self.pts * float(self.time_base)


def open_video(path: Path, any_aspect: bool = False) -> VideoFile:
    """Look through a video file: its first frame is decoded, its packets are counted, nothing is kept open.

    All packets are read once, since only they tell the frames of any container exactly (times, key frames, an early
    end). The answer is kept for files that don't change.

    Args:
        path: any container and codec that FFmpeg reads, with one picture of 8 to 16 bit in three planes in each frame.
        any_aspect: take pixels that aren't square, for those who keep them so.

    Returns:
        What is needed to find its frames.

    Raises:
        DataError: no such file, no video, damaged from the start, without time stamps, interlaced, mirrored, of pixels
            that aren't square, grey, with alpha, or with planes that aren't 4:2:0, 4:2:2, 4:4:4 or R'G'B'.
    """
    if not path.is_file():
        raise DataError(f"{path}: {'is a folder, not a video file' if path.is_dir() else 'no such file'}")
    state = path.stat()
    video = _look_through(path, state.st_size, state.st_mtime_ns)
    if not any_aspect:
        _check_square_pixels(video)
    return video


@functools.lru_cache(maxsize=64)
def _look_through(path: Path, size: int, changed_ns: int) -> VideoFile:
    """``open_video`` for a file of this size and time of change, by which a rewritten file is looked through again."""
    with opened(path) as container:
        stream = picture_stream(path, container)
        context = stream.codec_context
        # Before decoding, the context shows the container's tags; after it, the bitstream's.
        container_tags = tags_of(context)
        try:
            frame = next(container.decode(stream))
        except (av.FFmpegError, StopIteration) as error:
            raise DataError(f"{path}: no frame can be decoded ({reason(error)}); is the file whole?") from error
        _check_format(path, frame)
        check_progressive(path, 0, frame)
        _refuse_dolby_vision_without_base(path, frame)
        rotation = _quarter_turns(path, frame)
        tags = tags_of(frame)
        _warn_of_differing_tags(path, container_tags, tags)
        pts, keys, frame_count, ending = _index(path)
        return VideoFile(
            path=path,
            coded_size=(frame.height, frame.width),
            pixel_format=frame.format.name,
            depth=frame.format.components[0].bits,
            is_rgb=frame.format.is_rgb,
            bitstream_tags=tags,
            container_tags=container_tags,
            rotation=rotation,
            sample_aspect=Fraction(stream.sample_aspect_ratio or 1),
            time_base=time_base_of(stream),
            pts=pts,
            keys=keys,
            frame_count=frame_count,
            ending=ending,
        )


def _index(path: Path) -> tuple[np.ndarray, np.ndarray, int, str]:
    """Times of the frames, numbers of the key frames, how many frames there should be, why they end early."""
    shown: list[tuple[int, bool]] = []
    ends: dict[int, Fraction] = {}
    packets = 0
    ending = ""
    # A stream's attributes are read here alone: once its container is closed they are garbage.
    with opened(path) as container:
        stream = picture_stream(path, container)
        picture, time_base, promised = stream.index, time_base_of(stream), len(stream.index_entries)
        duration, of_all_streams = _stated_duration(container, stream)
        # VP9 keeps frames that are never shown in packets of their own; the filter joins them to those that are.
        joined = BitStreamFilterContext("vp9_superframe", stream) if stream.codec_context.name == "vp9" else None
        try:
            for packet in container.demux():
                if packet.size == 0 or packet.is_corrupt:  # the end of a stream, or reaching over that of the file
                    continue
                if packet.pts is not None and packet.time_base is not None:
                    end = (packet.pts + (packet.duration or 0)) * packet.time_base
                    ends[packet.stream_index] = max(ends.get(packet.stream_index, end), end)
                if packet.stream_index != picture:
                    continue
                packets += 1
                for whole in joined.filter(packet) if joined else [packet]:
                    if whole.pts is None:
                        raise DataError(f"{path}: its frames have no time stamps; remux it into .mp4 or .mkv")
                    if not whole.is_discard:  # outside the edit list
                        shown.append((whole.pts, whole.is_keyframe))
        except av.FFmpegError as error:
            ending = f"damaged after {packets} frames ({reason(error)})"

    pts, keys = _in_order_of_showing(path, shown)
    lost = 0
    if packets < promised:
        lost = promised - packets
        ending = ending or f"cut after {packets} of {promised} frames"
    elif duration is not None:
        end = max(ends.values()) if of_all_streams else ends[picture]
        length = end - int(pts[0]) * time_base
        # Some containers count their duration from the first frame, Matroska from 0.
        missing = duration - max(end, length)
        if length and missing > 2 * length / len(pts) + _ROUNDING:
            lost = round(len(pts) * missing / length)
            ending = ending or f"cut at {float(end):.2f} of {float(duration):.2f} seconds"
    return pts, keys, len(pts) + (max(lost, 1) if ending else 0), ending


def _in_order_of_showing(path: Path, shown: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    """Times of frames, rising, and the numbers of key frames among them.

    Args:
        path: for messages.
        shown: time of each frame and whether it is a key frame, in the order of decoding.
    """
    if not shown:
        raise DataError(f"{path}: holds no frame; is the file whole?")
    # What is shown before the first key frame refers to frames that a cut has taken away. A stream that is refreshed
    # without key frames is decoded from its start.
    first = min((pts for pts, is_key in shown if is_key), default=min(shown)[0])
    frames = sorted((pts, is_key) for pts, is_key in shown if pts >= first)
    pts = np.array([time for time, _ in frames], dtype=np.int64)
    if not np.diff(pts).all():
        raise DataError(f"{path}: two of its frames have the same time; remux or encode it anew")
    return pts, np.union1d(0, np.flatnonzero([is_key for _, is_key in frames]))


def _stated_duration(container: av.container.InputContainer, stream: av.VideoStream) -> tuple[Fraction | None, bool]:
    """Seconds that a file without an index of its frames lasts, and whether that is of all its streams together."""
    if stream.frames:  # the index tells; and an edit list would make it another duration
        return None, False
    if stream.duration is not None:
        return stream.duration * time_base_of(stream), False
    return (None if container.duration is None else Fraction(container.duration, av.time_base)), True


# ---- what is refused


def _warn_of_differing_tags(path: Path, container_tags: Tags, bitstream_tags: Tags) -> None:
    open_parts = {*container_tags.unspecified, *bitstream_tags.unspecified}
    differing = [
        part
        for part in Tags._fields
        if part not in open_parts and getattr(container_tags, part) != getattr(bitstream_tags, part)
    ]
    if differing:
        logger.warning(
            "%s: container and bitstream differ in %s (%s and %s, H.273); going by the bitstream",
            path,
            ", ".join(differing),
            container_tags,
            bitstream_tags,
        )


def _check_format(path: Path, frame: av.VideoFrame) -> None:
    """Refuse frames that aren't three planes of whole numbers, 4:2:0, 4:2:2, 4:4:4 or R'G'B'."""
    components, name = frame.format.components, frame.format.name
    if len(components) == 1:
        raise DataError(f"{path}: is grey ({name}); a picture in colour is needed")
    in_planes = len(components) == 3 and {component.plane for component in components} == {0, 1, 2}
    bits = {component.bits for component in components}
    half_width = (frame.width + 1) // 2
    chroma_sizes = {(frame.height, frame.width), (frame.height, half_width), ((frame.height + 1) // 2, half_width)}
    if (
        not in_planes
        or len(bits) != 1
        or not 8 <= max(bits) <= 16
        or not {(plane.height, plane.width) for plane in frame.planes} <= chroma_sizes
    ):
        raise DataError(f"{path}: pixel format {name} isn't read; convert it to yuv420p10le, yuv444p10le or gbrp10le")


def _check_square_pixels(video: VideoFile) -> None:
    # Making pixels square would interpolate codes, which is the user's choice to make, not a reader's.
    aspect = video.sample_aspect
    if aspect != 1:
        raise DataError(
            f"{video.path}: its pixels aren't square (sample aspect {aspect.numerator}:{aspect.denominator}); "
            "scale it to square pixels first"
        )


def _quarter_turns(path: Path, frame: av.VideoFrame) -> int:
    """Quarter turns to the left that the display matrix asks for."""
    matrix = _side_data(frame, "DISPLAYMATRIX")
    if matrix is None:
        return 0
    # Rows (a, b, u), (c, d, v), (x, y, w) of ISO/IEC 14496-12, 6.2.2, in 16.16 fixed point (the last column 2.30).
    a, b, _, c, d, *_ = struct.unpack("=9i", matrix)
    if a * d - b * c < 0:
        raise DataError(f"{path}: its display matrix mirrors the picture; turn it by encoding it anew")
    if frame.rotation % 90:
        raise DataError(f"{path}: its display matrix turns the picture by {frame.rotation} degrees; encode it upright")
    return frame.rotation // 90 % 4


def _refuse_dolby_vision_without_base(path: Path, frame: av.VideoFrame) -> None:
    """Refuse Dolby Vision profile 5, whose base layer is IPT and shows false colours without its metadata."""
    metadata = _side_data(frame, "DOVI_METADATA")
    if metadata is None:
        return
    # FFmpeg's AVDOVIMetadata: the offset of AVDOVIRpuDataHeader, in which byte 4 is vdr_rpu_profile and byte 10
    # bl_video_full_range_flag. Profile 0 with a full-range base is what streams of Dolby Vision profile 5 say.
    (header,) = struct.unpack_from("@N", metadata)
    if metadata[header + 4] == 0 and metadata[header + 10] == 1:
        raise DataError(f"{path}: is Dolby Vision profile 5, which has no HDR10 or HLG base; convert it to HDR10 first")


def _side_data(frame: av.VideoFrame, kind: str) -> bytes | None:
    try:
        data = frame.side_data.get(kind)
    except ValueError:  # PyAV meets a kind of side data that it doesn't know, as on pictures with EXIF
        return None
    return None if data is None else bytes(memoryview(data))  # type: ignore[arg-type]
