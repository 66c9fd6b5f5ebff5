"""Dynamic up-sampling filters: each LR pixel is filtered by kernels that a network predicted for it (JSI-GAN).

Both operators take the network's raw output, 81 (2-D) or 2 x 41 (separable) values for each of the scale² HR pixels
that an LR pixel becomes. That is by far the largest tensor of JSInet, so it is never copied as a whole: both passes
walk over strips of rows, and the backward pass computes again what it needs instead of keeping it. Peak memory is that
of inputs, outputs and returned gradients, plus one strip.

On a GPU with Triton, :mod:`zoo.ops.dynamic_triton` does the same in a few kernels, unless ``SRITM_TRITON=off`` is in
the environment, an input is float64, or ``x`` needs a gradient, which the networks' training never asks for. That a
kernel fails is said once; strips are used from there on.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from zoo.errors import one_line
from zoo.ops import portable
from zoo.ops.opaque import opaque
from zoo.precision import accumulation_dtype

TAPS_2D = 9  # side of the 2-D filter
TAPS_SEPARABLE = 41  # length of the vertical and of the horizontal filter
_REACH_2D = TAPS_2D // 2
_REACH_SEPARABLE = TAPS_SEPARABLE // 2

# Values of the filters in one strip. Small enough for a CPU's cache, large enough that a GPU isn't kept waiting.
_STRIP_VALUES = {"cpu": 2**21}
_STRIP_VALUES_ELSEWHERE = 2**26

logger = logging.getLogger(__name__)
_triton_failed = False


def dynamic_upsample_2d(x: Tensor, filters: Tensor, scale: int) -> Tensor:
    """Enlarge ``x`` by 9x9 filters of its own for each HR pixel, normalised by a softmax over the 81 taps.

    With k = ky 9 + kx, output pixel (s h + dy, s w + dx) of each channel is the sum over k of
    ``x[h + ky - 4, w + kx - 4] * softmax(filters[:, h, w])[k]`` of sub-pixel p = dy s + dx, with zeros beyond the
    picture. It correlates (no flip); all channels share the filters (JSI-GAN, Eq. 5; the softmax is in the authors'
    code alone).

    Args:
        x: LR pictures ``(B, C, H, W)``.
        filters: logits ``(B, 81 scale², H, W)``, channel k scale² + p for tap k and sub-pixel p, in any float type
            and memory format.
        scale: HR over LR size.

    Returns:
        ``(B, C, scale H, scale W)``, float64 if an input is, else float32. Differentiable once, by both inputs; each
        gradient comes in its input's type.
    """
    assert filters.shape[1] == TAPS_2D**2 * scale**2, f"{filters.shape[1]} filter channels for scale {scale}"
    if portable.is_exporting():
        return portable.dynamic_upsample_2d(x, filters, scale, TAPS_2D)
    if torch.compiler.is_compiling():
        return _opaque_2d(x, filters, scale)
    return _DynamicUpsample.apply("2d", scale, x, filters)


def dynamic_upsample_separable(x: Tensor, vertical: Tensor, horizontal: Tensor, scale: int) -> Tensor:
    """Enlarge ``x`` by a vertical, then a horizontal filter of 41 taps of its own for each HR pixel.

    For each sub-pixel p = dy s + dx, ``v[h, w] = sum_i x[h + i - 20, w] * vertical[p * 41 + i, h, w]`` and
    ``y[h, w] = sum_i v[h, w + i - 20] * horizontal[p * 41 + i, h, w]``, with zeros beyond the picture; y becomes output
    pixel (s h + dy, s w + dx). Each column is thus filtered vertically by its own filter, not by its neighbour's. The
    filters aren't normalised; all channels share them (JSI-GAN, section "Detail Restoration Subnet").

    Args:
        x: LR pictures ``(B, C, H, W)``.
        vertical: filters ``(B, 41 scale², H, W)``, channel p 41 + i for sub-pixel p and tap i: here the sub-pixel is
            the slow index. Any float type and memory format.
        horizontal: the same for the second pass.
        scale: HR over LR size.

    Returns:
        ``(B, C, scale H, scale W)``, float64 if an input is, else float32. Differentiable once, by all inputs; each
        gradient comes in its input's type.
    """
    for filters in (vertical, horizontal):
        assert filters.shape[1] == TAPS_SEPARABLE * scale**2, f"{filters.shape[1]} filter channels for scale {scale}"
    if portable.is_exporting():
        return portable.dynamic_upsample_separable(x, vertical, horizontal, scale, TAPS_SEPARABLE)
    if torch.compiler.is_compiling():
        return _opaque_separable(x, vertical, horizontal, scale)
    return _DynamicUpsample.apply("separable", scale, x, vertical, horizontal)


class _DynamicUpsample(torch.autograd.Function):
    """Either operator, with all that it must keep for the backward pass: its inputs."""

    @staticmethod
    def forward(ctx: Any, kind: str, scale: int, *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*inputs)
        ctx.kind, ctx.scale = kind, scale
        return _forward(kind, inputs, scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_upsampled: Tensor) -> tuple[Tensor | None, ...]:
        gradients = _backward(ctx.kind, ctx.saved_tensors, grad_upsampled, ctx.scale, ctx.needs_input_grad[2:])
        return None, None, *gradients


def _forward(kind: str, inputs: Sequence[Tensor], scale: int) -> Tensor:
    if (kernels := _kernels(inputs)) is not None:
        with _falling_back():
            return getattr(kernels, f"forward_{kind}")(*inputs, scale)
    return _STRIPS[kind][0](*inputs, scale)


def _backward(
    kind: str, inputs: Sequence[Tensor], grad_upsampled: Tensor, scale: int, needed: Sequence[bool]
) -> tuple[Tensor | None, ...]:
    """Gradients by the inputs, at least those that are needed."""
    if not needed[0] and (kernels := _kernels(inputs)) is not None:
        with _falling_back():
            return None, *getattr(kernels, f"backward_{kind}")(*inputs, grad_upsampled, scale)
    return _STRIPS[kind][1](*inputs, grad_upsampled, scale, needed)


def _kernels(inputs: Sequence[Tensor]) -> Any:
    """The module of Triton's kernels, if they are to compute this."""
    on = inputs[0].device.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"
    if not on or _triton_failed or os.environ.get("SRITM_TRITON") == "off" or not importlib.util.find_spec("triton"):
        return None
    with _falling_back():
        from zoo.ops import dynamic_triton

        return dynamic_triton if dynamic_triton.takes(*inputs) else None
    return None


