"""Small files in the authors' formats: TensorFlow checkpoints, and MatConvNet networks as MATLAB saves them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.io import savemat

Arrays = Mapping[str, np.ndarray]
TYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "float16": 19}  # tensorflow.DataType
V73_HEADER = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 .".ljust(124) + b"\x00\x02IM"


def slow_crc32c(data: bytes) -> int:
    """CRC-32C bit by bit, as the polynomial division that it is."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def masked(crc: int) -> bytes:
    return (((crc >> 15 | crc << 17) & 0xFFFFFFFF) + 0xA282EAD8 & 0xFFFFFFFF).to_bytes(4, "little")


def varint(value: int) -> bytes:
    data = b""
    while value > 127:
        data += bytes([value & 127 | 128])
        value >>= 7
    return data + bytes([value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def message(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def bundle_entry(
    dtype: int, shape: Iterable[int], shard: int, offset: int, size: int, checksum: bytes, more: bytes = b""
) -> bytes:
    dims = b"".join(message(2, number(1, side)) for side in shape)
    return (
        number(1, dtype)
        + message(2, dims)
        + number(3, shard)
        + number(4, offset)
        + number(5, size)
        + varint(6 << 3 | 5)
        + checksum
        + more
    )


def block(entries: Iterable[tuple[bytes, bytes]], restart_every: int = 16) -> bytes:
    data, restarts, last = b"", [0], b""
    for count, (key, value) in enumerate(entries):
        shared = 0
        if count % restart_every == 0 and count:
            restarts.append(len(data))
        elif count:
            shared = next(
                (i for i, (a, b) in enumerate(zip(key, last, strict=False)) if a != b), min(len(key), len(last))
            )
        data += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    return data + b"".join(at.to_bytes(4, "little") for at in restarts) + len(restarts).to_bytes(4, "little")


def table(entries: Iterable[tuple[bytes, bytes]], each_block: int = 7, compression: int = 0) -> bytes:
    """A LevelDB table with so many entries in each block."""
    data = b""

    def append(content: bytes) -> bytes:
        nonlocal data
        place = varint(len(data)) + varint(len(content))
        kind = bytes([compression])
        data += content + kind + masked(slow_crc32c(content + kind))
        return place

    listed = list(entries)
    groups = [listed[i : i + each_block] for i in range(0, len(listed), each_block)]
    index = [(group[-1][0], append(block(group))) for group in groups]
    footer = append(block([])) + append(block(index, restart_every=1))
    return data + footer.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")


def write_checkpoint(prefix: Path, arrays: Arrays, shards: int = 1, checksum: Any = None, **options: Any) -> Path:
    """A checkpoint with these variables, dealt to ``shards`` data files; ``options`` are the table's."""
    if checksum is None:
        from zoo.importers.crc32c import crc32c as checksum  # the slow one takes a minute for JSInet
    entries = [(b"", number(1, shards) + message(3, number(1, 1)))]
    data = [b""] * shards
    parts: list[list[bytes]] = [[] for _ in range(shards)]
    sizes = [0] * shards
    for count, name in enumerate(sorted(arrays)):
        array, shard = arrays[name], count % shards
        content = np.ascontiguousarray(array).tobytes()
        kind = TYPES[array.dtype.name]
        entry = bundle_entry(kind, array.shape, shard, sizes[shard], len(content), masked(checksum(content)))
        entries.append((name.encode(), entry))
        parts[shard].append(content)
        sizes[shard] += len(content)
    data = [b"".join(part) for part in parts]
    for shard, content in enumerate(data):
        Path(f"{prefix}.data-{shard:05}-of-{shards:05}").write_bytes(content)
    Path(f"{prefix}.index").write_bytes(table(entries, **options))
    return prefix


def write_v5(path: Path, arrays: Arrays, compress: bool = True) -> Path:
    """A DagNN with these parameters (kernels HWIO, biases vectors) in MATLAB's version 5."""
    fields = [("name", object), ("value", object), ("learningRate", object)]
    params = np.empty((1, len(arrays)), dtype=fields)
    for i, (name, array) in enumerate(arrays.items()):
        params[0, i] = (name, _column(array), 1.0)
    savemat(path, {"net": {"params": params, "layers": np.zeros((1, 0)), "meta": {}}}, do_compression=compress)
    return path


def write_v73(path: Path, arrays: Arrays) -> Path:
    """The same in version 7.3, HDF5 with axes reversed."""
    with h5py.File(path, "w", userblock_size=512) as file:
        texts, values = [], []
        for i, (name, array) in enumerate(arrays.items()):
            text = np.frombuffer(name.encode("utf-16-le"), dtype=np.uint16)[:, None]
            texts.append(file.create_dataset(f"#refs#/t{i}", data=text).ref)
            values.append(file.create_dataset(f"#refs#/v{i}", data=_column(array).T).ref)
        for field, references in (("name", texts), ("value", values)):
            dataset = file.create_dataset(f"net/params/{field}", (len(references), 1), dtype=h5py.ref_dtype)
            dataset[:, 0] = references
    with open(path, "r+b") as stream:
        stream.write(V73_HEADER)
    return path


def _column(array: np.ndarray) -> np.ndarray:
    return array[:, None] if array.ndim == 1 else array
