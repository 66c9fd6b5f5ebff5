"""LevelDB tables: sorted keys with values, in blocks with checksums. Read whole, without LevelDB.

A file is blocks, then a footer of 48 bytes: places of the metaindex and of the index, padding, a magic number. The
index's values are the places of the data blocks. Behind each block stand a byte for its compression and its masked
CRC-32C. Source: ``doc/table_format.md`` of LevelDB.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from zoo.errors import WeightsError
from zoo.importers.crc32c import masked_crc32c
from zoo.importers.wire import varint

_FOOTER_BYTES = 48
_MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")


def read_table(path: Path) -> dict[bytes, bytes]:
    """Keys and values of a table, checked by all the checksums that it has.

    Raises:
        WeightsError: not such a table, truncated, damaged or compressed; the place is named.
    """
    data = path.read_bytes()
    if len(data) < _FOOTER_BYTES or not data.endswith(_MAGIC):
        raise WeightsError(f"{path} doesn't end as a TensorFlow index ends: it is truncated, or something else")
    table: dict[bytes, bytes] = {}
    try:
        *metaindex, position = _place(data, len(data) - _FOOTER_BYTES)
        _block(data, *metaindex)
        *index, _ = _place(data, position)
        last = None
        for _, pointer in _entries(_block(data, *index)):
            *place, _ = _place(pointer, 0)
            for key, value in _entries(_block(data, *place)):
                if last is not None and key <= last:
                    raise ValueError(f"key {key!r} stands behind {last!r}")
                table[key] = value
                last = key
    except ValueError as error:
        raise WeightsError(f"{path} is damaged: {error}; fetch it again") from error
    return table


def _place(data: bytes, position: int) -> tuple[int, int, int]:
    """Offset and size of a block, and the position behind them."""
    offset, position = varint(data, position)
    size, position = varint(data, position)
    return offset, size, position


def _block(data: bytes, offset: int, size: int) -> bytes:
    """A block's content, checked."""
    end = offset + size
    stored = data[end + 1 : end + 5]
    if end + 5 > len(data) - _FOOTER_BYTES:
        raise ValueError(f"the block at byte {offset} would be {size} bytes long, which the file isn't")
    if masked_crc32c(data[offset : end + 1]) != int.from_bytes(stored, "little"):
        raise ValueError(f"the block at byte {offset} has another checksum than is stored for it")
    if data[end]:
        raise ValueError(f"the block at byte {offset} is compressed, which TensorFlow doesn't do")
    return data[offset:end]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block. Each key is stored as what differs from the one before.

    At the end are offsets of entries with whole keys, for searching; reading in order needs only their count.
    """
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (restarts + 1)
    if end < 0:
        raise ValueError(f"a block of {len(block)} bytes can't hold {restarts} restart points")
    key, position = b"", 0
    while position < end:
        shared, position = varint(block, position)
        unshared, position = varint(block, position)
        size, position = varint(block, position)
        if shared > len(key) or position + unshared + size > end:
            raise ValueError(f"an entry behind key {key!r} is cut off")
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        yield key, block[position : position + size]
        position += size
