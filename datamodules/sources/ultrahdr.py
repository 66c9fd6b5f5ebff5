"""Ultra HDR photographs: JPEG files with a gain map, which hold an SDR and an HDR rendition of one picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from datamodules.sources.frame import Frame, Picture
from datamodules.sources.gainmap import find_gain_map
from datamodules.sources.jpeg import JPEG, turn_upright
from datamodules.sources.panorama import scene_name
from zoo.color import convert_primaries, encode, srgb_decode
from zoo.errors import DataError
from zoo.signal import Signal

# ITU-R BT.2408: diffuse white of HDR. The files say no luminance; 1.0 of their linear light is white.
_WHITE = 203.0

_HDR_SIGNAL = Signal("bt2020", "pq", "rgb", "full", 16)

# Rows that are computed at a time: of a photograph of 12 million pixels each float64 intermediate would take 300 MB,
# while a few rows stay in the processor's cache.
_ROWS = 16


class UltraHDR:
    """A JPEG with a gain map as a pair that was graded as one; see ``Source``.

    The SDR side is the base picture, R'G'B' codes of 8 bits with the sRGB curve on BT.709 or, by its ICC profile,
    Display P3 primaries. The HDR side is the whole HDR rendition with white at 203 cd/m², not rounded, on
    ``bt2020-pq-rgb-full-16``. Maps of another size are enlarged linearly. Exif's orientation is applied to both.

    Args:
        path: the file, with metadata as ``hdrgm`` XMP (Ultra HDR 1) or ISO 21496-1.

    Raises:
        DataError: no such file, damaged, without such a gain map, in Apple's form, with an HDR base, grey or CMYK, or
            a profile of other primaries.
    """

    frame_count = 1
    panoramic = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.scene = scene_name(path)
        if not path.is_file():
            raise DataError(f"{path}: no such file")
        base = JPEG(path.read_bytes())
        try:
            if base.channels != 3:
                raise ValueError(f"a JPEG of {base.channels} channels; convert it to three")
            self._orientation = base.orientation
            gain_picture, self._gain_map = find_gain_map(base)
            self._sdr_signal = Signal(_primaries(base), "srgb", "rgb", "full", 8)
            self._gain_primaries = _primaries(base if self._gain_map.in_base_primaries else gain_picture)
            height, width = base.size
        except ValueError as error:
            raise DataError(f"{path}: {error}") from error
        self.size = (width, height) if self._orientation >= 5 else (height, width)

    def frames(self, start: int = 0, stop: int | None = None, stride: int = 1) -> Iterator[Frame]:
        for number in range(self.frame_count)[start:stop:stride]:
            base = JPEG(self.path.read_bytes())
            try:
                gain_picture, _ = find_gain_map(base)
                codes, samples = base.decode(), gain_picture.decode()
            except ValueError as error:
                raise DataError(f"{self.path}: {error}") from error
            sdr = self._upright_planes(codes).double().div_(self._sdr_signal.peak)
            enlarged = cv2.resize(samples.astype(np.float32) / 255, base.size[::-1], interpolation=cv2.INTER_LINEAR)
            hdr = self._hdr_values(sdr, self._upright_planes(np.atleast_3d(enlarged)))
            yield Frame(number, Picture(hdr, _HDR_SIGNAL), Picture(sdr, self._sdr_signal))

    def files(self) -> list[Path]:
        return [self.path]

    def _upright_planes(self, pixels: np.ndarray) -> Tensor:
        upright = turn_upright(pixels, self._orientation)
        return torch.from_numpy(np.ascontiguousarray(rearrange(upright, "h w c -> c h w")))

    def _hdr_values(self, sdr: Tensor, samples: Tensor) -> Tensor:
        hdr = torch.empty_like(sdr)
        for top in range(0, sdr.shape[1], _ROWS):
            rows = slice(top, top + _ROWS)
            base = convert_primaries(srgb_decode(sdr[:, rows]), self._sdr_signal.primaries, self._gain_primaries)
            light = _WHITE * self._gain_map.apply(base, samples[:, rows].double())
            hdr[:, rows] = encode(convert_primaries(light, self._gain_primaries, "bt2020"), _HDR_SIGNAL)
        return hdr


def _primaries(picture: JPEG) -> str:
    if picture.primaries is None:
        raise ValueError("its ICC profile is neither sRGB, Display P3 nor BT.2020; convert it to sRGB")
    return picture.primaries
