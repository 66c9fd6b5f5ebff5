"""Ultra HDR JPEG: a photograph that SDR viewers show as it was, with a gain map that makes HDR of it for others.

The form is Ultra HDR image format 1.1 with ``hdrgm`` XMP. The base has BT.709 primaries, and so has the gain: colours
of the HDR rendition that BT.709 doesn't hold are clipped to those it does.
"""

from __future__ import annotations

import struct

import cv2
import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from datamodules.sources.jpeg import JPEG
from zoo.color import convert_primaries, decode, srgb_encode
from zoo.color.transfer import SDR_WHITE
from zoo.convert.photographs import Photograph
from zoo.signal import Signal

_WHITE = 203.0  # cd/m² of the base's white in the HDR rendition, by convention (ITU-R BT.2408)
_OFFSET = 1 / 64
_QUALITY = 95
_HDRGM = "http://ns.adobe.com/hdr-gain-map/1.0/"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_CONTAINER = "http://ns.google.com/photos/1.0/container/"
_LEAST_HEADROOM = 0.01  # stops; readers refuse a gain map that does nothing


def ultra_hdr(photograph: Photograph, hdr: np.ndarray, signal: Signal) -> bytes:
    """A JPEG file with both renditions.

    Args:
        photograph: the SDR rendition; enlarged bicubically where it is smaller.
        hdr: ``(H, W, 3)``, code / peak of ``signal``.
        signal: PQ, R'G'B', BT.2020.
    """
    height, width = hdr.shape[:2]
    pixels = cv2.resize(photograph.pixels, (width, height), interpolation=cv2.INTER_CUBIC)
    sdr = rearrange(torch.from_numpy(pixels.astype(np.float32)), "h w c -> c h w") / photograph.signal.peak
    light = convert_primaries(decode(sdr, photograph.signal) / SDR_WHITE, photograph.signal.primaries, "bt709")
    codes = (255 * srgb_encode(light.clamp(0, 1)) + 0.5).to(torch.uint8)
    base = _jpeg(codes)
    # The gain is that over the base as it will be decoded, loss included.
    shown = rearrange(torch.from_numpy(JPEG(base).decode().astype(np.float32)), "h w c -> c h w") / 255
    shown_light = decode(shown, Signal("bt709", "srgb", "rgb", "full", 8)) / SDR_WHITE
    wanted = rearrange(torch.from_numpy(np.ascontiguousarray(hdr)), "h w c -> c h w")
    wanted_light = convert_primaries(decode(wanted, signal), "bt2020", "bt709").clamp(min=0) / _WHITE
    gain = torch.log2((wanted_light + _OFFSET) / (shown_light + _OFFSET))
    least, most = float(gain.min()), max(float(gain.max()), float(gain.min()) + _LEAST_HEADROOM)
    gain_map = _jpeg((255 * (gain - least) / (most - least) + 0.5).to(torch.uint8))
    headroom = max(float(torch.log2(wanted_light.max() + 1e-6)), _LEAST_HEADROOM)
    facts = {
        "Version": "1.0",
        "GainMapMin": f"{least:.6f}",
        "GainMapMax": f"{most:.6f}",
        "Gamma": "1.0",
        "OffsetSDR": f"{_OFFSET}",
        "OffsetHDR": f"{_OFFSET}",
        "HDRCapacityMin": "0.0",
        "HDRCapacityMax": f"{headroom:.6f}",
        "BaseRenditionIsHDR": "False",
    }
    attributes = " ".join(f'hdrgm:{key}="{value}"' for key, value in facts.items())
    second = _with_segments(gain_map, [(0xE1, _XMP + _packet(f'xmlns:hdrgm="{_HDRGM}" {attributes}', ""))])
    return _with_second(base, second)


def _jpeg(planes: Tensor) -> bytes:
    """``(3, H, W)`` uint8 without subsampled chroma."""
    pixels = rearrange(planes.numpy(), "c h w -> h w c")[..., ::-1]
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        _QUALITY,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(pixels), options)
    assert done
    return data.tobytes()


def _packet(attributes: str, content: str) -> bytes:
    rdf = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
    description = f'<rdf:Description rdf:about="" {attributes}>{content}</rdf:Description>'
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{rdf}">{description}</rdf:RDF></x:xmpmeta>'.encode()
    )


def _with_segments(jpeg: bytes, segments: list[tuple[int, bytes]]) -> bytes:
    """Behind the JFIF header."""
    (length,) = struct.unpack_from(">H", jpeg, 4)
    place = 4 + length
    new = b"".join(struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content for marker, content in segments)
    return jpeg[:place] + new + jpeg[place:]


def _with_second(base: bytes, second: bytes) -> bytes:
    """The base, which lists the second picture twice: in XMP and in the Multi-Picture Format (CIPA DC-007)."""
    items = "".join(
        f'<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="{semantic}" Item:Mime="image/jpeg"{length}/>'
        "</rdf:li>"
        for semantic, length in (("Primary", ""), ("GainMap", f' Item:Length="{len(second)}"'))
    )
    spaces = f'xmlns:Container="{_CONTAINER}" xmlns:Item="{_CONTAINER}item/" xmlns:hdrgm="{_HDRGM}" hdrgm:Version="1.0"'
    directory = f"<Container:Directory><rdf:Seq>{items}</rdf:Seq></Container:Directory>"
    xmp = _XMP + _packet(spaces, directory)

    def listed(size: int, offset: int) -> bytes:
        fields = struct.pack(">HHI4s", 0xB000, 7, 4, b"0100") + struct.pack(">HHII", 0xB001, 4, 1, 2)
        fields += struct.pack(">HHII", 0xB002, 7, 32, 8 + 2 + 3 * 12 + 4)
        entries = struct.pack(">IIIHH", 0x030000, size, 0, 0, 0) + struct.pack(">IIIHH", 0, len(second), offset, 0, 0)
        return b"MPF\0MM\0*" + struct.pack(">IH", 8, 3) + fields + struct.pack(">I", 0) + entries

    size = len(_with_segments(base, [(0xE1, xmp), (0xE2, listed(0, 0))]))
    (jfif,) = struct.unpack_from(">H", base, 4)
    tiff = 4 + jfif + 4 + len(xmp) + 4 + 4  # behind both segments' heads and MPF's name
    return _with_segments(base, [(0xE1, xmp), (0xE2, listed(size, size - tiff))]) + second
