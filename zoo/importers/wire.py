"""Varints, and messages in the wire format of Protocol Buffers: as much as a TensorFlow index needs.

Everything here raises ValueError where the bytes end too early or can't be.
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def varint(data: bytes, position: int) -> tuple[int, int]:
    """An unsigned integer of at most 64 bits, low 7 bits first, and the position behind it."""
    value = 0
    for shift in range(0, 64, 7):
        if position >= len(data):
            raise ValueError(f"byte {position} is missing")
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            if value >> 64:
                break
            return value, position
    raise ValueError(f"the number before byte {position} has more than 64 bits")


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field in order: integers as they are, unsigned; texts and messages as bytes."""
    position = 0
    while position < len(message):
        key, position = varint(message, position)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, position = varint(message, position)
            yield number, value
            continue
        if kind == _BYTES:
            size, position = varint(message, position)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"field {number} is of the unknown kind {kind}")
        content = message[position : position + size]
        if len(content) < size:
            raise ValueError(f"field {number} is cut off")
        position += size
        yield number, content if kind == _BYTES else int.from_bytes(content, "little")
