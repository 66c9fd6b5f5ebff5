"""SR-SIM: similarity of gradients weighted by spectral-residual saliency (Zhang, Li, ICIP 2012)."""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from torch import Tensor
from torch.nn import functional

from zoo.color import luma, signal_to_rgb
from zoo.errors import DataError
from zoo.metrics.base import CLIPPED_CODES, FrameMetric, Protocol
from zoo.metrics.frames import FramePair
from zoo.ops import imresize
from zoo.precision import without_autocast
from zoo.signal import HDR10_VIDEO, Signal

# The constants of the paper's code, for values in 0..255.
_PEAK = 255.0
_C1, _C2 = 0.40, 225.0
_SALIENCY_SCALE = Fraction(1, 4)
_BLUR_SIDE, _BLUR_SIGMA = 10, 3.8
_SMALLEST = 4 * _BLUR_SIDE


def sr_sim(preds: Tensor, target: Tensor, signal: Signal = HDR10_VIDEO) -> Tensor:
    """Spectral-residual similarity of each frame, on Y' of the signal in 0..255.

    The form of the authors' code: frames are reduced to about 256 pixels on the short side by means of F x F pixels,
    F = round(side / 256); saliency at a quarter of that weights the similarity of saliency and of Scharr gradients.
    R'G'B' is brought to luma of its primaries.

    Args:
        preds: ``(B, 3, H, W)``, code / 1023; clipped to [0, 1] here. At least 40 pixels a side.
        target: same shape, code / 1023.
        signal: what both hold.

    Returns:
        ``(B,)``, float64; 1 for a perfect frame.

    Raises:
        SignalError: the shapes differ, or the values are integers.
        DataError: a frame smaller than 40 pixels, NaN, infinity, or a truth outside [0, 1].
    """
    return SRSIM(signal).score(preds, target)


def _luma(x: Tensor, signal: Signal) -> Tensor:
    """Y' of clipped values, times 255, ``(B, 1, H, W)``."""
    matrix = signal.matrix if signal.matrix != "rgb" else "ycbcr2020" if signal.primaries == "bt2020" else "ycbcr709"
    return _PEAK * luma(signal_to_rgb(x, signal), matrix).clamp(0, 1)


def _reduced(pair: FramePair) -> tuple[Tensor, Tensor]:
    """Means of F x F pixels of both lumas, float64, every F-th from the first; beyond the border lies 0."""
    height, width = pair.preds.shape[-2:]
    side = max(1, math.floor(min(height, width) / 256 + 0.5))
    # MATLAB's conv2 of shape "same" with an even kernel takes one pixel more after than before.
    before = side - 1 - side // 2
    outputs = [math.ceil(length / side) for length in (height, width)]
    after = [max(0, side * count - before - length) for count, length in zip(outputs, (height, width), strict=True)]
    lumas = [[_luma(x.double(), pair.signal) for x in (strip.preds, strip.target)] for strip in pair.strips()]
    planes = (torch.cat(strips, dim=-2) for strips in zip(*lumas, strict=True))
    padded = (functional.pad(plane, (before, after[1], before, after[0])) for plane in planes)
    preds, target = (functional.avg_pool2d(x, side) for x in padded)
    return preds, target


def _saliency(x: Tensor) -> Tensor:
    """Spectral residual (Hou, Zhang, CVPR 2007) in 0..1, the size of ``x``."""
    small = imresize(x, _SALIENCY_SCALE)
    spectrum = torch.fft.fft2(small)
    # A flat picture has coefficients of 0, whose logarithm would spoil all others.
    logarithm = spectrum.abs().clamp(min=torch.finfo(small.dtype).eps).log()
    local_mean = functional.avg_pool2d(functional.pad(logarithm, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    residual = torch.polar((logarithm - local_mean).exp(), spectrum.angle())
    energy = torch.fft.ifft2(residual).abs().square()
    blurred = _blurred(energy)
    low, high = blurred.amin((-2, -1), keepdim=True), blurred.amax((-2, -1), keepdim=True)
    saliency = (blurred - low) / (high - low).clamp(min=torch.finfo(small.dtype).tiny)
    # imresize has one scale for both axes, and MATLAB takes each axis' own: one after the other, as columns.
    for axis in (-2, -1):
        saliency = _stretched(saliency, axis, x.shape[axis])
    return saliency


def _blurred(x: Tensor) -> Tensor:
    """10x10 Gaussian with 0 beyond the border; MATLAB's imfilter takes one pixel more after than before."""
    offsets = torch.arange(_BLUR_SIDE, dtype=x.dtype, device=x.device) - (_BLUR_SIDE - 1) / 2
    taps = torch.exp(-offsets.square() / (2 * _BLUR_SIGMA**2))
    taps = taps / taps.sum()
    before, after = (_BLUR_SIDE - 1) // 2, _BLUR_SIDE // 2
    padded = functional.pad(x, (before, after, before, after))
    rows = functional.conv2d(padded, taps.view(1, 1, -1, 1))
    return functional.conv2d(rows, taps.view(1, 1, 1, -1))


def _stretched(x: Tensor, axis: int, length: int) -> Tensor:
    """Bicubic resizing of one axis."""
    columns = x.movedim(axis, -1)
    flat = columns.reshape(-1, columns.shape[-1], 1)
    stretched = imresize(flat, Fraction(length, flat.shape[1]))[..., 0]
    return stretched.view(*columns.shape[:-1], length).movedim(-1, axis)


def _gradient(x: Tensor) -> Tensor:
    """Magnitude of Scharr's gradient, 0 beyond the border."""
    scharr = torch.tensor([[3.0, 0.0, -3.0], [10.0, 0.0, -10.0], [3.0, 0.0, -3.0]], dtype=x.dtype, device=x.device) / 16
    kernels = torch.stack([scharr, scharr.T]).unsqueeze(1)
    return functional.conv2d(x, kernels, padding=1).square().sum(1, keepdim=True).sqrt()


def _similarity(x: Tensor, y: Tensor, constant: float) -> Tensor:
    return (2 * x * y + constant) / (x.square() + y.square() + constant)


class SRSIM(FrameMetric):
    """Mean over frames of ``sr_sim``."""

    higher_is_better = True

    @property
    def protocol(self) -> Protocol:
        """What the figure means."""
        return Protocol(
            quantity="SR-SIM (Zhang, Li, 2012), reduced to about 256 pixels on the short side",
            signal=str(self.signal),
            values=f"Y' ({self.signal.transfer}, {self.signal.primaries})",
            range="full, 0..255",
            clipping=f"{CLIPPED_CODES}; then Y' of both to [0, 1]",
            peak="255",
            display="none",
            unit="1",
        )

    def score_pair(self, pair: FramePair) -> Tensor:
        """Score of each frame."""
        height, width = pair.preds.shape[-2:]
        if min(height, width) < _SMALLEST:
            raise DataError(
                f"a frame of {width}x{height} is too small for SR-SIM, which wants {_SMALLEST} pixels a side"
            )
        with without_autocast(pair.preds):
            preds, target = _reduced(pair)
            saliency = _saliency(preds), _saliency(target)
            weight = torch.maximum(*saliency)
            # Bicubic enlargement overshoots below 0; the authors' code lets it. A flat frame has no saliency at all.
            weight = torch.where(weight.abs().sum((-2, -1), keepdim=True) > 0, weight, torch.ones_like(weight))
            gradients = _similarity(_gradient(preds), _gradient(target), _C2).sqrt()
            similarity = _similarity(*saliency, _C1) * gradients * weight
            return similarity.sum((-3, -2, -1)) / weight.sum((-3, -2, -1))
