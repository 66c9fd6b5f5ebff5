"""Pictures of code values, PNG and AVIF: codes exactly as stored, with the signal that the file's tags name.

Nothing here goes through a scaler or a viewer's decoder: those turn 16 bits into 8 without a word, or take one matrix
for another.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from av.video.frame import VideoFrame
from einops import rearrange
from torch import Tensor

from datamodules.sources.frame import Picture
from datamodules.sources.tagged_signal import HDR_TRANSFERS, check_range, chroma_siting, tagged_signal
from datamodules.sources.video_stream import Tags
from zoo.color.chroma import upsample_chroma
from zoo.errors import DataError
from zoo.signal import Signal

SUFFIXES = (".png", ".avif")
"""Endings of the files that ``inspect_coded`` takes."""


@dataclass(frozen=True)
class CodedFile:
    """What a file says about itself, before its pixels are decoded.

    Attributes:
        path: the file.
        size: height and width.
        pixel_format: FFmpeg's name for the layout, such as ``rgb48be`` or ``yuv444p10le``.
        depth: bits of a stored component.
        tags: what it says of its colour.
    """

    path: Path
    size: tuple[int, int]
    pixel_format: str
    depth: int
    tags: Tags

    @property
    def is_rgb(self) -> bool:
        """Whether components are R'G'B'."""
        return self.pixel_format.startswith(("rgb", "gbr"))


def inspect_coded(path: Path) -> CodedFile:
    """Read the header of a PNG file of 8 or 16 bits or of an AVIF file.

    Raises:
        DataError: no such file, not a PNG or AVIF, a grey or palette picture.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        with _opened(path) as container:
            context = container.streams.video[0].codec_context
            size, pixel_format = (context.height, context.width), context.format
            full_range = {1: False, 2: True}.get(context.color_range)
            tags = Tags(context.color_primaries, context.color_trc, context.colorspace, full_range)
    except (av.FFmpegError, IndexError) as error:
        raise _unreadable(path, error) from error
    if pixel_format is None:
        raise _unreadable(path, "no picture in it")
    if not pixel_format.name.startswith(("rgb", "gbr", "yuv420p", "yuv422p", "yuv444p")):
        raise DataError(f"{path}: holds {pixel_format.name}; convert it to R'G'B' or Y'CbCr")
    return CodedFile(path, size, pixel_format.name, pixel_format.components[0].bits, tags)


def coded_hdr_signal(file: CodedFile, stated: Signal | None = None) -> Signal:
    """The signal of a file that is to be the HDR side.

    Args:
        file: the file.
        stated: the signal by word of the user; needed where the file's tags are silent (a PNG without cICP or sRGB
            chunk), and not to contradict them where they aren't. A PNG of 16 bits may hold codes of a stated 10 or 12
            bits, as they are.

    Raises:
        DataError: 8 bits, tags that are unknown, or silent with nothing stated, a stated signal that contradicts them
            or that the stored form can't hold, or a signal without PQ or HLG.
    """
    if file.depth < 10:
        raise DataError(f"{file.path}: holds {file.depth}-bit codes; HDR needs 10 bits or more, give the HDR master")
    signal = _signal(file, stated, "--signal")
    if signal.transfer not in HDR_TRANSFERS or signal.depth < 10:
        raise DataError(f"{file.path}: is SDR ({signal}); an HDR picture has transfer pq or hlg and 10 bits or more")
    return signal


def coded_sdr_signal(file: CodedFile, stated: Signal | None = None) -> Signal:
    """``coded_hdr_signal`` for the SDR side.

    Raises:
        DataError: as there, but any depth will do, and PQ or HLG is refused.
    """
    signal = _signal(file, stated, "--sdr-signal")
    if signal.transfer in HDR_TRANSFERS:
        raise DataError(f"{file.path}: is HDR ({signal}), but stands for the SDR side; are the two swapped?")
    return signal


def read_coded(file: CodedFile, signal: Signal) -> Picture:
    """Decode a file. Alpha is left out; 4:2:0 and 4:2:2 become 4:4:4 (chroma sited as in video).

    Of an AVIF file with a gain map this is the base picture.

    Raises:
        DataError: truncated or damaged, turned, or codes that the signal doesn't have or that contradict its range.
    """
    try:
        with _opened(file.path) as container:
            frame = next(container.decode(video=0))
    except (av.FFmpegError, StopIteration) as error:
        raise _unreadable(file.path, error) from error
    if frame.rotation:
        raise DataError(f"{file.path}: is to be turned by {frame.rotation} degrees for showing; write it upright")
    codes = _codes(frame, signal)
    highest = codes.max().item()
    if highest > signal.peak:
        raise DataError(f"{file.path}: holds code {highest:g}, which a signal of {signal.depth} bits doesn't have")
    check_range(file.path, codes[0].numpy(), signal)
    return Picture(codes / signal.peak, signal)


def check_pair(hdr: CodedFile, sdr: CodedFile) -> None:
    """Refuse sizes that don't belong together: HDR is 1, 2 or 4 times SDR in both directions.

    Raises:
        DataError: it isn't.
    """
    (height, width), (sdr_height, sdr_width) = hdr.size, sdr.size
    if (height, width) not in [(scale * sdr_height, scale * sdr_width) for scale in (1, 2, 4)]:
        raise DataError(
            f"{sdr.path}: {sdr_width}x{sdr_height} is not 1, 1/2 or 1/4 of {width}x{height} of {hdr.path}; "
            "leave the pair out or cut both to size"
        )


def _signal(file: CodedFile, stated: Signal | None, option: str) -> Signal:
    if stated is None:
        return tagged_signal(file.path, file.tags, file.depth, None, option)
    fits = stated.matrix == "rgb" and stated.depth <= file.depth if file.is_rgb else stated.depth == file.depth
    if not fits:
        raise DataError(
            f"{file.path}: holds {file.pixel_format}, which can't be {stated}; state the signal that it holds"
        )
    return tagged_signal(file.path, file.tags, stated.depth, stated, option)


def _codes(frame: VideoFrame, signal: Signal) -> Tensor:
    """``(3, H, W)`` float64, whole codes but where chroma was interpolated."""
    if frame.format.name.startswith(("rgb", "gbr")):
        pixels = frame.to_ndarray()[..., :3]  # no format named: nothing is converted; gbrp comes as R, G, B
        return torch.from_numpy(rearrange(pixels, "h w c -> c h w").astype(np.float64, order="C"))
    y, cb, cr = (_plane(frame, index) for index in range(3))
    return torch.stack([y, cb, cr]) if cb.shape == y.shape else upsample_chroma(y, cb, cr, chroma_siting(None, signal))


def _plane(frame: VideoFrame, index: int) -> Tensor:
    plane = frame.planes[index]
    dtype = np.dtype(np.uint8 if frame.format.components[index].bits == 8 else np.uint16)
    rows = np.frombuffer(memoryview(plane), dtype).reshape(plane.height, plane.line_size // dtype.itemsize)
    return torch.from_numpy(rows[:, : plane.width].astype(np.float64))


def _opened(path: Path) -> av.container.InputContainer:
    return av.open(str(path), metadata_errors="replace")  # titles in another encoding are no reason to refuse a picture


def _unreadable(path: Path, reason: object) -> DataError:
    return DataError(f"{path}: can't be read as PNG or AVIF ({reason}); is the file whole?")
