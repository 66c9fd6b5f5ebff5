"""EDSR's state as the authors' files hold it."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.nets.edsr import EDSR, edsr_names


def authors_state(net: EDSR) -> dict[str, Tensor]:
    """The state of ``net`` as a file of the authors' holds it."""
    own = net.state_dict()
    mean = 255 * torch.tensor([0.4488, 0.4371, 0.4040], dtype=net.tail.weight.dtype)
    eye = torch.eye(3, dtype=mean.dtype).view(3, 3, 1, 1)
    shifts = {"sub_mean.weight": eye, "sub_mean.bias": -mean, "add_mean.weight": eye, "add_mean.bias": mean}
    return {theirs: own[ours] for theirs, ours in edsr_names(net).items()} | shifts
