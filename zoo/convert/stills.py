"""Photographs to HDR pictures: PNG of 16 bits, AVIF of 10 bits, both PQ, Ultra HDR JPEG, and OpenEXR of light."""

from __future__ import annotations

import errno
import logging
import struct
import time
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import OpenEXR
import torch

from zoo.color import pq_decode
from zoo.convert.gainmap_jpeg import ultra_hdr
from zoo.convert.hdr10 import MASTERING_DISPLAY
from zoo.convert.light import LightLevels, LightMeter
from zoo.convert.looks import looks
from zoo.convert.parts import Model, open_converter
from zoo.convert.photographs import SUFFIXES, Photograph, read_photograph
from zoo.convert.request import Listener, Progress, Report, Request, bytes_text, size_text
from zoo.errors import ConfigError, DataError
from zoo.files import replacing
from zoo.signal import Signal

logger = logging.getLogger(__name__)

EXR_WHITE = 203.0
"""cd/m² of 1.0 in OpenEXR, the reference white of ITU-R BT.2408; the file says it as ``whiteLuminance``."""

_SIGNALS = {
    ".png": Signal("bt2020", "pq", "rgb", "full", 16),
    ".avif": Signal("bt2020", "pq", "rgb", "full", 10),
    ".exr": Signal("bt2020", "pq", "rgb", "full", 16),
    ".jpg": Signal("bt2020", "pq", "rgb", "full", 16),
}
STILLS = tuple(_SIGNALS)
"""Endings of pictures that are written."""

_BT2020 = (0.708, 0.292, 0.17, 0.797, 0.131, 0.046, 0.3127, 0.329)
_LOSSLESS = 100


def convert_photograph(request: Request, model: Model) -> Report:
    """Convert one picture."""
    return _convert([(request.source, request.output)], request, model, None)


