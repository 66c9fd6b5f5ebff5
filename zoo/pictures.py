"""Pictures for an ordinary screen: HDR shown by one stated curve, and errors on one stated scale.

HDR light goes through the protocol's SDR curve (Reinhard's extended, 1000 cd/m² to white) and is encoded as sRGB, so
that a perfect prediction looks like the SDR input. Numbers here serve the eye; metrics are elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from zoo.color import convert_primaries, decode, reinhard, srgb_encode
from zoo.color.transfer import SDR_WHITE
from zoo.signal import HDR10_VIDEO, SDR_VIDEO

ERROR_SCALE = 64  # 10-bit codes at the upper end of the error map's colours
_LINE = 22  # pixels of a line of text
_BAR = 14  # pixels of the error scale

Picture = np.ndarray  # (H, W, 3) uint8, R'G'B', sRGB


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
    error = 1023 * (preds.float().clamp(0, 1) - target.float()).abs().mean(dim=0)
    return _heat((error / ERROR_SCALE).clamp(0, 1).cpu().numpy())


def _heat(x: np.ndarray) -> Picture:
    """[0, 1] in colours; (H, W) to (H, W, 3)."""
    return cv2.cvtColor(cv2.applyColorMap((255 * x).astype(np.uint8), cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)


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
    height = shape[0]
    picture = np.zeros((max(height, 3 * _LINE), *shape[1:]), np.uint8)
    margin, width = 10, shape[1] - 20
    picture[_LINE : _LINE + _BAR, margin : margin + width] = _heat(np.linspace(0, 1, width)[None].repeat(_BAR, 0))
    _write(picture, "mean error, 10-bit codes", (margin, _LINE - 6))
    for value in (0, ERROR_SCALE // 2, ERROR_SCALE):
        x = margin + int(width * value / ERROR_SCALE) - (0 if value == 0 else 20)
        _write(picture, f"{value}{'+' if value == ERROR_SCALE else ''}", (x, 2 * _LINE + _BAR - 4))
    return picture[:height]


def _row(titles: Sequence[str], pictures: Sequence[Picture]) -> Picture:
    columns = []
    for title, picture in zip(titles, pictures, strict=True):
        head = np.zeros((_LINE, picture.shape[1], 3), np.uint8)
        _write(head, title, (4, _LINE - 7))
        columns.append(np.vstack([head, picture]))
    return np.hstack(columns)


def _write(picture: Picture, text: str, at: tuple[int, int]) -> None:
    cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)


def write_png(path: str | os.PathLike[str], picture: Picture) -> None:
    """Write a uint8 sRGB picture.

    Raises:
        OSError: the file can't be written.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(os.fspath(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise OSError(f"can't write the picture {path}")
