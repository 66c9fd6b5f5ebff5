"""Grading: a frame of any source brought onto both signals at full size (docs/protocol.md).

Scene light is exposed and rolled off for a display of 1000 cd/m²; what is graded keeps its light. All is computed in
float64: in float32 one HR code in 1,400 comes out off by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from datamodules.sources.frame import Frame
from zoo.color import (
    convert_primaries,
    decode,
    encode,
    luma,
    quantize,
    rgb_to_signal,
    roll_off,
    signal_to_rgb,
    to_sdr,
)
from zoo.color.tonemap import HDR_PEAK
from zoo.color.transfer import SDR_WHITE
from zoo.errors import DataError
from zoo.ops.resize import imresize
from zoo.signal import HDR10_VIDEO, SDR_VIDEO, Signal

PAIRED = "paired"
"""What stands for the curve in the record of a true pair, whose SDR side was graded by others."""

GAMUT_EXPANSION = 0.5
"""How far expanded light lies on the way from BT.709 primaries to BT.2020's."""

# ITU-R BT.2408, Table 1: an 18 % grey card lies at 26 cd/m² (38 % PQ).
_GREY = 26.0

# Rows that are computed at once: a dozen float64 copies of a 4K frame would take 2.4 GB.
_STRIP = 256


@dataclass(frozen=True)
class GradedFrame:
    """A frame on its way to both signals.

    Attributes:
        hdr: ``(3, H, W)`` float64, whole codes on ``HDR10_VIDEO``.
        origin: ``(3, H, W)``, what the SDR side is made of; ``(3, H / s, W / s)`` where it is given as LR.
        to_code_units: ``origin`` or a part of it to code units on ``SDR_VIDEO``, not rounded, pixel by pixel. A set
            takes patches of a frame, so that most pixels of a large one are never needed.
        record: what a sample's record says of the grading: curve, exposure and, if expanded, gamut.
    """

    hdr: Tensor
    origin: Tensor
    to_code_units: Callable[[Tensor], Tensor]
    record: dict[str, Any]


def exposure_key(scene_light: Tensor, panoramic: bool) -> float:
    """Logarithmic mean luminance of a picture, the level that is shown at 26 cd/m².

    Of a panorama the middle band counts, the elevations within 45 degrees of the horizon, rows H/4 to 3H/4. Its rows
    weigh as the solid angle they cover, by the cosine of their elevation. Of a flat picture all pixels count alike.
    Luminance is held above 1e-4 of its mean, so that black borders don't rule.

    Args:
        scene_light: ``(3, H, W)``, linear RGB on BT.709 primaries, not negative; H of a panorama a multiple of 4.
        panoramic: whether it is an equirectangular panorama.

    Returns:
        The key in the unit of ``scene_light``; 0 if all that counts is black.
    """
    height = scene_light.shape[-2]
    border = height // 4 if panoramic else 0
    rows = torch.arange(border, height - border, dtype=torch.float64)
    elevation = 90 - 180 * (rows + 0.5) / height
    weights = (torch.cos(torch.deg2rad(elevation)) if panoramic else torch.ones_like(rows))[:, None]
    luminance = luma(scene_light[:, border : height - border].double(), "ycbcr709")[0]
    total = weights.sum() * luminance.shape[-1]
    mean = (weights * luminance).sum() / total
    return math.exp((weights * luminance.clamp(min=1e-4 * mean).log()).sum() / total)


def display_light(scene_light: Tensor, key: float, stops: float = 0.0) -> Tensor:
    """Scene light as a display of 1000 cd/m² shows it: exposed by the key, highlights rolled off.

    Args:
        scene_light: ``(..., 3, H, W)``, linear RGB, not negative.
        key: the scene light that is shown at 26 cd/m², if ``stops`` is 0.
        stops: exposure beyond that; 1 doubles the light.

    Returns:
        cd/m² below 1000, same shape and primaries.
    """
    return roll_off(scene_light * (2**stops * _GREY / key))


