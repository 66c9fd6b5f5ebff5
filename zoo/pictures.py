"""Pictures for an ordinary screen: HDR shown by one stated curve, and errors on one stated scale.

HDR light goes through the protocol's SDR curve (Reinhard's extended, 1000 cd/m² to white) and is encoded as sRGB, so
that a perfect prediction looks like the SDR input. Numbers here serve the eye; metrics are elsewhere.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from zoo.color import convert_primaries, decode, reinhard, srgb_encode
from zoo.color.transfer import SDR_WHITE
from zoo.signal import HDR10_VIDEO, SDR_VIDEO

ERROR_SCALE = 64  # 10-bit codes at the upper end of the error map's colours
_ERROR_VALUES = ("0", f"{ERROR_SCALE // 2}", f"{ERROR_SCALE}+")
_LINE = 22  # pixels of a line of text
_BAR = 14  # pixels of a scale's colours
_STRIP = 2 * _LINE + _BAR  # pixels of a scale: text, colours, values
_FONT = (cv2.FONT_HERSHEY_SIMPLEX, 0.42)
_GUTTER = 8  # pixels between the columns of a sheet
# Per cent of a map's values that its scale holds: the rows and columns at the border often stand out.
_WITHIN = 98
_LEAST_REACH = 1e-4  # of a scale to either side of its neutral value: less is rounding
# From below the neutral value, which is nearly white, to above it.
_DIVERGING = ((10, 40, 120), (80, 150, 220), (245, 245, 245), (240, 150, 70), (140, 30, 10))

Picture = np.ndarray  # (H, W, 3) uint8, R'G'B', sRGB
Colours = Callable[[np.ndarray], Picture]  # (H, W) of [0, 1] to a picture


class Panel(NamedTuple):
    """One picture of a series that shows how a network works.

    Attributes:
        picture: with its scale below, where it has one.
        figures: ``min``, ``mean`` and ``max`` of the numbers that it shows by a scale; none for an ordinary picture.
    """

    picture: Picture
    figures: dict[str, float]


def _to_uint8(rgb: Tensor) -> Picture:
    return (255 * rgb.clamp(0, 1) + 0.5).to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def show_hdr(hdr: Tensor) -> Picture:
    """An HDR picture for an SDR screen.

    Args:
        hdr: (3, H, W), code / 1023 on the HDR signal; values outside [0, 1] are clipped.

    Returns:
        (H, W, 3) uint8, sRGB.
    """
    light = convert_primaries(decode(hdr.float().clamp(0, 1), HDR10_VIDEO), "bt2020", "bt709")
    return _to_uint8(srgb_encode(reinhard(light.clamp(min=0)) / SDR_WHITE))


def show_sdr(sdr: Tensor, scale: int = 1) -> Picture:
    """An SDR picture, each pixel repeated ``scale`` times in both directions.

    Args:
        sdr: (3, h, w), code / 255 on the SDR signal.
        scale: of the enlargement.

    Returns:
        (scale h, scale w, 3) uint8, sRGB.
    """
    light = decode(sdr.float().clamp(0, 1), SDR_VIDEO) / SDR_WHITE
    picture = _to_uint8(srgb_encode(light.clamp(0, 1)))
    return picture.repeat(scale, axis=0).repeat(scale, axis=1)


def show_error(preds: Tensor, target: Tensor) -> Picture:
    """Absolute error in colours, black for 0 to bright for ``ERROR_SCALE`` codes and more.

    Args:
        preds: (3, H, W), code / 1023; values outside [0, 1] are clipped.
        target: the same for the truth.

    Returns:
        (H, W, 3) uint8; the mean of the three channels' errors.
    """
    return _heat((_error(preds, target) / ERROR_SCALE).clamp(0, 1).cpu().numpy())


def _error(preds: Tensor, target: Tensor) -> Tensor:
    return 1023 * (preds.float().clamp(0, 1) - target.float()).abs().mean(dim=0)


def _heat(x: np.ndarray) -> Picture:
    """From black to bright yellow."""
    return cv2.cvtColor(cv2.applyColorMap((255 * x).astype(np.uint8), cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)


def _grey(x: np.ndarray) -> Picture:
    """From black to white."""
    return (255 * x + 0.5).astype(np.uint8)[..., None].repeat(3, axis=-1)


def _diverging(x: np.ndarray) -> Picture:
    """From dark blue over nearly white, at 0.5, to dark red."""
    stops = np.linspace(0, 1, len(_DIVERGING))
    return np.stack([np.interp(x, stops, channel) for channel in zip(*_DIVERGING, strict=True)], -1).astype(np.uint8)


def comparison(sdr: Tensor, predictions: dict[str, Tensor], target: Tensor) -> Picture:
    """Input, predictions and truth beside each other; below each prediction its error map, with the scale.

    Args:
        sdr: (3, h, w), code / 255.
        predictions: by title, each (3, s h, s w), code / 1023.
        target: (3, s h, s w), code / 1023.

    Returns:
        One picture, uint8, sRGB.
    """
    scale = target.shape[-1] // sdr.shape[-1]
    titles = [f"input SDR {sdr.shape[-1]}x{sdr.shape[-2]}", *predictions, "truth"]
    upper = [show_sdr(sdr, scale), *map(show_hdr, predictions.values()), show_hdr(target)]
    lower = [_error_scale(upper[0].shape), *(show_error(p, target) for p in predictions.values())]
    lower.append(np.zeros_like(upper[0]))
    return np.vstack([_row(titles, upper), _row(["", *(f"error of {name}" for name in predictions), ""], lower)])


def _error_scale(shape: Sequence[int]) -> Picture:
    """The colours of the error map with their values; a picture too low for them loses its lower part."""
    height, width, _ = shape
    picture = np.zeros((max(height, _STRIP), width, 3), np.uint8)
    picture[:_STRIP] = _scale_strip(width, _heat, _ERROR_VALUES, "mean error, 10-bit codes")
    return picture[:height]


def sdr_panel(sdr: Tensor, scale: int = 1) -> Panel:
    """:func:`show_sdr` as a panel."""
    return Panel(show_sdr(sdr, scale), {})


def hdr_panel(hdr: Tensor) -> Panel:
    """:func:`show_hdr` as a panel."""
    return Panel(show_hdr(hdr), {})


def error_panel(preds: Tensor, target: Tensor) -> Panel:
    """:func:`show_error` with its scale and figures, in 10-bit codes."""
    figures = _figures(_error(preds, target).cpu().numpy())
    text = f"codes: mean {figures['mean']:.3g}  max {figures['max']:.3g}"
    picture = show_error(preds, target)
    return Panel(np.vstack([picture, _scale_strip(picture.shape[1], _heat, _ERROR_VALUES, text)]), figures)


def map_panel(values: Tensor, scale: int = 1, neutral: float | None = None) -> Panel:
    """Numbers without a fixed range in colours, with their scale and figures.

    Args:
        values: (h, w), any range; what isn't finite is drawn as neutral, or as 0.
        scale: each pixel is repeated so often in both directions.
        neutral: the value that means no effect. It is nearly white, less is blue, more is red, and the scale reaches
            equally far to both sides, to 1, 2 or 5 times a power of ten, so that it seldom changes while a network
            learns. Without it: greys from the least to the greatest. Some of the values, 2 %, lie outside the scale.

    Returns:
        (scale h + strip, scale w, 3) and the figures.
    """
    x = values.detach().float().cpu().numpy()
    figures = _figures(x)
    centre = 0.0 if neutral is None else neutral
    x = np.nan_to_num(x, nan=centre, posinf=centre, neginf=centre)
    if neutral is None:
        outside = (100 - _WITHIN) / 2
        colours, (low, high) = _grey, map(float, np.percentile(x, (outside, 100 - outside)))
    else:
        reach = _round_up(float(np.percentile(np.abs(x - neutral), _WITHIN)))
        colours, low, high = _diverging, neutral - reach, neutral + reach
    picture = colours(((x - low) / (high - low or 1.0)).clip(0, 1)).repeat(scale, axis=0).repeat(scale, axis=1)
    # As many digits as tell the ends of the scale apart: a map may lie within thousandths of 1.
    size, span = max(abs(low), abs(high), _LEAST_REACH), max(high - low, _LEAST_REACH)
    digits = 3 + max(0, math.ceil(math.log10(size / span)))
    text = "  ".join(f"{name} {value:.{digits}g}" for name, value in figures.items())
    ends = [f"{value:.{digits}g}" for value in (low, (low + high) / 2, high)]
    return Panel(np.vstack([picture, _scale_strip(picture.shape[1], colours, ends, text)]), figures)


def sheet(panels: dict[str, Panel]) -> Picture:
    """All panels in one picture, as nearly as many beside as below each other, each below its title.

    Args:
        panels: by title; their pictures are of one width.
    """
    square = math.ceil(len(panels) ** 0.5)
    columns = min((square, square + 1), key=lambda columns: -len(panels) % columns)  # the fewest empty places
    height = max(panel.picture.shape[0] for panel in panels.values())
    cells = [(title, _padded(panel.picture, height)) for title, panel in panels.items()]
    cells += [("", np.zeros_like(cells[0][1]))] * (-len(cells) % columns)
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    return np.vstack([_row(*zip(*row, strict=True)) for row in rows])


def _figures(x: np.ndarray) -> dict[str, float]:
    return {"min": float(x.min()), "mean": float(x.mean(dtype=np.float64)), "max": float(x.max())}


def _round_up(reach: float) -> float:
    """The next of 1, 2 or 5 times a power of ten; it may be one in twenty too small."""
    power = 10.0 ** math.floor(math.log10(max(reach, _LEAST_REACH)))
    return next((step * power for step in (1, 2, 5) if 1.05 * step * power >= reach), 10 * power)


def _padded(picture: Picture, height: int) -> Picture:
    """Black below, to ``height``, and at the right."""
    return np.pad(picture, ((0, height - picture.shape[0]), (0, _GUTTER), (0, 0)))


def _scale_strip(width: int, colours: Colours, values: Sequence[str], text: str) -> Picture:
    """A line of text, the colours of [0, 1], and below them the values at the left, in the middle and at the right."""
    strip = np.zeros((_STRIP, width, 3), np.uint8)
    _write(strip, text, (4, _LINE - 6))
    strip[_LINE : _LINE + _BAR] = colours(np.linspace(0, 1, width)[None])
    for value, place in zip(values, (0, 0.5, 1), strict=True):
        (size, _), _ = cv2.getTextSize(value, *_FONT, 1)
        _write(strip, value, (int(place * (width - size)), _STRIP - 8))
    return strip


def _row(titles: Sequence[str], pictures: Sequence[Picture]) -> Picture:
    columns = []
    for title, picture in zip(titles, pictures, strict=True):
        head = np.zeros((_LINE, picture.shape[1], 3), np.uint8)
        _write(head, title, (4, _LINE - 7))
        columns.append(np.vstack([head, picture]))
    return np.hstack(columns)


def _write(picture: Picture, text: str, at: tuple[int, int]) -> None:
    cv2.putText(picture, text, at, *_FONT, (255, 255, 255), 1, cv2.LINE_AA)


def write_png(path: str | os.PathLike[str], picture: Picture) -> None:
    """Write a uint8 sRGB picture.

    Raises:
        OSError: the file can't be written.
    """
    # Written by Python: OpenCV says neither that the disk is full nor that the folder mustn't be written to.
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes())
