"""Exact frames of a video file: which there are, and their planes as the decoder left them.

PyAV's conversions go through swscale, which dithers, guesses a matrix for untagged video and replicates bits when it
widens 8-bit codes. So planes are read as they are, and nothing else touches the codes.
"""

from __future__ import annotations

import functools
import itertools
import logging
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import torch
from av.bitstream import BitStreamFilterContext
from torch import Tensor

from zoo.color import upsample_chroma
from zoo.color.chroma import Siting
from zoo.errors import DataError

logger = logging.getLogger(__name__)

# Frames that are decoded in vain rather than seeking over them; a seek empties the decoder's threads and costs about as
# much as a dozen frames.
_WORTH_A_SEEK = 24

_UNSPECIFIED = 2

# Seconds by which a container may overstate its duration.
_ROUNDING = Fraction(1, 20)


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


@dataclass(frozen=True)
class Planes:
    """A decoded frame.

    Attributes:
        number: which frame of the file, from 0 in the order of showing.
        codes: three arrays ``(H, W)`` of uint8 or uint16, in the order Y', Cb, Cr or R', G', B'; chroma ``(H or
            ceil(H/2), W or ceil(W/2))``. Not turned.
    """

    number: int
    codes: tuple[np.ndarray, np.ndarray, np.ndarray]


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


def decode_planes(video: VideoFile, numbers: range) -> Iterator[Planes]:
    """Decode frames, in the order of ``numbers``.

    Decoding starts at the key frame before each wanted frame, or goes on from the last one where that is nearer, and a
    frame is the same either way. Damage shows in frames that the decoder marks or leaves out; what it conceals without
    a mark can't be seen.

    Args:
        video: the file.
        numbers: frames wanted, rising; those that an incomplete file lacks are an error when their turn comes.

    Yields:
        The frames.

    Raises:
        DataError: a frame is damaged, missing, interlaced, or of another size, format or tags than the first; those
            before it have been given.
    """
    readable = numbers[: len(range(numbers.start, min(numbers.stop, len(video.pts)), numbers.step))]
    for first_key, run in _runs(readable, video.keys):
        wanted = iter(run)
        target = next(wanted, None)
        for number, frame in _decode_from(video, first_key):
            if number == target:
                _check_like_first(video, number, frame)
                yield Planes(number, _planes(frame))
                target = next(wanted, None)
            if target is None:
                break
    if len(readable) < len(numbers):
        raise DataError(
            f"{video.path}: {video.ending}; {len(video.pts)} of about {video.frame_count} frames can be read; "
            "get the whole file"
        )


def decode_key_planes(video: VideoFile) -> Iterator[Planes]:
    """Decode the key frames only, which takes a small part of the time that all frames take; damaged ones are left out.

    They are for looking over a film: what is damaged is an error when it is asked for, in ``decode_planes``.
    """
    with _opened(video.path) as container:
        stream = _picture_stream(video.path, container)
        stream.codec_context.skip_frame = "NONKEY"
        for number, frame in _numbered(video, _undamaged(container, stream)):
            yield Planes(number, _planes(frame))


def to_values(planes: Planes, depth: int, rotation: int, siting: Siting) -> Tensor:
    """Planes as the tensor of a picture.

    Args:
        planes: as decoded.
        depth: bits of a code.
        rotation: quarter turns to the left.
        siting: where chroma samples lie in the planes (before turning), for 4:2:0 and 4:2:2.

    Returns:
        ``(3, H, W)`` float64, code / peak, upright; luma and 4:4:4 are the codes themselves, chroma of 4:2:0 and 4:2:2
        is interpolated and not rounded.
    """
    # Interpolated chroma is in sixteenths of a code, which float32 holds exactly and in half the time.
    first, second, third = (torch.from_numpy(plane.astype(np.float32)) for plane in planes.codes)
    if first.shape == second.shape:
        picture = torch.stack([first, second, third])
    else:
        picture = upsample_chroma(first, second, third, siting)
    return torch.rot90(picture.double().div_(2**depth - 1), rotation, dims=(-2, -1))


def luma_plane(planes: Planes, rotation: int) -> np.ndarray:
    """Luma codes (R' of R'G'B'), float32 ``(H, W)``, upright."""
    return np.rot90(planes.codes[0], rotation).astype(np.float32)


