"""mPSNR, multi-exposure PSNR, as the authors of Deep SR-ITM compute it."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.metrics.base import CLIPPED_CODES, PixelMetric, Protocol
from zoo.metrics.frames import Strip
from zoo.signal import HDR10_VIDEO, Signal

_EXPOSURES = tuple(2.0**e for e in range(-3, 4))
# An exposure counts where the truth is neither dark nor blown out.
_DARK, _BRIGHT = 0.1, 0.9


def mpsnr(preds: Tensor, target: Tensor, signal: Signal = HDR10_VIDEO) -> Tensor:
    """Multi-exposure PSNR of each frame, the form of Deep SR-ITM's released code.

    Both are multiplied by 2^e, e = -3..3, and quantised to codes; an exposure counts if the mean of the truth's codes
    lies between 0.1 and 0.9 of the peak. 10 log10(1023^2 / mean over exposures of the mean squared error).

    The exposures scale the coded values, which aren't linearised, all three channels alike, and errors are averaged
    before the logarithm, whatever the papers' words suggest. Quantised in float32: at negative e odd codes are ties,
    and the authors' figures depend on how they fall.

    Args:
        preds: ``(B, 3, H, W)``, code / 1023; clipped to [0, 1] here.
        target: same shape, code / 1023.
        signal: what both hold.

    Returns:
        ``(B,)`` in dB, float64; infinite for a perfect frame. NaN where no exposure counts, for which the authors'
        code gives -1; this can't happen to narrow Y'CbCr, whose chroma lies near the middle.

    Raises:
        SignalError: the shapes differ, or the values are integers.
        DataError: NaN, infinity, or a truth outside [0, 1].
    """
    return MPSNR(signal).score(preds, target)


class MPSNR(PixelMetric):
    """Mean over frames of ``mpsnr``, in dB."""

    higher_is_better = True

    @property
    def protocol(self) -> Protocol:
        """What the figure means."""
        return Protocol(
            quantity="mPSNR, mean squared error averaged over the exposures -3..3 that count, three channels together",
            signal=str(self.signal),
            values="codes of the signal times 2^e, not linearised",
            range=f"{self.signal.range}, not expanded",
            clipping=f"{CLIPPED_CODES}; both rounded and clipped to codes at each exposure, in float32",
            peak=f"code {self.signal.peak}",
            display="none",
            unit="dB",
        )

    def strip_sums(self, strip: Strip) -> Tensor:
        """For each exposure the truth's codes and the squared error, ``(B, 7, 2)``; whole numbers, so exact."""
        peak = strip.signal.peak
        preds, target = peak * strip.preds.float(), peak * strip.target.float()
        sums = []
        for exposure in _EXPOSURES:
            # Rounds halves up. The one float32 that this rounds wrongly, next below 0.5, is no 1023 x of a float32 x.
            p, t = ((exposure * x).add_(0.5).floor_().clamp_(0, peak) for x in (preds, target))
            # Squares of 12-bit differences are exact in float32, those of 16 bits aren't.
            error = (p - t).to(torch.float32 if peak < 4096 else torch.float64).square_()
            sums.append(torch.stack([x.sum((-3, -2, -1), dtype=torch.float64) for x in (t, error)], dim=-1))
        return torch.stack(sums, dim=1)

    def finish(self, sums: Tensor, pixels: int) -> Tensor:
        """In dB, over the exposures that count."""
        level, error = (sums / (3 * pixels)).unbind(-1)
        level = level / self.signal.peak
        counts = (level > _DARK) & (level < _BRIGHT)
        error = (error * counts).sum(1) / counts.sum(1)
        return 10 * (self.signal.peak**2 / error).log10()
