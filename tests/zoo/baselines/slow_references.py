"""The expansion operators written out pixel by pixel in NumPy, from docs/baselines.md."""

from __future__ import annotations

import math

import numpy as np

Array = np.ndarray


def bilateral_grid(x: Array, edge: Array, spatial: float, range_: float) -> Array:
    """Gather in the nearest cells, blur over 3x3x3, divide, read out between the eight cells around."""
    data: dict[tuple[int, int, int], float] = {}
    weight: dict[tuple[int, int, int], float] = {}
    height, width = x.shape
    for i in range(height):
        for j in range(width):
            cell = (math.floor(i / spatial + 0.5), math.floor(j / spatial + 0.5), math.floor(edge[i, j] / range_ + 0.5))
            data[cell] = data.get(cell, 0.0) + x[i, j]
            weight[cell] = weight.get(cell, 0.0) + 1

    steps = [(a, b, c) for a in (-1, 0, 1) for b in (-1, 0, 1) for c in (-1, 0, 1)]

    def mean(cell: tuple[int, int, int]) -> float:
        total = share = 0.0
        for step in steps:
            other = (cell[0] + step[0], cell[1] + step[1], cell[2] + step[2])
            factor = math.exp(-0.5 * (step[0] ** 2 + step[1] ** 2 + step[2] ** 2))
            total += factor * data.get(other, 0.0)
            share += factor * weight.get(other, 0.0)
        return total / share

    out = np.empty_like(x)
    for i in range(height):
        for j in range(width):
            place = (i / spatial, j / spatial, edge[i, j] / range_)
            value = 0.0
            for corner in [(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)]:
                cell = (
                    math.floor(place[0]) + corner[0],
                    math.floor(place[1]) + corner[1],
                    math.floor(place[2]) + corner[2],
                )
                share = math.prod(max(0.0, 1 - abs(p - c)) for p, c in zip(place, cell, strict=True))
                if share:
                    value += share * mean(cell)
            out[i, j] = value
    return out


def luminance(rgb: Array) -> Array:
    return 0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2]


def scaled(rgb: Array, wanted: Array) -> Array:
    """RGB with the luminance ``wanted``, clipped to [0, 1000]; black stays black."""
    own = luminance(rgb)
    out = np.zeros_like(rgb)
    for i, j in zip(*np.nonzero(own > 0), strict=True):
        out[:, i, j] = rgb[:, i, j] * wanted[i, j] / own[i, j]
    return np.clip(out, 0, 1000)


def kovaleski(rgb: Array) -> Array:
    clipped = (rgb.max(0) > (254 / 255) ** 2.4).astype(float)
    own = luminance(rgb)
    mask = bilateral_grid(clipped, own, 150, (25 / 255) ** 2.4)
    return scaled(rgb, (own * (1000 - 0.3) + 0.3) * (3 * mask + 1))


def masia_gamma(own: Array) -> float:
    average = math.exp(np.log(own + 1e-6).mean())
    lit = sorted(own[own > 0])
    low = lit[max(1, math.floor(0.01 * len(lit) + 0.5)) - 1]
    high = lit[max(1, math.floor(0.99 * len(lit) + 0.5)) - 1]
    key = (math.log(average) - math.log(low)) / (math.log(high) - math.log(low))
    clipped = 100 * np.count_nonzero(255 * own >= 254) / own.size
    return 2.4379 + 0.2319 * math.log(average) - 1.1228 * key + 0.0085 * clipped


def masia(rgb: Array) -> Array:
    own = luminance(rgb)
    span = own.max() - own.min()
    smooth = bilateral_grid(own, own - own.min(), min(own.shape) / 16, 0.1 * span)
    return scaled(rgb, 1000 * own / smooth * smooth ** masia_gamma(own))


def huo(rgb: Array) -> Array:
    own = luminance(rgb)
    smooth = bilateral_grid(own, own, 16, 0.3)
    smooth = bilateral_grid(smooth, smooth, 10, 0.1)
    average = math.exp(np.log(own + 1e-6).mean())
    return scaled(rgb, own / own.max() * ((1000 * smooth) ** 0.86 + (1000 * average) ** 0.86) ** (1 / 0.86))
