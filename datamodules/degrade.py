"""Degradations of LR SDR codes: what real SDR has been through, for networks that are to meet it.

Each takes whole codes on ``SDR_VIDEO`` and gives such codes. All numbers come from the generator that is handed in, and
encoders run in one thread, so that the same seed gives the same codes (with the same version of the encoders).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, Protocol, cast

import av
import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from zoo.color import quantize, rgb_to_signal, signal_to_rgb, subsample_chroma, upsample_chroma
from zoo.errors import ConfigError
from zoo.signal import SDR_VIDEO

# H.264's default for 4:2:0 that doesn't say otherwise.
_SITING: Literal["left"] = "left"

# Side of a macroblock of H.264, and of a block of 8x8 in a JPEG with 4:2:0.
_BLOCK = 16

_ENCODERS = {
    "h264": ("libx264", {"preset": "medium", "x264-params": "log-level=none"}),
    "hevc": ("libx265", {"preset": "medium", "x265-params": "pools=none:frame-threads=1:log-level=none"}),
}


class Degradation(Protocol):
    """One thing that happens to SDR on its way."""

    def __call__(self, codes: Tensor, draws: np.random.Generator) -> tuple[Tensor, dict[str, Any]]:
        """Degrade a picture.

        Args:
            codes: ``(3, h, w)`` float64, whole codes on ``SDR_VIDEO``.
            draws: where strength and noise come from.

        Returns:
            Codes as they came in, and what was done, as JSON takes it: its ``name`` and the strength drawn.
        """
        ...


Stage = tuple[tuple[Degradation, float], ...]
"""Degradations that exclude each other, with their probabilities; what is left to 1 is the probability of none."""


@dataclass(frozen=True)
class Noise:
    """Gaussian noise on each pixel of Y', Cb and Cr.

    Attributes:
        deviation: least and largest standard deviation, in 8-bit codes.
    """

    deviation: tuple[float, float]

    def __call__(self, codes: Tensor, draws: np.random.Generator) -> tuple[Tensor, dict[str, Any]]:
        deviation = draws.uniform(*self.deviation)
        noise = torch.from_numpy(draws.normal(scale=deviation, size=codes.shape))
        return quantize(codes + noise, SDR_VIDEO), {"name": "noise", "deviation": deviation}


@dataclass(frozen=True)
class ChromaSubsampling:
    """Chroma to 4:2:0, sited left, and back, rounded at both steps."""

    def __call__(self, codes: Tensor, draws: np.random.Generator) -> tuple[Tensor, dict[str, Any]]:
        return _at_drawn_phase(codes, draws, lambda x: _to_444(_to_420(x))), {"name": "420"}


@dataclass(frozen=True)
class VideoCodec:
    """A frame encoded by itself as 4:2:0, sited left.

    Attributes:
        name: ``h264`` or ``hevc``.
        crf: least and largest constant rate factor of x264 or x265.
    """

    name: Literal["h264", "hevc"]
    crf: tuple[int, int]

    def __call__(self, codes: Tensor, draws: np.random.Generator) -> tuple[Tensor, dict[str, Any]]:
        crf = int(draws.integers(self.crf[0], self.crf[1] + 1))
        degraded = _at_drawn_phase(codes, draws, lambda x: _to_444(_through_codec(_to_420(x), self.name, crf)))
        return degraded, {"name": self.name, "crf": crf}


@dataclass(frozen=True)
class JPEG:
    """8-bit R'G'B' stored as JPEG with 4:2:0.

    Attributes:
        quality: least and largest quality of libjpeg, at most 100.
    """

    quality: tuple[int, int]

    def __call__(self, codes: Tensor, draws: np.random.Generator) -> tuple[Tensor, dict[str, Any]]:
        quality = int(draws.integers(self.quality[0], self.quality[1] + 1))
        return _at_drawn_phase(codes, draws, lambda x: _through_jpeg(x, quality)), {"name": "jpeg", "quality": quality}


def degrade(codes: Tensor, stages: Sequence[Stage], draws: np.random.Generator) -> tuple[Tensor, list[dict[str, Any]]]:
    """Send LR codes through the stages, in their order.

    Args:
        codes: ``(3, h, w)`` float64, whole codes on ``SDR_VIDEO``.
        stages: of each at most one degradation is drawn.
        draws: where all numbers come from.

    Returns:
        Codes as they came in, and a record of each degradation that was drawn.
    """
    records = []
    for stage in stages:
        drawn = draws.random()
        for degradation, probability in stage:
            if drawn < probability:
                codes, record = degradation(codes, draws)
                records.append(record)
                break
            drawn -= probability
    return codes, records


def _at_drawn_phase(codes: Tensor, draws: np.random.Generator, function: Callable[[Tensor], Tensor]) -> Tensor:
    """``function`` on the picture moved against the grid of blocks by a drawn number of rows and columns.

    Patches begin anywhere in a picture; without this all would have the grid of blocks in the same place, which a
    network would learn. The picture's edges are repeated outwards, up to whole blocks, as encoders do.
    """
    height, width = codes.shape[-2:]
    above, left = (int(drawn) for drawn in draws.integers(_BLOCK, size=2))
    below, right = -(above + height) % _BLOCK, -(left + width) % _BLOCK
    padded = pad(codes, (left, right, above, below), mode="replicate")
    return function(padded)[:, above : above + height, left : left + width]


def _to_420(codes: Tensor) -> list[Tensor]:
    """Planes Y', Cb, Cr of whole codes."""
    return [quantize(plane, SDR_VIDEO) for plane in subsample_chroma(codes, "420", _SITING)]


