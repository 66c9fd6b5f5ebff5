"""Bicubic resizing that equals MATLAB's ``imresize(x, scale, 'bicubic')``.

PyTorch's own bicubic has another kernel (a = -0.75) and, antialiased, another border; on pictures it is up to 0.05 off.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

import torch
from torch import Tensor

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
