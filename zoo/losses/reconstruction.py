"""Pixel losses. All take ``preds`` and ``target`` of one shape (B, C, H, W) and return a scalar.

They compute in float32 at least, whatever autocast made of the prediction.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from zoo.precision import at_least_float32


def mean_squared_error(preds: Tensor, target: Tensor) -> Tensor:
    """Mean over all elements (JSI-GAN's reconstruction loss as released; the paper writes an L2 norm)."""
    return F.mse_loss(at_least_float32(preds), at_least_float32(target))


def mean_absolute_error(preds: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference over all elements; no recipe of the papers, an option of ours."""
    return F.l1_loss(at_least_float32(preds), at_least_float32(target))


def clipped_half_sse(preds: Tensor, target: Tensor) -> Tensor:
    """Deep SR-ITM's loss as released: half the squared error, summed over an image, averaged over images.

    The released layer back-propagates ``clip(preds - target, -1, 1)``, which is the gradient of Huber's function with
    its corner at 1. Against :func:`mean_squared_error` the gradient is 3 H W / 2 times larger, which Adam ignores but
    weight decay and Adam's epsilon don't.
    """
    loss = F.huber_loss(at_least_float32(preds), at_least_float32(target), reduction="sum", delta=1.0)
    return loss / len(preds)
