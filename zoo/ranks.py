"""What the processes of one run tell each other inside a network or a loss, with gradients."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def ranks() -> int:
    """Processes that train together; 1 outside a run of several."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def from_each_rank(x: Tensor) -> Tensor:
    """What each rank holds, on all of them; all ranks must call this, in the same order.

    The gradient of every rank's result reaches every rank's ``x``. So with losses that are means over a rank's images
    and gradients averaged over ranks, the parameters' gradients are those of one process that holds all images.

    Args:
        x: of one shape on all ranks; a few numbers, since each rank sends them to each.

    Returns:
        ``(ranks, *x.shape)``.
    """
    if ranks() == 1:
        return x[None]
    from torch.distributed.nn.functional import all_reduce

    # The sum of what is zero but for one's own row: gathering that works, with gradients, on gloo and NCCL alike.
    own = torch.zeros(ranks(), *(1 for _ in x.shape), dtype=x.dtype, device=x.device)
    own[dist.get_rank()] = 1
    return all_reduce(own * x)


def mean_over_ranks(x: Tensor) -> Tensor:
    """Mean of all elements on all ranks, each of which holds as many."""
    return from_each_rank(x.mean()).mean()
