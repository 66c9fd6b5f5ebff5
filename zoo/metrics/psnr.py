"""PSNR on HDR codes, raw and exposure-matched, as protocol ``val-v1`` scores (docs/protocol.md), and on R'G'B'."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.color import decode, encode
from zoo.metrics.base import CLIPPED_CODES, PixelMetric, Protocol
from zoo.metrics.frames import Strip
from zoo.signal import HDR10_VIDEO, Signal

# Gains that a match is sought over: 3 stops either way in eighths.
_GAINS = tuple(2 ** (k / 8) for k in range(-24, 25))


def psnr(preds: Tensor, target: Tensor, signal: Signal = HDR10_VIDEO) -> Tensor:
    """Peak signal-to-noise ratio of each frame, on the signal's codes: 10-bit Y'CbCr of BT.2020 PQ.

    10 log10(1023^2 / mean((P - T)^2)) with one mean over rows, columns and the three channels.

    Args:
        preds: ``(B, 3, H, W)``, code / 1023, not rounded; clipped to [0, 1] here.
        target: same shape, code / 1023.
        signal: what both hold.

    Returns:
        ``(B,)`` in dB, float64; infinite for a perfect frame, NaN where a value is.

    Raises:
        SignalError: the shapes differ, or the values are integers.

    Example:
        >>> psnr(torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.1))
        tensor([20.0000], dtype=torch.float64)
    """
    return PSNR(signal).score(preds, target)


def psnr_rgb(preds: Tensor, target: Tensor, signal: Signal = HDR10_VIDEO) -> Tensor:
    """PSNR of each frame on R'G'B' of the signal, PQ on BT.2020 primaries by default.

    Both sides are converted and clipped to [0, 1]; one mean over rows, columns and the three channels, peak 1.

    Args:
        preds: as for ``psnr``.
        target: as for ``psnr``.
        signal: what both hold.

    Returns:
        ``(B,)`` in dB, float64; infinite for a perfect frame.

    Raises:
        SignalError: the shapes differ, or the values are integers.
        DataError: NaN, infinity, or a truth outside [0, 1].
    """
    return PSNRRGB(signal).score(preds, target)


def matched_psnr(preds: Tensor, target: Tensor, signal: Signal = HDR10_VIDEO) -> Tensor:
    """PSNR of each frame at the exposure that suits it best: forgives a wrong overall level.

    The prediction is decoded to display light, multiplied by a gain and encoded again, without rounding; the best of 49
    gains from -3 to +3 stops counts, for each frame.

    Args:
        preds: as for ``psnr``.
        target: as for ``psnr``.
        signal: what both hold.

    Returns:
        ``(B,)`` in dB, float64.

    Raises:
        SignalError: the shapes differ, or the values are integers.
    """
    return MatchedPSNR(signal).score(preds, target)


def _squared_error(preds: Tensor, target: Tensor) -> Tensor:
    """Sum over channels, rows and columns, ``(B,)``: half precision lacks the digits of 10-bit codes, and a good
    frame's error is small beside its values."""
    return (preds.double() - target.double()).square().sum((-3, -2, -1))


class PSNR(PixelMetric):
    """Mean over frames of ``psnr``.

    Shape: ``update(preds, target)`` takes what ``psnr`` takes; ``compute()`` gives a scalar in dB, infinite if any
    frame was perfect. Frames weigh alike, however they were batched or spread over processes.
    """

    higher_is_better = True
    # It runs within training, where a look at the values would wait for the GPU; NaN gives NaN.
    looks_at_values = False

    @property
    def protocol(self) -> Protocol:
        """What the figure means."""
        return Protocol(
            quantity="PSNR, one mean over rows, columns and three channels",
            signal=str(self.signal),
            values="codes of the signal",
            range=f"{self.signal.range}, not expanded",
            clipping=CLIPPED_CODES,
            peak=f"code {self.signal.peak}",
            display="none",
            unit="dB",
        )

    def strip_sums(self, strip: Strip) -> Tensor:
        """Squared error."""
        return _squared_error(strip.preds, strip.target)

    def finish(self, sums: Tensor, pixels: int) -> Tensor:
        """In dB; the mean goes over three channels."""
        return -10 * (sums / (3 * pixels)).log10()


class PSNRRGB(PSNR):
    """Mean over frames of ``psnr_rgb``; used as ``PSNR``."""

    looks_at_values = True

    @property
    def protocol(self) -> Protocol:
        """What the figure means."""
        return Protocol(
            quantity="PSNR, one mean over rows, columns and three channels",
            signal=str(self.signal),
            values=f"R'G'B' ({self.signal.transfer}, {self.signal.primaries})",
            range="full, [0, 1]",
            clipping=f"{CLIPPED_CODES}; then R'G'B' of both to [0, 1]",
            peak="1",
            display="none",
            unit="dB",
        )

    def strip_sums(self, strip: Strip) -> Tensor:
        """Squared error."""
        return _squared_error(*strip.rgb)


class MatchedPSNR(PSNR):
    """Mean over frames of ``matched_psnr``; used as ``PSNR``."""

    @property
    def protocol(self) -> Protocol:
        """What the figure means."""
        return Protocol(
            quantity="PSNR at the best of 49 gains of light from -3 to +3 stops, chosen for each frame",
            signal=str(self.signal),
            values="codes of the signal",
            range=f"{self.signal.range}, not expanded",
            clipping=f"{CLIPPED_CODES}; again after the gain",
            peak=f"code {self.signal.peak}",
            display="ideal: shows all light of the signal",
            unit="dB",
        )

    def strip_sums(self, strip: Strip) -> Tensor:
        """Squared error at each gain, ``(B, 49)``."""
        light = decode(strip.preds, strip.signal)
        matched = (encode(gain * light, strip.signal).clamp(0, 1) for gain in _GAINS)
        return torch.stack([_squared_error(preds, strip.target) for preds in matched], dim=1)

    def finish(self, sums: Tensor, pixels: int) -> Tensor:
        """The best gain's, in dB."""
        return super().finish(sums, pixels).amax(dim=1)
