"""HDR10's static metadata: as encoders take it, as streams and containers hold it, and how it is put in afterwards.

What a film's content light levels are is known when its last frame is written. So encoders write a placeholder, and
joining replaces it in every message. Chromaticities are those of BT.2020, the volume is a display of 1000 cd/m², which
the networks are trained for.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from zoo.errors import DataError

PLACEHOLDER = (0xCAFE, 0xBABE)
"""MaxCLL and MaxFALL of a stream whose light isn't known yet."""


class _Display(NamedTuple):
    """SMPTE ST 2086: chromaticities x, y in 1/50000, luminance in 1/10000 cd/m²."""

    green: tuple[int, int]
    blue: tuple[int, int]
    red: tuple[int, int]
    white: tuple[int, int]
    highest: int
    lowest: int


MASTERING_DISPLAY = _Display((8500, 39850), (6550, 2300), (35400, 14600), (15635, 16450), 10_000_000, 50)

# The content light level message: in HEVC a SEI message (prefix SEI NAL unit 0x4e01, payload type 144, 4 bytes), in AV1
# a metadata OBU (0x2a, 6 bytes, type 1). Both end with a stop bit.
_MESSAGES = {"hevc": b"\x4e\x01\x90\x04%b\x80", "av1": b"\x2a\x06\x01%b\x80"}


def x265_parameters() -> list[str]:
    """``x265-params`` of an HDR10 stream with the placeholder."""
    green, blue, red, white, highest, lowest = MASTERING_DISPLAY
    corners = "".join(f"{name}({x},{y})" for name, (x, y) in zip("GBR", (green, blue, red), strict=True))
    display = f"{corners}WP({white[0]},{white[1]})L({highest},{lowest})"
    return ["hdr10=1", "hdr10-opt=1", f"master-display={display}", "max-cll={},{}".format(*PLACEHOLDER)]


def svtav1_parameters() -> list[str]:
    """``svtav1-params`` of an HDR10 stream with the placeholder."""
    green, blue, red, white, highest, lowest = MASTERING_DISPLAY
    points = zip(("G", "B", "R", "WP"), (green, blue, red, white), strict=True)
    corners = "".join(f"{name}({x / 50000:g},{y / 50000:g})" for name, (x, y) in points)
    display = f"{corners}L({highest / 10000:g},{lowest / 10000:g})"
    return [f"mastering-display={display}", "content-light={},{}".format(*PLACEHOLDER)]


def set_light_levels(data: bytes, codec: str, levels: tuple[int, int]) -> tuple[bytes, int]:
    """Replace the placeholder in a packet or in a stream's header.

    Args:
        data: of a codec of ``_MESSAGES``; others have no such message.
        codec: ``hevc`` or ``av1``.
        levels: MaxCLL and MaxFALL; see ``LightLevels.message`` for what they may be.

    Returns:
        The data, of the same size, and how many messages there were.
    """
    if codec not in _MESSAGES:
        return data, 0
    old, new = (_MESSAGES[codec] % struct.pack(">HH", *pair) for pair in (PLACEHOLDER, levels))
    return data.replace(old, new), data.count(old)


class Template(io.RawIOBase):
    """An MP4 file as it would be with HDR10's boxes, for reading; the file itself stays as it is.

    FFmpeg passes what it reads from these boxes on to whatever container its packets are copied to.

    Args:
        path: with its index (``moov``) behind the data, as FFmpeg writes it.
        levels: MaxCLL and MaxFALL.

    Raises:
        DataError: it isn't such a file.
    """

    def __init__(self, path: Path, levels: tuple[int, int]) -> None:
        self._file = path.open("rb")
        self._position = 0
        size = path.stat().st_size
        self._index_at = next((at for kind, at, _ in _boxes(self._file, 0, size) if kind == b"moov"), size)
        self._file.seek(self._index_at)
        self._index = _with_boxes(self._file.read(), levels)
        self._size = self._index_at + len(self._index)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._position + size, self._size)
        if self._position >= end:
            return b""
        if self._position < self._index_at:
            self._file.seek(self._position)
            data = self._file.read(min(end, self._index_at) - self._position)
        else:
            data = self._index[self._position - self._index_at : end - self._index_at]
        self._position += len(data)
        return data

    def close(self) -> None:
        self._file.close()
        super().close()


def mastering_box() -> bytes:
    """``mdcv`` of ISO/IEC 14496-12, 12.1.7."""
    green, blue, red, white, highest, lowest = MASTERING_DISPLAY
    return struct.pack(">I4s8H2I", 32, b"mdcv", *green, *blue, *red, *white, highest, lowest)


def light_level_box(levels: tuple[int, int]) -> bytes:
    """``clli`` of ISO/IEC 14496-12, 12.1.6."""
    return struct.pack(">I4sHH", 12, b"clli", *levels)


def _boxes(file: io.IOBase, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, offset and size of the boxes that lie in a row."""
    while start + 8 <= end:
        file.seek(start)
        header = file.read(16)
        size, kind = struct.unpack_from(">I4s", header)
        if size == 1:
            (size,) = struct.unpack_from(">Q", header, 8)
        elif size == 0:
            size = end - start
        yield kind, start, size
        start += max(size, 8)


def _with_boxes(index: bytes, levels: tuple[int, int]) -> bytes:
    """``moov`` with the boxes of HDR10 in the sample entry of its picture track; nothing before it moves."""
    file = io.BytesIO(index)

    def inside(parent: tuple[int, int], kind: bytes, header: int = 8) -> tuple[int, int]:
        start, size = parent
        boxes = _boxes(file, start + header, start + size)
        return next((at, length) for found, at, length in boxes if found == kind)

    try:
        moov = inside((0, len(index)), b"moov", header=0)
        track = inside(moov, b"trak")
        parents = [moov, track]
        for kind in (b"mdia", b"minf", b"stbl", b"stsd"):
            parents.append(inside(parents[-1], kind))
        start, size = parents[-1]
        _, at, length = next(_boxes(file, start + 16, start + size))  # its first entry
        parents.append((at, length))
    except StopIteration:
        raise DataError("a finished part isn't the MP4 file that it was; start again with --overwrite") from None
    new = mastering_box() + light_level_box(levels)
    edited = bytearray(index)
    for start, size in parents:
        struct.pack_into(">I", edited, start, size + len(new))
    place = at + length
    edited[place:place] = new
    return bytes(edited)
