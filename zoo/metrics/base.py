"""What the metrics have in common: the statement of their protocol, and the mean over frames."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from zoo.metrics.frames import FramePair, Strip, check_hdr
from zoo.signal import HDR10_VIDEO, Signal

CLIPPED_CODES = "prediction clipped to [0, peak] of its codes, not rounded; truth as it is"


@dataclass(frozen=True)
class Protocol:
    """What a figure means: two figures may be compared only where these agree.

    Attributes:
        quantity: the formula in words.
        signal: what prediction and truth are given on, in the text form of ``zoo.signal``.
        values: what the formula is applied to.
        range: what code range that is.
        clipping: what is clipped or rounded before.
        crop: which pixels count.
        peak: what counts as the full span.
        display: what display the light is that of.
        unit: of the figure.
    """

    quantity: str
    signal: str
    values: str
    range: str
    clipping: str
    peak: str
    display: str
    unit: str
    crop: str = "none: whole frames"

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return "; ".join(f"{key}: {value}" for key, value in asdict(self).items())


class _FrameSums(Metric):
    """Sum of the frames' scores and their number: ranks with unequal numbers of frames merge exactly."""

    is_differentiable = False
    full_state_update = False

    score_sum: Tensor
    frames: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("score_sum", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("frames", torch.tensor(0), dist_reduce_fx="sum")

    def compute(self) -> Tensor:
        """The set's figure."""
        return self.score_sum / self.frames

    def _add(self, scores: Tensor) -> None:
        self.score_sum += scores.sum()
        self.frames += scores.numel()


class FrameMean(_FrameSums):
    """Mean over frames of scores that were made elsewhere; ``update(scores)`` takes any shape."""

    def update(self, scores: Tensor) -> None:
        """Add the scores of some frames."""
        self._add(scores)


class FrameMetric(_FrameSums):
    """Mean over frames of a score of each frame.

    ``update(preds, target)`` adds the frames of a batch, ``compute()`` gives a float64 scalar. Frames weigh alike,
    however they were batched or spread over processes; only sums are kept. Subclasses say how a frame is scored.

    Args:
        signal: what predictions and truths are on.
        kwargs: what ``torchmetrics.Metric`` takes.

    Attributes:
        protocol: what the figure means.

    Raises:
        SignalError: ``signal`` isn't HDR.
    """

    looks_at_values = True

    def __init__(self, signal: Signal = HDR10_VIDEO, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_hdr(signal)
        self.signal = signal

    @property
    def protocol(self) -> Protocol:
        """What the figure means."""
        raise NotImplementedError

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add the frames of a batch."""
        self._add(self.score(preds, target))

    def score(self, preds: Tensor, target: Tensor) -> Tensor:
        """Score of each frame, ``(B,)``, float64."""
        pair = FramePair(preds, target, self.signal)
        if self.looks_at_values:
            pair.check_values()
        return self.score_pair(pair)

    def score_pair(self, pair: FramePair) -> Tensor:
        """Score of each frame of a pair whose values were looked at."""
        raise NotImplementedError


class PixelMetric(FrameMetric):
    """A metric whose frame score is made of sums over pixels, so that strips can be taken one after the other."""

    def strip_sums(self, strip: Strip) -> Tensor:
        """What a strip adds to the sums, ``(B, ...)`` in float64."""
        raise NotImplementedError

    def finish(self, sums: Tensor, pixels: int) -> Tensor:
        """Score of each frame, from its sums and its number of pixels."""
        raise NotImplementedError

    def score_pair(self, pair: FramePair) -> Tensor:
        """Score of each frame of a pair whose values were looked at."""
        return score_pixels([self], pair)[0]


def score_pixels(metrics: list[PixelMetric], pair: FramePair) -> list[Tensor]:
    """Scores of several metrics from one pass over the strips, which share what is made of a strip.

    Args:
        metrics: on the pair's signal.
        pair: the frames.

    Returns:
        For each metric the scores of the frames, ``(B,)``.
    """
    sums: list[Tensor] = []
    for strip in pair.strips():
        parts = [metric.strip_sums(strip) for metric in metrics]
        sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else parts
    pixels = pair.preds.shape[-2] * pair.preds.shape[-1]
    return [metric.finish(total, pixels) for metric, total in zip(metrics, sums, strict=True)]
