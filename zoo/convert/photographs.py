"""SDR photographs as the input of a conversion: JPEG, PNG and TIFF, upright, on the signal of their profile."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from datamodules.sources.jpeg import JPEG, exif_orientation, primaries_of_profile, turn_upright
from zoo.errors import DataError
from zoo.signal import Signal

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
"""Endings of the files that are read."""

_PNG = b"\x89PNG\r\n\x1a\n"
_HDR_TRANSFERS = {16: "pq", 18: "hlg"}  # ITU-T H.273, Table 3
# Decoders fill up what is missing with grey or black, without a word.
_CUT = "{}: is cut before its end; get the whole file"
_NO_PRIMARIES = "has a colour profile that is none of sRGB, Display P3 or BT.2020; convert it to sRGB"


@dataclass(frozen=True)
class Photograph:
    """A picture in memory.

    Attributes:
        pixels: ``(H, W, 3)`` uint8 or uint16, R'G'B' in full range, upright.
        signal: what they are on.
        notes: what the user should know of how it was read.
    """

    pixels: np.ndarray
    signal: Signal
    notes: tuple[str, ...] = ()


def read_photograph(path: Path, stated: Signal | None = None) -> Photograph:
    """Read a picture.

    Args:
        path: JPEG, PNG or TIFF of 8 or 16 bits; grey and palette become R'G'B'.
        stated: what its codes mean; by default sRGB's curve on the primaries of its profile.

    Raises:
        DataError: no such file, damaged, CMYK, HDR, a profile of other primaries, or with transparency.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror or error})") from error
    notes: list[str] = []
    if data.startswith(b"\xff\xd8"):
        pixels, primaries = _read_jpeg(path, data)
    elif data.startswith(_PNG):
        pixels, primaries = _read_png(path, data)
    elif data[:4] in (b"II*\0", b"MM\0*"):
        pixels, primaries = _decoded(path, data, cv2.IMREAD_UNCHANGED), "bt709"
        if stated is None:
            notes.append(f"{path.name} is taken for sRGB; a profile in TIFF isn't read, --signal says otherwise")
    else:
        raise DataError(f"{path}: is no JPEG, PNG or TIFF; convert it to one")
    pixels = _as_rgb(path, pixels)
    signal = stated or Signal(primaries, "srgb", "rgb", "full", 8 * pixels.itemsize)
    if signal.depth != 8 * pixels.itemsize or signal.matrix != "rgb":
        raise DataError(f"{path}: holds R'G'B' of {8 * pixels.itemsize} bits, which can't be {signal}")
    if signal.transfer in ("pq", "hlg"):
        raise DataError(f"{path}: {signal} is HDR already; give the SDR picture")
    if signal.primaries != "bt709":
        notes.append(f"{path.name} is on {signal.primaries}: colours beyond BT.709, which networks take, are clipped")
    return Photograph(np.ascontiguousarray(pixels), signal, tuple(notes))


def _read_jpeg(path: Path, data: bytes) -> tuple[np.ndarray, str]:
    jpeg = JPEG(data)
    try:
        if jpeg.channels == 4:
            raise DataError(f"{path}: is a CMYK JPEG, made for print; convert it to sRGB")
        if jpeg.primaries is None:
            raise DataError(f"{path}: {_NO_PRIMARIES}")
        if not jpeg.is_whole:
            raise DataError(_CUT.format(path))
        pixels = turn_upright(_decoded(path, data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION), jpeg.orientation)
        return pixels, jpeg.primaries
    except ValueError as error:
        raise DataError(f"{path}: can't be read as JPEG ({error}); is the file whole?") from error


def _read_png(path: Path, data: bytes) -> tuple[np.ndarray, str]:
    primaries, orientation = "bt709", 1
    for kind, content in _chunks(data):
        if kind == b"cICP" and len(content) == 4:
            if content[1] in _HDR_TRANSFERS:
                raise DataError(f"{path}: is HDR already ({_HDR_TRANSFERS[content[1]]}); give the SDR picture")
            primaries = {1: "bt709", 9: "bt2020", 12: "p3d65"}.get(content[0], "")
        elif kind == b"iCCP":
            try:
                profile = zlib.decompress(content.partition(b"\0")[2][1:])
            except zlib.error:
                continue
            primaries = primaries_of_profile(profile) or ""
        elif kind == b"eXIf":
            with suppress(ValueError):
                orientation = exif_orientation(content) or 1
        if not primaries:
            raise DataError(f"{path}: {_NO_PRIMARIES}")
    if b"IEND" not in data[-64:]:
        raise DataError(_CUT.format(path))
    return turn_upright(_decoded(path, data, cv2.IMREAD_UNCHANGED), orientation), primaries


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kinds and contents of a PNG's chunks before its pixels."""
    position = len(_PNG)
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"IDAT":
            return
        yield kind, data[position + 8 : position + 8 + length]
        position += 12 + length


def _decoded(path: Path, data: bytes, flags: int) -> np.ndarray:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise DataError(f"{path}: can't be read ({_reason(error)})") from error
    if pixels is None:
        raise DataError(f"{path}: can't be read as a picture; is the file whole?")
    return pixels


def _reason(error: cv2.error) -> str:
    return re.sub(r"\s+", " ", error.err or str(error)).strip()


def _as_rgb(path: Path, pixels: np.ndarray) -> np.ndarray:
    """OpenCV's grey, BGR or BGRA to R, G, B."""
    if pixels.dtype not in (np.uint8, np.uint16):
        raise DataError(f"{path}: holds {pixels.dtype}, which no SDR picture is coded in; give 8 or 16 bits")
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=-1)
    if pixels.shape[-1] == 4:
        if pixels[..., 3].min() < np.iinfo(pixels.dtype).max:
            raise DataError(f"{path}: is transparent in parts; put it on a background first")
        pixels = pixels[..., :3]
    if pixels.shape[-1] != 3:
        raise DataError(f"{path}: has {pixels.shape[-1]} channels; a picture in colour or grey is needed")
    return pixels[..., ::-1]
