"""TensorFlow checkpoints of the V2 format, read without TensorFlow.

A checkpoint ``PREFIX`` is ``PREFIX.index``, a LevelDB table from variables' names to messages ``BundleEntryProto``
(type, shape, place, CRC-32C), and ``PREFIX.data-00000-of-00001`` (or more), the variables' bytes. Under the empty name
the table has a ``BundleHeaderProto``. Source: ``tensorflow/core/protobuf/tensor_bundle.proto``.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from zoo.errors import WeightsError
from zoo.importers.crc32c import masked_crc32c
from zoo.importers.tables import read_table
from zoo.importers.wire import fields

# Numbers of tensorflow.DataType that a network's or its optimiser's variables may have.
_DTYPES: dict[int, np.dtype] = {1: np.dtype("<f4"), 2: np.dtype("<f8"), 3: np.dtype("<i4"), 9: np.dtype("<i8")}
# Fields of a BundleEntryProto.
_DTYPE, _SHAPE, _SHARD, _OFFSET, _SIZE, _CHECKSUM = range(1, 7)


@dataclass(frozen=True)
class Variable:
    """A variable in a checkpoint.

    Attributes:
        shape: as in TensorFlow, so kernels are (height, width, in, out).
        path: the file that holds it.
        offset: of its first byte there.
        checksum: masked CRC-32C of its bytes.
    """

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    path: Path
    offset: int
    checksum: int

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return prod(self.shape) * self.dtype.itemsize

    def read(self) -> np.ndarray:
        """The values.

        Raises:
            WeightsError: they don't have the checksum that the index says.
        """
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            data = file.read(self.size)
        if masked_crc32c(data) != self.checksum:
            raise WeightsError(f"{self.path} is damaged: {self.name} has another checksum than the index says")
        return np.frombuffer(data, self.dtype).reshape(self.shape)


def index_path(prefix: Path) -> Path:
    """The file that says which variables a checkpoint has."""
    return Path(f"{prefix}.index")


def read_checkpoint(prefix: Path) -> dict[str, Variable]:
    """The variables of a checkpoint by name, in the order of names; their values are read one by one.

    Args:
        prefix: the checkpoint's name as TensorFlow says it, without ``.index``.

    Raises:
        WeightsError: there is no index, or it is damaged, a data file is missing or too short, or a variable is of a
            form that this reader doesn't know; it is named.
    """
    index = index_path(prefix)
    if not index.is_file():
        raise WeightsError(f"no TensorFlow checkpoint {prefix}: there is no file {index}")
    table = read_table(index)
    try:
        header = dict(fields(table.pop(b"", b"")))
        shards = header.get(1, 0)
        if not isinstance(shards, int) or not shards or header.get(2, 0):
            raise ValueError("its header counts no data files, or the numbers are big-endian")
        variables = [_variable(key.decode(), entry, prefix, shards) for key, entry in table.items()]
    except ValueError as error:  # UnicodeDecodeError is one
        raise WeightsError(f"{index} can't be read: {error}") from error
    sizes: dict[Path, int] = {}
    for variable in variables:
        path = variable.path
        if path not in sizes:
            if not path.is_file():
                raise WeightsError(f"{path} is missing: it belongs to {index.name}")
            sizes[path] = path.stat().st_size
        if variable.offset + variable.size > sizes[path]:
            end = variable.offset + variable.size
            raise WeightsError(f"{path} is truncated: {variable.name} ends at byte {end}, the file at {sizes[path]}")
    return {variable.name: variable for variable in variables}


def _variable(name: str, entry: bytes, prefix: Path, shards: int) -> Variable:
    """Read a ``BundleEntryProto``."""
    found = dict.fromkeys((_DTYPE, _SHARD, _OFFSET, _SIZE, _CHECKSUM), 0)  # a field of 0 isn't written
    shape: tuple[int, ...] = ()
    for number, value in fields(entry):
        if number in found and isinstance(value, int):
            found[number] = value
        elif number == _SHAPE and isinstance(value, bytes):
            shape = _shape(value, name)
        else:
            raise ValueError(f"{name} has a field {number}: it is in slices, or of a later format")
    dtype = _DTYPES.get(found[_DTYPE])
    if dtype is None:
        raise ValueError(f"{name} is of TensorFlow's type {found[_DTYPE]}, no float or integer of 32 or 64 bits")
    path = Path(f"{prefix}.data-{found[_SHARD]:05}-of-{shards:05}")
    variable = Variable(name, dtype, shape, path, found[_OFFSET], found[_CHECKSUM])
    if variable.size != found[_SIZE]:
        raise ValueError(f"{name} of shape {variable.shape} takes {variable.size} bytes, not {found[_SIZE]}")
    return variable


def _shape(message: bytes, name: str) -> tuple[int, ...]:
    """Read a ``TensorShapeProto``: sizes in field 1 of each field 2."""
    shape = []
    for number, value in fields(message):
        if number != 2 or not isinstance(value, bytes):
            raise ValueError(f"{name} has no known shape")
        size = dict(fields(value)).get(1, 0)
        if not isinstance(size, int):
            raise ValueError(f"{name} has no known shape")
        shape.append(size)
    return tuple(shape)
