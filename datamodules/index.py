"""Where each array of a shard lies in its tar file, so that samples can be read at random.

Indices are a cache outside the set, about 100 bytes for each sample. Finding that of a local shard also means that this
very file once had the right SHA-256; those of fetched shards are named for the SHA-256 of the content.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import tarfile
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from datamodules.manifest import ShardEntry
from datamodules.shards import Sample
from zoo.errors import DataError
from zoo.files import sha256_of
from zoo.home import sritm_home

logger = logging.getLogger(__name__)

# Offsets in bytes from the start of the file to the first code of an array (behind its npy header) and to the JSON
# text. `whole` is false where a part is missing, cut off or of another kind.
_FIELDS = [
    ("sdr", "<i8"),
    ("sdr_size", "<i4", 2),
    ("hdr", "<i8"),
    ("hdr_size", "<i4", 2),
    ("json", "<i8"),
    ("json_bytes", "<i4"),
    ("whole", "?"),
]

# Offset and size of a sample's members by their endings; more than one of an ending is damage.
_Parts = dict[str, list[tuple[int, int]]]


def open_index(folder: Path, entry: ShardEntry, tolerate_damage: bool = False) -> np.ndarray:
    """The index of a shard that is what the manifest says.

    The size is compared always, the SHA-256 when this file (path, size and time of change) is met first.

    Args:
        folder: the set's folder.
        entry: the shard's line of the manifest.
        tolerate_damage: index what can be read of a damaged shard instead of refusing it.

    Returns:
        A structured array, one row for each sample, in the order of the file: ``key``, offsets, sizes and ``whole``.

    Raises:
        DataError: the shard is missing or differs from its entry, or some of its samples are no pairs.
    """
    path = folder / entry.file
    try:
        status = path.stat()
    except OSError as error:
        if tolerate_damage:
            return scan_shard(path)
        raise DataError(f"shard {path} is missing; {_REMEDY}") from error
    identity = f"{path.absolute()} {status.st_size} {status.st_mtime_ns} {entry.sha256}"
    cached = sritm_home() / "index" / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.npy"
    damage = None
    index = _load(cached) if status.st_size == entry.bytes else None
    if index is None:
        if status.st_size != entry.bytes:
            damage = f"has {status.st_size} bytes, dataset.json says {entry.bytes}"
        elif (digest := sha256_of(path)) != entry.sha256:
            damage = f"has SHA-256 {digest[:12]}..., dataset.json says {entry.sha256[:12]}..."
        index = scan_shard(path)
        if damage is None:
            _store(cached, index)
    damage = damage or _damage_of(index, entry)
    if damage is not None and not tolerate_damage:
        raise DataError(f"shard {path} {damage}; {_REMEDY}")
    return index


_REMEDY = "copy it or make the set anew, or read what is left of it with data.tolerate_damage=true"


def open_fetched_index(stream: BinaryIO, name: str, entry: ShardEntry, tolerate_damage: bool = False) -> np.ndarray:
    """The index of a shard whose size and SHA-256 were checked when it was fetched.

    Args:
        stream: the shard.
        name: what messages call it.
        entry: its line of the manifest.
        tolerate_damage: index what can be read where samples are no pairs, instead of refusing the shard.

    Returns:
        As ``open_index``.

    Raises:
        DataError: some of its samples are no pairs.
    """
    index = _scan(stream, name)
    if (damage := _damage_of(index, entry)) is None:
        _store(_fetched(entry), index)
    elif not tolerate_damage:
        raise DataError(f"shard {name} {damage}; {_REMEDY}")
    return index


def known_index(entry: ShardEntry) -> np.ndarray | None:
    """The index of a shard that was fetched and indexed before; it may have left the cache since."""
    return _load(_fetched(entry))


def _fetched(entry: ShardEntry) -> Path:
    return sritm_home() / "index" / f"{entry.sha256}.npy"


def _damage_of(index: np.ndarray, entry: ShardEntry) -> str | None:
    if len(index) == entry.samples and index["whole"].all():
        return None
    return f"holds {index['whole'].sum()} whole samples, dataset.json says {entry.samples}"


def no_samples() -> np.ndarray:
    """The index of a shard that can't be had."""
    return _table([], [])


def scan_shard(path: Path) -> np.ndarray:
    """Index a tar file as far as it can be read; a missing file gives an empty index."""
    try:
        stream = path.open("rb")
    except OSError:
        return no_samples()
    with stream:
        return _scan(stream, str(path))


def _scan(stream: BinaryIO, name: str) -> np.ndarray:
    samples: dict[str, _Parts] = {}
    try:
        # Each header is read once; the contents are skipped.
        with tarfile.open(fileobj=stream, mode="r:", errors="replace") as tar:
            for member in tar:
                if member.size < 0:  # tarfile would go back, and round and round
                    raise tarfile.ReadError(f"{member.name} has {member.size} bytes")
                folder, _, file = member.name.rpartition("/")
                key, _, part = file.partition(".")
                parts = samples.setdefault(f"{folder}/{key}".lstrip("/"), {})
                parts.setdefault(part, []).append((member.offset_data, member.size))
    except Exception as error:  # tarfile raises whatever a damaged header leads to
        logger.warning("shard %s can't be read to its end: %s", name, error)
    file_bytes = os.fstat(stream.fileno()).st_size
    return _table(list(samples), [_row(stream, parts, file_bytes) for parts in samples.values()])


