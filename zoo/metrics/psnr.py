"""PSNR on HDR codes, raw and exposure-matched, as protocol ``val-v1`` scores (docs/protocol.md)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from zoo.color import decode, encode
from zoo.errors import SignalError
from zoo.signal import HDR10_VIDEO

# Gains that a match is sought over: 3 stops either way in eighths.
_GAINS = tuple(2 ** (k / 8) for k in range(-24, 25))


def psnr(preds: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each frame, on 10-bit Y'CbCr codes of BT.2020 PQ.

    10 log10(1023^2 / mean((P - T)^2)) with one mean over rows, columns and the three channels.

    Args:
        preds: ``(B, 3, H, W)``, code / 1023, not rounded; clipped to [0, 1] here.
        target: same shape, code / 1023.

    Returns:
        ``(B,)`` in dB, float64; infinite for a perfect frame.

    Raises:
        SignalError: the shapes differ.

    Example:
        >>> psnr(torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.1))
        tensor([20.0000], dtype=torch.float64)
    """
    _check_shapes(preds, target)
    # Half precision lacks the digits of 10-bit codes, and a good frame's error is small beside its values.
    error = preds.double().clamp(0, 1) - target.double()
    return -10 * error.square().mean(dim=(-3, -2, -1)).log10()


def matched_psnr(preds: Tensor, target: Tensor) -> Tensor:
    """PSNR of each frame at the exposure that suits it best: forgives a wrong overall level.

    The prediction is decoded to display light, multiplied by a gain and encoded again, without rounding; the best of 49
    gains from -3 to +3 stops counts, for each frame.

    Args:
        preds: as for ``psnr``.
        target: as for ``psnr``.

    Returns:
        ``(B,)`` in dB, float64.

    Raises:
        SignalError: the shapes differ.
    """
    _check_shapes(preds, target)
    light = decode(preds.clamp(0, 1), HDR10_VIDEO)
    scores = [psnr(encode(gain * light, HDR10_VIDEO), target) for gain in _GAINS]
    return torch.stack(scores).amax(dim=0)


def _check_shapes(preds: Tensor, target: Tensor) -> None:
    if preds.shape != target.shape or preds.ndim != 4 or preds.shape[1] != 3:
        raise SignalError(
            f"prediction {tuple(preds.shape)} and truth {tuple(target.shape)} must both be (B, 3, H, W) of one size; "
            "is it a network of the set's scale?"
        )


class PSNR(Metric):
    """Mean over frames of ``psnr``.

    Shape: ``update(preds, target)`` takes what ``psnr`` takes; ``compute()`` gives a scalar in dB, infinite if any
    frame was perfect. Frames weigh alike, however they were batched or spread over processes.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    score_sum: Tensor
    frames: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Sums, not lists: ranks with unequal numbers of frames merge exactly.
        self.add_state("score_sum", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("frames", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add the frames of a batch."""
        scores = self.score(preds, target)
        self.score_sum += scores.sum()
        self.frames += scores.numel()

    def compute(self) -> Tensor:
        """The set's figure."""
        return self.score_sum / self.frames

    def score(self, preds: Tensor, target: Tensor) -> Tensor:
        """Score of each frame."""
        return psnr(preds, target)


class MatchedPSNR(PSNR):
    """Mean over frames of ``matched_psnr``; used as ``PSNR``."""

    def score(self, preds: Tensor, target: Tensor) -> Tensor:
        """Score of each frame."""
        return matched_psnr(preds, target)
