"""The dynamic filters as plain tensor arithmetic, for graphs that leave PyTorch.

Heights and widths may be symbols. The number of nodes is fixed, and no tensor is larger than the filters that the
network made. In eager code :mod:`zoo.ops.dynamic` is quicker and takes less memory.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.precision import accumulation_dtype

_TAPS_AT_ONCE = 9


def is_exporting() -> bool:
    """Whether ``torch.export``, or the ONNX exporter through it, is tracing."""
    # PyTorch 2.6 can't tell, and can't export these networks; bool() is False.
    return getattr(torch.compiler, "is_exporting", bool)()


def dynamic_upsample_2d(x: Tensor, filters: Tensor, scale: int, side: int) -> Tensor:
    """As :func:`zoo.ops.dynamic.dynamic_upsample_2d`, a row of taps at a time; the softmax's division comes last."""
    dtype = accumulation_dtype(x, filters)
    reach = side // 2
    padded = F.pad(x.to(dtype), (reach, reach, reach, reach))
    logits = filters.unflatten(1, (side, side, scale**2))
    highest = logits.amax((1, 2))[:, None].to(dtype)
    upsampled = norm = padded.new_zeros(())
    for y in range(side):
        weights = (logits[:, y].to(dtype) - highest).exp()
        samples = _windows(padded.narrow(-2, y, x.shape[-2]), -1, 0, side, side)
        upsampled = upsampled + (samples[:, :, :, None] * weights[:, None]).sum(2)
        norm = norm + weights.sum(1)
    return F.pixel_shuffle((upsampled / norm[:, None]).flatten(1, 2), scale)


def dynamic_upsample_separable(x: Tensor, vertical: Tensor, horizontal: Tensor, scale: int, taps: int) -> Tensor:
    """As :func:`zoo.ops.dynamic.dynamic_upsample_separable`, some taps at a time."""
    dtype = accumulation_dtype(x, vertical, horizontal)
    reach = taps // 2
    column = x.to(dtype)[:, :, None]
    for axis, filters in ((-2, vertical), (-1, horizontal)):
        kernels = filters.unflatten(1, (scale**2, taps))
        padded = F.pad(column.flatten(1, 2), (reach, reach) if axis == -1 else (0, 0, reach, reach))
        column = column.new_zeros(())
        for first in range(0, taps, _TAPS_AT_ONCE):
            count = min(_TAPS_AT_ONCE, taps - first)
            samples = _windows(padded, axis, first, count, taps).unflatten(1, (x.shape[1], -1))
            weights = kernels[:, None, :, first : first + count].to(dtype)
            column = column + (samples * weights).sum(3)
    return F.pixel_shuffle(column.flatten(1, 2), scale)


def _windows(padded: Tensor, axis: int, first: int, count: int, taps: int) -> Tensor:
    """What ``count`` of a filter's ``taps`` read along an axis: ``(B, C, count, H, W)`` from ``(B, C, H, W)``.

    One convolution, whose kernels have a single 1, instead of slices: exact but for what hardware rounds.
    """
    channels = padded.shape[1]
    samples = padded.narrow(axis, first, padded.shape[axis] - taps + count)
    kernels = torch.eye(count, dtype=padded.dtype, device=padded.device).repeat(channels, 1)[:, None]
    kernels = kernels[..., None] if axis == -2 else kernels[:, :, None]
    return F.conv2d(samples, kernels, groups=channels).unflatten(1, (channels, count))
