"""Chroma planes of half resolution: 4:2:0 and 4:2:2 to and from 4:4:4.

Siting says where chroma samples lie among the luma samples (ITU-T H.273, Chroma420SampleLocType):

    left      (0)  on every second luma column, halfway between two rows: MPEG-2, and H.264 and HEVC that don't say
    center    (1)  halfway between two columns and two rows: JPEG, MPEG-1
    topleft   (2)  on every second luma column of every second row: BT.2020 masters

4:2:2 has chroma in each row, so only the column's half of it counts. Filters are the shortest linear ones that keep a
ramp in place, each axis by itself. To half resolution: (1, 2, 1) / 4 around a luma sample, the mean of two between
them. To full resolution: linear interpolation, weights (1, 1) / 2 or (3, 1) / 4. Edges are replicated, odd sizes give
the chroma plane the last, half-filled sample. Nothing is rounded, and any unit goes through: codes, their shares of the
peak, components. A plane of one value stays exactly that.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from zoo.errors import SignalError
from zoo.precision import at_least_float32

Siting = Literal["left", "center", "topleft"]
Subsampling = Literal["420", "422"]

# Whether chroma samples lie on luma columns, and on luma rows.
_ON_COLUMNS = {"left": True, "center": False, "topleft": True}
_ON_ROWS = {"left": False, "center": False, "topleft": True}


def _enlarge(x: Tensor, width: int, on_samples: bool) -> Tensor:
    """Columns at half resolution to ``width`` of them."""
    after = torch.cat([x[..., 1:], x[..., -1:]], dim=-1)
    if on_samples:
        even, odd = x, torch.lerp(x, after, 0.5)
    else:
        before = torch.cat([x[..., :1], x[..., :-1]], dim=-1)
        even, odd = torch.lerp(x, before, 0.25), torch.lerp(x, after, 0.25)
    return torch.stack([even, odd], dim=-1).flatten(-2)[..., :width]


def _reduce(x: Tensor, on_samples: bool) -> Tensor:
    """Columns to half as many, rounded up."""
    even = x[..., 0::2]
    after = torch.cat([x[..., 1::2], x[..., -1:]], dim=-1)[..., : even.shape[-1]]
    if not on_samples:
        return torch.lerp(even, after, 0.5)
    before = torch.cat([x[..., :1], x[..., 1:-1:2]], dim=-1)
    # As differences to the middle, which are 0 on a plane of one value.
    return even + ((before - even) + (after - even)) / 4


def upsample_chroma(y: Tensor, cb: Tensor, cr: Tensor, siting: Siting) -> Tensor:
    """Planes of a 4:2:0 or 4:2:2 picture to 4:4:4.

    Args:
        y: ``(H, W)``, floating point.
        cb: ``(ceil(H/2), ceil(W/2))`` for 4:2:0, ``(H, ceil(W/2))`` for 4:2:2, in a unit that can be interpolated.
        cr: likewise.
        siting: where the chroma samples lie.

    Returns:
        ``(3, H, W)``: y as it is, Cb and Cr at full resolution.

    Raises:
        SignalError: chroma planes of another size, or a siting that isn't known.
    """
    _check_siting(siting)
    height, width = y.shape
    sizes = {"420": ((height + 1) // 2, (width + 1) // 2), "422": (height, (width + 1) // 2)}
    if cb.shape != cr.shape or tuple(cb.shape) not in sizes.values():
        raise SignalError(
            f"chroma planes of {tuple(cb.shape)} and {tuple(cr.shape)} don't belong to luma of {(height, width)}; "
            f"4:2:0 has {sizes['420']}, 4:2:2 {sizes['422']}"
        )
    chroma = _enlarge(at_least_float32(torch.stack([cb, cr])), width, _ON_COLUMNS[siting])
    if chroma.shape[-2] != height:
        chroma = _enlarge(chroma.mT, height, _ON_ROWS[siting]).mT
    return torch.cat([at_least_float32(y).unsqueeze(0), chroma])


def subsample_chroma(x: Tensor, subsampling: Subsampling, siting: Siting) -> tuple[Tensor, Tensor, Tensor]:
    """A 4:4:4 picture to planes with chroma at half resolution.

    Args:
        x: ``(3, H, W)``: Y', Cb, Cr, floating point.
        subsampling: ``420`` or ``422``.
        siting: where the chroma samples are to lie.

    Returns:
        y ``(H, W)`` as it is; Cb and Cr ``(ceil(H/2), ceil(W/2))`` for 4:2:0, ``(H, ceil(W/2))`` for 4:2:2.

    Raises:
        SignalError: a subsampling or siting that isn't known.
    """
    _check_siting(siting)
    if subsampling not in ("420", "422"):
        raise SignalError(f"unknown chroma subsampling {subsampling!r}; known: 420, 422")
    x = at_least_float32(x)
    chroma = _reduce(x[1:], _ON_COLUMNS[siting])
    if subsampling == "420":
        chroma = _reduce(chroma.mT, _ON_ROWS[siting]).mT
    return x[0], chroma[0], chroma[1]


def _check_siting(siting: str) -> None:
    if siting not in _ON_COLUMNS:
        raise SignalError(f"unknown chroma siting {siting!r}; known: {', '.join(_ON_COLUMNS)}")
