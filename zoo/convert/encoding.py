"""Planes of codes to a video file of one stream, exactly as they are, and back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from zoo.convert.formats import VideoFormat
from zoo.errors import ConfigError, DataError

Planes = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Y', Cb, Cr, each ``(H, W)`` uint16."""


@dataclass(frozen=True)
class Geometry:
    """What is around the codes of a stream.

    Attributes:
        size: height and width.
        sample_aspect: width over height of a pixel.
        time_base: seconds in a unit of a frame's time.
        rate: frames a second on the average, by which encoders share out bits.
    """

    size: tuple[int, int]
    sample_aspect: Fraction
    time_base: Fraction
    rate: Fraction


def encode(path: Path, frames: Iterable[tuple[int, Planes]], video_format: VideoFormat, geometry: Geometry) -> int:
    """Write frames.

    Args:
        path: written over; MP4, or planes one behind the other for ``raw``.
        frames: time in units of the time base, rising, and planes.
        video_format: encoder and signal.
        geometry: of all frames.

    Returns:
        How many there were.

    Raises:
        ConfigError: the encoder refuses an option.
        OSError: the file can't be written.
    """
    if video_format.codec == "raw":
        return _write_planes(path, frames)
    count = 0
    # The encoder gives MP4 decoding times that survive joining; Matroska's don't.
    exact = mp4_options(geometry.time_base)
    with av.open(str(path), "w", format="mp4", options=exact) as container:
        stream = container.add_stream(video_format.encoder, rate=geometry.rate, options=dict(video_format.options))
        assert isinstance(stream, av.VideoStream)
        height, width = geometry.size
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = width, height, video_format.pixel_format
        # Not 1 / rate, its default, by which times of a variable rate would be rounded.
        context.time_base = geometry.time_base
        context.sample_aspect_ratio = geometry.sample_aspect
        if video_format.codec == "hevc":
            context.codec_tag = "hvc1"
        primaries, transfer, matrix, full_range = video_format.signal.cicp
        context.color_primaries, context.color_trc, context.colorspace = primaries, transfer, matrix
        context.color_range = 2 if full_range else 1
        for time, planes in frames:
            frame = _frame(planes, video_format.pixel_format)
            frame.pts, frame.time_base = time, geometry.time_base
            try:
                packets = stream.encode(frame)
            except (av.error.ArgumentError, av.error.ExternalError) as error:
                if count:
                    raise
                options = ", ".join(f"{key}={value}" for key, value in video_format.options)
                raise ConfigError(f"{video_format.encoder} doesn't take its options ({options})") from error
            container.mux(packets)
            count += 1
        container.mux(stream.encode(None))
    return count


def mp4_options(time_base: Fraction) -> dict[str, str]:
    """Options of the MP4 muxer with which a film keeps its first frame's time, which it else rounds to milliseconds."""
    exact = math.lcm(1000, time_base.denominator)
    return {"movie_timescale": str(exact if exact < 2**31 else time_base.denominator)}


def decode(path: Path, video_format: VideoFormat, geometry: Geometry) -> Iterator[tuple[Fraction, Planes]]:
    """Read back what ``encode`` wrote, times in its unit; those of ``raw`` are the frames' numbers.

    Raises:
        DataError: the decoder marks a frame as damaged.
    """
    if video_format.codec == "raw":
        yield from _read_planes(path, geometry.size)
        return
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for frame in container.decode(stream):
            if frame.is_corrupt:
                raise DataError(f"{path}: a frame that was just written is damaged; is the disk sound?")
            assert frame.pts is not None
            assert stream.time_base is not None
            # MP4 counts a coarse time base in a multiple of it.
            yield frame.pts * stream.time_base / geometry.time_base, planes_of(frame)


def planes_of(frame: av.VideoFrame) -> Planes:
    """Codes of a 10-bit frame, without the padding of its lines."""
    first, second, third = (_lines(plane)[:, : plane.width].copy() for plane in frame.planes)
    return first, second, third


def _frame(planes: Planes, pixel_format: str) -> av.VideoFrame:
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, pixel_format)
    for plane, codes in zip(frame.planes, planes, strict=True):
        assert (codes.dtype, codes.shape) == (np.uint16, (plane.height, plane.width))
        _lines(plane)[:, : plane.width] = codes
    return frame


def _lines(plane: av.video.plane.VideoPlane) -> np.ndarray:
    return np.frombuffer(memoryview(plane), "<u2").reshape(plane.height, plane.line_size // 2)


def _write_planes(path: Path, frames: Iterable[tuple[int, Planes]]) -> int:
    count = 0
    with path.open("wb") as file:
        for _, planes in frames:
            for codes in planes:
                file.write(codes.astype("<u2").tobytes())
            count += 1
    return count


def _read_planes(path: Path, size: tuple[int, int]) -> Iterator[tuple[Fraction, Planes]]:
    height, width = size
    chroma = (-(-height // 2), -(-width // 2))
    number = 0
    with path.open("rb") as file:
        while codes := file.read(2 * (height * width + 2 * chroma[0] * chroma[1])):
            parts = np.split(np.frombuffer(codes, "<u2"), [height * width, height * width + chroma[0] * chroma[1]])
            first, second, third = (x.reshape(shape) for x, shape in zip(parts, (size, chroma, chroma), strict=True))
            yield Fraction(number), (first, second, third)
            number += 1
