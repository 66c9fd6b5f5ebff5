"""Stages between a stored pair and a training sample: each a function from pair to pair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CropSchedule:
    """Size of the training crops by epoch.

    Args:
        sizes: HR pixels for each stage, one or two.
        stage_epoch: the epoch with which the second stage begins; None: there is one stage.
    """

    sizes: tuple[int, ...]
    stage_epoch: int | None = None

    def size(self, epoch: int) -> int:
        """HR pixels, height and width, of the crops in ``epoch``."""
        if self.stage_epoch is None or epoch < self.stage_epoch:
            return self.sizes[0]
        return self.sizes[-1]


def random_crop(
    sdr: np.ndarray, hdr: np.ndarray, size: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Cut the same random square from both pictures; its HR corner is a multiple of the scale.

    Args:
        sdr: (h, w, 3).
        hdr: (s h, s w, 3).
        size: HR pixels, a multiple of s, at most s h and s w.
        generator: where the corner is drawn from.

    Returns:
        Views (size / s, size / s, 3) and (size, size, 3).
    """
    scale = hdr.shape[0] // sdr.shape[0]
    lr_size = size // scale
    top = int(generator.integers(sdr.shape[0] - lr_size + 1))
    left = int(generator.integers(sdr.shape[1] - lr_size + 1))
    return (
        sdr[top : top + lr_size, left : left + lr_size],
        hdr[scale * top : scale * top + size, scale * left : scale * left + size],
    )


def random_turn(sdr: np.ndarray, hdr: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One of the eight flips and quarter turns of a square, the same for both pictures (views)."""
    quarters, mirrored = int(generator.integers(4)), bool(generator.integers(2))
    return _turn(sdr, quarters, mirrored), _turn(hdr, quarters, mirrored)


def _turn(picture: np.ndarray, quarters: int, mirrored: bool) -> np.ndarray:
    """A picture, mirrored or not, after quarter turns counter-clockwise."""
    if mirrored:
        picture = picture[:, ::-1]
    # As np.rot90, which takes twenty times as long for it as one slice does.
    if quarters in (1, 2):
        picture = picture[:, ::-1]
    if quarters in (2, 3):
        picture = picture[::-1]
    return picture.swapaxes(0, 1) if quarters in (1, 3) else picture