def expand_gamut(light: Tensor) -> Tensor:
    """Light of BT.709 material to light on BT.2020 primaries, its colours made more saturated.

    Halfway between the same colours (the matrix of ITU-R BT.2087) and the same RGB read as BT.2020. White and greys
    stay; pure red, green and blue come halfway to the primaries of BT.2020, and their luminance changes by +12 %, -3 %
    and -9 %. It is linear, so that it can be undone, and gives no negative light.

    Args:
        light: ``(..., 3, H, W)``, linear RGB on BT.709 primaries.

    Returns:
        Linear RGB on BT.2020 primaries, same shape and unit.
    """
    same_colours = convert_primaries(light, "bt709", "bt2020")
    return same_colours + GAMUT_EXPANSION * (light - same_colours)


def hdr_codes(light: Tensor) -> Tensor:
    """Display light to codes of the HDR signal.

    Args:
        light: ``(..., 3, H, W)``, cd/m², BT.2020 primaries.

    Returns:
        Whole Y'CbCr codes, BT.2020 PQ, 10 bit narrow range, same shape.
    """
    return quantize(HDR10_VIDEO.peak * encode(light, HDR10_VIDEO), HDR10_VIDEO)


def sdr_code_units(light: Tensor, primaries: str, curve: str) -> Tensor:
    """HDR display light to code units of the SDR signal by a tone curve, not rounded.

    The curves are made for a peak of 1000 cd/m²: brighter pixels are dimmed to max(R, G, B) = 1000, which keeps their
    hue.

    Args:
        light: ``(..., 3, H, W)``, cd/m².
        primaries: of ``light``: ``bt709`` or ``bt2020``.
        curve: one of ``zoo.color.SDR_CURVES``.

    Returns:
        Y'CbCr code units, BT.709, 8 bit narrow range, same shape.
    """
    held = light * (HDR_PEAK / light.amax(dim=-3, keepdim=True).clamp(min=HDR_PEAK))
    return SDR_VIDEO.peak * encode(to_sdr(held, primaries, curve), SDR_VIDEO)


def reduce_sdr(code_units: Tensor, scale: int) -> Tensor:
    """SDR code units to LR codes: reduced by MATLAB's bicubic, rounded once.

    Args:
        code_units: ``(..., 3, H, W)``.
        scale: 1, 2 or 4; at 1 it only rounds.

    Returns:
        Whole codes, ``(..., 3, ceil(H / scale), ceil(W / scale))``.
    """
    return quantize(imresize(code_units, 1 / scale), SDR_VIDEO)


def graded_light(values: Tensor, signal: Signal) -> Tensor:
    """A graded HDR picture to display light.

    Args:
        values: ``(..., 3, H, W)``, code / ``signal.peak``.
        signal: with PQ or HLG; HLG is shown on a display of 1000 cd/m².

    Returns:
        cd/m², linear RGB on the signal's primaries, same shape.
    """
    assert signal.transfer in ("pq", "hlg"), f"{signal} isn't HDR"
    return decode(values, signal)


def given_code_units(values: Tensor, signal: Signal) -> Tensor:
    """The SDR side of a true pair to code units of the SDR signal, not rounded.

    On BT.709 primaries and BT.1886 already, it is only coded anew (matrix, range, depth), super-white included; codes
    of the SDR signal itself come out exactly. Else its light on a display with a white of 100 cd/m² goes to BT.709
    primaries, is clipped to [0, 100] and encoded.

    Args:
        values: ``(..., 3, H, W)``, code / ``signal.peak``.
        signal: an SDR one.

    Returns:
        Y'CbCr code units, BT.709, 8 bit narrow range, same shape.
    """
    assert signal.transfer not in ("pq", "hlg"), f"{signal} isn't SDR"
    if signal == SDR_VIDEO:
        return SDR_VIDEO.peak * values
    if (signal.primaries, signal.transfer) == (SDR_VIDEO.primaries, SDR_VIDEO.transfer):
        return SDR_VIDEO.peak * rgb_to_signal(signal_to_rgb(values, signal), SDR_VIDEO)
    light = convert_primaries(decode(values, signal), signal.primaries, SDR_VIDEO.primaries)
    return SDR_VIDEO.peak * encode(light.clamp(0, SDR_WHITE), SDR_VIDEO)


