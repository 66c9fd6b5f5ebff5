"""Writers of small files as sources meet them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import pytest

WriteExr = Callable[..., Path]
WritePng = Callable[..., Path]
WriteUltraHdr = Callable[..., Path]


@pytest.fixture(scope="session")
def write_exr() -> WriteExr:
    """Write channels as OpenEXR; keywords go into the header."""

    def write(path: Path, channels: dict[str, object], **header: object) -> Path:
        OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, **header}, channels).write(str(path))
        return path

    return write


@pytest.fixture(scope="session")
def write_png() -> WritePng:
    """Write R'G'B' codes of 8 or 16 bits, on wish with a cICP chunk (primaries, transfer, matrix, full range)."""

    def write(path: Path, rgb: np.ndarray, cicp: Sequence[int] | None = None) -> Path:
        stored = rgb[..., ::-1] if rgb.ndim == 3 else rgb
        png = cv2.imencode(".png", np.ascontiguousarray(stored))[1].tobytes()
        if cicp is not None:
            chunk = b"cICP" + bytes(cicp)
            # It stands behind the header chunk, which ends at byte 33 (PNG, third edition).
            png = png[:33] + struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[33:]
        path.write_bytes(png)
        return path

    return write


def segment(marker: int, content: bytes) -> bytes:
    """A JPEG segment."""
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def jpeg(pixels: np.ndarray, *segments: bytes) -> bytes:
    """A JPEG of R, G, B or grey pixels, nearly lossless, with segments put in front."""
    stored = np.ascontiguousarray(pixels[..., ::-1] if pixels.ndim == 3 else pixels)
    options = [cv2.IMWRITE_JPEG_QUALITY, 100, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    data = cv2.imencode(".jpg", stored, options)[1].tobytes()
    return data[:2] + b"".join(segments) + data[2:]


def icc_profile(colorants: Sequence[Sequence[float]]) -> bytes:
    """A profile that holds no more than colorants."""
    tags, values = b"", b""
    for name, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), colorants, strict=True):
        tags += struct.pack(">4sII", name, 132 + 36 + len(values), 20)
        values += b"XYZ \0\0\0\0" + struct.pack(">iii", *(round(65536 * value) for value in xyz))
    return bytes(128) + struct.pack(">I", 3) + tags + values


@pytest.fixture(scope="session")
def write_ultrahdr() -> WriteUltraHdr:
    """Write a base picture with a gain map behind it, listed by MPF.

    ``metadata`` are segments of the gain map's JPEG; ``xmp`` and ``iso`` make such ones. ``gap`` bytes lie between.
    """

    def write(
        path: Path,
        base: np.ndarray,
        gain: np.ndarray,
        *,
        xmp: str | None = None,
        iso: bytes | None = None,
        orientation: int | None = None,
        colorants: Sequence[Sequence[float]] | None = None,
        gain_colorants: Sequence[Sequence[float]] | None = None,
        byte_order: str = ">",
        gap: int = 0,
    ) -> Path:
        mark = b"MM" if byte_order == ">" else b"II"

        def profile(of: Sequence[Sequence[float]] | None) -> bytes:
            return b"" if of is None else segment(0xE2, b"ICC_PROFILE\0\1\1" + icc_profile(of))

        inside = [profile(gain_colorants)]
        if xmp is not None:
            inside.append(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp.encode()))
        if iso is not None:
            inside.append(segment(0xE2, b"urn:iso:std:iso:ts:21496:-1\0" + iso))
        second = jpeg(gain, *inside)

        front = profile(colorants)
        if orientation is not None:
            tiff = mark + struct.pack(byte_order + "HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)
            front = segment(0xE1, b"Exif\0\0" + tiff) + front

        def multi_picture(first_size: int, start: int) -> bytes:
            header = mark + struct.pack(byte_order + "HIHHHIII", 42, 8, 1, 0xB002, 7, 32, 26, 0)
            entries = struct.pack(byte_order + "IIIIIIII", 0x30000, first_size, 0, 0, 0, len(second), start, 0)
            return segment(0xE2, b"MPF\0" + header + entries)

        size = len(jpeg(base, front, multi_picture(0, 0)))
        tiff_at = 2 + len(front) + 8  # behind the start, the front, a segment's head and "MPF"
        first = jpeg(base, front, multi_picture(size, size + gap - tiff_at))
        path.write_bytes(first + bytes(gap) + second)
        return path

    return write


HDRGM = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" {attributes}>{elements}</rdf:Description>
</rdf:RDF></x:xmpmeta>"""


@pytest.fixture(scope="session")
def hdrgm() -> Callable[..., str]:
    """An XMP packet with ``hdrgm`` values: numbers as attributes, lists as elements."""

    def packet(**values: float | str | Sequence[float]) -> str:
        attributes, elements = 'hdrgm:Version="1.0"', ""
        for name, value in values.items():
            if isinstance(value, (int, float, str)):
                attributes += f' hdrgm:{name}="{value}"'
            else:
                items = "".join(f"<rdf:li>{item}</rdf:li>" for item in value)
                elements += f"<hdrgm:{name}><rdf:Seq>{items}</rdf:Seq></hdrgm:{name}>"
        return HDRGM.format(attributes=attributes, elements=elements)

    return packet