@contextmanager
def _falling_back() -> Iterator[None]:
    """Goes on after the context if what is in it fails, as compilers may in many ways; from then on without Triton."""
    global _triton_failed
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        _triton_failed = True
        reason = one_line(f"{type(error).__name__}: {error}")[:200]
        logger.warning("Triton's kernels of the dynamic filters fail; a slower form takes their place (%s)", reason)


def _forward_2d(x: Tensor, filters: Tensor, scale: int) -> Tensor:
    padded, upsampled = _padded_and_output(x, filters, scale, _REACH_2D, _REACH_2D)
    for rows in _strips(filters):
        # The softmax in parts, its division last. torch's softmax and sum round what is left over of a vector in
        # another way, so that a pixel would depend on where in the tensor it lies, and a tile on its size.
        weights = _logits_strip(filters, rows, padded.dtype)
        weights = weights.sub_(weights.amax(1, keepdim=True)).exp_()
        out = padded.new_zeros(x.shape[0], x.shape[1], *weights.shape[2:])
        norm = torch.zeros_like(weights[:, 0])
        for tap, window in enumerate(_windows_2d(padded, rows)):
            out.addcmul_(window, weights[:, None, tap])
            norm.add_(weights[:, tap])
        out.div_(norm[:, None])
        _subpixels(upsampled, rows, scale).copy_(_split_subpixel(out, scale))
    return upsampled


def _backward_2d(
    x: Tensor, filters: Tensor, grad_upsampled: Tensor, scale: int, needed: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None]:
    padded = _pad(x, _REACH_2D, _REACH_2D, grad_upsampled.dtype)
    grad_padded = torch.zeros_like(padded) if needed[0] else None
    grad_filters = torch.empty_like(filters) if needed[1] else None
    for rows in _strips(filters, backward=True):
        weights = _logits_strip(filters, rows, padded.dtype).softmax(1)
        grad = _join_subpixel(_subpixels(grad_upsampled, rows, scale))
        if grad_filters is not None:
            # All taps at once: an operator for each of them would cost more to call than to compute.
            samples = padded[:, :, rows.start : rows.stop + 2 * _REACH_2D].unfold(2, grad.shape[3], 1)
            samples = samples.unfold(3, grad.shape[4], 1).unsqueeze(4)  # (B, C, y, x, 1, h, W), a view
            grad_weights = torch.empty_like(weights)
            _sum_over_channels(grad[:, :, None, None], samples, out=grad_weights.unflatten(1, (TAPS_2D, TAPS_2D)))
            # The softmax's Jacobian: w (g - mean of g under w).
            grad_logits = grad_weights.mul_(weights)
            grad_logits.addcmul_(weights, grad_logits.sum(1, keepdim=True), value=-1)
            grad_filters[:, :, rows] = rearrange(grad_logits, "b tap sub h w -> b (tap sub) h w")
        if grad_padded is not None:
            for tap, window in enumerate(_windows_2d(grad_padded, rows)):
                window.squeeze(2).add_((grad * weights[:, None, tap]).sum(2))
    return _unpad(grad_padded, _REACH_2D, _REACH_2D, x.dtype), grad_filters