# ---- looking through a file


@functools.lru_cache(maxsize=64)
def _look_through(path: Path, size: int, changed_ns: int) -> VideoFile:
    """``open_video`` for a file of this size and time of change, by which a rewritten file is looked through again."""
    with _opened(path) as container:
        stream = _picture_stream(path, container)
        context = stream.codec_context
        # Before decoding, the context shows the container's tags; after it, the bitstream's.
        container_tags = _tags(context)
        try:
            frame = next(container.decode(stream))
        except (av.FFmpegError, StopIteration) as error:
            raise DataError(f"{path}: no frame can be decoded ({_reason(error)}); is the file whole?") from error
        _check_format(path, frame)
        _check_progressive(path, 0, frame)
        _refuse_dolby_vision_without_base(path, frame)
        rotation = _quarter_turns(path, frame)
        tags = _tags(frame)
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
            time_base=_time_base(stream),
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
    with _opened(path) as container:
        stream = _picture_stream(path, container)
        picture, time_base, promised = stream.index, _time_base(stream), len(stream.index_entries)
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
            ending = f"damaged after {packets} frames ({_reason(error)})"

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
        return stream.duration * _time_base(stream), False
    return (None if container.duration is None else Fraction(container.duration, av.time_base)), True


def _opened(path: Path) -> av.container.InputContainer:
    try:
        return av.open(str(path), metadata_errors="replace")  # titles in another encoding are no reason to refuse
    except (av.FFmpegError, ValueError) as error:
        raise DataError(f"{path}: can't be read as video ({_reason(error)}); is the file whole?") from error


def _picture_stream(path: Path, container: av.container.InputContainer) -> av.VideoStream:
    """The main picture stream, set to decode with all threads."""
    stream = container.streams.best("video")
    if not isinstance(stream, av.VideoStream):
        raise DataError(f"{path}: has no picture stream; name a video file")
    if stream.codec_context is None:
        raise DataError(f"{path}: no decoder for its codec; convert it, to FFV1 for example")
    stream.thread_type = "AUTO"
    return stream


def _time_base(stream: av.VideoStream) -> Fraction:
    assert stream.time_base is not None  # of an opened file it is known
    return stream.time_base


