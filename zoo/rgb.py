"""Networks for people with RGB: stills and arrays in, HDR out, with the signal stated on both sides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from zoo.color import convert_primaries, decode, encode, rgb_to_signal, signal_to_rgb
from zoo.color.transfer import SDR_WHITE
from zoo.convert.tiling import TiledNet
from zoo.errors import SignalError
from zoo.registry import load
from zoo.signal import Signal

HDR_RGB = "bt2020-pq-rgb-full-10"
# What people call pictures whose codes use the whole range.
_SHORT = {"srgb": ("bt709", "srgb"), "bt709": ("bt709", "bt1886")}
_HDR_TRANSFERS = ("pq", "hlg")
_DEPTH_OF = {np.dtype(np.uint8): 8, np.dtype(np.uint16): 16}
_ROUNDING = 1e-6  # that floats may leave 0..1 by
Pictures = TypeVar("Pictures", np.ndarray, Tensor)


def pipeline(name: str, memory: int | None = None, **options: Any) -> Pipeline:
    """A trained network or a baseline that takes SDR and gives HDR as R'G'B'.

    Args:
        name: as the ``options``, of :func:`zoo.load`.
        memory: bytes that the network may take; a large picture goes through it in tiles, which change nothing. By
            default half of what is free when a size comes for the first time.
        **options: weights, device, dtype, ...; conversions are in float32 whatever the dtype.

    Raises:
        ZooError: as :func:`zoo.load`.

    Example:
        >>> to_hdr = zoo.pipeline("jsinet_x2")
        >>> hdr = to_hdr(photograph, "srgb")  # (H, W, 3) uint8 to (2 H, 2 W, 3) float32, BT.2020 PQ
    """
    return Pipeline(TiledNet(load(name, **options), memory=memory))


class Pipeline:
    """A network between two stated signals.

    Args:
        net: maps its ``input_signal`` to its ``output_signal``, in eval mode.

    Attributes:
        net: the network.
        scale: HR over LR size.
    """

    def __init__(self, net: Any) -> None:
        self.net = net
        self.scale: int = net.scale

    def __call__(self, pictures: Pictures, signal: str | Signal, output: str | Signal = HDR_RGB) -> Pictures:
        """Convert pictures.

        Args:
            pictures: one as an array ``(H, W, 3)``, uint8, uint16 or float in 0..1, or a batch as a float tensor
                ``(B, 3, H, W)`` in 0..1.
            signal: what they hold. ``"srgb"``: R'G'B' in full range as a computer's pictures have it. ``"bt709"``: the
                same by BT.1886, the curve that video is shown by. Both of them with as many bits as the array's type
                has. Else the text form of a :class:`zoo.signal.Signal`, whose peak floats are divided by already.
            output: what comes back: a signal whose transfer is ``pq`` or ``hlg``.

        Returns:
            The same kind, in float32, ``scale`` times as high and wide: code / peak of ``output``, not rounded, clipped
            to 0..1. Outside the network's own output signal colours are clipped to those that ``output`` holds.

        Raises:
            SignalError: another shape or type, values beyond the signal's range, HDR given as SDR, an SDR output.
        """
        target = output if isinstance(output, Signal) else Signal.parse(output)
        if target.transfer not in _HDR_TRANSFERS:
            raise SignalError(f"the output {target} is SDR; networks give HDR: choose a signal such as {HDR_RGB}")
        source, x = _read(pictures, signal)
        if source.transfer in _HDR_TRANSFERS:
            raise SignalError(f"the input is {source}, which is HDR already; networks take SDR")
        parameter = next(self.net.parameters(), torch.empty(0))
        x = x.to(parameter.device, torch.float32)
        with torch.inference_mode():
            hdr = self.net(_to_net(x, source, self.net.input_signal).to(parameter.dtype)).float()
            hdr = _from_net(hdr, self.net.output_signal, target).clamp(0, 1)
        if isinstance(pictures, Tensor):
            return hdr.to(pictures.device)
        return rearrange(hdr, "1 c h w -> h w c").cpu().numpy()

    def frames(
        self, pictures: Iterable[Pictures], signal: str | Signal, output: str | Signal = HDR_RGB
    ) -> Iterator[Pictures]:
        """Convert frames of a video from any iterable, one at a time; nothing is held.

        Args:
            pictures: each as for a call.
            signal: of all of them.
            output: likewise.

        Yields:
            What a call gives for each, in their order.

        Raises:
            SignalError: as a call, when the frame's turn comes.
        """
        for picture in pictures:
            yield self(picture, signal, output)


def _read(pictures: np.ndarray | Tensor, signal: str | Signal) -> tuple[Signal, Tensor]:
    """The signal in full, and the pictures as a batch, code / peak."""
    if isinstance(pictures, Tensor):
        wanted = pictures.ndim == 4 and pictures.shape[1] == 3 and pictures.is_floating_point()
    elif isinstance(pictures, np.ndarray):
        wanted = pictures.ndim == 3 and pictures.shape[2] == 3
        wanted = wanted and (pictures.dtype.kind == "f" or pictures.dtype.newbyteorder("=") in _DEPTH_OF)
    else:
        raise SignalError(f"got {type(pictures).__name__}; give numpy.asarray(picture), or a batch as a tensor")
    if not wanted or 0 in pictures.shape:
        raise SignalError(
            f"got {str(pictures.dtype).removeprefix('torch.')} {tuple(pictures.shape)}; a picture is an array "
            "(H, W, 3) of uint8, uint16 or floats in 0..1, a batch a tensor (B, 3, H, W) of floats in 0..1"
        )
    if isinstance(pictures, Tensor):
        stored, x = None, pictures  # bits of integers
    else:
        native = pictures.dtype.newbyteorder("=")
        stored = _DEPTH_OF.get(native)
        # A copy: arrays may be read-only, reversed, or of floats that torch doesn't have.
        copied = np.array(pictures, dtype=native if stored else np.float32, order="C")
        x = rearrange(torch.from_numpy(copied), "h w c -> 1 c h w")
    source = _signal(signal, stored or 8)
    if stored is not None and (stored < source.depth or (stored == 16 and source.depth == 8)):
        raise SignalError(f"codes of {source} don't come as {pictures.dtype}; the type or the signal is another")
    x = x.float() / (source.peak if stored is not None else 1)
    least, most = (float(limit) for limit in torch.aminmax(x))
    if not (least >= -_ROUNDING and most <= 1 + _ROUNDING):
        raise SignalError(f"values reach from {least:.7g} to {most:.7g} of the peak of {source}; they must be in 0..1")
    return source, x.clamp(0, 1)


def _signal(given: str | Signal, depth: int) -> Signal:
    if isinstance(given, Signal):
        return given
    if given in _SHORT:
        return Signal(*_SHORT[given], "rgb", "full", depth)
    try:
        return Signal.parse(given)
    except SignalError as error:
        raise SignalError(f"{error}; or {' or '.join(_SHORT)}, R'G'B' in full range") from None


def _to_net(x: Tensor, source: Signal, target: Signal) -> Tensor:
    if source == target:
        return x
    if (source.primaries, source.transfer) == (target.primaries, target.transfer):
        return rgb_to_signal(signal_to_rgb(x, source).clamp(0, 1), target)
    light = convert_primaries(decode(x, source), source.primaries, target.primaries)
    return encode(light.clamp(0, SDR_WHITE), target)


def _from_net(x: Tensor, source: Signal, target: Signal) -> Tensor:
    if source == target:
        return x
    rgb = signal_to_rgb(x, source).clamp(0, 1)
    if (source.primaries, source.transfer) == (target.primaries, target.transfer):
        return rgb_to_signal(rgb, target)
    light = convert_primaries(decode(rgb, _rgb(source)), source.primaries, target.primaries)
    return rgb_to_signal(encode(light.clamp_min(0), _rgb(target)).clamp(0, 1), target)


def _rgb(signal: Signal) -> Signal:
    return replace(signal, matrix="rgb", range="full")
