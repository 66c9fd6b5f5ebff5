"""HDR panoramas: equirectangular photographs of relative scene light, as OpenEXR or Radiance files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import torch
from torch import Tensor

from zoo.errors import DataError

SUFFIXES = (".exr", ".hdr")
"""Endings of the files that ``read_panorama`` takes."""

# x, y of red, green, blue and white, as EXR and Radiance headers store them.
_BT709_CHROMATICITIES = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)


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


def read_panorama(path: Path) -> Panorama:
    """Read a panorama.

    Args:
        path: ``.exr`` with channels R, G, B (others are ignored) or ``.hdr`` (Radiance RGBE). Without chromaticities in
            its header a file is taken to be BT.709.

    Returns:
        The panorama, its scene named by ``scene_name``.

    Raises:
        DataError: no such file, damaged, other channels or primaries, NaN or infinity, not twice as wide as high, or a
            height that isn't a multiple of 8.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.suffix.lower() == ".exr":
        rgb = _read_exr(path)
    elif path.suffix.lower() == ".hdr":
        rgb = _read_radiance(path)
    else:
        raise DataError(f"{path}: a panorama is an .exr or .hdr file, not {path.suffix or 'one without a suffix'}")

    height, width = rgb.shape[:2]
    if width != 2 * height:
        raise DataError(f"{path}: {width}x{height} is no panorama; it must be twice as wide as high")
    if height % 8:
        raise DataError(f"{path}: height {height} isn't a multiple of 8; resize the panorama, to 1024x512 for example")
    bad = np.count_nonzero(~np.isfinite(rgb))
    if bad:
        raise DataError(f"{path}: {bad} of {rgb.size} values are NaN or infinite; repair the picture or leave it out")
    light = torch.from_numpy(rgb.astype(np.float64).transpose(2, 0, 1).copy())
    return Panorama(light, scene_name(path), path.name)


def scene_name(path: Path) -> str:
    """Name of the scene in a file: its stem without a size such as ``_1k``; signs but letters, digits, - become _."""
    return re.sub(r"[^\w-]", "_", re.sub(r"_\d+k$", "", path.stem), flags=re.ASCII)


def _read_exr(path: Path) -> np.ndarray:
    """Channels R, G, B of an OpenEXR file, (H, W, 3)."""
    try:
        file = OpenEXR.File(str(path), separate_channels=True)
        header, channels = file.header(), file.channels()
    except Exception as error:  # the binding raises whatever fits: RuntimeError, ValueError, TypeError
        raise DataError(f"{path}: can't be read as OpenEXR ({error}); is the file whole?") from error
    if not {"R", "G", "B"} <= channels.keys():
        raise DataError(f"{path}: has channels {', '.join(channels)}; convert it to R, G, B")
    _check_chromaticities(path, header.get("chromaticities", _BT709_CHROMATICITIES))
    return np.stack([channels[name].pixels for name in "RGB"], axis=-1)


def _read_radiance(path: Path) -> np.ndarray:
    """Pixels of a Radiance file, (H, W, 3)."""
    header = path.read_bytes()[:4096].partition(b"\n\n")[0].decode("latin-1")
    if "32-bit_rle_xyze" in header:
        raise DataError(f"{path}: holds CIE XYZ; convert it to RGB on BT.709 primaries")
    primaries = re.search(r"^PRIMARIES=(.*)$", header, flags=re.MULTILINE)
    # Some writers put zeros for primaries that they don't know; Radiance pictures are then BT.709 by custom.
    if primaries and set(primaries[1].split()) != {"0"}:
        _check_chromaticities(path, primaries[1].split())
    bgr = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if bgr is None or bgr.ndim != 3 or bgr.dtype != np.float32:
        raise DataError(f"{path}: can't be read as Radiance RGBE; is the file whole?")
    return bgr[..., ::-1]


def _check_chromaticities(path: Path, stored: object) -> None:
    """Refuse primaries or a white other than BT.709's, within the rounding of headers."""
    chromaticities = np.asarray(stored, dtype=np.float64)
    if chromaticities.shape != (8,) or not np.allclose(chromaticities, _BT709_CHROMATICITIES, atol=5e-4):
        values = " ".join(f"{value:g}" for value in chromaticities.flat)
        raise DataError(f"{path}: its primaries and white are {values}; convert it to BT.709 primaries, white D65")
