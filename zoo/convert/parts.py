"""A film in parts: each is converted, written, read back and measured by itself, and a kill costs one of them."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from zoo.color import quantize, subsample_chroma
from zoo.convert.bars import Bars, blacken
from zoo.convert.encoding import Geometry, Planes, decode, encode
from zoo.convert.fidelity import fingerprint, same_picture
from zoo.convert.formats import FEWEST_FRAMES, SITING, VideoFormat
from zoo.convert.light import LightLevels, LightMeter
from zoo.convert.looks import Watcher
from zoo.convert.overlap import ahead
from zoo.convert.reading import SDRVideo
from zoo.convert.tiling import TiledNet
from zoo.errors import DataError
from zoo.evaluation.models import load_model, parse_model
from zoo.files import replacing, write_json
from zoo.rgb import Pipeline

_AUTOCAST = {"bf16": torch.bfloat16, "16": torch.float16}

Report = Callable[[int], None]
"""Is told how many more frames are written."""


@dataclass(frozen=True)
class Model:
    """Which network converts, and where.

    Attributes:
        text: as ``--model`` names it.
        scale: of the output over the input.
        devices: that parts are dealt to, as torch names them.
        precision: ``32``, or ``bf16`` or ``16`` for autocast.
        memory: bytes that a network may take for a frame; None for half of what is free.
    """

    text: str
    scale: int
    devices: tuple[str, ...] = ("cpu",)
    precision: str = "32"
    memory: int | None = None


@dataclass(frozen=True, eq=False)
class Film:
    """All that the parts of a film have in common.

    Attributes:
        source: the input.
        model: the network.
        video_format: of the output.
        geometry: of the output.
        bars: of the input.
        origin: time of the input, in its unit, that is 0 in the output.
    """

    source: SDRVideo
    model: Model
    video_format: VideoFormat
    geometry: Geometry
    bars: Bars
    origin: int

    def times(self, numbers: range) -> list[int]:
        """When frames are shown in the output."""
        return [int(pts) - self.origin for pts in self.source.video.pts[numbers.start : numbers.stop]]


@dataclass(frozen=True, eq=False)
class Task:
    """A part that is to be made.

    Attributes:
        film: that it is of.
        number: of the part, from 0.
        numbers: of its frames.
        path: that it is written to, with its facts beside it.
    """

    film: Film
    number: int
    numbers: range
    path: Path


@dataclass(frozen=True)
class Part:
    """A finished part.

    Attributes:
        first: number of its first frame.
        frames: how many it has.
        bytes: of its file.
        levels: light levels of the codes that the file holds; None where nobody asks for them.
        looks: ``Watcher.sums`` of it.
        seconds: that it took.
    """

    first: int
    frames: int
    bytes: int
    levels: tuple[float, float] | None
    looks: dict[str, Any]
    seconds: float


def cut(numbers: range, keys: np.ndarray, length: int) -> list[range]:
    """Cut a film into parts, at key frames of the input where they aren't too far apart: decoding starts there.

    Args:
        numbers: of the frames that are converted.
        keys: numbers of the input's key frames, rising.
        length: frames that a part has at least, and of which it has at most twice as many. The last may have fewer, but
            none has less than ``FEWEST_FRAMES``, unless the film does.
    """
    parts = []
    first = numbers.start
    while first < numbers.stop:
        stop = numbers.stop
        if stop - first > length:
            near = keys[(keys >= first + length) & (keys < min(first + 2 * length, stop))]
            stop = int(near[0]) if len(near) else first + length
        if numbers.stop - stop < FEWEST_FRAMES:
            stop = numbers.stop
        parts.append(range(first, stop))
        first = stop
    return parts


def facts_path(path: Path) -> Path:
    """Where the facts of a part lie."""
    return path.with_suffix(".json")


def finished(path: Path) -> Part | None:
    """A part that was made before, if it is whole."""
    try:
        content = json.loads(facts_path(path).read_text(encoding="utf-8"))
        part = Part(**content)
        return part if path.stat().st_size == part.bytes else None
    except (OSError, ValueError, TypeError):
        return None


def make_part(task: Task, report: Report | None = None) -> Part:
    """Convert a part, write it, read it back and measure it.

    It appears under its name when that is done, its facts after it.

    Raises:
        DataError: a frame of the input is damaged, or what was written isn't what was meant.
        OSError: the disk is full.
    """
    start = time.monotonic()
    film = task.film
    watcher = Watcher(film.source.signal)
    given: list[np.ndarray] = []
    frames = ahead(converted(film, task.numbers, task.number, watcher))
    with closing(frames), replacing(task.path) as temporary:
        encode(temporary, _noted(frames, film.video_format, given, report), film.video_format, film.geometry)
        levels = _read_back(temporary, film, task.numbers, given)
    part = Part(
        first=task.numbers.start,
        frames=len(task.numbers),
        bytes=task.path.stat().st_size,
        levels=None if levels is None else (levels.max_cll, levels.max_fall),
        looks=watcher.sums(),
        seconds=time.monotonic() - start,
    )
    write_json(facts_path(task.path), asdict(part))
    return part


def converted(film: Film, numbers: range, part: int, watcher: Watcher | None = None) -> Iterator[tuple[int, Planes]]:
    """Frames as they are to be written: time and planes of codes."""
    convert = open_converter(film.model, film.model.devices[part % len(film.model.devices)]).pipeline
    signal = film.video_format.signal
    with closing(ahead(film.source.frames(numbers))) as frames:
        for time_, (_, sdr) in zip(film.times(numbers), frames, strict=True):
            hdr = convert(sdr[None], film.source.signal, output=signal)[0]
            hdr = blacken(hdr, sdr, film.bars, (film.source.signal, signal), film.model.scale)
            if watcher is not None and signal.transfer == "pq":
                watcher.update(sdr, hdr)
            yield time_, to_planes(hdr, film.video_format)


def to_planes(hdr: Tensor, video_format: VideoFormat) -> Planes:
    """Code / peak to the codes of the planes."""
    signal = video_format.signal
    channels = hdr * signal.peak
    planes = subsample_chroma(channels, "420", SITING) if video_format.layout == "420" else channels.unbind()
    first, second, third = (quantize(plane, signal).to(torch.int32).numpy().astype(np.uint16) for plane in planes)
    return first, second, third


class Converter(NamedTuple):
    """A network ready to convert.

    Attributes:
        pipeline: with the network, tiled.
        sha256: of its weights file; None without one.
    """

    pipeline: Pipeline
    sha256: str | None


@functools.lru_cache(maxsize=8)
def open_converter(model: Model, device: str) -> Converter:
    """The network on a device, kept for the parts to come.

    Raises:
        ZooError: as ``zoo.load``.
    """
    loaded = load_model(parse_model(model.text), model.scale, device)
    net: Any = TiledNet(loaded.net, memory=model.memory)
    if model.precision in _AUTOCAST:
        net = _HalfPrecision(net, torch.device(device).type, _AUTOCAST[model.precision])
    return Converter(Pipeline(net), loaded.sha256)


class _HalfPrecision(nn.Module):
    """A network in autocast, whatever is computed around it in float32."""

    def __init__(self, net: Any, device_type: str, dtype: torch.dtype) -> None:
        super().__init__()
        self.net, self._device_type, self._dtype = net, device_type, dtype
        self.input_signal, self.output_signal = net.input_signal, net.output_signal
        self.scale, self.halo = net.scale, net.halo

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(self._device_type, self._dtype):
            return self.net(x)


def _noted(
    frames: Iterator[tuple[int, Planes]], video_format: VideoFormat, given: list[np.ndarray], report: Report | None
) -> Iterator[tuple[int, Planes]]:
    """The frames, whose fingerprints are put into ``given`` as they pass."""
    for time_, planes in frames:
        given.append(fingerprint(planes, video_format.is_lossless))
        yield time_, planes
        if report is not None:
            report(1)


def _read_back(path: Path, film: Film, numbers: range, given: list[np.ndarray]) -> LightLevels | None:
    """Decode what was written, against what was meant; and measure it."""
    video_format = film.video_format
    meter = None
    if video_format.has_light_levels:
        scale = film.model.scale
        meter = LightMeter(video_format.signal, SITING, film.bars.active(film.source.size, scale))
    wanted = film.times(numbers) if video_format.codec != "raw" else list(range(len(numbers)))
    times: list[Fraction] = []
    with closing(ahead(decode(path, video_format, film.geometry))) as frames:
        for time_, planes in frames:
            written = fingerprint(planes, video_format.is_lossless)
            if len(times) < len(given) and not same_picture(given[len(times)], written, video_format.is_lossless):
                raise DataError(
                    f"{path.parent}: the encoder wrote another picture for frame {numbers[len(times)]} than it was "
                    "given; other encoder options, or --codec ffv1, may help"
                )
            times.append(time_)
            if meter is not None:
                meter.update(planes)
    if times != wanted:
        raise DataError(
            f"{path.parent}: the encoder wrote {len(times)} frames of {len(wanted)}, or at other times; "
            "other encoder options may help"
        )
    return None if meter is None else meter.levels
