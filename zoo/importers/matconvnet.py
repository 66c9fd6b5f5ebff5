"""MatConvNet networks in MATLAB files: a DagNN that was saved as plain structs in the variable ``net``.

``net.params`` is an array of structs with ``name`` and ``value``. MATLAB writes two formats: version 5, and version
7.3, which is HDF5 and shows all axes reversed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from zoo.errors import WeightsError, one_line
from zoo.importers.matlab5 import is_version_5, variables

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HDF5_OFFSET = 512  # MATLAB puts a header of its own before
_MOST_VALUES = 1 << 26  # of one parameter, of which an HDF5 file may claim any number


def read_dagnn(path: Path) -> dict[str, np.ndarray]:
    """Parameters by name, with MATLAB's axes: kernels (height, width, in, out), biases (out, 1).

    Raises:
        WeightsError: h5py is missing, the file is truncated or damaged, or it holds no DagNN; of a parameter that can't
            be read the name is said.
    """
    data = path.read_bytes()
    if data[_HDF5_OFFSET:].startswith(_HDF5_SIGNATURE):
        try:
            import h5py
        except ImportError as error:
            raise WeightsError(f"{path}: a .mat file of version 7.3 needs h5py; install sritm-zoo[data]") from error
        params = _read_hdf5(path, h5py)
    elif is_version_5(data):
        params = _read_version_5(data)
    else:
        raise WeightsError(f"{path} is no MATLAB file of version 5, 7 or 7.3")
    values: dict[str, np.ndarray] = {}
    try:
        for name, value in params:
            if name in values:
                raise ValueError(f"parameter {name} is there twice")
            values[name] = value
    except Exception as error:  # h5py raises whatever a damaged file or another structure leads to
        raise WeightsError(f"{path} is no whole MatConvNet network: {_text(error)}") from error
    return values


def _read_version_5(data: bytes) -> Iterator[tuple[str, np.ndarray]]:
    found = {variable.name: variable for variable in variables(data)}
    if "net" not in found:
        raise ValueError(f"it holds {', '.join(found) or 'nothing'}, no variable net")
    [net] = found["net"].structs()
    for fields in net["params"].structs():
        name = fields["name"].text()
        yield name, _named(name, fields["value"].numbers)


def _read_hdf5(path: Path, h5py: Any) -> Iterator[tuple[str, np.ndarray]]:
    with h5py.File(path) as file:
        fields = file["net/params"]
        for text, value in zip(_values(fields["name"]).flat, _values(fields["value"]).flat, strict=True):
            name = "".join(map(chr, _values(file[text]).flat))
            yield name, _named(name, lambda value=value: _values(file[value]).T)  # type: ignore[misc]


def _values(dataset: Any) -> np.ndarray:
    if dataset.size > _MOST_VALUES:
        raise ValueError(f"a claim to have {dataset.size} values")
    return np.asarray(dataset)


def _named(name: str, read: Callable[[], np.ndarray]) -> np.ndarray:
    try:
        return read()
    except Exception as error:
        raise ValueError(f"parameter {name}: {_text(error)}") from error


def _text(error: Exception) -> str:
    kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
    return kind + one_line(error)
