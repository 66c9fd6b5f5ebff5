"""Self-guided filter and the layers that the networks decompose a picture into: base and detail."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from zoo.errors import DataError
from zoo.precision import at_least_float32, without_autocast


def guided_filter(x: Tensor, border: Literal["replicate", "reflect"], side: int = 5, eps: float = 0.01) -> Tensor:
    """Smooth each channel by the guided filter (He et al., 2010) with the channel itself as guide: the base layer.

    With ``box`` the mean over a ``side`` x ``side`` window and ``var = box(x²) - box(x)²``::

        a = var / (var + eps);  b = (1 - a) box(x);  base = box(a) x + box(b)

    Differentiable. Half precision is lifted to float32, since ``var`` is a difference of nearly equal numbers.

    Args:
        x: pictures ``(B, C, H, W)``, nominally in 0..1.
        border: what a window sees beyond the picture: the edge sample again (Deep SR-ITM) or the picture mirrored
            about its edge samples (JSI-GAN). The authors differ; the results differ by up to 0.008.
        side: odd width of the window in samples. The authors call it ``r``, but it isn't a radius.
        eps: variance above which structure is kept rather than smoothed.

    Returns:
        The base layer, as large as ``x``, float32 or float64.

    Raises:
        DataError: a side of ``x`` is too short to be mirrored.
    """
    radius = side // 2
    if border == "reflect" and any(length <= radius for length in x.shape[-2:]):
        height, width = x.shape[-2:]
        raise DataError(
            f"a picture of {width}x{height} is too small for the guided filter's mirrored border: "
            f"give at least {radius + 1} samples a side"
        )

    def box(z: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(z, (radius, radius, radius, radius), mode=border), side, stride=1)

    with without_autocast(x):
        x = at_least_float32(x)
        mean = box(x)
        var = box(x * x) - mean * mean
        a = var / (var + eps)
        b = mean - a * mean
        return box(a) * x + box(b)


def detail_layer(x: Tensor, base: Tensor, eps: float) -> Tensor:
    """Divide ``x`` by its base layer: 1 where the picture is flat (JSI-GAN, Eq. 1).

    ``eps`` only makes 0 / 0 zero; a base near zero or below isn't guarded. Half precision is lifted to float32,
    where ``eps`` would vanish.

    Args:
        x: pictures ``(B, C, H, W)``.
        base: their base layer, equally large.
        eps: 2.220446049250313e-16 in Deep SR-ITM, 1e-15 in JSI-GAN.

    Returns:
        The detail layer, as large as ``x``, float32 or float64.
    """
    with without_autocast(x):
        return at_least_float32(x) / (at_least_float32(base) + eps)
