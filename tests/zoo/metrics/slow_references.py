"""Metrics written out pixel by pixel in float64, independently of zoo.metrics, and pictures to try them on."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from zoo.color import encode
from zoo.signal import HDR10_VIDEO, Signal

Array = np.ndarray


def frames(count: int, height: int, width: int, seed: int = 0, signal: Signal = HDR10_VIDEO) -> Tensor:
    """Muted colours of 1 to 1000 cd/m² in patches of several sizes, on codes of the signal."""
    generator = torch.Generator().manual_seed(seed)
    level = torch.zeros(count, 3, height, width)
    for cell in (1, 4, 16):
        coarse = torch.rand(count, 3, -(-height // cell), -(-width // cell), generator=generator)
        level += coarse.repeat_interleave(cell, 2).repeat_interleave(cell, 3)[..., :height, :width]
    light = 10**level
    codes = encode(0.3 * light + 0.7 * light.mean(1, keepdim=True), signal) * signal.peak
    return codes.round() / signal.peak


def noisy(target: Tensor, strength: float = 0.01, seed: int = 1) -> Tensor:
    """The frames with Gaussian noise, as unrounded as a network's."""
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(seed))
    return target + strength * noise


def arrays(*tensors: Tensor) -> list[Array]:
    """Channels-last float64 of single frames."""
    return [tensor[0].permute(1, 2, 0).double().numpy() for tensor in tensors]


def gaussian_taps(side: int, sigma: float) -> Array:
    offsets = np.arange(side) - (side - 1) / 2
    taps = np.exp(-(offsets**2) / (2 * sigma**2))
    return taps / taps.sum()


def similarity(x: Array, y: Array, window: Array, data_range: float = 1.0) -> tuple[float, float]:
    """SSIM of two equal windows, and its factor of contrast and structure."""
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    mean_x, mean_y = (window * x).sum(), (window * y).sum()
    var_x, var_y = (window * (x - mean_x) ** 2).sum(), (window * (y - mean_y) ** 2).sum()
    covariance = (window * (x - mean_x) * (y - mean_y)).sum()
    contrast = (2 * covariance + c2) / (var_x + var_y + c2)
    return (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1) * contrast, contrast


def ssim_plane(x: Array, y: Array, data_range: float = 1.0) -> float:
    """SSIM of two planes, borders replicated."""
    taps = gaussian_taps(11, 1.5)
    window = np.outer(taps, taps)
    x, y = np.pad(x, 5, "edge"), np.pad(y, 5, "edge")
    rows, columns = x.shape[0] - 10, x.shape[1] - 10
    return float(
        np.mean(
            [
                similarity(x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11], window, data_range)[0]
                for i in range(rows)
                for j in range(columns)
            ]
        )
    )


def ssim_volume(x: Array, y: Array) -> float:
    """SSIM of two arrays of three axes, borders replicated on all."""
    taps = gaussian_taps(11, 1.5)
    window = np.einsum("i,j,k->ijk", taps, taps, taps)
    shape = x.shape
    x, y = np.pad(x, 5, "edge"), np.pad(y, 5, "edge")
    cubes = [np.s_[i : i + 11, j : j + 11, k : k + 11] for i, j, k in np.ndindex(*shape)]
    return float(np.mean([similarity(x[cube], y[cube], window)[0] for cube in cubes]))


