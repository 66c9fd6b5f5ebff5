"""The authors' arrays in our layout; :mod:`zoo.nets.authors` has the names and says what differs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def tensor_from_hwio(array: np.ndarray) -> Tensor:
    """A kernel (H, W, in, out) as (out, in, H, W); biases and spectral norm's u as vectors."""
    if array.ndim == 4:
        array = array.transpose(3, 2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(array)) if array.ndim == 4 else torch.from_numpy(array.ravel())


def jsinet_tensor(theirs: str, array: np.ndarray, scale: int) -> Tensor:
    """A variable of the authors' JSInet; ``theirs`` is its name without ``Network/``."""
    tensor = tensor_from_hwio(array)
    if theirs.startswith("image_reconstruction/conv/1/"):
        tensor = tensor.unflatten(0, (scale**2, -1)).transpose(0, 1).flatten(0, 1)
    return tensor.contiguous()
