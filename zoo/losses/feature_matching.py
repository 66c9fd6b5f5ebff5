"""Feature-matching loss of JSI-GAN."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.losses.reconstruction import mean_squared_error


def feature_matching(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Sum over the feature maps of their mean squared differences (the paper writes L2 norms).

    Nothing is detached: the released generator loss differentiates through the maps of both.
    """
    return torch.stack([mean_squared_error(f, r) for r, f in zip(real, fake, strict=True)]).sum()
