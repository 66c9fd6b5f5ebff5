"""HDR panoramas: equirectangular photographs of relative scene light, as OpenEXR or Radiance files."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from datamodules.sources.frame import Frame, Picture
from datamodules.sources.scene_light import read_scene_light, scene_light_size
from zoo.errors import DataError


@dataclass(frozen=True)
class Panorama:
    """An equirectangular photograph.

    Attributes:
        light: ``(3, H, 2 H)`` float64, linear RGB on BT.709 primaries, in relative units; row 0 looks up, the left and
            the right edge meet.
        scene: what the picture shows, unique within a set.
        source: name of the file.
    """

    light: Tensor
    scene: str
    source: str


class PanoramaSource:
    """A panorama as a source of one frame of scene light; see ``Source``.

    Raises:
        DataError: as ``read_panorama``; damaged pixels are found when the frame is read.
    """

    frame_count = 1
    panoramic = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self.scene = scene_name(path)
        self.size = scene_light_size(path)
        _check_geometry(path, *self.size)

    def frames(self, start: int = 0, stop: int | None = None, stride: int = 1) -> Iterator[Frame]:
        for number in range(self.frame_count)[start:stop:stride]:
            yield Frame(number, Picture(read_panorama(self.path).light))

    def files(self) -> list[Path]:
        return [self.path]


def read_panorama(path: Path) -> Panorama:
    """Read a panorama.

    Args:
        path: ``.exr`` or ``.hdr``, as ``read_scene_light`` takes them.

    Returns:
        The panorama, its scene named by ``scene_name``.

    Raises:
        DataError: a file that ``read_scene_light`` refuses, a picture that isn't twice as wide as high, or a height
            that isn't a multiple of 8.
    """
    light = read_scene_light(path)
    _check_geometry(path, *light.shape[-2:])
    return Panorama(light, scene_name(path), path.name)


def is_panorama_size(height: int, width: int) -> bool:
    """Whether a picture of this size can be a panorama: twice as wide as high, the height a multiple of 8."""
    return width == 2 * height and height % 8 == 0


def scene_name(path: Path) -> str:
    """Name of the scene in a file: its stem without a size such as ``_1k``, in ASCII, for any file system and archive.

    Signs but A-Z, a-z, 0-9, - become _. Letters of other scripts do too, which would make many names one; so such
    names end in 8 hexadecimal digits of the SHA-256 of the stem, in Unicode's form NFC.
    """
    stem = unicodedata.normalize("NFC", re.sub(r"_\d+k$", "", path.stem))
    name = re.sub(r"[^\w-]", "_", stem, flags=re.ASCII)
    if stem.isascii():
        return name
    return f"{name}-{hashlib.sha256(stem.encode(errors='surrogateescape')).hexdigest()[:8]}"


def _check_geometry(path: Path, height: int, width: int) -> None:
    if is_panorama_size(height, width):
        return
    if width != 2 * height:
        raise DataError(f"{path}: {width}x{height} is no panorama; it must be twice as wide as high")
    raise DataError(f"{path}: height {height} isn't a multiple of 8; resize the panorama, to 1024x512 for example")
