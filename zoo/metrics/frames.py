"""A prediction and its truth, cut into strips, with what several metrics need of them made once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from zoo.color import convert_primaries, decode, signal_to_rgb
from zoo.color.transfer import PQ_PEAK
from zoo.errors import DataError, SignalError
from zoo.metrics.windows import STRIP_PIXELS, Structure, structure
from zoo.precision import accumulation_dtype
from zoo.signal import HDR10_VIDEO, Signal


class Strip:
    """Some rows of a prediction and its truth; what is computed of them is kept while the strip is.

    Attributes:
        preds: ``(B, 3, rows, W)``, clipped to [0, 1]; float64 if one side is, else float32.
        target: the truth, same shape and dtype.
    """

    def __init__(self, preds: Tensor, target: Tensor, signal: Signal) -> None:
        dtype = accumulation_dtype(preds, target)
        self.preds = preds.to(dtype).clamp(0, 1)
        self.target = target.to(dtype)
        self.signal = signal

    @cached_property
    def rgb(self) -> tuple[Tensor, Tensor]:
        """R'G'B' of both, clipped to [0, 1]."""
        preds, target = (signal_to_rgb(x, self.signal).clamp(0, 1) for x in (self.preds, self.target))
        return preds, target

    @cached_property
    def light(self) -> tuple[Tensor, Tensor]:
        """Light of both in cd/m² on BT.2020 primaries, within [0, 10000]."""
        preds, target = (_light(x, self.signal) for x in (self.preds, self.target))
        return preds, target


def _light(x: Tensor, signal: Signal) -> Tensor:
    light = decode(x, signal)
    if signal.primaries != "bt2020":
        light = convert_primaries(light, signal.primaries, "bt2020")
    return light.clamp(0, PQ_PEAK)


class FramePair:
    """Predicted frames and the true ones on one signal.

    Metrics given the same pair share what it keeps. Nothing the size of a frame is made of it.

    Args:
        preds: ``(B, 3, H, W)``, float, code / ``signal.peak``, unclipped and not rounded, as a network gives it.
        target: same shape, float, code / ``signal.peak``.
        signal: what both hold.

    Raises:
        SignalError: sizes differ, codes that weren't divided, or a signal that isn't HDR.
    """

    def __init__(self, preds: Tensor, target: Tensor, signal: Signal = HDR10_VIDEO) -> None:
        if preds.shape != target.shape or preds.ndim != 4 or preds.shape[1] != 3:
            raise SignalError(
                f"prediction {tuple(preds.shape)} and truth {tuple(target.shape)} must both be (B, 3, H, W) of one "
                "size; is it a network of the set's scale?"
            )
        for name, x in (("prediction", preds), ("truth", target)):
            if not x.is_floating_point():
                kind = str(x.dtype).removeprefix("torch.")
                raise SignalError(f"{name} is {kind}, want float code / {signal.peak} on {signal}; divide the codes")
        check_hdr(signal)
        self.preds = preds
        self.target = target
        self.signal = signal

    def check_values(self) -> None:
        """Look at the values, which waits for a GPU.

        Raises:
            DataError: NaN or infinity in a frame, or a truth that lies outside [0, 1]; the frame is named by its place.
        """
        # Extremes carry NaN along and make nothing the size of a frame.
        extremes = torch.stack([torch.stack(x.flatten(1).aminmax(dim=1)) for x in (self.preds, self.target)]).double()
        finite = extremes.isfinite().all(1)
        low, high = extremes[1]
        ok = finite.all(0) & (low >= 0) & (high <= 1)
        if ok.all():
            return
        frame = int(ok.long().argmin())
        if not finite[:, frame].all():
            side = "truth" if finite[0, frame] else "prediction"
            raise DataError(f"frame {frame} of the batch: NaN or infinity in the {side}; it can't be scored")
        raise DataError(
            f"frame {frame} of the batch: the truth spans {low[frame]:.4g}..{high[frame]:.4g}, want code / "
            f"{self.signal.peak} within 0..1; is it on {self.signal}?"
        )

    def strips(self) -> Iterator[Strip]:
        """The frames from top to bottom."""
        rows = max(1, STRIP_PIXELS // self.preds.shape[-1])
        for top in range(0, self.preds.shape[-2], rows):
            part = slice(top, top + rows)
            yield Strip(self.preds[..., part, :], self.target[..., part, :], self.signal)

    def rows(self, index: Tensor) -> Strip:
        """The rows of these numbers, in that order."""
        return Strip(self.preds.index_select(-2, index), self.target.index_select(-2, index), self.signal)

    @cached_property
    def structure(self) -> Structure:
        """What SSIM and the first scale of MS-SSIM are made of, on the signal's values."""

        def rows(index: Tensor) -> tuple[Tensor, Tensor]:
            strip = self.rows(index)
            return strip.preds.double(), strip.target.double()

        return structure(rows, self.preds.shape[-2], self.preds.shape[-1], 1.0, self.preds.device)


def check_hdr(signal: Signal) -> None:
    """Refuse a signal that isn't HDR.

    Raises:
        SignalError: another curve than PQ and HLG.
    """
    if signal.transfer not in ("pq", "hlg"):
        raise SignalError(f"{signal} isn't an HDR signal; the metrics want PQ or HLG, such as {HDR10_VIDEO}")
