"""Colour difference of HDR pictures: delta E ITP of ITU-R BT.2124."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.color.ictcp import light_to_ictcp
from zoo.metrics.base import CLIPPED_CODES, PixelMetric, Protocol
from zoo.metrics.frames import FramePair, Strip
from zoo.signal import HDR10_VIDEO, Signal

_SCALE = 720  # ITU-R BT.2124-0, annex 1: brings a just noticeable difference to 1


def delta_e_itp(preds: Tensor, target: Tensor, signal: Signal = HDR10_VIDEO) -> Tensor:
    """Mean colour difference of each frame in just noticeable ones, ITU-R BT.2124.

    Light in cd/m² on BT.2020 goes to I, Ct and Cp; 720 sqrt(dI² + (dCt/2)² + dCp²) is averaged over the pixels.

    Args:
        preds: ``(B, 3, H, W)``, code / 1023; clipped to [0, 1] here, its light to [0, 10000] cd/m².
        target: same shape, code / 1023.
        signal: what both hold.

    Returns:
        ``(B,)``, float64; 0 for a perfect frame, smaller is better. Float32 input is computed in
        float32, good to 0.001.

    Raises:
        SignalError: the shapes differ, or the values are integers.
        DataError: NaN, infinity, or a truth outside [0, 1].
    """
    return DeltaEITP(signal).score(preds, target)


def delta_e_itp_map(preds: Tensor, target: Tensor, signal: Signal = HDR10_VIDEO) -> Tensor:
    """``delta_e_itp`` of each pixel, for pictures of where a prediction is wrong.

    Args:
        preds: as for ``delta_e_itp``.
        target: as for ``delta_e_itp``.
        signal: what both hold.

    Returns:
        ``(B, 1, H, W)``.

    Raises:
        SignalError: as for ``delta_e_itp``.
        DataError: as for ``delta_e_itp``.
    """
    pair = FramePair(preds, target, signal)
    pair.check_values()
    return torch.cat([_difference(strip) for strip in pair.strips()], dim=-2)


def _difference(strip: Strip) -> Tensor:
    """``(B, 1, rows, W)``."""
    preds, target = (light_to_ictcp(light) for light in strip.light)
    i, ct, cp = (preds - target).square().split(1, dim=-3)
    return _SCALE * (i + ct / 4 + cp).sqrt()


class DeltaEITP(PixelMetric):
    """Mean over frames of ``delta_e_itp``."""

    higher_is_better = False

    @property
    def protocol(self) -> Protocol:
        """What the figure means."""
        return Protocol(
            quantity="delta E ITP (ITU-R BT.2124), mean over pixels",
            signal=str(self.signal),
            values="ICtCp of light on BT.2020",
            range="light in cd/m²",
            clipping=f"{CLIPPED_CODES}; light of both to [0, 10000] cd/m² on BT.2020",
            peak="none",
            display="ideal: shows all light of the signal",
            unit="just noticeable differences",
        )

    def strip_sums(self, strip: Strip) -> Tensor:
        """Differences added up."""
        return _difference(strip).sum((-3, -2, -1), dtype=torch.float64)

    def finish(self, sums: Tensor, pixels: int) -> Tensor:
        """The mean."""
        return sums / pixels
