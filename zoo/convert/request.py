"""What a conversion is asked for, and what is said of it while it runs and at its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from datamodules.progress import duration, file_size
from zoo.signal import Signal


@dataclass(frozen=True)
class Request:
    """A conversion.

    Attributes:
        source: a video file, a photograph, or a folder of photographs.
        output: its ending tells the format; a folder for a folder.
        model: a name of the zoo, a baseline, a weights file, a run's folder, or ``NAME=FILE``.
        scale: of a baseline (2 if left out); a model's is its own.
        signal: what the input's codes mean, where its tags don't say it.
        codec: ``hevc``, ``av1``, ``ffv1``; by default ``hevc``. Of video.
        transfer: ``pq`` or ``hlg``. Of video.
        options: of the encoder, such as ``{"crf": "16"}``.
        still: ending of a folder's pictures: ``.png``, ``.avif``, ``.exr``, ``.jpg`` (Ultra HDR).
        quality: of AVIF, 1 to 100, which is lossless.
        span: seconds from the first frame, from and to; None for all. Of video.
        part_frames: that a part of a film has at least.
        workers: processes that parts are dealt to.
        dask: address of a Dask scheduler that deals them instead.
        device: ``auto``, ``cpu`` or ``cuda``.
        precision: ``32``, ``bf16`` or ``16``.
        memory: bytes that the network may take for a frame; None for half of what is free.
        preview: write a picture and a short film from the middle first. Of video.
        overwrite: replace an output that is there.
    """

    source: Path
    output: Path
    model: str
    scale: int | None = None
    signal: Signal | None = None
    codec: str | None = None
    transfer: str = "pq"
    options: Mapping[str, str] = field(default_factory=dict)
    still: str = ".png"
    quality: int = 95
    span: tuple[float, float] | None = None
    part_frames: int = 240
    workers: int = 1
    dask: str | None = None
    device: str = "auto"
    precision: str = "32"
    memory: int | None = None
    preview: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class Progress:
    """How far a conversion is.

    Attributes:
        done: frames (or pictures) that are written, those of an earlier start included.
        total: all of them.
        part: that is being written, from 1; 0 for pictures.
        parts: of the film.
        rate: frames a second since this start; 0 before the first.
    """

    done: int
    total: int
    part: int
    parts: int
    rate: float

    def __str__(self) -> str:
        text = f"{self.done} of {self.total}"
        if self.parts > 1:
            text += f", part {self.part} of {self.parts}"
        if self.rate:
            text += f", {self.rate:.3g} a second, {duration((self.total - self.done) / self.rate)} left"
        return text


Listener = Callable[[Progress], None]


@dataclass
class Report:
    """What came of a conversion.

    Attributes:
        source: that was read.
        read: what it is: size, signal, frames.
        model: that converted it.
        output: that was written.
        written: what it is: size, signal, codec, bytes.
        frames: frames or pictures.
        resumed: frames that an earlier start had finished.
        seconds: that this start took.
        levels: MaxCLL and MaxFALL, cd/m²; None where nothing states them.
        looks: figures of :class:`zoo.convert.looks.Looks`.
        notes: lines that the user should know.
        warnings: lines about what may look wrong.
    """

    source: str
    read: str
    model: str
    output: str
    written: str
    frames: int
    resumed: int = 0
    seconds: float = 0.0
    levels: tuple[int, int] | None = None
    looks: dict[str, float | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)

    def __str__(self) -> str:
        rows = [("read", f"{self.source}: {self.read}"), ("model", self.model)]
        rows.append(("wrote", f"{self.output}: {self.written}"))
        if self.levels is not None:
            rows.append(("light", "MaxCLL {} cd/m², MaxFALL {} cd/m²".format(*self.levels)))
        names = {
            "white": ("white", "cd/m²", 0),
            "black": ("black", "cd/m²", 3),
            "grey_shift": ("greys off neutral by", "delta E ITP", 1),
            "flicker": ("flicker", "codes beyond the input's", 2),
        }
        known = {key: value for key, value in self.looks.items() if value is not None}
        texts = [
            f"{title} {known[key]:.{digits}f} {unit}" for key, (title, unit, digits) in names.items() if key in known
        ]
        if texts:
            rows.append(("looks", ", ".join(texts)))
        rate = (self.frames - self.resumed) / self.seconds if self.seconds else 0.0
        resumed = f", {self.resumed} of them before" if self.resumed else ""
        rows.append(("speed", f"{self.frames} frames{resumed}, {duration(self.seconds)}, {rate:.3g} a second"))
        rows += [("note", line) for line in self.notes] + [("WARNING", line) for line in self.warnings]
        return "\n".join(f"{key:>8}  {text}" for key, text in rows)


def size_text(size: tuple[int, int]) -> str:
    """Height and width as people write them."""
    return f"{size[1]}x{size[0]}"


def bytes_text(count: int) -> str:
    """A file's size for people."""
    return file_size(count)
