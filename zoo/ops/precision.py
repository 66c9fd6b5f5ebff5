"""Where half precision isn't enough: computing in float32 inside an autocast region.

bfloat16 keeps 513 of the 1024 levels of a 10-bit picture, and a guided filter's variance is the difference of two
nearly equal means. Such places lift what they are given and switch autocast off.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.color.precision import at_least_float32

__all__ = ["accumulation_dtype", "at_least_float32", "without_autocast"]


def accumulation_dtype(*tensors: Tensor) -> torch.dtype:
    """float64 if one of ``tensors`` is float64, else float32."""
    return torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32


def without_autocast(x: Tensor) -> torch.autocast:
    """Context in which operators on ``x``'s device keep the precision of what they are given."""
    return torch.autocast(x.device.type, enabled=False)