def convert_folder(request: Request, model: Model, listener: Listener | None = None) -> Report:
    """Convert the pictures of a folder into another, by the same names; those that are there already are kept.

    Raises:
        DataError: no picture in it, two of one name, or one that can't be read (those before it are written).
        ConfigError: the output is the same folder.
    """
    source, output = request.source, request.output
    paths = sorted(path for path in source.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise DataError(f"{source}: holds no picture ({', '.join(SUFFIXES)})")
    if output.exists() and output.samefile(source):
        raise ConfigError(f"{output}: is the folder that is read; name another")
    jobs = [(path, output / f"{path.stem}{request.still}") for path in paths]
    written = [path for _, path in jobs]
    if twice := next((path for path in written if written.count(path) > 1), None):
        raise DataError(f"{source}: two pictures are named {twice.stem}; rename one")
    output.mkdir(exist_ok=True)
    return _convert(jobs, request, model, listener)


def check_still(request: Request, suffix: str) -> None:
    """Refuse a format that can't be had.

    Raises:
        ConfigError: another ending, a package that is missing, or what is for video only.
    """
    if suffix not in STILLS:
        raise ConfigError(f"{request.output}: pictures are written as {', '.join(STILLS)}; name the output so")
    if request.codec or request.options or request.span or request.preview or request.transfer != "pq":
        raise ConfigError("--codec, --encoder, --range, --preview and --transfer are for video; leave them out")
    if not 1 <= request.quality <= _LOSSLESS:
        raise ConfigError(f"--quality {request.quality}: 1 to {_LOSSLESS}, which is lossless")
    if suffix == ".avif":
        _imagecodecs()


def write_still(path: Path, rgb: np.ndarray, photograph: Photograph, quality: int = 95) -> LightLevels:
    """Write a picture.

    Args:
        path: its ending tells the format; it is written under another name first.
        rgb: ``(H, W, 3)`` floats in 0..1, PQ on BT.2020 primaries.
        photograph: that it was made of, the SDR rendition of Ultra HDR.
        quality: of AVIF.

    Returns:
        Light levels of what the file holds, but for the loss of Ultra HDR, and of AVIF below ``quality`` 100.
    """
    signal = _SIGNALS[path.suffix.lower()]
    # Of pixels that lie otherwise in memory, OpenEXR writes the first channel three times without a word.
    codes = (rgb.astype(np.float64, order="C") * signal.peak + 0.5).astype(np.uint16)
    meter = LightMeter(signal, "center")
    meter.update([codes[..., channel] for channel in range(3)])
    with replacing(path) as temporary:
        match path.suffix.lower():
            case ".png":
                temporary.write_bytes(_png(codes, meter.levels))
            case ".avif":
                temporary.write_bytes(_avif(codes, quality))
            case ".jpg":
                temporary.write_bytes(ultra_hdr(photograph, codes / np.float32(signal.peak), signal))
            case ".exr":
                _write_exr(temporary, codes / signal.peak)
        _check_still(temporary, path, codes.shape[:2])
    return meter.levels


def _convert(jobs: Sequence[tuple[Path, Path]], request: Request, model: Model, listener: Listener | None) -> Report:
    start = time.monotonic()
    converter = open_converter(model, model.devices[0])
    levels, resumed, done = LightLevels(0.0, 0.0), 0, 0
    notes: list[str] = []
    photograph: Photograph | None = None
    size = (0, 0)
    for source, output in jobs:
        if output.exists() and not request.overwrite:
            resumed += 1
        else:
            photograph = read_photograph(source, request.signal)
            notes += photograph.notes
            rgb = converter.pipeline(photograph.pixels, photograph.signal, _SIGNALS[output.suffix.lower()])
            size = (rgb.shape[0], rgb.shape[1])
            levels |= write_still(output, rgb, photograph, request.quality)
        done += 1
        if listener is not None:
            rate = (done - resumed) / max(time.monotonic() - start, 1e-9)
            listener(Progress(done, len(jobs), 0, 0, rate))
    if resumed:
        notes.append(f"{resumed} of {len(jobs)} pictures were there already; --overwrite writes them anew")
    figures = looks(converter.pipeline.net, [])
    read = f"{len(jobs)} pictures" if len(jobs) > 1 else ""
    if photograph is not None and len(jobs) == 1:
        height, width, _ = photograph.pixels.shape
        read = f"{size_text((height, width))}, {photograph.signal}"
    return Report(
        source=str(request.source),
        read=read,
        model=f"{model.text}, x{model.scale}, {model.devices[0]}",
        output=str(request.output),
        written=_written(jobs[0][1], size, len(jobs)),
        frames=len(jobs),
        resumed=resumed,
        seconds=time.monotonic() - start,
        levels=levels.message if done > resumed else None,
        looks=asdict(figures),
        notes=list(dict.fromkeys(notes)),
        warnings=figures.warnings(),
    )


def _written(output: Path, size: tuple[int, int], count: int) -> str:
    names = {
        ".png": "PNG 16 bit, BT.2020 PQ",
        ".avif": "AVIF 10 bit, BT.2020 PQ",
        ".jpg": "Ultra HDR JPEG",
        ".exr": f"OpenEXR, light on BT.2020 primaries, 1.0 is {EXR_WHITE:g} cd/m²",
    }
    kind = names[output.suffix.lower()]
    count_or_size = f"{count} pictures" if count > 1 else size_text(size)
    return f"{count_or_size}, {kind}" + (f", {bytes_text(output.stat().st_size)}" if count == 1 else "")


def _check_still(written: Path, path: Path, size: tuple[int, ...]) -> None:
    """Read a picture's pixels again, by another library than wrote them where there is one.

    Args:
        written: the file.
        path: that it is to be.
        size: height and width that it should have.

    Raises:
        DataError: it isn't what was meant.
    """
    if path.suffix.lower() == ".exr":
        with OpenEXR.File(str(written)) as file:
            found: tuple[int, ...] = file.channels()["RGB"].pixels.shape[:2]
    else:
        import av

        with written.open("rb") as opened, av.open(opened, "r") as container:
            frame = next(container.decode(video=0))
            found = (frame.height, frame.width)
            if path.suffix.lower() != ".jpg" and (frame.color_primaries, frame.color_trc) != (9, 16):
                raise DataError(f"{path}: what was written isn't tagged BT.2020 PQ")
    if found != size:
        raise DataError(f"{path}: what was written has {size_text((found[0], found[1]))} pixels")


def _png(codes: np.ndarray, levels: LightLevels) -> bytes:
    """With the chunks cICP, mDCV and cLLI (PNG, third edition, 11.3.2) behind the header."""
    done, data = cv2.imencode(".png", codes[..., ::-1])
    assert done
    green, blue, red, white, highest, lowest = MASTERING_DISPLAY
    chunks = _chunk(b"cICP", bytes([9, 16, 0, 1]))
    chunks += _chunk(b"mDCV", struct.pack(">8H2I", *red, *green, *blue, *white, highest, lowest))
    chunks += _chunk(b"cLLI", struct.pack(">2I", *(10_000 * level for level in levels.message)))
    return data[:33].tobytes() + chunks + data[33:].tobytes()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _avif(codes: np.ndarray, quality: int) -> bytes:
    # Without a matrix nothing is lost; with one AV1 needs a third of the bytes.
    matrix = 0 if quality == _LOSSLESS else 9
    return _imagecodecs().avif_encode(
        codes,
        level=quality,
        bitspersample=10,
        pixelformat="444",
        primaries=9,
        transfer=16,
        matrix=matrix,
        speed=8,
        numthreads=torch.get_num_threads(),
    )


def _write_exr(path: Path, rgb: np.ndarray) -> None:
    light = pq_decode(torch.from_numpy(rgb)).numpy() / EXR_WHITE
    header = {
        "compression": OpenEXR.ZIP_COMPRESSION,
        "type": OpenEXR.scanlineimage,
        "chromaticities": _BT2020,
        "whiteLuminance": EXR_WHITE,
    }
    try:
        OpenEXR.File(header, {"RGB": light.astype(np.float32)}).write(str(path))
    except RuntimeError as error:  # of C++; the disk is full, most likely
        raise OSError(errno.EIO, f"can't be written ({error})") from error


def _imagecodecs() -> Any:
    try:
        import imagecodecs
    except ImportError as error:
        raise ConfigError("AVIF needs imagecodecs; pip install 'sritm-zoo[data]', or write .png") from error
    return imagecodecs
