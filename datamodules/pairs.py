"""Protocol ``val-v1``: exact pairs of LR SDR and HR HDR codes from HDR panoramas (docs/protocol.md).

All is computed in float64: in float32 one HR code in 1,400 comes out off by one.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from datamodules.sources.panorama import Panorama
from zoo.color import convert_primaries, encode, luma, quantize, reinhard, roll_off
from zoo.errors import DataError
from zoo.ops.resize import imresize
from zoo.signal import HDR10_VIDEO, SDR_VIDEO

PRESET = "val-v1"
"""Name of the protocol that this module follows."""

PATCH_SIZE = 160
"""Side of a training patch, HR pixels."""

_CURVE = "reinhard-1000"  # what the samples' records call zoo.color.reinhard

# ITU-R BT.2408, Table 1: an 18 % grey card lies at 26 cd/m² (38 % PQ).
_GREY = 26.0

# The reduction reaches 8 HR pixels at 1/4, so that a patch cut with this margin sees its real neighbours.
_MARGIN = 16

# A patch is worth learning from if luma varies at least so much, in 10-bit codes ...
_MIN_DEVIATION = 8.0
# ... which one in so many patches need not, and which is given up after so many draws.
_ANY_KIND_EVERY = 4
_MAX_DRAWS = 64


@dataclass(frozen=True)
class Pair:
    """One sample: the same picture as LR SDR and as HR HDR, Y'CbCr codes in narrow range, 4:4:4.

    Attributes:
        sdr: ``(h, w, 3)`` uint8, BT.709, 1..254.
        hdr: ``(H, W, 3)`` uint16, BT.2020 PQ, 10 bit, 4..1019.
        meta: how it was made, as JSON takes it: source, scene, crop (top, left, height, width in the panorama's
            pixels; the columns wrap around), preset, curve, exposure (the key, in the panorama's unit), seed, signals.
    """

    sdr: np.ndarray
    hdr: np.ndarray
    meta: dict[str, Any]


@dataclass(frozen=True)
class GradedPanorama:
    """A panorama on both signals at full size: all that the protocol does before it cuts and reduces.

    Attributes:
        hdr: ``(3, H, 2 H)`` float64, whole codes on the HDR signal.
        sdr: ``(3, H, 2 H)`` float64, code units on the SDR signal, not rounded.
        exposure: the scene's key.
        scene: as ``Panorama``.
        source: as ``Panorama``.
    """

    hdr: Tensor
    sdr: Tensor
    exposure: float
    scene: str
    source: str


def exposure_key(scene_light: Tensor) -> float:
    """Logarithmic mean luminance of a panorama's middle band, the level that is shown at 26 cd/m².

    The band is the elevations within 45 degrees of the horizon, rows H/4 to 3H/4. Rows weigh as the solid angle they
    cover, by the cosine of their elevation; luminance is held above 1e-4 of its mean, so that black borders don't rule.

    Args:
        scene_light: ``(3, H, 2 H)``, linear RGB on BT.709 primaries, not negative; H a multiple of 4.

    Returns:
        The key in the unit of ``scene_light``; 0 for a black band.
    """
    height = scene_light.shape[-2]
    rows = torch.arange(height // 4, height - height // 4, dtype=torch.float64)
    weights = torch.cos(torch.deg2rad(90 - 180 * (rows + 0.5) / height))[:, None]
    luminance = luma(scene_light[:, height // 4 : height - height // 4].double(), "ycbcr709")[0]
    total = weights.sum() * luminance.shape[-1]
    mean = (weights * luminance).sum() / total
    return math.exp((weights * luminance.clamp(min=1e-4 * mean).log()).sum() / total)


def display_light(scene_light: Tensor, key: float) -> Tensor:
    """Scene light as a display of 1000 cd/m² shows it: exposed by the key, highlights rolled off.

    Args:
        scene_light: ``(..., 3, H, W)``, linear RGB, not negative.
        key: the scene light that is shown at 26 cd/m².

    Returns:
        cd/m² below 1000, same shape and primaries.
    """
    return roll_off(scene_light * (_GREY / key))


def hdr_codes(light: Tensor) -> Tensor:
    """Display light to codes of the HDR signal.

    Args:
        light: ``(..., 3, H, W)``, cd/m², BT.709 primaries.

    Returns:
        Whole Y'CbCr codes, BT.2020 PQ, 10 bit narrow range, same shape.
    """
    signal = encode(convert_primaries(light, "bt709", "bt2020"), HDR10_VIDEO)
    return quantize(HDR10_VIDEO.peak * signal, HDR10_VIDEO)


def sdr_code_units(light: Tensor) -> Tensor:
    """Display light to code units of the SDR signal, tone-mapped by Reinhard's extended curve and not rounded.

    Args:
        light: ``(..., 3, H, W)``, cd/m², BT.709 primaries.

    Returns:
        Y'CbCr code units, BT.709, 8 bit narrow range, same shape.
    """
    return SDR_VIDEO.peak * encode(reinhard(light), SDR_VIDEO)


def reduce_sdr(code_units: Tensor, scale: int) -> Tensor:
    """SDR code units to LR codes: reduced by MATLAB's bicubic, rounded once.

    Args:
        code_units: ``(..., 3, H, W)``.
        scale: 1, 2 or 4; at 1 it only rounds.

    Returns:
        Whole codes, ``(..., 3, H / scale, W / scale)``.
    """
    return quantize(imresize(code_units, 1 / scale), SDR_VIDEO)


def grade(panorama: Panorama) -> GradedPanorama:
    """Bring a panorama onto both signals.

    Raises:
        DataError: the middle band is black, so that no exposure can be set.
    """
    scene_light = panorama.light.double().clamp(min=0)
    key = exposure_key(scene_light)
    if key == 0:
        raise DataError(f"{panorama.source}: black between 45 degrees below and above the horizon; leave it out")
    light = display_light(scene_light, key)
    return GradedPanorama(hdr_codes(light), sdr_code_units(light), key, panorama.scene, panorama.source)


def validation_frames(panorama: Panorama, scale: int) -> Iterator[Pair]:
    """The frames on which networks are chosen and reported.

    The band of rows H/4 to 3H/4 is cut from the left into squares as high as the band, each reduced by itself: four of
    256x256 from 1024x512.

    Args:
        panorama: the picture.
        scale: 1, 2 or 4.

    Yields:
        The pairs from left to right.

    Raises:
        DataError: the middle band is black.
    """
    graded = grade(panorama)
    size = graded.hdr.shape[-2] // 2
    for left in range(0, graded.hdr.shape[-1], size):
        frame = np.s_[:, size // 2 : size // 2 + size, left : left + size]
        yield _pair(graded, graded.hdr[frame], reduce_sdr(graded.sdr[frame], scale), (size // 2, left), seed=None)


def training_patches(panorama: Panorama, scale: int, seed: int, count: int) -> Iterator[Pair]:
    """The first ``count`` training patches of a panorama; see ``training_patch``.

    Raises:
        DataError: the panorama is too small for a patch, or its middle band is black.
    """
    graded = grade(panorama)
    for index in range(count):
        yield training_patch(graded, scale, seed, index)


def training_patch(graded: GradedPanorama, scale: int, seed: int, index: int) -> Pair:
    """One patch of HR 160x160 to train on, a function of (seed, scene, index) and the scale alone.

    It lies within rows H/8 to 7H/8, at any column: a panorama's left and right edge meet, so patches and their margins
    wrap around. Its LR side is reduced with a margin of 16 HR pixels that is cut off afterwards. Every fourth patch,
    counted from 0, is whatever is drawn; for the others up to 64 places are drawn until the standard deviation of HR
    luma is at least 8 codes, and if none is that lively the liveliest is taken.

    Args:
        graded: the picture.
        scale: 1, 2 or 4.
        seed: of the set.
        index: which patch of the scene, from 0.

    Returns:
        The pair, not flipped or turned.

    Raises:
        DataError: the panorama is less than 216 rows high, too small for a patch.
    """
    height, width = graded.hdr.shape[-2:]
    first_row, last_row = height // 8, height - height // 8 - PATCH_SIZE
    if first_row > last_row:
        raise DataError(
            f"{graded.source}: {width}x{height} is too small for training patches of {PATCH_SIZE}x{PATCH_SIZE}; "
            "use a panorama of at least 432x216"
        )
    draws = _generator(seed, graded.scene, index)
    top, left, deviation = 0, 0, -1.0
    for _ in range(1 if index % _ANY_KIND_EVERY == 0 else _MAX_DRAWS):
        drawn = int(draws.integers(first_row, last_row + 1)), int(draws.integers(width))
        drawn_deviation = float(_window(graded.hdr[:1], *drawn, PATCH_SIZE).std(correction=0))
        if drawn_deviation > deviation:
            (top, left), deviation = drawn, drawn_deviation
        if deviation >= _MIN_DEVIATION:
            break

    around = _window(graded.sdr, top - _MARGIN, left - _MARGIN, PATCH_SIZE + 2 * _MARGIN)
    margin, size = _MARGIN // scale, PATCH_SIZE // scale
    sdr = reduce_sdr(around, scale)[:, margin : margin + size, margin : margin + size]
    return _pair(graded, _window(graded.hdr, top, left, PATCH_SIZE), sdr, (top, left), seed)


def _generator(seed: int, scene: str, index: int) -> np.random.Generator:
    """Random numbers that depend on the arguments alone, not on what was drawn before."""
    digest = hashlib.sha256(f"{seed}/{scene}/{index}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def _window(picture: Tensor, top: int, left: int, size: int) -> Tensor:
    """A square of a panorama whose columns wrap around."""
    columns = torch.arange(left, left + size) % picture.shape[-1]
    return picture[:, top : top + size, columns]


def _pair(graded: GradedPanorama, hdr: Tensor, sdr: Tensor, corner: tuple[int, int], seed: int | None) -> Pair:
    """Whole codes ``(3, H, W)`` as the arrays that are stored, with their record."""
    meta = {
        "source": graded.source,
        "scene": graded.scene,
        "crop": [*corner, *hdr.shape[-2:]],
        "preset": PRESET,
        "curve": _CURVE,
        "exposure": graded.exposure,
        "seed": seed,
        "signals": {"sdr": str(SDR_VIDEO), "hdr": str(HDR10_VIDEO)},
    }
    return Pair(
        sdr=rearrange(sdr, "c h w -> h w c").numpy().astype(np.uint8),
        hdr=rearrange(hdr, "c h w -> h w c").numpy().astype(np.uint16),
        meta=meta,
    )
