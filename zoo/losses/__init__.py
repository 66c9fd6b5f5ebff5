"""Training losses on network outputs (PQ Y'CbCr code / 1023, unclipped)."""

from zoo.losses.adversarial import hinge_d, hinge_g, relativistic_hinge_d, relativistic_hinge_g
from zoo.losses.feature_matching import feature_matching
from zoo.losses.reconstruction import clipped_half_sse, mean_absolute_error, mean_squared_error

__all__ = [
    "clipped_half_sse",
    "feature_matching",
    "hinge_d",
    "hinge_g",
    "mean_absolute_error",
    "mean_squared_error",
    "relativistic_hinge_d",
    "relativistic_hinge_g",
]
