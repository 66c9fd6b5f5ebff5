"""Bicubic resizing that equals MATLAB's ``imresize(x, scale, 'bicubic')``.

PyTorch's own bicubic has another kernel (a = -0.75) and, antialiased, another border; on pictures it is up to 0.05 off.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

import torch
from torch import Tensor

from zoo.ops.portable import is_exporting
from zoo.precision import accumulation_dtype, without_autocast


def imresize(x: Tensor, scale: float | Fraction) -> Tensor:
    """Resize both axes by ``scale`` with MATLAB's bicubic (Keys, 1981, a = -0.5), rows first.

    Reducing widens the kernel by 1 / scale, so that it doesn't alias. Beyond the border the picture is mirrored with
    its edge samples repeated. Nothing is clipped: values may leave the range of ``x`` by a few percent. Linear and
    differentiable.

    Args:
        x: float pictures ``(..., H, W)``.
        scale: output over input size, above 0; ``Fraction(1, 3)`` is exact where a float isn't.

    Returns:
        ``(..., ceil(scale H), ceil(scale W))``, float64 if ``x`` is, else float32. The sum runs over the taps in
        their order, each product rounded by itself, so equal inputs give equal bits on any number of threads.
    """
    dtype = accumulation_dtype(x)
    if is_exporting():
        return _enlarge(x.to(dtype), scale)
    with without_autocast(x):
        for axis in (-2, -1):
            length = x.shape[axis]
            indices, weights = _taps(length, math.ceil(scale * length), float(scale), dtype, x.device)
            shape = (-1, 1) if axis == -2 else (-1,)
            x = x.to(dtype)
            resized = x.index_select(axis, indices[0]) * weights[0].view(shape)
            for index, weight in zip(indices[1:], weights[1:], strict=True):
                resized = resized + x.index_select(axis, index) * weight.view(shape)
            x = resized
    return x


def _enlarge(x: Tensor, scale: float | Fraction) -> Tensor:
    """As :func:`imresize` for a whole number, by slices: sides may be symbols, and have at least 2 samples."""
    assert scale == int(scale), f"resizing by {scale} can't be exported"
    if scale == 1:
        return x
    # Output d of each input sample lies this far behind it; the kernel reaches 2 samples.
    distances = [(d + 0.5) / scale - 0.5 for d in range(int(scale))]
    for axis in (-2, -1):
        length = x.shape[axis]
        border = [x.narrow(axis, first, 1) for first in (1, 0, length - 1, length - 2)]
        mirrored = torch.cat([*border[:2], x, *border[2:]], axis)
        resized = x.new_zeros(())
        for tap in range(-2, 3):
            weight = _keys_kernel(x.new_tensor([distance - tap for distance in distances]))
            samples = mirrored.narrow(axis, tap + 2, length).unsqueeze(-1)
            resized = resized + samples * weight
        x = resized.transpose(-1, -2).flatten(-3, -2) if axis == -2 else resized.flatten(-2)
    return x


@lru_cache(maxsize=128)
def _taps(
    length: int, resized_length: int, scale: float, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Input positions and weights ``(taps, resized_length)`` of each output sample along one axis.

    Positions are 0-based and inside the picture; the weights of one output sum to 1. Computed in float64.
    """
    # Tensors made in inference mode couldn't serve a later training step.
    with torch.inference_mode(False):
        stretch = min(scale, 1.0)
        width = 4 / stretch
        # Sample centres, 1-based as in MATLAB: output i lies at i / s + (1 - 1 / s) / 2 of the input.
        centre = torch.arange(1, resized_length + 1, dtype=torch.float64) / scale + (1 - 1 / scale) / 2
        first = torch.floor(centre - width / 2)
        position = first + torch.arange(math.ceil(width) + 2, dtype=torch.float64)[:, None]
        weight = _keys_kernel(stretch * (centre - position))
        weight = weight / weight.sum(0)
        used = weight.count_nonzero(1) > 0
        period = torch.cat([torch.arange(length), torch.arange(length).flip(0)])  # 0 1 .. n-1 n-1 .. 1 0
        index = period[(position.long() - 1) % (2 * length)]
        return index[used].to(device), weight[used].to(device, dtype)


def _keys_kernel(t: Tensor) -> Tensor:
    """Cubic convolution kernel with a = -0.5 (Keys, 1981): 1 at 0, 0 at the other integers and beyond 2."""
    t = t.abs()
    near = (1.5 * t - 2.5) * t * t + 1
    far = ((-0.5 * t + 2.5) * t - 4) * t + 2
    return torch.where(t <= 1, near, torch.where(t <= 2, far, torch.zeros_like(t)))
