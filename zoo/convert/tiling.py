"""A network on tiles of a frame: the whole frame's prediction in bounded memory.

A tile reads as much of the picture around it as its pixels depend on, the network's halo; where the picture ends, the
tile ends too, so that the network pads there as it does with the whole frame. No blending, no seams.
"""

from __future__ import annotations

import copy
import itertools
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from zoo.errors import ConfigError, ZooError, one_line
from zoo.ops.pictures import check_pictures
from zoo.signal import Signal

# What the count of tensors doesn't see: strips of dynamic filters, which are larger on GPUs, and convolutions' scratch.
_WORKSPACE = {"cpu": 2**27}
_WORKSPACE_ELSEWHERE = 2**30

_UNKNOWN_MEMORY = 2**32  # taken to be free where the system doesn't tell
_MOST_PARTS = 64  # of an axis; beyond, nearly all that a tile reads is context


class Cut(NamedTuple):
    """A tile along one axis of the input.

    Attributes:
        window: what the network sees.
        core: the part of the picture that it is used for.
    """

    window: slice
    core: slice

    @property
    def inside(self) -> slice:
        """The core, counted from the window's start."""
        return slice(self.core.start - self.window.start, self.core.stop - self.window.start)


class TiledNet(nn.Module):
    """A network or baseline that runs on tiles, with the interface of the one inside. For inference: no gradients.

    Args:
        net: any of the zoo. One that depends on the whole picture (``halo`` None) gets it whole. Its convolutions are
            put into channels-last, in place: the faster layout, and the one in which a CPU's sums don't depend on the
            size of the tile.
        tile: rows and columns of the input that a tile adds to the prediction; it reads ``halo`` more to each side.
            By default as large as ``memory`` allows.
        memory: bytes that a call may take besides input and parameters; by default half of what is free on the device
            when a size comes for the first time. Not for a network that gets the picture whole.

    Attributes:
        net: the network inside.
        input_signal: its.
        output_signal: its.
        scale: its.
        halo: its.

    Raises:
        ConfigError: a tile without pixels, or no memory.

    Example:
        >>> net = TiledNet(zoo.load("jsinet_x2"), memory=4_000_000_000)
        >>> with torch.autocast("cpu", torch.bfloat16):
        ...     hdr = net(sdr)  # (1, 3, 1080, 1920) to (1, 3, 2160, 3840)
    """

    def __init__(self, net: Any, tile: tuple[int, int] | None = None, memory: int | None = None) -> None:
        super().__init__()
        if tile is not None and min(tile) < 1:
            raise ConfigError(f"a tile can't have {tile[0]} rows and {tile[1]} columns; give 1 or more of each")
        if memory is not None and memory < 1:
            raise ConfigError(f"a network can't run in {memory} bytes; give those that it may take")
        self.net = net
        self.tile = tile
        self.memory = memory
        self.input_signal: Signal = net.input_signal
        self.output_signal: Signal = net.output_signal
        self.scale: int = net.scale
        self.halo: tuple[int, int] | None = net.halo
        # A baseline's arithmetic gains nothing from another layout.
        self._convolves = any(parameter.ndim == 4 for parameter in net.parameters())
        if self._convolves:
            net.to(memory_format=torch.channels_last)
        self._chosen: dict[Any, tuple[int, int]] = {}

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Convert LR SDR to HR HDR, a picture and a tile at a time.

        Args:
            x: ``(B, 3, H, W)`` on ``input_signal``, as the network takes it.

        Returns:
            ``(B, 3, scale H, scale W)`` on ``output_signal``, as the network gives it.

        Raises:
            SignalError: ``x`` has another shape, or isn't float.
            ConfigError: the smallest tile needs more than ``memory``, or what the network takes can't be counted.
        """
        check_pictures(x, self.input_signal)
        if self.halo is None or not x.numel():
            return self._whole(x)
        tile = self.tile or self._fitting_tile(x, self.halo)
        size, scale = x.shape[-2:], self.scale
        cuts = [list(cut(length, reach, step)) for length, reach, step in zip(size, self.halo, tile, strict=True)]
        if len(x) == len(cuts[0]) == len(cuts[1]) == 1:
            return self._whole(x)
        pred: Tensor | None = None
        for picture in range(len(x)):
            for rows, columns in itertools.product(*cuts):
                part = self._whole(x[picture : picture + 1, :, rows.window, columns.window])
                if pred is None:
                    pred = part.new_empty(len(x), part.shape[1], *(scale * length for length in size))
                core = part[0, :, _scaled(rows.inside, scale), _scaled(columns.inside, scale)]
                pred[picture, :, _scaled(rows.core, scale), _scaled(columns.core, scale)] = core
                del part, core  # or they would be held while the next tile is computed
        assert pred is not None
        return pred

    def _whole(self, x: Tensor) -> Tensor:
        return self.net(x.contiguous(memory_format=torch.channels_last) if self._convolves else x)

    def _fitting_tile(self, x: Tensor, halo: tuple[int, int]) -> tuple[int, int]:
        """The tile with which the network has least to compute, of those that fit."""
        size = (x.shape[-2], x.shape[-1])
        kind = x.device.type
        cast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        key = (tuple(x.shape), x.dtype, x.device, cast)
        if key not in self._chosen:
            memory = self.memory or free_memory(x.device) // 2
            left = memory - _WORKSPACE.get(kind, _WORKSPACE_ELSEWHERE)
            peak, pred = bytes_taken(self.net, x[:1], cast)

            def needs(height: int, width: int) -> int:
                whole = len(x) == 1 and (height, width) == size  # its own prediction is the one that is returned
                return peak * height * width // (size[0] * size[1]) + (0 if whole else len(x) * pred)

            axes = [_windows(length, reach) for length, reach in zip(size, halo, strict=True)]
            plans = {
                (height, width): rows * height * columns * width
                for (rows, height), (columns, width) in itertools.product(*axes)
            }
            fitting = [window for window in plans if needs(*window) <= left]
            if not fitting:
                least = min(needs(*window) for window in plans) + memory - left
                raise ConfigError(
                    f"{type(self.net).__name__} needs {least / 1e6:.0f} MB for a picture of {size[1]}x{size[0]} in the "
                    f"smallest tiles, and may take {memory / 1e6:.0f}; give it more memory, or smaller pictures"
                )
            height, width = min(fitting, key=plans.__getitem__)
            self._chosen[key] = (
                height if height == size[0] else height - 2 * halo[0],
                width if width == size[1] else width - 2 * halo[1],
            )
        return self._chosen[key]


def cut(length: int, halo: int, step: int) -> Iterator[Cut]:
    """Cut an axis into windows of one length, so that a core depends on nothing outside its window.

    A window that starts or ends inside the picture has ``halo`` samples of context there. One at a border has none
    there, and is used for as much more.

    Args:
        length: of the axis.
        halo: samples to each side that an output depends on.
        step: samples that an inner window is used for.
    """
    window = min(length, step + 2 * halo)
    starts = [*range(0, length - window, step), length - window]
    ends = [start + halo for start in starts[1:]] + [length]
    core = 0
    for start, end in zip(starts, ends, strict=True):
        yield Cut(slice(start, start + window), slice(core, end))
        core = end


def bytes_taken(net: nn.Module, x: Tensor, cast: torch.dtype | None = None) -> tuple[int, int]:
    """Memory that a network takes for a picture, counted by running it on tensors without data.

    Args:
        net: the network.
        x: ``(B, 3, H, W)``.
        cast: the type of an autocast region that it will run in.

    Returns:
        Bytes of the tensors that are alive at once, at the most, and of the prediction among them. Parameters, and the
        memory in which an operator works, aren't in it.

    Raises:
        ConfigError: the network can't run so.
    """
    tensors = itertools.chain(net.parameters(), net.buffers())
    memo: dict[int, Any] = {id(tensor): _without_data(tensor, cast) for tensor in tensors}
    try:
        empty = copy.deepcopy(net, memo)
        with torch.no_grad(), _LiveTensors() as live:
            layout = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else None
            pred = empty(torch.empty_like(x, device="meta", memory_format=layout or torch.contiguous_format))
    except ZooError:
        raise
    except Exception as error:  # a network of the user's may do anything
        reason = one_line(error)[:100]
        raise ConfigError(
            f"what {type(net).__name__} takes can't be counted ({reason}); give the size of a tile"
        ) from error
    # In an autocast region the prediction keeps the parameters' type.
    return live.peak, pred.numel() * max(4, pred.element_size())


def _without_data(tensor: Tensor, cast: torch.dtype | None) -> Tensor:
    dtype = cast if cast is not None and tensor.is_floating_point() else tensor.dtype
    empty = torch.empty_like(tensor, device="meta", dtype=dtype)
    return nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty


class _LiveTensors(TorchDispatchMode):
    """A context that follows the bytes of the tensors made in it.

    Attributes:
        peak: the most that were alive at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._now = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator, and count what it made."""
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and (storage := tensor.untyped_storage()) not in self._known:
                self._known.add(storage)
                self._now += storage.nbytes()
                weakref.finalize(storage, self._freed, storage.nbytes())
        self.peak = max(self.peak, self._now)
        return out

    def _freed(self, size: int) -> None:
        self._now -= size


def free_memory(device: torch.device) -> int:
    """Bytes that can still be allocated on a device: a GPU's, or the machine's within what its container may take."""
    if device.type == "cuda":
        return (
            torch.cuda.mem_get_info(device)[0]
            + torch.cuda.memory_reserved(device)
            - torch.cuda.memory_allocated(device)
        )
    free = []
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free.append(next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")))
    with suppress(OSError, ValueError):  # without a limit the file says "max"
        group = Path("/sys/fs/cgroup")
        free.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    return max(0, min(free, default=_UNKNOWN_MEMORY))


def _windows(length: int, halo: int) -> Iterator[tuple[int, int]]:
    """Numbers of parts of an axis, and how long each one's window is."""
    for parts in range(1, _MOST_PARTS + 1):
        window = -(-(length + 2 * halo * (parts - 1)) // parts)
        if parts == 1 or 2 * halo < window < length:
            yield parts, window


def _scaled(axis: slice, scale: int) -> slice:
    return slice(scale * axis.start, scale * axis.stop)
