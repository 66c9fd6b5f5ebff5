"""Exact frames of a video file: their planes as the decoder left them.

PyAV's conversions go through swscale, which dithers, guesses a matrix for untagged video and replicates bits when it
widens 8-bit codes. So planes are read as they are, and nothing else touches the codes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np
import torch
from torch import Tensor

from datamodules.sources.video_file import VideoFile
from datamodules.sources.video_stream import check_progressive, opened, picture_stream, reason, tags_of
from zoo.color import upsample_chroma
from zoo.color.chroma import Siting
from zoo.errors import DataError

# Frames that are decoded in vain rather than seeking over them; a seek empties the decoder's threads and costs about as
# much as a dozen frames.
_WORTH_A_SEEK = 24


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
    with opened(video.path) as container:
        stream = picture_stream(video.path, container)
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


def _check_like_first(video: VideoFile, number: int, frame: av.VideoFrame) -> None:
    """Refuse a frame that isn't what the file's first frame said of all."""
    check_progressive(video.path, number, frame)
    seen = ((frame.height, frame.width), frame.format.name)
    if seen != (video.coded_size, video.pixel_format):
        raise DataError(
            f"{video.path}: frame {number} is {frame.width}x{frame.height} {frame.format.name}, the first is "
            f"{video.coded_size[1]}x{video.coded_size[0]} {video.pixel_format}; split the file where it changes"
        )
    if tags_of(frame) != video.bitstream_tags:
        raise DataError(
            f"{video.path}: frame {number} is tagged {tags_of(frame)} (H.273), the first {video.bitstream_tags}; "
            "split the file where it changes"
        )


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
        with opened(video.path) as container:
            stream = picture_stream(video.path, container)
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
    except av.FFmpegError:  # said by ``open_video``, which ends here too
        pass
    yield None


def _decoded(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """Frames up to the first packet that ``open_video`` leaves out as incomplete; those after it may refer to it."""
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
            raise DataError(f"{video.path}: the data {where} is damaged ({reason(error)})") from error
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