def read_sample(path: Path, row: np.void) -> Sample:
    """Read the sample of one row of a shard's index; its arrays are read-only.

    Raises:
        DataError: the file was removed or cut since it was indexed.
    """
    try:
        with path.open("rb", buffering=0) as stream:
            return read_open_sample(stream, str(path), row)
    except OSError as error:
        raise DataError(f"shard {path} can't be read any more: {error.strerror}") from error


def read_open_sample(stream: BinaryIO, name: str, row: np.void, meta: bool = True) -> Sample:
    """Read a sample as ``read_sample`` does, from an open shard.

    Args:
        stream: the shard.
        name: what messages call it.
        row: of the shard's index.
        meta: read the sample's record too; else it is left empty, which saves a fifth of the time.

    Raises:
        DataError: the file was cut or written over since it was indexed.
    """
    fields: Any = row.item()
    key, sdr_start, (h, w), hdr_start, (height, width), text_start, text_bytes, _ = fields
    file = stream.fileno()
    sdr = os.pread(file, 3 * int(h) * int(w), sdr_start)
    hdr = os.pread(file, 6 * int(height) * int(width), hdr_start)
    text = os.pread(file, text_bytes, text_start) if meta else b"{}"
    if len(sdr) != 3 * h * w or len(hdr) != 6 * height * width or (meta and len(text) != text_bytes):
        raise DataError(f"shard {name} was cut off while it was in use; make the set anew")
    try:
        record = _record(text)
    except ValueError as error:
        raise DataError(f"shard {name} was written over while it was in use; make the set anew") from error
    return Sample(
        key.decode(),
        np.frombuffer(sdr, "u1").reshape(h, w, 3),
        np.frombuffer(hdr, "<u2").reshape(height, width, 3),
        record,
    )


def _table(keys: list[str], rows: list[tuple]) -> np.ndarray:
    encoded = [key.encode() for key in keys]
    longest = max(map(len, encoded), default=1)
    table = np.zeros(len(keys), [("key", f"S{longest}"), *_FIELDS])
    for position, (key, row) in enumerate(zip(encoded, rows, strict=True)):
        table[position] = (key, *row)
    return table


def _row(stream: BinaryIO, parts: _Parts, file_bytes: int) -> tuple:
    """One sample's offsets; all zero and not whole if a part can't be used or is there twice."""
    try:
        (sdr_place,), (hdr_place,), ((text, text_bytes),) = parts["sdr.npy"], parts["hdr.npy"], parts["json"]
        sdr, sdr_size = _array_place(stream, *sdr_place, np.dtype("u1"))
        hdr, hdr_size = _array_place(stream, *hdr_place, np.dtype("<u2"))
        if max(offset + size for places in parts.values() for offset, size in places) > file_bytes:
            raise ValueError("cut off")
        stream.seek(text)
        _record(stream.read(text_bytes))
    except Exception:  # numpy reads a header as Python text, and raises whatever a damaged one leads to
        return (0, (0, 0), 0, (0, 0), 0, 0, False)
    return (sdr, sdr_size, hdr, hdr_size, text, text_bytes, True)


def _record(text: bytes) -> dict[str, Any]:
    """The content of a sample's JSON; ValueError if it is no object."""
    record = json.loads(text)
    if not isinstance(record, dict):
        raise ValueError(f"record {record!r}")
    return record


def _array_place(stream: BinaryIO, offset: int, size: int, dtype: np.dtype) -> tuple[int, tuple[int, int]]:
    """Offset of the first code and (height, width) of an npy member; ValueError if it isn't (h, w, 3) of ``dtype``."""
    stream.seek(offset)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"npy version {version}")
    shape, fortran_order, stored = np.lib.format.read_array_header_1_0(stream)
    start = stream.tell()
    if stored != dtype or fortran_order or len(shape) != 3 or shape[2] != 3 or min(shape) < 1:
        raise ValueError(f"array {stored} {shape}")
    if start - offset + dtype.itemsize * math.prod(shape) != size:
        raise ValueError("array and member differ in size")
    return start, shape[:2]


def _load(path: Path) -> np.ndarray | None:
    """A kept index; None if there is none, or one that can't be read, which is made anew then."""
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None


def _store(path: Path, index: np.ndarray) -> None:
    """Keep an index for the next run; where the folder can't be written, the next run indexes again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as stream:
            np.save(stream, index, allow_pickle=False)
        os.replace(stream.name, path)
    except OSError as error:
        logger.info("the index of a shard is not kept: %s", error)
