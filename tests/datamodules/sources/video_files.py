"""Small video files of known codes."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

HDR10 = (9, 16, 9, 1)
HLG = (9, 18, 9, 1)
SDR = (1, 1, 1, 1)
UNTAGGED = (2, 2, 2, 0)
"""Primaries, transfer, matrix by ITU-T H.273; range as FFmpeg counts: 1 narrow, 2 full."""

Codes = tuple[np.ndarray, ...]


def textured(
    count: int, size: tuple[int, int] = (36, 52), depth: int = 10, chroma: tuple[int, int] = (2, 2), seed: int = 3
) -> list[Codes]:
    """A texture that moves by two columns a frame, other in each frame besides; codes of narrow range.

    Args:
        chroma: by what chroma is smaller, rows and columns.
    """
    rng = np.random.default_rng(seed)
    height, width = size
    step = 2 ** (depth - 8)
    wide = np.kron(rng.integers(20, 200, (-(-height // 4), (width + 2 * count) // 4 + 1)), np.ones((4, 4)))
    frames = []
    for number in range(count):
        luma = wide[:height, 2 * number : 2 * number + width] + rng.integers(0, 16, size)
        chroma_size = (2, -(-height // chroma[0]), -(-width // chroma[1]))
        frames.append(
            tuple(
                (plane * step).astype("u1" if depth == 8 else "<u2")
                for plane in (luma, *rng.integers(16, 240, chroma_size))
            )
        )
    return frames


def write_video(
    path: Path,
    frames: Sequence[Codes],
    pixel_format: str = "yuv420p10le",
    tags: tuple[int, int, int, int] = HDR10,
    codec: str = "ffv1",
    milliseconds: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    **context: object,
) -> Path:
    """Write planes, in the order of the format's components, without loss where the codec allows.

    Args:
        milliseconds: when each frame is shown; 40 apart without it.
        context: further attributes of the codec context or the stream's ``rotation`` in degrees.
    """
    height, width = frames[0][0].shape
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        coding = stream.codec_context
        coding.color_primaries, coding.color_trc, coding.colorspace, coding.color_range = tags
        rotation = context.pop("rotation", None)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for name, value in context.items():
            setattr(coding, name, value)
        for number, codes in enumerate(frames):
            frame = av.VideoFrame(width, height, pixel_format)
            frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range = tags
            for component, values in zip(frame.format.components, codes, strict=True):
                plane = frame.planes[component.plane]
                lines = np.frombuffer(plane, values.dtype).reshape(plane.height, -1)
                lines[:, : plane.width] = values
            frame.pts = milliseconds[number] if milliseconds else 40 * number
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
