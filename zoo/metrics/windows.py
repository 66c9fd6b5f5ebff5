"""Means, variances and covariance under SSIM's Gaussian window, a strip of rows at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from zoo.errors import DataError
from zoo.precision import without_autocast

RADIUS = 5
SIDE = 2 * RADIUS + 1
_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03

# What is worked on at a time: some rows that a processor's cache can hold, so that a 4K frame takes little more memory
# than itself. It depends on the width alone, so that a frame's figure doesn't depend on its batch.
STRIP_PIXELS = 2**17

Rows = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Gives the rows of these numbers of two pictures."""


class Structure(NamedTuple):
    """Means over a frame, float64. Borders are replicated, but for the last two, taken where the window fits.

    Attributes:
        ssim: ``(B, C)``, SSIM of each channel under the 11x11 window.
        volume: ``(B,)``, SSIM under an 11x11x11 window that runs over the channels too.
        valid_ssim: ``(B, C)``, as ``ssim``; NaN where the window fits nowhere.
        valid_contrast: ``(B, C)``, SSIM without its luminance factor.
    """

    ssim: Tensor
    volume: Tensor
    valid_ssim: Tensor
    valid_contrast: Tensor


def gaussian() -> tuple[float, ...]:
    """The window along one axis: sigma 1.5, 11 taps, sum 1. The window in the plane is its outer product."""
    taps = [math.exp(-(offset**2) / (2 * _SIGMA**2)) for offset in range(-RADIUS, RADIUS + 1)]
    return tuple(tap / sum(taps) for tap in taps)


def structure(rows: Rows, height: int, width: int, data_range: float, device: torch.device) -> Structure:
    """Gather ``Structure`` of two pictures that are given by rows.

    Args:
        rows: gives the two pictures' rows of the numbers asked for, ``(B, C, rows, width)`` in float64: a variance is
            the difference of two nearly equal means.
        height: rows of the pictures.
        width: columns.
        data_range: span of the values, which sets the constants.
        device: where the pictures are.

    Raises:
        DataError: the window is larger than the picture.
    """
    if min(height, width) < SIDE:
        raise DataError(f"a frame of {width}x{height} is smaller than SSIM's window of {SIDE}x{SIDE}")
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    step = max(1, STRIP_PIXELS // width)
    totals: list[Tensor] | None = None
    for top in range(0, height, step):
        bottom = min(top + step, height)
        index = torch.arange(top - RADIUS, bottom + RADIUS, device=device).clamp(0, height - 1)
        moments = _moments(*rows(index))
        luminance, contrast = _factors(moments, c1, c2)
        similarity = luminance * contrast
        # Beyond the first and the last channel they repeat, so the window over the channels is a small matrix.
        mixed = _channel_window(moments.shape[-3], device) @ moments.flatten(-2)
        volume = torch.mul(*_factors(mixed, c1, c2))
        inside = slice(max(RADIUS - top, 0), max(min(height - RADIUS, bottom) - top, 0))
        fits = (Ellipsis, inside, slice(RADIUS, width - RADIUS))
        sums = [
            similarity.sum((-2, -1)),
            volume.sum((-2, -1)),
            similarity[fits].sum((-2, -1)),
            contrast[fits].sum((-2, -1)),
        ]
        totals = sums if totals is None else [a + b for a, b in zip(totals, sums, strict=True)]
    assert totals is not None
    pixels, valid = height * width, (height - 2 * RADIUS) * (width - 2 * RADIUS)
    return Structure(
        totals[0] / pixels, totals[1] / (pixels * totals[0].shape[1]), totals[2] / valid, totals[3] / valid
    )


def rows_of(x: Tensor, y: Tensor) -> Rows:
    """The rows of two pictures ``(B, C, H, W)`` that lie in memory."""
    return lambda index: (x.index_select(-2, index), y.index_select(-2, index))


def _moments(x: Tensor, y: Tensor) -> Tensor:
    """Windowed means of x, y, x² + y² and x y: ``(4, B, C, rows - 10, width)``.

    Of the squares the sum is enough: the variances appear as their sum alone.
    """
    width = x.shape[-1]
    with without_autocast(x):
        stack = torch.stack([x, y, x * x + y * y, x * y])
        # Down the columns a product with a banded matrix, along the rows shifted sums: measured to be the fastest.
        columns = _band(stack.shape[-2], x.dtype, x.device) @ stack
        shape = columns.shape
        columns = torch.nn.functional.pad(columns.flatten(0, 1), (RADIUS, RADIUS, 0, 0), mode="replicate")
        taps = gaussian()
        means = taps[0] * columns[..., :width]
        for k in range(1, SIDE):
            means.add_(columns[..., k : k + width], alpha=taps[k])
    return means.view(shape)


def _factors(moments: Tensor, c1: float, c2: float) -> tuple[Tensor, Tensor]:
    """SSIM's luminance factor and its factor of contrast and structure."""
    mean_x, mean_y, squares, product = moments
    cross = mean_x * mean_y
    power = mean_x.square() + mean_y.square()
    return (2 * cross + c1) / (power + c1), (2 * (product - cross) + c2) / (squares - power + c2)


@lru_cache(maxsize=64)
def _band(rows: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The window down a column as a matrix ``(rows - 10, rows)``."""
    with torch.inference_mode(False):
        band = torch.zeros(rows - 2 * RADIUS, rows, dtype=torch.float64)
        for k, tap in enumerate(gaussian()):
            band.diagonal(k).fill_(tap)
        return band.to(device, dtype)


@lru_cache(maxsize=8)
def _channel_window(channels: int, device: torch.device) -> Tensor:
    """The window over the channels, the outer ones repeated, as a matrix ``(channels, channels)``."""
    with torch.inference_mode(False):
        window = torch.zeros(channels, channels, dtype=torch.float64)
        for channel in range(channels):
            for k, tap in enumerate(gaussian()):
                window[channel, min(max(channel + k - RADIUS, 0), channels - 1)] += tap
        return window.to(device)
