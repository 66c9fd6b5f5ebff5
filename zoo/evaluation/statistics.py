"""Means over frames, what they are worth, and differences between models on the same frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

RESAMPLES = 10_000
_SEED = 0
_CONFIDENCE = 95  # per cent


@dataclass(frozen=True)
class Estimate:
    """A mean over frames.

    Attributes:
        mean: over frames, each weighing alike.
        std: standard deviation of the frames, with one degree of freedom less; NaN for one frame.
        low: lower end of the 95 % interval of the mean; None where it can't be told.
        high: upper end.
        frames: how many.
        scenes: how many.
    """

    mean: float
    std: float
    low: float | None
    high: float | None
    frames: int
    scenes: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def set_mean(scores: Sequence[float], scenes: Sequence[str]) -> Estimate:
    """The mean of frames and its bootstrap interval.

    Frames of a scene resemble each other, so scenes are drawn, with all their frames, not frames: 10,000 times as many
    as there are, with replacement; the interval holds the middle 95 % of the means (percentile method). It can't be
    told from one scene, or with infinite scores.

    Args:
        scores: of the frames.
        scenes: which scene each frame is of.
    """
    values = np.asarray(scores, np.float64)
    names, of = np.unique(np.asarray(scenes), return_inverse=True)
    finite = bool(np.isfinite(values).all())
    std = float(values.std(ddof=1)) if finite and len(values) > 1 else float("nan")
    low = high = None
    if finite and len(names) > 1:
        sums, counts = np.bincount(of, values), np.bincount(of).astype(np.float64)
        drawn = np.random.default_rng(_SEED).multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
        # Not @: BLAS adds in an order that depends on the machine's threads.
        means = (drawn * sums).sum(axis=1) / (drawn * counts).sum(axis=1)
        tail = (100 - _CONFIDENCE) / 2
        low, high = map(float, np.percentile(means, (tail, 100 - tail)))
    return Estimate(float(values.mean()), std, low, high, len(values), len(names))


def paired_difference(ours: Sequence[float], theirs: Sequence[float], scenes: Sequence[str]) -> Estimate:
    """``set_mean`` of ours - theirs, frame by frame: frames that are hard for both don't blur it.

    Two perfect frames differ by 0.
    """
    ours_, theirs_ = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    same = ours_ == theirs_
    with np.errstate(invalid="ignore"):
        return set_mean(np.where(same, 0.0, ours_ - theirs_).tolist(), scenes)
