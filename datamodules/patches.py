"""Where training patches are cut: places that are worth learning from, by a stated rule (docs/protocol.md)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

PATCH_SIZE = 160
"""Side of a training patch, HR pixels."""

GRID = 4
"""Places in flat pictures and their sizes are multiples of this, so that they are whole pixels of LR at each scale."""

# The reduction reaches 8 HR pixels at 1/4, so that a patch cut with this margin sees its real neighbours.
_MARGIN = 16

# A patch is worth learning from if luma varies at least so much, in 10-bit codes ...
_MIN_DEVIATION = 8.0
# ... and is given up after so many draws.
_MAX_DRAWS = 64

# 0.007 cd/m² in PQ: black with the noise of a codec, which no picture reaches in a whole row or column.
_BAR_CODE = 80


@dataclass(frozen=True)
class Window:
    """A part of a picture. In a panorama it may pass the right edge, where the columns go on at the left."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, picture: Tensor) -> Tensor:
        """The part of ``(..., H, W)``, with memory of its own."""
        columns = torch.arange(self.left, self.left + self.width) % picture.shape[-1]
        return picture[..., self.top : self.top + self.height, columns]

    def reduced(self, scale: int) -> Window:
        """The same part in a picture of 1 / ``scale`` the size."""
        return Window(self.top // scale, self.left // scale, self.height // scale, self.width // scale)


def panorama_places(height: int, width: int) -> tuple[range, range]:
    """Rows and columns of a panorama where a patch may begin: within rows H/8 to 7H/8, at any column.

    Returns:
        Rows (empty if a patch is too high) and columns.
    """
    return range(height // 8, height - height // 8 - PATCH_SIZE + 1), range(width)


def flat_places(luma: Tensor) -> tuple[range, range]:
    """Rows and columns of a flat picture where a patch may begin: on a grid of 4, off the black bars at its edges.

    A bar is what lies between an edge and the first row (or column) with a code above 80, 0.007 cd/m² in PQ.

    Args:
        luma: ``(H, W)``, Y' codes of the HDR signal.

    Returns:
        Rows and columns; empty where what lies between the bars is smaller than a patch.
    """
    lit = luma > _BAR_CODE
    return _starts(lit.any(dim=1)), _starts(lit.any(dim=0))


def _starts(lit: Tensor) -> range:
    """Multiples of the grid from which a patch lies between the first and the last lit row."""
    rows = lit.nonzero()
    if not len(rows):
        return range(0)
    first, last = int(rows[0]), int(rows[-1])
    return range(-(-first // GRID) * GRID, last + 1 - PATCH_SIZE + 1, GRID)


def choose_place(
    luma: Tensor, rows: range, columns: range, draws: np.random.Generator, any_kind: bool
) -> tuple[int, int]:
    """Draw where a patch is cut.

    Places are drawn evenly until the standard deviation of luma is at least 8 codes, which a clear sky doesn't reach;
    after 64 of them the liveliest is taken.

    Args:
        luma: ``(H, W)``, Y' codes of the HDR signal.
        rows: where a patch may begin, not empty.
        columns: likewise.
        draws: where the numbers come from: for each place a row, then a column.
        any_kind: whether the first place is taken, whatever it shows.

    Returns:
        Top row and left column.
    """
    place, deviation = (0, 0), -1.0
    for _ in range(1 if any_kind else _MAX_DRAWS):
        top, left = rows[int(draws.integers(len(rows)))], columns[int(draws.integers(len(columns)))]
        drawn_deviation = float(Window(top, left, PATCH_SIZE, PATCH_SIZE).cut(luma).std(correction=0))
        if drawn_deviation > deviation:
            place, deviation = (top, left), drawn_deviation
        if deviation >= _MIN_DEVIATION:
            break
    return place


def with_margin(window: Window, height: int, width: int, panoramic: bool) -> tuple[Window, Window]:
    """A window and 16 pixels around it, so that what is filtered in it sees the window's real neighbours.

    Where a flat picture ends the margin ends too; that of a panorama goes on around it.

    Args:
        window: in the picture, of a panorama off its upper and lower edge by 16 pixels.
        height: of the picture.
        width: of the picture.
        panoramic: whether the columns wrap around.

    Returns:
        The larger window in the picture, and ``window`` in the larger one.
    """
    if panoramic:
        above = left = below = right = _MARGIN
    else:
        above, below = min(_MARGIN, window.top), min(_MARGIN, height - window.top - window.height)
        left, right = min(_MARGIN, window.left), min(_MARGIN, width - window.left - window.width)
    around = Window(window.top - above, window.left - left, window.height + above + below, window.width + left + right)
    return around, Window(above, left, window.height, window.width)
