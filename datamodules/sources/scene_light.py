"""Scene light from files: OpenEXR and Radiance pictures as linear RGB on BT.709 primaries.

Such files hold relative light: 1.0 is a unit of the picture's own, never so many cd/m².
"""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import torch
from einops import rearrange
from torch import Tensor

from zoo.color import rgb_to_xyz_matrix
from zoo.color.chroma import upsample_chroma
from zoo.color.primaries import Matrix, apply_matrix
from zoo.errors import DataError

SUFFIXES = (".exr", ".hdr")
"""Endings of the files that ``read_scene_light`` takes."""

# x, y of red, green, blue and white, as EXR and Radiance headers store them.
_BT709_CHROMATICITIES = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
_ROUNDING = 5e-4  # of chromaticities in headers


def read_scene_light(path: Path) -> Tensor:
    """Read a picture of scene light.

    Args:
        path: ``.exr`` or ``.hdr`` (Radiance RGBE). OpenEXR: channels R, G, B, or luminance and chroma Y, RY, BY; others
            are ignored. The picture is the data window, whatever the display window says. Chromaticities other than
            BT.709's are converted so that CIE XYZ stays as it is (no adaptation to D65: a file on ACES primaries keeps
            its own white). Radiance: BT.709 primaries only; ``EXPOSURE`` is ignored, which changes the unit alone.
            Without chromaticities in its header a file is taken to be BT.709.

    Returns:
        ``(3, H, W)`` float64; negative where a colour lies outside BT.709.

    Raises:
        DataError: no such file, damaged, other channels, primaries that can't be used, NaN or infinity.
    """
    match path.suffix.lower():
        case ".exr":
            light = _read_exr(path)
        case ".hdr":
            light = _read_radiance(path)
        case _:
            raise DataError(f"{path}: scene light is an .exr or .hdr file, not {path.suffix or 'one without a suffix'}")
    return light


def scene_light_size(path: Path) -> tuple[int, int]:
    """Height and width of such a picture, from its header alone.

    Raises:
        DataError: no such file, or its header can't be read.
    """
    if path.suffix.lower() == ".exr":
        low, high = _open_exr(path, header_only=True).header()["dataWindow"]
        width, height = (high - low + 1).tolist()
        return height, width
    resolution = re.search(rb"\n\n-Y (\d+) \+X (\d+)\n", _head(path))
    if resolution is None:
        raise DataError(f"{path}: can't be read as Radiance RGBE, rows from the top; is the file whole?")
    return int(resolution[1]), int(resolution[2])


