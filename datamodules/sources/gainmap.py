"""Gain maps: how far each pixel of an SDR picture is to be brightened for its HDR rendition."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from xml.etree import ElementTree

import torch
from torch import Tensor

from datamodules.sources.jpeg import JPEG

_HDRGM = "{http://ns.adobe.com/hdr-gain-map/1.0/}"
_RDF_ITEM = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"
_APPLE = b"urn:com:apple:photo:2020:aux:hdrgainmap"

# Flags of ISO 21496-1.
_THREE_CHANNELS, _BASE_PRIMARIES, _COMMON_DENOMINATOR = 0x80, 0x40, 0x08

_Channels = tuple[float, float, float]


@dataclass(frozen=True)
class GainMap:
    """What the samples of a gain map mean (Ultra HDR image format 1.1; ISO 21496-1).

    Attributes:
        minimum: log2 of the gain where the map is 0, for R, G and B.
        maximum: log2 of the gain where the map is 1.
        gamma: exponent that the map's samples were encoded with.
        base_offset: added to the base picture before the gain.
        alternate_offset: subtracted behind it.
        base_headroom: log2 of the peak over white that the base picture is for.
        alternate_headroom: the same of the other rendition.
        in_base_primaries: whether the gain is applied on the base picture's primaries, else on the map's.
    """

    minimum: _Channels
    maximum: _Channels
    gamma: _Channels
    base_offset: _Channels
    alternate_offset: _Channels
    base_headroom: float
    alternate_headroom: float
    in_base_primaries: bool

    def __post_init__(self) -> None:
        if min(self.gamma) <= 0:
            raise ValueError(f"a gain map with gamma {min(self.gamma):g}; it must be positive")
        if self.alternate_headroom <= self.base_headroom:
            raise ValueError("its base picture is the HDR rendition; only an SDR base with a gain map makes a pair")

    def apply(self, base: Tensor, samples: Tensor) -> Tensor:
        """The whole alternate rendition, as a display shows it that has the headroom for it.

        Args:
            base: ``(3, H, W)``, linear light, 1 is white.
            samples: the map enlarged to the same size, ``(1, H, W)`` or ``(3, H, W)``; [0, 1].

        Returns:
            ``(3, H, W)``, linear light in the unit of ``base``.
        """
        minimum, maximum, gamma, base_offset, alternate_offset = (
            torch.tensor(values, dtype=base.dtype).view(3, 1, 1)
            for values in (self.minimum, self.maximum, self.gamma, self.base_offset, self.alternate_offset)
        )
        log_gain = torch.lerp(minimum, maximum, samples ** (1 / gamma))
        return (base + base_offset) * torch.exp2(log_gain) - alternate_offset


def find_gain_map(jpeg: JPEG) -> tuple[JPEG, GainMap]:
    """The gain map among the further pictures of a JPEG file.

    Args:
        jpeg: the file; its metadata are ISO 21496-1 or, where that is absent, ``hdrgm`` in XMP.

    Returns:
        The picture that holds the map, and what its samples mean.

    Raises:
        ValueError: there is none, it is Apple's own form, or its metadata can't be used.
    """
    for picture in jpeg.further_pictures:
        if picture.gain_map_metadata is not None:
            return picture, _parse_iso(picture.gain_map_metadata)
        if picture.xmp is not None and _HDRGM[1:-1].encode() in picture.xmp:
            return picture, _parse_xmp(picture.xmp)
    if any(_APPLE in (picture.xmp or b"") for picture in jpeg.further_pictures):
        raise ValueError(
            "its gain map is in Apple's own form, whose curve isn't published with the file; export it as Ultra HDR "
            "or ISO 21496-1"
        )
    raise ValueError("an ordinary JPEG without gain map; give a picture with one, or a pair of files")


def _parse_xmp(packet: bytes) -> GainMap:
    """``hdrgm`` metadata, whose values are attributes or elements, one for all channels or a list of three."""
    try:
        root = ElementTree.fromstring(packet.strip(b"\0 \r\n\t"))
    except ElementTree.ParseError as error:
        raise ValueError(f"damaged XMP of its gain map ({error})") from error
    values: dict[str, list[str]] = {}
    for element in root.iter():
        for name, text in element.items():
            if name.startswith(_HDRGM):
                values[name.removeprefix(_HDRGM)] = [text]
        if element.tag.startswith(_HDRGM):
            items = [item.text or "" for item in element.iter(_RDF_ITEM)]
            values[element.tag.removeprefix(_HDRGM)] = items or [element.text or ""]

    def channels(name: str, default: float | None) -> _Channels:
        numbers = [float(text) for text in values.get(name, () if default is None else (default,))]
        if len(numbers) not in (1, 3):
            raise ValueError(f"hdrgm:{name} of its gain map has {len(numbers)} values instead of 1 or 3")
        red, green, blue = numbers * 3 if len(numbers) == 1 else numbers
        return red, green, blue

    if values.get("BaseRenditionIsHDR", ["False"])[0].strip().lower() == "true":
        raise ValueError("its base picture is the HDR rendition; only an SDR base with a gain map makes a pair")
    maximum = channels("GainMapMax", None)
    return GainMap(
        minimum=channels("GainMapMin", 0.0),
        maximum=maximum,
        gamma=channels("Gamma", 1.0),
        base_offset=channels("OffsetSDR", 1 / 64),
        alternate_offset=channels("OffsetHDR", 1 / 64),
        base_headroom=channels("HDRCapacityMin", 0.0)[0],
        alternate_headroom=channels("HDRCapacityMax", None)[0],
        in_base_primaries=True,
    )


def _parse_iso(block: bytes) -> GainMap:
    """The block of ISO 21496-1: versions, flags, then fractions of 32 bits, big endian."""
    try:
        minimum_version, _, flags = struct.unpack_from(">HHB", block)
        if minimum_version > 0:
            raise ValueError(f"its gain map needs a reader of version {minimum_version} of ISO 21496-1")
        channel_count = 3 if flags & _THREE_CHANNELS else 1
        kinds = "iiIii"  # minimum, maximum, gamma, base offset, alternate offset
        numerators = "II" + channel_count * kinds
        if flags & _COMMON_DENOMINATOR:
            denominator, *tops = struct.unpack_from(">I" + numerators, block, 5)
            fractions = [top / denominator for top in tops]
        else:
            numbers = struct.unpack_from(">" + "".join(kind + "I" for kind in numerators), block, 5)
            fractions = [top / bottom for top, bottom in zip(numbers[::2], numbers[1::2], strict=True)]
    except (struct.error, ZeroDivisionError) as error:
        raise ValueError(f"damaged ISO 21496-1 metadata of its gain map ({error})") from error
    base_headroom, alternate_headroom, *values = fractions
    channels = [values[start : start + 5] for start in range(0, len(values), 5)]
    minimum, maximum, gamma, base_offset, alternate_offset = (
        (float(red), float(green), float(blue))
        for red, green, blue in zip(*(channels * (3 // channel_count)), strict=True)
    )
    return GainMap(
        minimum,
        maximum,
        gamma,
        base_offset,
        alternate_offset,
        base_headroom,
        alternate_headroom,
        bool(flags & _BASE_PRIMARIES),
    )
