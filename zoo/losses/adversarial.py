"""Hinge losses on discriminator logits, in the forms of the JSI-GAN paper.

``real`` and ``fake`` are logits of any shape; means run over all their elements, the batch included. No factor 1/2.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.precision import at_least_float32


def relativistic_hinge_d(real: Tensor, fake: Tensor, mean: Callable[[Tensor], Tensor] = torch.mean) -> Tensor:
    """Relativistic average hinge loss of a discriminator (JSI-GAN, Eq. 10).

    With the released discriminator, whose logit is batch-normalised, both means equal the norm's beta: the loss can't
    fall below 2 and doesn't see which of real and fake scores higher.

    Args:
        mean: of the logits that one is compared with; of this rank's alone by default.
    """
    real, fake = at_least_float32(real), at_least_float32(fake)
    return F.relu(1 - (real - mean(fake))).mean() + F.relu(1 + (fake - mean(real))).mean()


def relativistic_hinge_g(real: Tensor, fake: Tensor, mean: Callable[[Tensor], Tensor] = torch.mean) -> Tensor:
    """Relativistic average hinge loss of the generator (JSI-GAN, Eq. 11): the discriminator's with roles exchanged."""
    return relativistic_hinge_d(fake, real, mean)


def hinge_d(real: Tensor, fake: Tensor) -> Tensor:
    """Plain hinge loss of a discriminator, the released code's other choice."""
    return F.relu(1 - at_least_float32(real)).mean() + F.relu(1 + at_least_float32(fake)).mean()


def hinge_g(real: Tensor, fake: Tensor) -> Tensor:
    """Plain hinge loss of the generator; ``real`` is not looked at."""
    return -at_least_float32(fake).mean()