def _forward_separable(x: Tensor, vertical: Tensor, horizontal: Tensor, scale: int) -> Tensor:
    padded, upsampled = _padded_and_output(x, vertical, scale, _REACH_SEPARABLE, 0)
    for rows in _strips(vertical):
        column = _filter_columns(padded, _separable_strip(vertical, rows, scale, padded.dtype), rows)
        filters = _separable_strip(horizontal, rows, scale, padded.dtype)
        out = torch.zeros_like(column[..., _REACH_SEPARABLE:-_REACH_SEPARABLE])
        for tap, window in enumerate(_windows_horizontal(column)):
            out.addcmul_(window, filters[:, None, :, tap])
        _subpixels(upsampled, rows, scale).copy_(_split_subpixel(out, scale))
    return upsampled


def _backward_separable(
    x: Tensor, vertical: Tensor, horizontal: Tensor, grad_upsampled: Tensor, scale: int, needed: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    padded = _pad(x, _REACH_SEPARABLE, 0, grad_upsampled.dtype)
    grad_padded = torch.zeros_like(padded) if needed[0] else None
    grad_vertical, grad_horizontal = torch.empty_like(vertical), torch.empty_like(horizontal)
    for rows in _strips(vertical, backward=True):
        grad = _join_subpixel(_subpixels(grad_upsampled, rows, scale))

        filters = _separable_strip(vertical, rows, scale, padded.dtype)
        column = _filter_columns(padded, filters, rows)
        horizontal_filters = _separable_strip(horizontal, rows, scale, padded.dtype)
        grad_filters = torch.empty_like(horizontal_filters)
        grad_column = torch.zeros_like(column)
        windows = zip(_windows_horizontal(column), _windows_horizontal(grad_column), strict=True)
        for tap, (window, grad_window) in enumerate(windows):
            _sum_over_channels(grad, window, out=grad_filters[:, :, tap])
            grad_window.addcmul_(grad, horizontal_filters[:, None, :, tap])
        grad_horizontal[:, :, rows] = rearrange(grad_filters, "b sub tap h w -> b (sub tap) h w")

        grad = grad_column[..., _REACH_SEPARABLE:-_REACH_SEPARABLE]
        for tap, window in enumerate(_windows_vertical(padded, rows)):
            _sum_over_channels(grad, window, out=grad_filters[:, :, tap])
        grad_vertical[:, :, rows] = rearrange(grad_filters, "b sub tap h w -> b (sub tap) h w")
        if grad_padded is not None:
            for tap, window in enumerate(_windows_vertical(grad_padded, rows)):
                window.squeeze(2).add_((grad * filters[:, None, :, tap]).sum(2))
    return _unpad(grad_padded, _REACH_SEPARABLE, 0, x.dtype), grad_vertical, grad_horizontal


_STRIPS: dict[str, tuple[Callable[..., Tensor], Callable[..., tuple[Tensor | None, ...]]]] = {
    "2d": (_forward_2d, _backward_2d),
    "separable": (_forward_separable, _backward_separable),
}


def _empty_upsampled(inputs: Sequence[Tensor], scale: int) -> Tensor:
    batch, channels, height, width = inputs[0].shape
    dtype = accumulation_dtype(*inputs)
    return inputs[0].new_empty(batch, channels, scale * height, scale * width, dtype=dtype)


# torch.compile would trace thousands of nodes, a few for each strip and tap.
_opaque_2d, _opaque_separable = (
    opaque(
        f"dynamic_upsample_{kind}",
        names,
        functools.partial(_forward, kind),
        functools.partial(_backward, kind),
        _empty_upsampled,
    )
    for kind, names in (("2d", ("x", "filters")), ("separable", ("x", "vertical", "horizontal")))
)


def _filter_columns(padded: Tensor, filters: Tensor, rows: slice) -> Tensor:
    """First pass of the separable filter on a strip: ``(B, C, scale², h, W + 40)``, zero beyond left and right."""
    batch, _, _, height, width = filters.shape
    column = padded.new_zeros(batch, padded.shape[1], filters.shape[1], height, width + 2 * _REACH_SEPARABLE)
    inside = column[..., _REACH_SEPARABLE:-_REACH_SEPARABLE]
    for tap, window in enumerate(_windows_vertical(padded, rows)):
        inside.addcmul_(window, filters[:, None, :, tap])
    return column


def _strips(filters: Tensor, backward: bool = False) -> Iterator[slice]:
    """Rows to be computed at a time; half as many backward, where a strip has gradients beside it."""
    batch, channels, height, width = filters.shape
    if filters.device.type == "meta":
        return iter(())  # without data there is nothing to compute
    values = _STRIP_VALUES.get(filters.device.type, _STRIP_VALUES_ELSEWHERE)
    step = max(1, values // ((2 if backward else 1) * max(1, batch * channels * width)))
    return (slice(top, min(top + step, height)) for top in range(0, height, step))


def _logits_strip(filters: Tensor, rows: slice, dtype: torch.dtype) -> Tensor:
    """2-D filters ``(B, 81, scale², h, W)`` of some rows, a copy."""
    return rearrange(_gathered(filters, rows, dtype), "b (tap sub) h w -> b tap sub h w", tap=TAPS_2D**2)


def _separable_strip(filters: Tensor, rows: slice, scale: int, dtype: torch.dtype) -> Tensor:
    """Vertical or horizontal filters ``(B, scale², 41, h, W)`` of some rows."""
    return rearrange(_gathered(filters, rows, dtype), "b (sub tap) h w -> b sub tap h w", sub=scale**2)


def _gathered(filters: Tensor, rows: slice, dtype: torch.dtype) -> Tensor:
    """A contiguous copy of some rows: a tap's samples, which lie far apart in channels_last, are brought together."""
    strip = filters[:, :, rows]
    gathered = torch.empty_like(strip, memory_format=torch.contiguous_format)
    if strip.stride(1) == 1 and strip[0].numel() > 1:
        # As matrices, which torch transposes block by block; its general copy takes half as long again.
        for of_picture, picture in zip(gathered, strip, strict=True):
            of_picture.flatten(1).copy_(picture.permute(1, 2, 0).flatten(0, 1).t())
    else:
        gathered.copy_(strip)
    return gathered.to(dtype)


def _windows_2d(padded: Tensor, rows: slice) -> Iterator[Tensor]:
    """What each of the 81 taps reads for the strip: ``(B, C, 1, h, W)``, views."""
    height, width = rows.stop - rows.start, padded.shape[-1] - 2 * _REACH_2D
    for y in range(TAPS_2D):
        for x in range(TAPS_2D):
            yield padded[:, :, None, rows.start + y : rows.start + y + height, x : x + width]


def _windows_vertical(padded: Tensor, rows: slice) -> Iterator[Tensor]:
    """What each of the 41 vertical taps reads for the strip: ``(B, C, 1, h, W)``, views."""
    for y in range(TAPS_SEPARABLE):
        yield padded[:, :, None, rows.start + y : rows.stop + y]


def _windows_horizontal(column: Tensor) -> Iterator[Tensor]:
    """What each of the 41 horizontal taps reads: ``(B, C, scale², h, W)``, views."""
    width = column.shape[-1] - 2 * _REACH_SEPARABLE
    for x in range(TAPS_SEPARABLE):
        yield column[..., x : x + width]


def _sum_over_channels(a: Tensor, b: Tensor, out: Tensor) -> None:
    """Write ``(a * b).sum(1)`` into ``out`` without making the product."""
    torch.mul(a[:, 0], b[:, 0], out=out)
    for channel in range(1, a.shape[1]):
        out.addcmul_(a[:, channel], b[:, channel])


def _subpixels(upsampled: Tensor, rows: slice, scale: int) -> Tensor:
    """View of the HR rows that a strip of LR rows becomes: ``(B, C, dy, dx, h, W)``."""
    view = rearrange(upsampled, "b c (h dy) (w dx) -> b c dy dx h w", dy=scale, dx=scale)
    return view[:, :, :, :, rows]


def _split_subpixel(strip: Tensor, scale: int) -> Tensor:
    return rearrange(strip, "b c (dy dx) h w -> b c dy dx h w", dy=scale)


def _join_subpixel(strip: Tensor) -> Tensor:
    return rearrange(strip, "b c dy dx h w -> b c (dy dx) h w").contiguous()


def _padded_and_output(x: Tensor, filters: Tensor, scale: int, vertical: int, horizontal: int) -> tuple[Tensor, Tensor]:
    """``x`` with zeros around it and the uninitialised output, both in the type to accumulate in."""
    return _pad(x, vertical, horizontal, accumulation_dtype(x, filters)), _empty_upsampled((x, filters), scale)


def _pad(x: Tensor, vertical: int, horizontal: int, dtype: torch.dtype) -> Tensor:
    return F.pad(x.to(dtype, memory_format=torch.contiguous_format), (horizontal, horizontal, vertical, vertical))


def _unpad(grad: Tensor | None, vertical: int, horizontal: int, dtype: torch.dtype) -> Tensor | None:
    """Undo :func:`_pad` on a gradient."""
    if grad is None:
        return None
    height, width = grad.shape[-2:]
    return grad[..., vertical : height - vertical, horizontal : width - horizontal].to(dtype)