def ms_ssim_plane(x: Array, y: Array) -> float:
    """Five scales; on codes, as Wang's code wants them."""
    x, y, score = 1023 * x, 1023 * y, 1.0
    taps = gaussian_taps(11, 1.5)
    c1, c2 = (0.01 * 1023) ** 2, (0.03 * 1023) ** 2

    def windowed(z: Array) -> Array:
        windows = np.lib.stride_tricks.sliding_window_view(z, (11, 11))
        return np.einsum("ijkl,k,l->ij", windows, taps, taps)

    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        if scale:
            x, y = (np.pad(z, ((0, z.shape[0] % 2), (0, z.shape[1] % 2)), "edge") for z in (x, y))
            x, y = ((z[::2, ::2] + z[1::2, ::2] + z[::2, 1::2] + z[1::2, 1::2]) / 4 for z in (x, y))
        mean_x, mean_y = windowed(x), windowed(y)
        var_x, var_y = windowed(x * x) - mean_x**2, windowed(y * y) - mean_y**2
        term = (2 * (windowed(x * y) - mean_x * mean_y) + c2) / (var_x + var_y + c2)
        if scale == 4:
            term = term * (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
        score *= float(term.mean()) ** weight
    return score


def mpsnr(preds: Array, target: Array) -> float:
    """Multi-exposure PSNR; a code at a time, in float32."""
    errors = []

    def quantised(x: float, gain: float) -> int:
        scaled = float(np.float32(1023) * (np.float32(x) * np.float32(gain)))
        whole = math.floor(scaled)
        return min(max(whole + (scaled - whole >= 0.5), 0), 1023)

    for gain in (0.125, 0.25, 0.5, 1, 2, 4, 8):
        t = [quantised(x, gain) for x in target.ravel()]
        p = [quantised(min(max(x, 0), 1), gain) for x in preds.ravel()]
        if 0.1 < sum(t) / len(t) / 1023 < 0.9:
            errors.append(sum((a - b) ** 2 for a, b in zip(t, p, strict=True)) / len(t))
    return 10 * math.log10(1023**2 / (sum(errors) / len(errors)))


def _keys(t: float) -> float:
    t = abs(t)
    if t <= 1:
        return 1.5 * t**3 - 2.5 * t**2 + 1
    return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0.0


def _resized(x: Array, length: int, scale: float) -> Array:
    """Rows of MATLAB's bicubic imresize, the picture mirrored beyond its border."""
    stretch = min(scale, 1.0)
    out = np.zeros((length, x.shape[1]))
    mirror = np.concatenate([np.arange(len(x)), np.arange(len(x))[::-1]])
    for i in range(length):
        centre = (i + 0.5) / scale - 0.5
        taps = range(math.floor(centre - 2 / stretch), math.ceil(centre + 2 / stretch) + 1)
        weights = np.array([_keys(stretch * (centre - k)) for k in taps])
        out[i] = (weights / weights.sum()) @ x[mirror[np.array(taps) % (2 * len(x))]]
    return out


def _filtered(x: Array, kernel: Array, before: int, mode: str = "constant") -> Array:
    """Correlation whose window begins ``before`` pixels before its pixel."""
    side = len(kernel)
    x = np.pad(x, (before, side - 1 - before), mode)
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape)
    return np.einsum("ijkl,kl->ij", windows, kernel)


def sr_sim(x: Array, y: Array) -> float:
    """SR-SIM of two planes in 0..255."""
    side = max(1, math.floor(min(x.shape) / 256 + 0.5))
    x, y = (_filtered(z, np.full((side, side), side**-2.0), side - 1 - side // 2)[::side, ::side] for z in (x, y))

    def saliency(z: Array) -> Array:
        rows, columns = z.shape
        small = _resized(_resized(z, math.ceil(rows / 4), 0.25).T, math.ceil(columns / 4), 0.25).T
        spectrum = np.fft.fft2(small)
        logarithm = np.log(np.abs(spectrum))
        residual = logarithm - _filtered(logarithm, np.full((3, 3), 1 / 9), 1, "edge")
        energy = np.abs(np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))) ** 2
        taps = gaussian_taps(10, 3.8)
        energy = _filtered(energy, np.outer(taps, taps), 4)
        energy = (energy - energy.min()) / (energy.max() - energy.min())
        return _resized(_resized(energy, rows, rows / len(energy)).T, columns, columns / energy.shape[1]).T

    def gradient(z: Array) -> Array:
        scharr = np.array([[3, 0, -3], [10, 0, -10], [3, 0, -3]]) / 16
        return np.hypot(_filtered(z, scharr, 1), _filtered(z, scharr.T, 1))

    (sx, sy), (gx, gy) = ((f(x), f(y)) for f in (saliency, gradient))
    weight = np.maximum(sx, sy)
    score = (2 * sx * sy + 0.4) / (sx**2 + sy**2 + 0.4) * np.sqrt((2 * gx * gy + 225) / (gx**2 + gy**2 + 225))
    return float((score * weight).sum() / weight.sum())
