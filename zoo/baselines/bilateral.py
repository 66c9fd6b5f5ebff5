"""Cross-bilateral filter on a bilateral grid: smooth a plane, but not across the edges of another."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

_PAD = 2  # cells around the grid, so that neither the blur nor the read-out meets its border


def cross_bilateral(x: Tensor, edge: Tensor, spatial: float, range_: float) -> Tensor:
    """Smooth ``x`` with weights that fall with distance in the picture and with difference in ``edge``.

    The bilateral grid of Chen, Paris and Durand (SIGGRAPH 2007) with one cell for each sigma: values are gathered in
    the cell nearest to (row, column, edge), blurred there by exp(-d²/2) over the 3x3x3 neighbours, divided by weights
    that went the same way, and read out by linear interpolation. HDR Toolbox filters so, and the papers' tables were
    made with it; an exact bilateral filter differs. Time doesn't depend on ``spatial``.

    Args:
        x: ``(B, 1, H, W)``, float.
        edge: ``(B, 1, H, W)``, [0, 1].
        spatial: sigma in pixels.
        range_: sigma in units of ``edge``.

    Returns:
        Same shape and type as ``x``, within the range of its values; each picture of the batch by itself. NaN where
        ``edge`` is.
    """
    batch, _, height, width = x.shape
    shape = [
        math.floor(size + 0.5) + 1 + 2 * _PAD for size in (1 / range_, (height - 1) / spatial, (width - 1) / spatial)
    ]
    rows = torch.arange(height, device=x.device, dtype=torch.float64).view(-1, 1) / spatial + _PAD
    columns = torch.arange(width, device=x.device, dtype=torch.float64) / spatial + _PAD
    depth = edge[:, 0].double() / range_ + _PAD
    place = (depth, rows, columns)

    # A cell sums thousands of values: in float64, so that their order, which a GPU doesn't fix, can't be seen.
    cell = [torch.floor(axis + 0.5).nan_to_num().long() for axis in place]  # NaN has no place, and a GPU dies of it
    pictures = torch.arange(batch, device=x.device).view(-1, 1, 1)
    index = ((pictures * shape[0] + cell[0]) * shape[1] + cell[1]) * shape[2] + cell[2]
    grid = torch.zeros(2, batch * math.prod(shape), dtype=torch.float64, device=x.device)
    grid[0].index_add_(0, index.flatten(), x.double().flatten())
    grid[1].index_add_(0, index.flatten(), torch.ones_like(x, dtype=torch.float64).flatten())

    grid = _blur(grid.view(2, batch, *shape))
    mean = (grid[0] / grid[1].clamp(min=1e-300)).flatten()  # a cell without weight is never read
    smooth = torch.zeros_like(depth)
    low = [torch.floor(axis) for axis in place]
    for corner in itertools.product((0, 1), repeat=3):
        near = [axis.nan_to_num().long() + step for axis, step in zip(low, corner, strict=True)]
        weights = [
            axis - first if step else 1 - axis + first for axis, first, step in zip(place, low, corner, strict=True)
        ]
        index = ((pictures * shape[0] + near[0]) * shape[1] + near[1]) * shape[2] + near[2]
        smooth += weights[0] * weights[1] * weights[2] * mean[index]
    return smooth[:, None].to(x.dtype)


def _blur(grid: Tensor) -> Tensor:
    """Weigh each cell of ``(2, B, D, H, W)`` with its neighbours by exp(-d²/2), an axis at a time."""
    side = math.exp(-0.5)
    for axis in (-3, -2, -1):
        pad = [0, 0] * (-axis - 1) + [1, 1]
        padded, length = F.pad(grid, pad), grid.shape[axis]
        below, above = padded.narrow(axis, 0, length), padded.narrow(axis, 2, length)
        grid = grid + side * (below + above)
    return grid