def _reason(error: BaseException) -> str:
    """One short line of what FFmpeg says."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


# ---- what is refused


def _tags(tagged: av.VideoFrame | av.VideoCodecContext) -> Tags:
    full_range = {1: False, 2: True}.get(tagged.color_range)
    return Tags(int(tagged.color_primaries), int(tagged.color_trc), int(tagged.colorspace), full_range)


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


def _check_progressive(path: Path, number: int, frame: av.VideoFrame) -> None:
    # Two fields of a frame show two moments, which no network of the zoo can tell apart.
    if frame.interlaced_frame:
        raise DataError(f"{path}: frame {number} is interlaced; deinterlace the video first")


def _check_square_pixels(video: VideoFile) -> None:
    # Making pixels square would interpolate codes, which is the user's choice to make, not a reader's.
    aspect = video.sample_aspect
    if aspect != 1:
        raise DataError(
            f"{video.path}: its pixels aren't square (sample aspect {aspect.numerator}:{aspect.denominator}); "
            "scale it to square pixels first"
        )


def _check_like_first(video: VideoFile, number: int, frame: av.VideoFrame) -> None:
    """Refuse a frame that isn't what the file's first frame said of all."""
    _check_progressive(video.path, number, frame)
    seen = ((frame.height, frame.width), frame.format.name)
    if seen != (video.coded_size, video.pixel_format):
        raise DataError(
            f"{video.path}: frame {number} is {frame.width}x{frame.height} {frame.format.name}, the first is "
            f"{video.coded_size[1]}x{video.coded_size[0]} {video.pixel_format}; split the file where it changes"
        )
    if _tags(frame) != video.bitstream_tags:
        raise DataError(
            f"{video.path}: frame {number} is tagged {_tags(frame)} (H.273), the first {video.bitstream_tags}; "
            "split the file where it changes"
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


# ---- decoding


def _runs(numbers: range, keys: np.ndarray) -> Iterator[tuple[int, range]]:
    """Cut wanted frames into runs that are each decoded in one go, with the key frame that a run starts from."""
    first = numbers.start
    for previous, number in itertools.pairwise(numbers):
        if _key_before(keys, number) - previous > _WORTH_A_SEEK:
            yield _key_before(keys, first), range(first, number, numbers.step)
            first = number
    if numbers:
        yield _key_before(keys, first), range(first, numbers.stop, numbers.step)


def _key_before(keys: np.ndarray, number: int) -> int:
    return int(keys[np.searchsorted(keys, number, side="right") - 1])


def _decode_from(video: VideoFile, key: int) -> Iterator[tuple[int, av.VideoFrame]]:
    """All frames from a key frame on, with their numbers and none left out.

    Raises:
        DataError: a frame is damaged or missing.
    """
    # A container may seek to a later key frame than the one asked for (MPEG-TS does), and FFmpeg marks all that follows
    # a key frame of H.264 that is no IDR as damaged unless decoding began before it; then an earlier one is tried.
    for start in dict.fromkeys((key, _key_before(video.keys, max(key - 1, 0)), 0)):
        with _opened(video.path) as container:
            stream = _picture_stream(video.path, container)
            if start:
                container.seek(int(video.pts[start]), stream=stream)
            # Before a key frame that was sought come frames that refer to what was passed over.
            frames = (item for item in _numbered(video, _decoded(container, stream)) if item[0] >= start)
            first = next(frames, None)
            if start and (first is None or first[0] != start or first[1].is_corrupt):
                continue
            expected = start
            for number, frame in itertools.chain([first] if first else [], frames):
                if number != expected:
                    break
                if frame.is_corrupt:
                    raise DataError(f"{video.path}: frame {number} is damaged")
                yield number, frame
                expected = number + 1
            if expected < len(video.pts):
                raise DataError(f"{video.path}: frame {expected} is missing, the data there is damaged")
            return


def _packets(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet | None]:
    """Packets of a stream up to the last that can be read, then None, at which a decoder gives what it holds back."""
    try:
        for packet in container.demux(stream):
            if packet.size:
                yield packet
    except av.FFmpegError:  # said by ``_index``, which ends here too
        pass
    yield None


def _decoded(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """Frames up to the first packet that ``_index`` leaves out as incomplete; those after it may refer to it."""
    for packet in _packets(container, stream):
        if packet is not None and packet.is_corrupt:
            yield from stream.decode(None)
            return
        yield from stream.decode(packet)


def _undamaged(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """All frames but those that are damaged, as far as the decoder can tell."""
    for packet in _packets(container, stream):
        if packet is not None and packet.is_corrupt:
            continue
        try:
            frames = stream.decode(packet)
        except av.FFmpegError:
            continue
        yield from (frame for frame in frames if not frame.is_corrupt)


def _numbered(video: VideoFile, frames: Iterator[av.VideoFrame]) -> Iterator[tuple[int, av.VideoFrame]]:
    """Frames with their numbers; those shown before the first key frame are left out."""
    last = None
    while True:
        try:
            frame = next(frames, None)
        except av.FFmpegError as error:
            where = "at the start of a group of pictures" if last is None else f"after frame {last}"
            raise DataError(f"{video.path}: the data {where} is damaged ({_reason(error)})") from error
        if frame is None:
            return
        number = int(np.searchsorted(video.pts, frame.pts)) if frame.pts is not None else len(video.pts)
        if number == len(video.pts) or (video.pts[number] != frame.pts and number > 0):
            raise DataError(f"{video.path}: a frame has time {frame.time} s, which no packet has; remux the file")
        if video.pts[number] == frame.pts:
            last = number
            yield number, frame


def _planes(frame: av.VideoFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes in the order of the components: Y', Cb, Cr, or R', G', B' (which FFmpeg stores as G', B', R')."""
    components = frame.format.components
    code = np.dtype(np.uint8) if components[0].bits == 8 else np.dtype(">u2" if frame.format.is_big_endian else "<u2")
    first, second, third = (_plane(frame.planes[component.plane], code) for component in components)
    return first, second, third


def _plane(plane: av.video.plane.VideoPlane, code: np.dtype) -> np.ndarray:
    """A plane without the padding of its lines; copied, since a view would keep the whole frame in memory."""
    lines = np.frombuffer(memoryview(plane), code).reshape(plane.height, plane.line_size // code.itemsize)
    return lines[:, : plane.width].copy()
