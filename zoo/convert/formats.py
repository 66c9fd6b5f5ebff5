"""What video can be written as: encoders, their settings, and the signal that a file of each is on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av

from zoo.convert.hdr10 import svtav1_parameters, x265_parameters
from zoo.errors import ConfigError
from zoo.signal import HDR10_VIDEO, Signal

Layout = Literal["420", "444"]

FEWEST_FRAMES = 3
"""Frames from which on x265 gives decoding times that can be written, whatever its frames refer to."""

# Of frames that are one coding tree unit wide, x265 4.2 writes wrong pixels, even without loss, and others in each run;
# at 34 to 48 columns it writes beyond its memory.
_X265_COLUMNS = 66

SITING: Literal["topleft"] = "topleft"
"""Where chroma of what is written lies: as BT.2020 masters have it."""

_HLG_VIDEO = replace(HDR10_VIDEO, transfer="hlg")
_CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mkv": "matroska", ".yuv": "yuv"}


@dataclass(frozen=True)
class VideoFormat:
    """How frames are written.

    Attributes:
        codec: ``hevc``, ``av1``, ``ffv1`` or ``raw``.
        encoder: FFmpeg's name of it; empty for ``raw``.
        container: FFmpeg's name of the finished file's; ``yuv`` for planes without one.
        signal: of the codes.
        layout: chroma planes of half the size in both directions, or whole.
        options: of the encoder, defaults and the user's.
    """

    codec: str
    encoder: str
    container: str
    signal: Signal
    layout: Layout
    options: tuple[tuple[str, str], ...]

    @property
    def pixel_format(self) -> str:
        """FFmpeg's name of it."""
        return f"yuv{self.layout}p10le"

    @property
    def tag(self) -> str | None:
        """The sample entry in MP4. Apple's players show HEVC only as ``hvc1``."""
        return "hvc1" if self.codec == "hevc" and self.container == "mp4" else None

    @property
    def is_lossless(self) -> bool:
        """Whether decoders give the very codes that the encoder was given."""
        parameters = dict(self.options).get("x265-params", "").split(":")
        return self.codec in ("ffv1", "raw") or "lossless=1" in parameters

    @property
    def has_light_levels(self) -> bool:
        """Whether the file says how bright it is."""
        return self.signal.transfer == "pq" and self.codec != "raw"


@dataclass(frozen=True)
class _Encoder:
    name: str
    layout: Layout
    parameters: str  # the option that holds the encoder's own parameters; empty if it has none
    defaults: Mapping[str, str]
    siting: str
    hdr10: tuple[str, ...]


_ENCODERS = {
    "hevc": _Encoder(
        "libx265",
        "420",
        "x265-params",
        {"preset": "medium", "crf": "18"},
        # Each key frame with its headers, so that players may start there.
        "chromaloc=2:repeat-headers=1:log-level=error",
        tuple(x265_parameters()),
    ),
    "av1": _Encoder(
        "libsvtav1",
        "420",
        "svtav1-params",
        {"preset": "8", "crf": "25"},
        "chroma-sample-position=topleft",
        tuple(svtav1_parameters()),
    ),
    "ffv1": _Encoder("ffv1", "444", "", {"level": "3", "slicecrc": "1", "slices": "16"}, "", ()),
}
CODECS = (*_ENCODERS, "raw")
"""Names of codecs."""


def video_format(
    output: Path,
    codec: str | None,
    transfer: str = "pq",
    options: Mapping[str, str] | None = None,
    frames: int = FEWEST_FRAMES,
) -> VideoFormat:
    """Settle how a file is written.

    Args:
        output: its ending tells the container: ``.mp4``, ``.mkv``, or ``.yuv`` for planes alone.
        codec: one of ``CODECS``; by default ``hevc``, and ``raw`` for ``.yuv``.
        transfer: ``pq`` or ``hlg``.
        options: of the encoder, such as ``crf`` and ``preset``; ``x265-params`` and ``svtav1-params`` are added to
            those that the signal needs.
        frames: that the film has.

    Raises:
        ConfigError: another ending or codec, ones that don't go together, an encoder that the installed PyAV lacks.
    """
    container = _CONTAINERS.get(output.suffix.lower())
    if container is None:
        raise ConfigError(f"{output}: video is written as {', '.join(_CONTAINERS)}; name the output so")
    codec = codec or ("raw" if container == "yuv" else "hevc")
    if codec not in CODECS or (codec == "raw") != (container == "yuv"):
        raise ConfigError(f"codec {codec} doesn't go into {output.name}; .mp4 and .mkv take {', '.join(_ENCODERS)}")
    signal = HDR10_VIDEO if transfer == "pq" else _HLG_VIDEO
    if codec == "raw":
        if options:
            raise ConfigError(f"{output.name}: raw planes have no encoder; leave out {', '.join(options)}")
        return VideoFormat("raw", "", container, signal, "420", ())
    encoder = _ENCODERS[codec]
    try:
        av.codec.Codec(encoder.name, "w")
    except ValueError:
        raise ConfigError(
            f"the installed PyAV has no encoder {encoder.name}; take another --codec than {codec}"
        ) from None
    settled = {**encoder.defaults, **(options or {})}
    if encoder.parameters:
        own = [encoder.siting, *(encoder.hdr10 if transfer == "pq" else ()), settled.get(encoder.parameters, "")]
        if codec == "hevc" and frames < FEWEST_FRAMES:
            own.append("bframes=0")
        settled[encoder.parameters] = ":".join(filter(None, own))
    if codec == "av1":
        os.environ.setdefault("SVT_LOG", "1")  # errors only, else it greets on stderr
    return VideoFormat(codec, encoder.name, container, signal, encoder.layout, tuple(settled.items()))


def check_size(video_format: VideoFormat, size: tuple[int, int], output: Path) -> None:
    """Refuse a picture that the encoder doesn't take.

    Args:
        video_format: how it is to be written.
        size: height and width of the output.
        output: for the message.

    Raises:
        ConfigError: an odd side, fewer than 16 rows or 66 columns, for HEVC; a side of less than 64 or more than 16384
            for AV1.
    """
    height, width = size
    if video_format.codec == "hevc" and (height % 2 or width % 2 or height < 16 or width < _X265_COLUMNS):
        raise ConfigError(
            f"{output}: {width}x{height} can't be HEVC 4:2:0, for which x265 wants even sides, {_X265_COLUMNS} columns "
            "and 16 rows; take --codec av1 (from 64 pixels a side) or ffv1, or crop the input"
        )
    if video_format.codec == "av1" and (min(size) < 64 or max(size) > 16384):
        raise ConfigError(
            f"{output}: SVT-AV1 takes sides of 64 to 16384 pixels, not {width}x{height}; take --codec ffv1"
        )


def check_aspect(video_format: VideoFormat, sample_aspect: Fraction, output: Path) -> None:
    """Refuse pixels whose shape the file couldn't state.

    Raises:
        ConfigError: they aren't square, the codec doesn't state it, and for Matroska PyAV can't.
    """
    if sample_aspect != 1 and video_format.container == "matroska" and video_format.codec != "hevc":
        raise ConfigError(
            f"{output}: {video_format.codec} in .mkv can't say that pixels are {sample_aspect.numerator}:"
            f"{sample_aspect.denominator}; write .mp4, or take --codec hevc"
        )
