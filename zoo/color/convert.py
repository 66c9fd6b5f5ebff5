"""From a signal to light and back: the one place where a signal's parts are put together.

Convention: a tensor on a signal holds code / ``signal.peak``, shape ``(..., 3, H, W)``. Nothing is rounded or clipped
but what the transfer curves say.
"""

from __future__ import annotations

from torch import Tensor

from zoo.color.codes import codes_to_components, components_to_codes
from zoo.color.hlg import hlg_decode, hlg_encode
from zoo.color.transfer import (
    SDR_WHITE,
    bt709_decode,
    bt709_encode,
    bt1886_decode,
    bt1886_encode,
    pq_decode,
    pq_encode,
    srgb_decode,
    srgb_encode,
)
from zoo.color.ycbcr import rgb_to_ycbcr, ycbcr_to_rgb
from zoo.signal import Signal


def signal_to_rgb(x: Tensor, signal: Signal) -> Tensor:
    """A tensor on a signal to R'G'B' on the same primaries and transfer curve.

    Args:
        x: ``(..., 3, H, W)``, code / ``signal.peak``.
        signal: what ``x`` holds.

    Returns:
        R'G'B', same shape; [0, 1] for codes of the nominal range that stand for a colour.
    """
    components = codes_to_components(signal.peak * x, signal)
    return components if signal.matrix == "rgb" else ycbcr_to_rgb(components, signal.matrix)


def rgb_to_signal(rgb: Tensor, signal: Signal) -> Tensor:
    """R'G'B' to a tensor on a signal: the inverse of ``signal_to_rgb``.

    Args:
        rgb: ``(..., 3, H, W)``, on the primaries and transfer curve of ``signal``.
        signal: what is wanted.

    Returns:
        code / ``signal.peak``, not rounded, same shape.
    """
    components = rgb if signal.matrix == "rgb" else rgb_to_ycbcr(rgb, signal.matrix)
    return components_to_codes(components, signal) / signal.peak


def decode(x: Tensor, signal: Signal, white: float = SDR_WHITE) -> Tensor:
    """A tensor on a signal to linear light on the signal's primaries.

    Args:
        x: ``(..., 3, H, W)``, code / ``signal.peak``.
        signal: what ``x`` holds.
        white: cd/m² of nominal white, for curves other than PQ and HLG.

    Returns:
        Light in cd/m², same shape; HLG's as a display of 1000 cd/m² shows it.
    """
    rgb = signal_to_rgb(x, signal)
    match signal.transfer:
        case "pq":
            return pq_decode(rgb)
        case "hlg":
            return hlg_decode(rgb)
        case "bt1886":
            return bt1886_decode(rgb, white)
        case "srgb":
            return white * srgb_decode(rgb)
        case "bt709":
            return white * bt709_decode(rgb)
    raise AssertionError(f"no curve for {signal}")


def encode(light: Tensor, signal: Signal, white: float = SDR_WHITE) -> Tensor:
    """Linear light on the signal's primaries to a tensor on the signal: the inverse of ``decode``.

    Args:
        light: ``(..., 3, H, W)``, cd/m².
        signal: what is wanted.
        white: cd/m² of nominal white, for curves other than PQ and HLG.

    Returns:
        code / ``signal.peak``, not rounded, same shape.
    """
    match signal.transfer:
        case "pq":
            rgb = pq_encode(light)
        case "hlg":
            rgb = hlg_encode(light)
        case "bt1886":
            rgb = bt1886_encode(light, white)
        case "srgb":
            rgb = srgb_encode(light / white)
        case "bt709":
            rgb = bt709_encode(light / white)
        case _:
            raise AssertionError(f"no curve for {signal}")
    return rgb_to_signal(rgb, signal)
