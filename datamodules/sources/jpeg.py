"""What lies around the picture in a JPEG file: further pictures, orientation, primaries."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

_APP1, _APP2, _START_OF_SCAN = 0xE1, 0xE2, 0xDA
_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_TIFF_TYPES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1}  # bytes of a value
_ORIENTATION = 0x0112  # Exif
_MP_ENTRY = 0xB002  # CIPA DC-007, Multi-Picture Format

# Colorants X, Y, Z of ICC profiles: red, green and blue of these primaries, adapted to D50.
_COLORANTS = {
    "bt709": ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)),
    "p3d65": ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841)),
    "bt2020": ((0.6735, 0.2790, -0.0019), (0.1657, 0.6753, 0.0300), (0.1251, 0.0457, 0.7969)),
}
_COLORANT_TOLERANCE = 2e-3  # of rounding and of ways to adapt


@dataclass(frozen=True)
class JPEG:
    """A JPEG file in memory.

    Attributes:
        data: its bytes, with whatever lies behind the picture.

    Raises:
        ValueError: by any property, where the file is cut or no JPEG.
    """

    data: bytes

    @cached_property
    def size(self) -> tuple[int, int]:
        """Height and width as stored, before the orientation is applied."""
        return self._frame_header[:2]

    @cached_property
    def channels(self) -> int:
        """Number of components: 1 is grey, 3 colour, 4 CMYK."""
        return self._frame_header[2]

    @cached_property
    def orientation(self) -> int:
        """Exif's orientation, 1 (upright) to 8."""
        for _, payload in self._payloads(_APP1, b"Exif\0\0"):
            if (orientation := exif_orientation(payload)) is not None:
                return orientation
        return 1

    @cached_property
    def primaries(self) -> str | None:
        """Primaries of the ICC profile, as ``zoo.signal`` names them.

        ``bt709`` without a profile (sRGB by custom); None for a profile of others.
        """
        chunks = [payload for _, payload in self._payloads(_APP2, b"ICC_PROFILE\0")]
        if not chunks:
            return "bt709"
        # Two bytes in front of each chunk: its number and how many there are.
        return primaries_of_profile(b"".join(chunk[2:] for chunk in sorted(chunks)))

    @cached_property
    def is_whole(self) -> bool:
        """Whether the picture's end is there (its marker, behind the headers, where a thumbnail has one too)."""
        headers = max((offset + len(payload) for _, offset, payload in self._segments()), default=2)
        return self.data.find(b"\xff\xd9", headers) >= 0

    @cached_property
    def xmp(self) -> bytes | None:
        """The XMP packet (without its extension)."""
        return next((payload for _, payload in self._payloads(_APP1, b"http://ns.adobe.com/xap/1.0/\0")), None)

    @cached_property
    def gain_map_metadata(self) -> bytes | None:
        """The block of ISO 21496-1."""
        return next((payload for _, payload in self._payloads(_APP2, b"urn:iso:std:iso:ts:21496:-1\0")), None)

    @cached_property
    def further_pictures(self) -> list[JPEG]:
        """The pictures that the Multi-Picture Format lists behind the first."""
        pictures = []
        for offset, payload in self._payloads(_APP2, b"MPF\0"):
            order, fields = _tiff_fields(payload)
            for _, size, start, _ in struct.iter_unpack(order + "IIII", fields.get(_MP_ENTRY, b"")):
                if start:  # counted from the header of this TIFF structure; 0 is the first picture itself
                    picture = self.data[offset + start : offset + start + size]
                    if len(picture) < size:
                        raise ValueError("cut before the end of its last picture")
                    pictures.append(JPEG(picture))
        return pictures

    def decode(self) -> np.ndarray:
        """The picture as stored, neither turned nor colour-managed.

        Returns:
            ``(H, W, channels)`` uint8; R, G, B for three channels.
        """
        flags = cv2.IMREAD_COLOR_RGB if self.channels == 3 else cv2.IMREAD_GRAYSCALE
        pixels = cv2.imdecode(np.frombuffer(self.data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
        if pixels is None:
            raise ValueError("the decoder found no picture")
        return np.atleast_3d(pixels)

    @cached_property
    def _frame_header(self) -> tuple[int, int, int]:
        for marker, _, payload in self._segments():
            if marker in _START_OF_FRAME:
                try:
                    _, height, width, channels = struct.unpack_from(">BHHB", payload)
                except struct.error:
                    raise ValueError("cut in its header") from None
                return height, width, channels
        raise ValueError("no picture in it")

    def _payloads(self, marker: int, identifier: bytes) -> Iterator[tuple[int, bytes]]:
        """Where the content of such segments begins, and the content."""
        for found, offset, payload in self._segments():
            if found == marker and payload.startswith(identifier):
                yield offset + len(identifier), payload[len(identifier) :]

    def _segments(self) -> Iterator[tuple[int, int, bytes]]:
        """Marker, offset and content of the segments before the first scan (ITU-T T.81, B.1.1)."""
        if not self.data.startswith(b"\xff\xd8"):
            raise ValueError("no JPEG")
        position = 2
        while True:
            try:
                fill, marker, length = struct.unpack_from(">BBH", self.data, position)
            except struct.error:
                raise ValueError("cut in its header") from None
            if fill != 0xFF:
                raise ValueError(f"no marker at byte {position}")
            if marker == 0xFF:  # a byte that fills up
                position += 1
                continue
            if marker == _START_OF_SCAN:
                return
            yield marker, position + 4, self.data[position + 4 : position + 2 + length]
            position += 2 + length


def exif_orientation(exif: bytes) -> int | None:
    """Orientation 1 (upright) to 8 of an Exif block, which is a TIFF structure; None where it doesn't say.

    Raises:
        ValueError: the block is damaged.
    """
    order, fields = _tiff_fields(exif)
    value = fields.get(_ORIENTATION, b"")
    if len(value) < 2:
        return None
    (orientation,) = struct.unpack_from(order + "H", value)
    return orientation if 1 <= orientation <= 8 else 1


def turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Apply Exif's orientation.

    Args:
        pixels: ``(H, W, ...)``, as stored.
        orientation: 1 to 8; from 5 on rows become columns.
    """
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def _tiff_fields(tiff: bytes) -> tuple[str, dict[int, bytes]]:
    """Byte order (of ``struct``) and the values of the first directory of a TIFF structure."""
    try:
        order = {b"II": "<", b"MM": ">"}[tiff[:2]]
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, directory)
        fields = {}
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(order + "HHI", tiff, entry)
            size = values * _TIFF_TYPES.get(kind, 0)
            # Four bytes fit in the entry; more lie elsewhere.
            start = entry + 8 if size <= 4 else struct.unpack_from(order + "I", tiff, entry + 8)[0]
            fields[tag] = tiff[start : start + size]
    except (KeyError, struct.error):
        raise ValueError("damaged Exif or MPF header") from None
    return order, fields


def primaries_of_profile(profile: bytes) -> str | None:
    """Primaries of an ICC profile, as ``zoo.signal`` names them; None for others."""
    colorants = _colorants(profile)
    for name, expected in _COLORANTS.items():
        if colorants is not None and np.allclose(colorants, expected, atol=_COLORANT_TOLERANCE):
            return name
    return None


def _colorants(profile: bytes) -> list[tuple[float, ...]] | None:
    """X, Y, Z of red, green and blue of a profile of the matrix kind (ICC.1, 7.3 and 10.31)."""
    try:
        (count,) = struct.unpack_from(">I", profile, 128)
        tags = {
            signature: offset for signature, offset, _ in struct.iter_unpack(">4sII", profile[132 : 132 + 12 * count])
        }
        # s15Fixed16 numbers, behind a type signature and four bytes of nothing.
        return [
            tuple(value / 65536 for value in struct.unpack_from(">iii", profile, tags[name] + 8))
            for name in (b"rXYZ", b"gXYZ", b"bXYZ")
        ]
    except (KeyError, struct.error):
        return None
