"""ICtCp: BT.2020 light to the colour space of ITU-R BT.2100 in which distances are close to visible ones.

Convention: light in cd/m² on BT.2020 primaries. The channel axis is -3.
"""

from __future__ import annotations

from torch import Tensor

from zoo.color.primaries import Matrix, apply_matrix
from zoo.color.transfer import pq_encode

# ITU-R BT.2100, Table 7: light to the responses of the cones, and their PQ signals to I, Ct, Cp.
_RGB_TO_LMS: Matrix = (
    (1688 / 4096, 2146 / 4096, 262 / 4096),
    (683 / 4096, 2951 / 4096, 462 / 4096),
    (99 / 4096, 309 / 4096, 3688 / 4096),
)
_LMS_TO_ICTCP: Matrix = (
    (2048 / 4096, 2048 / 4096, 0.0),
    (6610 / 4096, -13613 / 4096, 7003 / 4096),
    (17933 / 4096, -17390 / 4096, -543 / 4096),
)


def light_to_ictcp(light: Tensor) -> Tensor:
    """Linear BT.2020 light to ICtCp, the form for PQ.

    Args:
        light: ``(..., 3, H, W)``, cd/m². Cone responses below 0 count as 0.

    Returns:
        I in [0, 1] for light up to 10000 cd/m², Ct and Cp around 0, same shape.

    Example:
        >>> import torch
        >>> light_to_ictcp(torch.full((3, 1, 1), 100.0)).flatten()[:1]
        tensor([0.5081])
    """
    return apply_matrix(_LMS_TO_ICTCP, pq_encode(apply_matrix(_RGB_TO_LMS, light)))
