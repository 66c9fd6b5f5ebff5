"""The precision that colour is computed in."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Lift half precision (and integers) to float32; float32 and float64 stay as they are.

    PQ of light held in bfloat16 is off by hundreds of 10-bit codes. What follows in this package is element-wise, which
    autocast leaves in the precision it finds, so lifting the input is all that is needed.
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))
