"""Where half precision isn't enough: computing in float32, inside an autocast region too.

bfloat16 keeps 513 of the 1024 levels of a 10-bit picture, PQ of light held in it is off by hundreds of 10-bit codes,
and a guided filter's variance is the difference of two nearly equal means. Such places lift what they are given; where
more than element-wise operators follow, which autocast leaves in the precision it finds, they switch autocast off.
"""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Lift half precision (and integers) to float32; float32 and float64 stay as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def accumulation_dtype(*tensors: Tensor) -> torch.dtype:
    """float64 if one of ``tensors`` is float64, else float32."""
    return torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32


def without_autocast(x: Tensor) -> torch.autocast:
    """Context in which operators on ``x``'s device keep the precision of what they are given."""
    # Tensors without data are never cast, and torch knows no autocast for them.
    return torch.autocast("cpu" if x.device.type == "meta" else x.device.type, enabled=False)