def _head(path: Path) -> bytes:
    """The first bytes of a file, which hold a Radiance header."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    with path.open("rb") as file:
        return file.read(4096)


def _open_exr(path: Path, header_only: bool = False) -> OpenEXR.File:
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        file = OpenEXR.File(str(path), separate_channels=True, header_only=header_only)
        file.header()  # a file cut short opens without complaint, but has no parts
    except Exception as error:  # the binding raises whatever fits: RuntimeError, ValueError, TypeError
        raise DataError(f"{path}: can't be read as OpenEXR ({error}); is the file whole?") from error
    return file


def _read_exr(path: Path) -> Tensor:
    file = _open_exr(path)
    channels, header = file.channels(), file.header()
    chromaticities = tuple(map(float, header.get("chromaticities", _BT709_CHROMATICITIES)))
    _check_finite(path, *(channels[name].pixels for name in ("R", "G", "B", "Y", "RY", "BY") if name in channels))
    if {"R", "G", "B"} <= channels.keys():
        rgb = torch.stack([_plane(channels[name]) for name in "RGB"])
    elif {"Y", "RY", "BY"} <= channels.keys():
        rgb = _luminance_chroma_to_rgb(path, channels, chromaticities)
    else:
        raise DataError(f"{path}: has channels {', '.join(channels)}; convert it to R, G, B")
    if np.allclose(chromaticities, _BT709_CHROMATICITIES, atol=_ROUNDING):
        return rgb
    return apply_matrix(_matrix_to_bt709(path, chromaticities), rgb)


def _plane(channel: OpenEXR.Channel) -> Tensor:
    return torch.from_numpy(channel.pixels.astype(np.float64))


def _luminance_chroma_to_rgb(
    path: Path, channels: dict[str, OpenEXR.Channel], chromaticities: tuple[float, ...]
) -> Tensor:
    """Y, RY = (R - Y) / Y and BY = (B - Y) / Y to RGB, Y being luminance (Technical Introduction to OpenEXR).

    Chroma lies at every second pixel of every second row, from the first; between, it is interpolated linearly.
    """
    sampling = {(channels[name].xSampling, channels[name].ySampling) for name in ("RY", "BY")}
    if sampling != {(2, 2)}:
        seen = " and ".join(f"{x}x{y}" for x, y in sorted(sampling))
        raise DataError(f"{path}: one chroma sample for {seen} pixels instead of 2x2; convert it to R, G, B")
    y, by, ry = upsample_chroma(_plane(channels["Y"]), _plane(channels["BY"]), _plane(channels["RY"]), "topleft")
    r, b = (ry + 1) * y, (by + 1) * y
    weights = _rgb_to_xyz(path, chromaticities)[1]
    g = (y - weights[0] * r - weights[2] * b) / weights[1]
    return torch.stack([r, g, b])


def _rgb_to_xyz(path: Path, chromaticities: tuple[float, ...]) -> np.ndarray:
    """Matrix from linear RGB to CIE XYZ (SMPTE RP 177), for any primaries and white, imaginary ones included."""
    xy = np.array(chromaticities, dtype=np.float64).reshape(4, 2)
    xyz = np.column_stack([xy, 1 - xy.sum(axis=1)]).T
    primaries, white = xyz[:, :3], xyz[:, 3]
    if abs(np.linalg.det(primaries)) < 1e-6 or white[1] <= 0:
        raise DataError(f"{path}: its primaries and white {' '.join(f'{v:g}' for v in chromaticities)} span no colours")
    return primaries * np.linalg.solve(primaries, white / white[1])


def _matrix_to_bt709(path: Path, chromaticities: tuple[float, ...]) -> Matrix:
    to_bt709 = np.linalg.solve(np.array(rgb_to_xyz_matrix("bt709")), _rgb_to_xyz(path, chromaticities))
    r, g, b = (tuple(row) for row in to_bt709.tolist())
    return r, g, b


def _read_radiance(path: Path) -> Tensor:
    header = _head(path).partition(b"\n\n")[0].decode("latin-1")
    if "32-bit_rle_xyze" in header:
        raise DataError(f"{path}: holds CIE XYZ; convert it to RGB on BT.709 primaries")
    primaries = re.search(r"^PRIMARIES=(.*)$", header, flags=re.MULTILINE)
    # Some writers put zeros for primaries that they don't know; Radiance pictures are then BT.709 by custom. Others
    # aren't converted: Radiance's own have white at (1/3, 1/3) and mean by it whatever is neutral.
    if primaries and set(primaries[1].split()) != {"0"}:
        _check_bt709(path, primaries[1].split())
    bgr = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if bgr is None or bgr.ndim != 3 or bgr.dtype != np.float32:
        raise DataError(f"{path}: can't be read as Radiance RGBE; is the file whole?")
    _check_finite(path, bgr)
    return torch.from_numpy(rearrange(bgr[..., ::-1], "h w c -> c h w").astype(np.float64, order="C"))


def _check_bt709(path: Path, stored: list[str]) -> None:
    chromaticities = np.asarray(stored, dtype=np.float64)
    if chromaticities.shape != (8,) or not np.allclose(chromaticities, _BT709_CHROMATICITIES, atol=_ROUNDING):
        values = " ".join(f"{value:g}" for value in chromaticities.flat)
        raise DataError(f"{path}: its primaries and white are {values}; convert it to BT.709 primaries, white D65")


def _check_finite(path: Path, *planes: np.ndarray) -> None:
    bad = sum(np.count_nonzero(~np.isfinite(plane)) for plane in planes)
    if bad:
        total = sum(plane.size for plane in planes)
        raise DataError(f"{path}: {bad} of {total} values are NaN or infinite; repair the picture or leave it out")
