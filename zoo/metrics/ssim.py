"""SSIM of each channel, the volume form of the authors' scripts, and MS-SSIM."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from zoo.errors import DataError
from zoo.metrics.base import CLIPPED_CODES, FrameMetric, Protocol
from zoo.metrics.frames import FramePair
from zoo.metrics.windows import SIDE, rows_of, structure
from zoo.signal import HDR10_VIDEO, Signal

# Wang, Simoncelli, Bovik: Multi-scale structural similarity for image quality assessment, 2003.
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_SMALLEST = SIDE * 2 ** (len(_SCALE_WEIGHTS) - 1)


def ssim(preds: Tensor, target: Tensor, signal: Signal = HDR10_VIDEO) -> Tensor:
    """Structural similarity of each frame: the mean over the channels of ``ssim_planes``.

    Args:
        preds: ``(B, 3, H, W)``, code / 1023; clipped to [0, 1] here. At least 11 pixels a side.
        target: same shape, code / 1023.
        signal: what both hold.

    Returns:
        ``(B,)``, float64; 1 for a perfect frame.

    Raises:
        SignalError: the shapes differ, or the values are integers.
        DataError: a frame smaller than the window, NaN, infinity, or a truth outside [0, 1].
    """
    return SSIM(signal).score(preds, target)


def ssim_planes(preds: Tensor, target: Tensor, signal: Signal = HDR10_VIDEO) -> Tensor:
    """Structural similarity of each channel by itself, as MATLAB's ``ssim`` of a plane.

    Wang et al., 2004: 11x11 Gaussian of sigma 1.5, borders replicated, K = (0.01, 0.03), values code / peak with
    span 1, mean over all pixels.

    Args:
        preds: as for ``ssim``.
        target: as for ``ssim``.
        signal: what both hold.

    Returns:
        ``(B, 3)``, float64: Y', Cb, Cr or R', G', B'.

    Raises:
        SignalError: as for ``ssim``.
        DataError: as for ``ssim``.
    """
    return _checked(preds, target, signal).structure.ssim


def ssim_volume(preds: Tensor, target: Tensor, signal: Signal = HDR10_VIDEO) -> Tensor:
    """Structural similarity of each frame taken as a volume, the form of Deep SR-ITM's released script.

    MATLAB's ``ssim`` of a three-channel array takes the channels as a third axis of space: the window is 11x11x11 and
    mixes Y', Cb and Cr. It runs high (0.988 where the planes have 0.967, 0.944, 0.930): compare it with itself alone.

    Args:
        preds: as for ``ssim``.
        target: as for ``ssim``.
        signal: what both hold.

    Returns:
        ``(B,)``, float64.

    Raises:
        SignalError: as for ``ssim``.
        DataError: as for ``ssim``.
    """
    return VolumeSSIM(signal).score(preds, target)


def ms_ssim(preds: Tensor, target: Tensor, signal: Signal = HDR10_VIDEO) -> Tensor:
    """Multi-scale structural similarity of each frame's first channel, Y'.

    Wang et al., 2003, as in their code: five scales, window as for ``ssim`` but only where it fits, between scales
    the mean of 2x2 pixels. Deep SR-ITM's script calls it for three channels, which that code refuses; a plane must
    have been meant. A negative contrast term counts as 0.

    Args:
        preds: ``(B, 3, H, W)``, code / 1023; clipped to [0, 1] here. At least 176 pixels a side.
        target: same shape, code / 1023.
        signal: what both hold.

    Returns:
        ``(B,)``, float64.

    Raises:
        SignalError: the shapes differ, or the values are integers.
        DataError: a frame smaller than 176 pixels, NaN, infinity, or a truth outside [0, 1].
    """
    return MultiScaleSSIM(signal).score(preds, target)


def ms_ssim_planes(preds: Tensor, target: Tensor, signal: Signal = HDR10_VIDEO) -> Tensor:
    """``ms_ssim`` of each channel by itself.

    Args:
        preds: as for ``ms_ssim``.
        target: as for ``ms_ssim``.
        signal: what both hold.

    Returns:
        ``(B, 3)``, float64.

    Raises:
        SignalError: as for ``ms_ssim``.
        DataError: as for ``ms_ssim``.
    """
    return _multi_scale(_checked(preds, target, signal), channels=3)


def _checked(preds: Tensor, target: Tensor, signal: Signal) -> FramePair:
    pair = FramePair(preds, target, signal)
    pair.check_values()
    return pair


def _multi_scale(pair: FramePair, channels: int) -> Tensor:
    """MS-SSIM of the first channels, ``(B, channels)``."""
    height, width = pair.preds.shape[-2:]
    if min(height, width) < _SMALLEST:
        raise DataError(f"a frame of {width}x{height} is too small for MS-SSIM, whose five scales want {_SMALLEST}")
    first = pair.structure
    score = first.valid_contrast[:, :channels].clamp(min=0) ** _SCALE_WEIGHTS[0]
    x, y = pair.preds[:, :channels], pair.target[:, :channels]
    x = x.clamp(0, 1)
    for weight in _SCALE_WEIGHTS[1:]:
        x, y = _halved(x), _halved(y)
        scale = structure(rows_of(x, y), x.shape[-2], x.shape[-1], 1.0, x.device)
        last = weight == _SCALE_WEIGHTS[-1]
        score = score * (scale.valid_ssim if last else scale.valid_contrast).clamp(min=0) ** weight
    return score


def _halved(x: Tensor) -> Tensor:
    """Means of 2x2 pixels in float64, the last row or column repeated where it has no neighbour."""
    odd_rows, odd_columns = x.shape[-2] % 2, x.shape[-1] % 2
    if odd_rows or odd_columns:
        x = functional.pad(x, (0, odd_columns, 0, odd_rows), mode="replicate")
    rows = x[..., ::2, :].double() + x[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]) / 4


class SSIM(FrameMetric):
    """Mean over frames of ``ssim``."""

    higher_is_better = True

    @property
    def protocol(self) -> Protocol:
        """What the figure means."""
        return self._protocol("SSIM, mean of the three channels', 11x11 Gaussian of sigma 1.5, borders replicated")

    def _protocol(self, quantity: str, values: str = "code / peak of the signal") -> Protocol:
        return Protocol(
            quantity=quantity,
            signal=str(self.signal),
            values=values,
            range=f"{self.signal.range}, not expanded",
            clipping=CLIPPED_CODES,
            peak="1, K = (0.01, 0.03)",
            display="none",
            unit="1",
        )

    def score_pair(self, pair: FramePair) -> Tensor:
        """Score of each frame."""
        return pair.structure.ssim.mean(1)


class VolumeSSIM(SSIM):
    """Mean over frames of ``ssim_volume``."""

    @property
    def protocol(self) -> Protocol:
        """What the figure means."""
        return self._protocol("volume SSIM of MATLAB: 11x11x11 Gaussian that mixes the channels, borders replicated")

    def score_pair(self, pair: FramePair) -> Tensor:
        """Score of each frame."""
        return pair.structure.volume


class MultiScaleSSIM(SSIM):
    """Mean over frames of ``ms_ssim``."""

    @property
    def protocol(self) -> Protocol:
        """What the figure means."""
        channel = "R'" if self.signal.matrix == "rgb" else "Y'"
        return self._protocol(
            "MS-SSIM of Wang et al., five scales, 11x11 Gaussian of sigma 1.5 where it fits",
            f"code / peak of {channel} alone",
        )

    def score_pair(self, pair: FramePair) -> Tensor:
        """Score of each frame."""
        return _multi_scale(pair, channels=1)[:, 0]
