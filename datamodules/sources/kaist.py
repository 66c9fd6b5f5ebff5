"""The KAIST sets of Deep SR-ITM and JSI-GAN: MATLAB files of Y'CbCr codes, one for SDR and one for HDR."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange

from datamodules.sources.frame import Frame, Picture
from datamodules.sources.panorama import scene_name
from zoo.errors import DataError
from zoo.signal import HDR10_VIDEO, SDR_VIDEO, Signal

# Variables of the training files, of Deep SR-ITM's test files and of JSI-GAN's.
_SDR_VARIABLES = ("SDR_data", "SDR", "SDR_YUV")
_HDR_VARIABLES = ("HDR_data", "HDR", "HDR_YUV")


class KaistMat:
    """An SDR and an HDR file of one of the KAIST sets, each picture of theirs a frame; see ``Source``.

    Codes are Y'CbCr 4:4:4 in the order Y, Cb, Cr: 8-bit BT.709 and 10-bit PQ BT.2020, both narrow range. Training files
    hold HDR patches of 160x160 and SDR patches of 80x80 or 40x40, test files whole frames, whose SDR side may be of HDR
    size. Any size is taken as long as HDR is 1, 2 or 4 times SDR, and any type of number that holds whole codes, but no
    8-bit integers for HDR: codes that were scaled or clipped to them would pass for dark 10-bit ones.

    Args:
        sdr_path: ``.mat`` with ``SDR_data``, ``SDR`` or ``SDR_YUV``, in MATLAB (h, w, 3, n); version 5, 7 or 7.3.
        hdr_path: likewise ``HDR_data``, ``HDR`` or ``HDR_YUV``.

    Raises:
        DataError: no such file, damaged, other variables, shapes or types, or sides that don't belong together;
            codes that 8 or 10 bits don't have are found when the frame is read.
    """

    panoramic = False

    def __init__(self, sdr_path: Path, hdr_path: Path) -> None:
        self.path = hdr_path
        self.scene = scene_name(hdr_path)
        self._sdr = _inspect(sdr_path, _SDR_VARIABLES)
        self._hdr = _inspect(hdr_path, _HDR_VARIABLES)
        if self._hdr.kind in ("uint8", "int8"):
            raise DataError(
                f"{hdr_path}: {self._hdr.name} holds {self._hdr.kind}, too small for the 10-bit codes of HDR; "
                "give the codes from 0 to 1023 as they were, as uint16 for example"
            )
        self.frame_count = self._hdr.count
        self.size = self._hdr.size
        if self._sdr.count != self._hdr.count:
            raise DataError(
                f"{sdr_path} holds {self._sdr.count} pictures, {hdr_path} {self._hdr.count}; they are no pair"
            )
        if self.size not in [(scale * self._sdr.size[0], scale * self._sdr.size[1]) for scale in (1, 2, 4)]:
            height, width = self._sdr.size
            raise DataError(
                f"{sdr_path}: {width}x{height} is not 1, 1/2 or 1/4 of {self.size[1]}x{self.size[0]} of {hdr_path}; "
                "they are no pair"
            )

    def frames(self, start: int = 0, stop: int | None = None, stride: int = 1) -> Iterator[Frame]:
        numbers = range(self.frame_count)[start:stop:stride]
        for number, hdr, sdr in zip(numbers, self._hdr.read(numbers), self._sdr.read(numbers), strict=True):
            yield Frame(
                number,
                _picture(hdr, HDR10_VIDEO, self._hdr.path, number),
                _picture(sdr, SDR_VIDEO, self._sdr.path, number),
            )

    def files(self) -> list[Path]:
        return [self._sdr.path, self._hdr.path]


@dataclass(frozen=True)
class _MatVariable:
    """An array of pictures in a ``.mat`` file.

    Attributes:
        path: the file.
        name: of the variable.
        kind: type of its numbers, by the name that NumPy or MATLAB gives it.
        count: pictures.
        size: height and width.
        is_hdf5: whether the file is of version 7.3, else of 5 or 7.
    """

    path: Path
    name: str
    kind: str
    count: int
    size: tuple[int, int]
    is_hdf5: bool

    def read(self, numbers: range) -> Iterator[np.ndarray]:
        """Pictures ``(3, h, w)`` in the stored type; those of HDF5 without reading the whole file."""
        return self._read_hdf5(numbers) if self.is_hdf5 else self._read_v5(numbers)

    def _read_hdf5(self, numbers: range) -> Iterator[np.ndarray]:
        import h5py

        with h5py.File(self.path) as file:
            dataset = file[self.name]
            # All pictures of a chunk are decompressed together, so they are read together.
            run = dataset.chunks[0] if dataset.chunks and dataset.ndim == 4 else 1
            first, pictures = 0, np.empty(0)
            for number in numbers:
                if not first <= number < first + len(pictures):
                    first = number - number % run
                    try:
                        stored = dataset[first : first + run] if dataset.ndim == 4 else dataset[()][None]
                    except OSError as error:
                        raise _unreadable(self.path, error) from error
                    # HDF5 shows MATLAB's axes reversed.
                    pictures = rearrange(stored, "n c w h -> n c h w")
                yield pictures[number - first]

    def _read_v5(self, numbers: range) -> Iterator[np.ndarray]:
        from scipy.io import loadmat

        try:
            array = loadmat(self.path, variable_names=[self.name])[self.name]
        except Exception as error:  # scipy raises whatever a damaged stream leads to
            raise _unreadable(self.path, error) from error
        pictures = rearrange(array if array.ndim == 4 else array[..., None], "h w c n -> n c h w")
        for number in numbers:
            yield pictures[number]


def _inspect(path: Path, names: tuple[str, ...]) -> _MatVariable:
    """Find the variable with one of the names, and check its shape and type."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        import h5py
        from scipy.io import whosmat
    except ImportError as error:
        raise DataError(f"{path}: .mat files need {error.name}; install sritm-zoo[data]") from error

    is_hdf5 = h5py.is_hdf5(path)
    # Shapes as MATLAB has them, (h, w, 3, n), and types by MATLAB's names where they aren't numbers.
    variables: dict[str, tuple[tuple[int, ...], str]]
    try:
        if is_hdf5:
            with h5py.File(path) as file:
                variables = {
                    name: (item.shape[::-1], item.dtype.name) if isinstance(item, h5py.Dataset) else ((), "struct")
                    for name, item in file.items()
                }
        else:
            variables = {name: (shape, kind) for name, shape, kind in whosmat(path)}
    except Exception as error:  # h5py: OSError; scipy: whatever a damaged stream leads to
        raise _unreadable(path, error) from error
    name = next((name for name in names if name in variables), None)
    if name is None:
        held = ", ".join(sorted(variables)) or "nothing"
        raise DataError(f"{path}: holds {held}, none of {', '.join(names)}; is it the file of the other side?")
    shape, kind = variables[name]
    # A single picture has lost its last axis, as MATLAB does with axes of 1.
    if len(shape) not in (3, 4) or shape[2] != 3 or 0 in shape:
        raise DataError(f"{path}: {name} is {'x'.join(map(str, shape)) or kind} instead of h x w x 3 x n")
    if not kind.startswith(("uint", "int", "float", "single", "double")):
        raise DataError(f"{path}: {name} holds {kind} instead of numbers")
    return _MatVariable(path, name, kind, shape[3] if len(shape) == 4 else 1, (shape[0], shape[1]), is_hdf5)


def _picture(codes: np.ndarray, signal: Signal, path: Path, number: int) -> Picture:
    low, high = codes.min(), codes.max()
    if not (low >= 0 and high <= signal.peak and np.array_equal(codes, np.floor(codes))):
        raise DataError(
            f"{path}: picture {number} (from 0) holds values from {low:g} to {high:g}; "
            f"whole codes of {signal.depth} bits are expected, 0 to {signal.peak}"
        )
    return Picture(torch.from_numpy(codes.astype(np.float64, order="C")) / signal.peak, signal)


def _unreadable(path: Path, reason: object) -> DataError:
    return DataError(f"{path}: can't be read as a .mat file ({reason}); is the file whole?")
