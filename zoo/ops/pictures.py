"""What networks and baselines take."""

from __future__ import annotations

from torch import Tensor

from zoo.errors import SignalError
from zoo.signal import Signal


def check_pictures(x: Tensor, signal: Signal) -> None:
    """Refuse what can't be pictures on a signal, looking at shape and type alone.

    Args:
        x: what should be float pictures ``(B, 3, H, W)``.
        signal: what they should hold.

    Raises:
        SignalError: another number of axes or channels, or codes that weren't divided.
    """
    if x.ndim != 4 or x.shape[1] != 3 or not x.is_floating_point():
        given = f"{str(x.dtype).removeprefix('torch.')} {tuple(x.shape)}"
        raise SignalError(f"got {given}, want float pictures (B, 3, H, W) on {signal}, code / {signal.peak}")