def _to_444(planes: Sequence[Tensor]) -> Tensor:
    y, cb, cr = planes
    return quantize(upsample_chroma(y, cb, cr, _SITING), SDR_VIDEO)


def _through_codec(planes: Sequence[Tensor], name: str, crf: int) -> list[Tensor]:
    """Planes of a 4:2:0 picture, of whole blocks, encoded and decoded.

    Raises:
        ConfigError: PyAV was built without the encoder.
    """
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane, codes in zip(frame.planes, planes, strict=True):
        _samples(plane)[:] = codes.numpy().astype(np.uint8)
    encoder_name, options = _ENCODERS[name]
    try:
        encoder = cast(av.VideoCodecContext, av.CodecContext.create(encoder_name, "w"))
    except av.codec.codec.UnknownCodecError as error:
        raise ConfigError(
            f"this PyAV has no encoder {encoder_name}, which the preset needs; install the wheel: pip install av"
        ) from error
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.framerate = Fraction(25)
    encoder.thread_count = 1
    encoder.options = options | {"crf": str(crf)}
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    decoder = cast(av.VideoCodecContext, av.CodecContext.create(name, "r"))
    decoder.thread_count = 1
    (decoded,) = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    return [torch.from_numpy(_samples(plane).astype(np.float64)) for plane in decoded.planes]


def _samples(plane: av.video.plane.VideoPlane) -> np.ndarray:
    """The samples ``(height, width)`` of an 8-bit plane, whose rows are padded; a view of its memory."""
    return np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]


def _through_jpeg(codes: Tensor, quality: int) -> Tensor:
    rgb = signal_to_rgb(codes / SDR_VIDEO.peak, SDR_VIDEO).clamp(0, 1)
    pixels = (255 * rgb + 0.5).floor().numpy().astype(np.uint8)
    parameters = [
        cv2.IMWRITE_JPEG_QUALITY,
        quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    ]
    _, file = cv2.imencode(".jpg", np.ascontiguousarray(pixels.transpose(1, 2, 0)[..., ::-1]), parameters)
    bgr = cv2.imdecode(file, cv2.IMREAD_COLOR)
    assert bgr is not None
    decoded = bgr[..., ::-1].transpose(2, 0, 1).astype(np.float64)
    return quantize(SDR_VIDEO.peak * rgb_to_signal(torch.from_numpy(decoded) / 255, SDR_VIDEO), SDR_VIDEO)
