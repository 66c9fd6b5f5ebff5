"""The dynamic filters as Triton kernels, for GPUs: filters are read where they lie, in any float type and layout.

A program makes a run of pixels of one row. It computes in float32 and gathers what it needs, nothing is added up by
several programs, so that results are the same each time. Filters are read once and their gradients written once; the
one buffer beside them is the separable filter's vertical pass, ``(B, 3, scale², H, W)`` in float32, and its gradient.
What is computed is said in :mod:`zoo.ops.dynamic`, which chooses between these kernels and its own form.

With ``TRITON_INTERPRET=1`` in the environment before the import, the kernels are run in Python, on a CPU, to test them.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from zoo.ops.dynamic import TAPS_2D, TAPS_SEPARABLE

_CHANNELS = 3  # of a picture; each has sums of its own
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)

_SIDE = tl.constexpr(TAPS_2D)
_TAPS = tl.constexpr(TAPS_SEPARABLE)
_LOWEST = tl.constexpr(torch.finfo(torch.float32).min)

# Values of the filters that a program holds at a time. In channels-last the sub-pixels of a tap (2-D) and the taps of
# a sub-pixel (separable) lie side by side: those are read together, whatever the layout.
_VALUES_2D = 256
_VALUES_SEPARABLE = 1024
_TAPS_AT_ONCE = 16


def takes(x: Tensor, *filters: Tensor) -> bool:
    """Whether the kernels can do it: pictures of three channels, no float64, on a GPU (or interpreted)."""
    return (
        x.device.type == ("cpu" if _INTERPRETED else "cuda")
        and x.shape[1] == _CHANNELS
        and x.numel() > 0
        and all(tensor.dtype in _DTYPES and tensor.device == x.device for tensor in (x, *filters))
    )


def forward_2d(x: Tensor, filters: Tensor, scale: int) -> Tensor:
    """What :func:`zoo.ops.dynamic.dynamic_upsample_2d` returns."""
    upsampled = _like_upsampled(x, scale)
    _launch_2d(_forward_2d, filters, scale, _picture(x), filters, upsampled, *filters.stride())
    return upsampled


def backward_2d(x: Tensor, filters: Tensor, grad_upsampled: Tensor, scale: int) -> tuple[Tensor]:
    """Gradient of the 2-D filter by ``filters``, in their type."""
    grad = torch.empty_like(filters)
    arguments = (_picture(x), filters, _picture(grad_upsampled), grad)
    _launch_2d(_backward_2d, filters, scale, *arguments, *filters.stride(), *grad.stride())
    return (grad,)


def forward_separable(x: Tensor, vertical: Tensor, horizontal: Tensor, scale: int) -> Tensor:
    """What :func:`zoo.ops.dynamic.dynamic_upsample_separable` returns."""
    column, upsampled = _like_column(x, scale), _like_upsampled(x, scale)
    _launch_separable(_filter, vertical, scale, True, _picture(x), vertical, column, *vertical.stride())
    _launch_separable(_filter, horizontal, scale, False, column, horizontal, upsampled, *horizontal.stride())
    return upsampled


def backward_separable(
    x: Tensor, vertical: Tensor, horizontal: Tensor, grad_upsampled: Tensor, scale: int
) -> tuple[Tensor, Tensor]:
    """Gradients of the separable filter by ``vertical`` and ``horizontal``, in their types."""
    x, grad_upsampled = _picture(x), _picture(grad_upsampled)
    column = _like_column(x, scale)
    _launch_separable(_filter, vertical, scale, True, x, vertical, column, *vertical.stride())
    grad_horizontal = torch.empty_like(horizontal)
    arguments = (column, grad_upsampled, grad_horizontal)
    _launch_separable(_filter_gradient, horizontal, scale, False, *arguments, *grad_horizontal.stride())

    grad_column = column  # which isn't needed any more
    arguments = (grad_upsampled, horizontal, grad_column)
    _launch_separable(_column_gradient, horizontal, scale, None, *arguments, *horizontal.stride())
    grad_vertical = torch.empty_like(vertical)
    arguments = (x, grad_column, grad_vertical)
    _launch_separable(_filter_gradient, vertical, scale, True, *arguments, *grad_vertical.stride())
    return grad_vertical, grad_horizontal


def _picture(x: Tensor) -> Tensor:
    return x.float().contiguous()


def _like_upsampled(x: Tensor, scale: int) -> Tensor:
    batch, channels, height, width = x.shape
    return x.new_empty(batch, channels, scale * height, scale * width, dtype=torch.float32)


def _like_column(x: Tensor, scale: int) -> Tensor:
    """For the vertical pass or its gradient, ``(B, 3, scale², H, W)``."""
    batch, channels, height, width = x.shape
    return x.new_empty(batch, channels, scale**2, height, width, dtype=torch.float32)


def _launch_2d(kernel: Any, filters: Tensor, scale: int, *arguments: Any) -> None:
    batch, _, height, width = filters.shape
    block = _VALUES_2D // scale**2
    with _on(filters.device):
        kernel[(triton.cdiv(width, block) * height, batch)](*arguments, height, width, scale, block)


def _launch_separable(kernel: Any, filters: Tensor, scale: int, vertical: bool | None, *arguments: Any) -> None:
    batch, _, height, width = filters.shape
    block = _VALUES_SEPARABLE // _TAPS_AT_ONCE
    direction = () if vertical is None else (vertical,)
    grid = (triton.cdiv(width, block) * height, scale**2, batch)
    with _on(filters.device):
        kernel[grid](*arguments, height, width, scale, *direction, block, _TAPS_AT_ONCE)


def _on(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Triton launches on the current GPU, which needn't be the tensors'."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


# In the kernels, pictures and buffers are float32 and contiguous; filters have strides b, c, h, w. What a program needs
# first of a tensor is found in 64 bits, the rest from there in 32: three planes of an HR picture have fewer than 2^31
# samples. Sub-pixel p of LR pixel (h, w) is HR pixel (scale h + p // scale, scale w + p % scale).


@triton.jit
def _forward_2d(
    x: tl.tensor,
    filters: tl.tensor,
    upsampled: tl.tensor,
    stride_b: tl.tensor,
    stride_c: tl.tensor,
    stride_h: tl.tensor,
    stride_w: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    scale: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """All sub-pixels of a run of pixels, ``(block, scale²)``."""
    runs = tl.cdiv(width, block)
    h = tl.program_id(0) // runs
    columns = tl.program_id(0) % runs * block + tl.arange(0, block)
    b = tl.program_id(1).to(tl.int64)
    area = height * width
    x += b * 3 * area
    rows, w = tl.full([1, 1], h, tl.int32), columns[:, None]
    sub = tl.arange(0, scale * scale)[None, :]
    inside = w < width
    filters += b * stride_b + h.to(tl.int64) * stride_h + w * stride_w + sub * stride_c

    # The softmax as it goes: when a higher logit comes, what was added up so far is scaled down.
    highest = tl.full([block, scale * scale], _LOWEST, tl.float32)
    norm = tl.zeros([block, scale * scale], tl.float32)
    sum_0 = tl.zeros([block, scale * scale], tl.float32)
    sum_1 = tl.zeros([block, scale * scale], tl.float32)
    sum_2 = tl.zeros([block, scale * scale], tl.float32)
    for tap in range(_SIDE * _SIDE):
        logit = tl.load(filters, mask=inside, other=0.0).to(tl.float32)
        filters += stride_c * (scale * scale)
        higher = tl.maximum(highest, logit)
        kept = tl.exp(highest - higher)
        weight = tl.exp(logit - higher)
        highest = higher
        row = rows + tap // _SIDE - _SIDE // 2
        column = w + tap - tap // _SIDE * _SIDE - _SIDE // 2
        known = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        samples = x + row * width + column
        norm = norm * kept + weight
        sum_0 = sum_0 * kept + weight * tl.load(samples, mask=known, other=0.0)
        sum_1 = sum_1 * kept + weight * tl.load(samples + area, mask=known, other=0.0)
        sum_2 = sum_2 * kept + weight * tl.load(samples + 2 * area, mask=known, other=0.0)

    hr_area = area * (scale * scale)
    upsampled += b * 3 * hr_area
    upsampled += (h.to(tl.int64) * scale + sub // scale) * (scale * width) + scale * w + sub % scale
    tl.store(upsampled, sum_0 / norm, mask=inside)
    tl.store(upsampled + hr_area, sum_1 / norm, mask=inside)
    tl.store(upsampled + 2 * hr_area, sum_2 / norm, mask=inside)


@triton.jit
def _backward_2d(
    x: tl.tensor,
    filters: tl.tensor,
    grad_upsampled: tl.tensor,
    grad_filters: tl.tensor,
    stride_b: tl.tensor,
    stride_c: tl.tensor,
    stride_h: tl.tensor,
    stride_w: tl.tensor,
    grad_stride_b: tl.tensor,
    grad_stride_c: tl.tensor,
    grad_stride_h: tl.tensor,
    grad_stride_w: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    scale: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """Gradient by the logits of a run of pixels: w (g - mean of g under w), with g the gradient by the weights w.

    Norm and mean come first, so that logits are read twice, a program's own right after one another: from the cache.
    """
    runs = tl.cdiv(width, block)
    h = tl.program_id(0) // runs
    columns = tl.program_id(0) % runs * block + tl.arange(0, block)
    b = tl.program_id(1).to(tl.int64)
    area = height * width
    x += b * 3 * area
    rows, w = tl.full([1, 1], h, tl.int32), columns[:, None]
    sub = tl.arange(0, scale * scale)[None, :]
    inside = w < width
    filters += b * stride_b + h.to(tl.int64) * stride_h + w * stride_w + sub * stride_c
    grad_filters += b * grad_stride_b + h.to(tl.int64) * grad_stride_h + w * grad_stride_w + sub * grad_stride_c
    hr_area = area * (scale * scale)
    grad_upsampled += b * 3 * hr_area
    grad_upsampled += (h.to(tl.int64) * scale + sub // scale) * (scale * width) + scale * w + sub % scale
    grad_0 = tl.load(grad_upsampled, mask=inside, other=0.0)
    grad_1 = tl.load(grad_upsampled + hr_area, mask=inside, other=0.0)
    grad_2 = tl.load(grad_upsampled + 2 * hr_area, mask=inside, other=0.0)

    highest = tl.full([block, scale * scale], _LOWEST, tl.float32)
    norm = tl.zeros([block, scale * scale], tl.float32)
    mean = tl.zeros([block, scale * scale], tl.float32)
    logits = filters
    for tap in range(_SIDE * _SIDE):
        logit = tl.load(logits, mask=inside, other=0.0).to(tl.float32)
        logits += stride_c * (scale * scale)
        higher = tl.maximum(highest, logit)
        kept = tl.exp(highest - higher)
        weight = tl.exp(logit - higher)
        highest = higher
        row = rows + tap // _SIDE - _SIDE // 2
        column = w + tap - tap // _SIDE * _SIDE - _SIDE // 2
        known = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        samples = x + row * width + column
        grad = grad_0 * tl.load(samples, mask=known, other=0.0)
        grad += grad_1 * tl.load(samples + area, mask=known, other=0.0)
        grad += grad_2 * tl.load(samples + 2 * area, mask=known, other=0.0)
        norm = norm * kept + weight
        mean = mean * kept + weight * grad
    mean /= norm

    logits = filters
    for tap in range(_SIDE * _SIDE):
        logit = tl.load(logits, mask=inside, other=0.0).to(tl.float32)
        logits += stride_c * (scale * scale)
        row = rows + tap // _SIDE - _SIDE // 2
        column = w + tap - tap // _SIDE * _SIDE - _SIDE // 2
        known = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        samples = x + row * width + column
        grad = grad_0 * tl.load(samples, mask=known, other=0.0)
        grad += grad_1 * tl.load(samples + area, mask=known, other=0.0)
        grad += grad_2 * tl.load(samples + 2 * area, mask=known, other=0.0)
        grad = (grad - mean) * (tl.exp(logit - highest) / norm)
        tl.store(grad_filters, grad.to(grad_filters.dtype.element_ty), mask=inside)
        grad_filters += grad_stride_c * (scale * scale)


@triton.jit
def _filter(
    source: tl.tensor,
    filters: tl.tensor,
    out: tl.tensor,
    stride_b: tl.tensor,
    stride_c: tl.tensor,
    stride_h: tl.tensor,
    stride_w: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    scale: tl.constexpr,
    vertical: tl.constexpr,
    block: tl.constexpr,
    taps: tl.constexpr,
) -> None:
    """One sub-pixel of a run of pixels: a column's from a picture (``vertical``), or the output's from columns."""
    runs = tl.cdiv(width, block)
    h = tl.program_id(0) // runs
    columns = tl.program_id(0) % runs * block + tl.arange(0, block)
    sub = tl.program_id(1)
    b = tl.program_id(2).to(tl.int64)
    area = height * width
    plane = area if vertical else area * (scale * scale)  # from one channel of the source to the next
    source += b * 3 * plane + (0 if vertical else sub * area)
    rows, w = tl.full([1, 1], h, tl.int32), columns[:, None]
    filters += b * stride_b + (sub * _TAPS).to(tl.int64) * stride_c + h.to(tl.int64) * stride_h + w * stride_w

    sum_0 = tl.zeros([block, taps], tl.float32)
    sum_1 = tl.zeros([block, taps], tl.float32)
    sum_2 = tl.zeros([block, taps], tl.float32)
    for first in range(0, _TAPS, taps):
        tap = first + tl.arange(0, taps)[None, :]
        weight = tl.load(filters + tap * stride_c, mask=(w < width) & (tap < _TAPS), other=0.0).to(tl.float32)
        off = tl.where(tap < _TAPS, tap - _TAPS // 2, height + width)  # taps that there aren't lie beyond the picture
        row = rows + off if vertical else rows
        column = w if vertical else w + off
        known = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        samples = source + row * width + column
        sum_0 += weight * tl.load(samples, mask=known, other=0.0)
        sum_1 += weight * tl.load(samples + plane, mask=known, other=0.0)
        sum_2 += weight * tl.load(samples + 2 * plane, mask=known, other=0.0)

    hr_area = area * (scale * scale)
    out += b * 3 * hr_area
    if vertical:
        out += sub * area + h.to(tl.int64) * width + columns
    else:
        out += (h.to(tl.int64) * scale + sub // scale) * (scale * width) + scale * columns + sub % scale
    tl.store(out, tl.sum(sum_0, 1), mask=columns < width)
    tl.store(out + hr_area, tl.sum(sum_1, 1), mask=columns < width)
    tl.store(out + 2 * hr_area, tl.sum(sum_2, 1), mask=columns < width)


@triton.jit
def _filter_gradient(
    source: tl.tensor,
    grad_out: tl.tensor,
    grad_filters: tl.tensor,
    stride_b: tl.tensor,
    stride_c: tl.tensor,
    stride_h: tl.tensor,
    stride_w: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    scale: tl.constexpr,
    vertical: tl.constexpr,
    block: tl.constexpr,
    taps: tl.constexpr,
) -> None:
    """Gradient by the filters of what ``_filter`` computes."""
    runs = tl.cdiv(width, block)
    h = tl.program_id(0) // runs
    columns = tl.program_id(0) % runs * block + tl.arange(0, block)
    sub = tl.program_id(1)
    b = tl.program_id(2).to(tl.int64)
    area = height * width
    plane = area if vertical else area * (scale * scale)
    source += b * 3 * plane + (0 if vertical else sub * area)
    rows, w = tl.full([1, 1], h, tl.int32), columns[:, None]
    hr_area = area * (scale * scale)
    grad_out += b * 3 * hr_area
    if vertical:
        grad_out += sub * area + h.to(tl.int64) * width + w
    else:
        grad_out += (h.to(tl.int64) * scale + sub // scale) * (scale * width) + scale * w + sub % scale
    grad_0 = tl.load(grad_out, mask=w < width, other=0.0)
    grad_1 = tl.load(grad_out + hr_area, mask=w < width, other=0.0)
    grad_2 = tl.load(grad_out + 2 * hr_area, mask=w < width, other=0.0)
    grad_filters += b * stride_b + (sub * _TAPS).to(tl.int64) * stride_c + h.to(tl.int64) * stride_h + w * stride_w
    for first in range(0, _TAPS, taps):
        tap = first + tl.arange(0, taps)[None, :]
        off = tl.where(tap < _TAPS, tap - _TAPS // 2, height + width)  # taps that there aren't lie beyond the picture
        row = rows + off if vertical else rows
        column = w if vertical else w + off
        known = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        samples = source + row * width + column
        grad = grad_0 * tl.load(samples, mask=known, other=0.0)
        grad += grad_1 * tl.load(samples + plane, mask=known, other=0.0)
        grad += grad_2 * tl.load(samples + 2 * plane, mask=known, other=0.0)
        grad = grad.to(grad_filters.dtype.element_ty)
        tl.store(grad_filters + tap * stride_c, grad, mask=(w < width) & (tap < _TAPS))


@triton.jit
def _column_gradient(
    grad_upsampled: tl.tensor,
    filters: tl.tensor,
    grad_column: tl.tensor,
    stride_b: tl.tensor,
    stride_c: tl.tensor,
    stride_h: tl.tensor,
    stride_w: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    scale: tl.constexpr,
    block: tl.constexpr,
    taps: tl.constexpr,
) -> None:
    """Gradient by the columns of one sub-pixel: from each output that read them, with that output's filter."""
    runs = tl.cdiv(width, block)
    h = tl.program_id(0) // runs
    columns = tl.program_id(0) % runs * block + tl.arange(0, block)
    sub = tl.program_id(1)
    b = tl.program_id(2).to(tl.int64)
    area = height * width
    hr_area = area * (scale * scale)
    w = columns[:, None]
    grad_upsampled += b * 3 * hr_area
    filters += b * stride_b + (sub * _TAPS).to(tl.int64) * stride_c + h.to(tl.int64) * stride_h

    sum_0 = tl.zeros([block, taps], tl.float32)
    sum_1 = tl.zeros([block, taps], tl.float32)
    sum_2 = tl.zeros([block, taps], tl.float32)
    for first in range(0, _TAPS, taps):
        tap = first + tl.arange(0, taps)[None, :]
        reader = w - tap + _TAPS // 2
        known = (reader >= 0) & (reader < width) & (tap < _TAPS)
        weight = tl.load(filters + reader * stride_w + tap * stride_c, mask=known, other=0.0).to(tl.float32)
        grad = grad_upsampled + (h.to(tl.int64) * scale + sub // scale) * (scale * width) + scale * reader + sub % scale
        sum_0 += weight * tl.load(grad, mask=known, other=0.0)
        sum_1 += weight * tl.load(grad + hr_area, mask=known, other=0.0)
        sum_2 += weight * tl.load(grad + 2 * hr_area, mask=known, other=0.0)

    grad_column += b * 3 * hr_area + sub * area + h.to(tl.int64) * width + columns
    tl.store(grad_column, tl.sum(sum_0, 1), mask=columns < width)
    tl.store(grad_column + hr_area, tl.sum(sum_1, 1), mask=columns < width)
    tl.store(grad_column + 2 * hr_area, tl.sum(sum_2, 1), mask=columns < width)


_INTERPRETED = not isinstance(_forward_2d, triton.JITFunction)