def by_strips(function: Callable[[Tensor], Tensor], picture: Tensor) -> Tensor:
    """``function(picture)``, computed strip by strip; for functions that work pixel by pixel, on large pictures.

    Args:
        function: keeps the shape.
        picture: ``(..., H, W)``.
    """
    return torch.cat([function(strip.contiguous()) for strip in picture.split(_STRIP, dim=-2)], dim=-2)


def grade(
    frame: Frame, source: str, panoramic: bool, curve: str, stops: float = 0.0, gamut_expansion: bool = False
) -> GradedFrame:
    """Bring a frame onto both signals.

    Args:
        frame: scene light, graded HDR, or HDR with its SDR side.
        source: name of the file, for errors.
        panoramic: whether it is an equirectangular panorama.
        curve: one of ``zoo.color.SDR_CURVES``, from which the SDR side is made where the frame brings none.
        stops: exposure of scene light beyond its key; of no effect on what is graded.
        gamut_expansion: whether the HDR side of BT.709 material goes through ``expand_gamut``. The SDR side is made of
            the light before it.

    Returns:
        The graded frame.

    Raises:
        DataError: scene light is black, so that no exposure can be set, or the gamut of material that isn't on BT.709
            primaries shall be expanded, or of a true pair.
    """
    signal = frame.hdr.signal
    primaries = "bt709" if signal is None else signal.primaries
    if gamut_expansion and (primaries != "bt709" or frame.sdr is not None):
        what = f"is on {primaries} primaries" if primaries != "bt709" else "comes with its SDR side"
        raise DataError(f"{source} {what}; leave gamut expansion to HDR on BT.709 primaries without an SDR side")

    record: dict[str, Any] = {"curve": curve, "exposure": None}
    if signal is None:
        scene_light = frame.hdr.values.double().clamp(min=0)
        key = exposure_key(scene_light, panoramic)
        if key == 0:
            where = "black between 45 degrees below and above the horizon" if panoramic else "black"
            raise DataError(f"{source}: {where}; leave it out")
        record["exposure"] = key
        origin = display_light(scene_light, key, stops)
        hdr = hdr_codes(_to_bt2020(origin, primaries, gamut_expansion))
        to_code_units = partial(sdr_code_units, primaries=primaries, curve=curve)
    else:
        origin = frame.hdr.values
        hdr = _graded_codes(origin, signal, gamut_expansion)
        to_code_units = partial(_code_units_of_graded, signal=signal, curve=curve)
    if gamut_expansion:
        record["gamut_expansion"] = GAMUT_EXPANSION
    if frame.sdr is not None:
        assert frame.sdr.signal is not None, f"{source}: an SDR side of scene light"
        assert not panoramic, f"{source}: a panorama with an SDR side"
        record["curve"] = PAIRED
        return GradedFrame(hdr, frame.sdr.values, partial(given_code_units, signal=frame.sdr.signal), record)
    return GradedFrame(hdr, origin, to_code_units, record)


def _to_bt2020(light: Tensor, primaries: str, gamut_expansion: bool) -> Tensor:
    if gamut_expansion:
        return expand_gamut(light)
    return light if primaries == "bt2020" else convert_primaries(light, primaries, "bt2020")


def _graded_codes(values: Tensor, signal: Signal, gamut_expansion: bool) -> Tensor:
    """Codes on the HDR signal of a graded picture: those that are on it already stay, PQ on BT.2020 is coded anew."""
    if signal == HDR10_VIDEO:
        return quantize(HDR10_VIDEO.peak * values, HDR10_VIDEO)
    if (signal.primaries, signal.transfer) == (HDR10_VIDEO.primaries, HDR10_VIDEO.transfer):
        recoded = by_strips(lambda strip: rgb_to_signal(signal_to_rgb(strip, signal), HDR10_VIDEO), values)
        return quantize(HDR10_VIDEO.peak * recoded, HDR10_VIDEO)
    return by_strips(
        lambda strip: hdr_codes(_to_bt2020(graded_light(strip, signal), signal.primaries, gamut_expansion)), values
    )


def _code_units_of_graded(values: Tensor, signal: Signal, curve: str) -> Tensor:
    light = _to_bt2020(graded_light(values, signal), signal.primaries, gamut_expansion=False)
    return sdr_code_units(light, "bt2020", curve)
