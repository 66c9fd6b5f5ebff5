"""PU21: PSNR and SSIM on a perceptually uniform code of light (Mantiuk, Azimi, Picture Coding Symposium 2021)."""

from __future__ import annotations

from torch import Tensor

from zoo.color import luma
from zoo.metrics.base import CLIPPED_CODES, FrameMetric, PixelMetric, Protocol
from zoo.metrics.frames import FramePair, Strip
from zoo.metrics.windows import structure
from zoo.precision import at_least_float32
from zoo.signal import HDR10_VIDEO, Signal

# The fit "banding_glare" of the authors' repository, which they recommend. Another set of seven numbers circulates
# (234.0, 216.9, ...) and gives other figures.
_P = (0.353487901, 0.3734658629, 8.277049286e-05, 0.9062562627, 0.09150303166, 0.9099517204, 596.3148142)
_DARKEST, _BRIGHTEST = 0.005, 10000.0
PU21_PEAK = 256.0
"""What PSNR and SSIM take as the span: a white of 100 cd/m² has 256.4, so that SDR pictures score about as usual."""

_DISPLAY = "ideal: shows 0.005 to 10000 cd/m²"


def pu21_encode(luminance: Tensor) -> Tensor:
    """Light to units in which steps are about equally visible.

    Args:
        luminance: cd/m², any shape; clipped to [0.005, 10000].

    Returns:
        Same shape: 0 at 0.005 cd/m², 256.4 at 100, 420.1 at 1000, 595.4 at 10000.
    """
    y = at_least_float32(luminance).clamp(_DARKEST, _BRIGHTEST) ** _P[3]
    return _P[6] * (((_P[0] + _P[1] * y) / (1 + _P[2] * y)) ** _P[4] - _P[5])


def pu21_psnr(preds: Tensor, target: Tensor, signal: Signal = HDR10_VIDEO) -> Tensor:
    """PSNR of each frame on PU21 of R, G and B, peak 256.

    Args:
        preds: ``(B, 3, H, W)``, code / 1023; clipped to [0, 1] here.
        target: same shape, code / 1023.
        signal: what both hold.

    Returns:
        ``(B,)`` in dB, float64; infinite for a perfect frame.

    Raises:
        SignalError: the shapes differ, or the values are integers.
        DataError: NaN, infinity, or a truth outside [0, 1].
    """
    return PU21PSNR(signal).score(preds, target)


def pu21_ssim(preds: Tensor, target: Tensor, signal: Signal = HDR10_VIDEO) -> Tensor:
    """SSIM of each frame on PU21 of luminance, span 256, window and borders as ``ssim_planes``.

    Args:
        preds: ``(B, 3, H, W)``, code / 1023; clipped to [0, 1] here. At least 11 pixels a side.
        target: same shape, code / 1023.
        signal: what both hold.

    Returns:
        ``(B,)``, float64.

    Raises:
        SignalError: the shapes differ, or the values are integers.
        DataError: a frame smaller than the window, NaN, infinity, or a truth outside [0, 1].
    """
    return PU21SSIM(signal).score(preds, target)


class PU21PSNR(PixelMetric):
    """Mean over frames of ``pu21_psnr``."""

    higher_is_better = True

    @property
    def protocol(self) -> Protocol:
        """What the figure means."""
        return Protocol(
            quantity="PSNR of PU21 (banding_glare), one mean over rows, columns and three channels",
            signal=str(self.signal),
            values="PU21 of R, G, B on BT.2020",
            range="light in cd/m²",
            clipping=f"{CLIPPED_CODES}; light of both to [0.005, 10000] cd/m²",
            peak="256",
            display=_DISPLAY,
            unit="dB",
        )

    def strip_sums(self, strip: Strip) -> Tensor:
        """Squared error."""
        preds, target = (pu21_encode(light).double() for light in strip.light)
        return (preds - target).square().sum((-3, -2, -1))

    def finish(self, sums: Tensor, pixels: int) -> Tensor:
        """In dB."""
        return 10 * (PU21_PEAK**2 * 3 * pixels / sums).log10()


class PU21SSIM(FrameMetric):
    """Mean over frames of ``pu21_ssim``."""

    higher_is_better = True

    @property
    def protocol(self) -> Protocol:
        """What the figure means."""
        return Protocol(
            quantity="SSIM of PU21 (banding_glare), 11x11 Gaussian of sigma 1.5, borders replicated",
            signal=str(self.signal),
            values="PU21 of luminance, from light on BT.2020",
            range="light in cd/m²",
            clipping=f"{CLIPPED_CODES}; light of both to [0.005, 10000] cd/m²",
            peak="256, K = (0.01, 0.03)",
            display=_DISPLAY,
            unit="1",
        )

    def score_pair(self, pair: FramePair) -> Tensor:
        """Score of each frame."""

        def rows(index: Tensor) -> tuple[Tensor, Tensor]:
            preds, target = (pu21_encode(luma(light, "ycbcr2020")).double() for light in pair.rows(index).light)
            return preds, target

        height, width = pair.preds.shape[-2:]
        return structure(rows, height, width, PU21_PEAK, pair.preds.device).ssim[:, 0]
