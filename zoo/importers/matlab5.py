"""MATLAB files of version 5 (6 and 7 are the same, with compression), as far as structs of numbers need it.

A reader of our own, since scipy's may crash the process on a damaged file. A file is a header of 128 bytes and
elements; an element is a tag (type and size) and its content. A variable is an element of type matrix, or a compressed
one, and holds elements in turn: flags, shape, name, content. Source: MathWorks, *MAT-File Format*. Everything here
raises ValueError where the bytes can't be.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

_HEADER = 128  # bytes; the last four are a version and the byte order
_MARKS = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}
_MATRIX, _COMPRESSED = 14, 15
# Types of an element's numbers, and those that MATLAB's classes of arrays stand for; it stores what is smallest.
_STORED = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
    16: "u1",
    17: "u2",
}
_STRUCT, _CHAR, _OPAQUE = 2, 4, 17  # the last are objects, such as a gpuArray; they have no shape
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_MOST_BYTES = 1 << 28  # of a variable when inflated; a stream of zeros may claim a thousand times its size


@dataclass(frozen=True)
class Matrix:
    """An array of any class, its content not yet read."""

    name: str
    shape: tuple[int, ...]
    kind: int
    content: list[tuple[int, memoryview]]
    order: str

    def structs(self) -> list[dict[str, Matrix]]:
        """Of an array of structs: the fields of each."""
        if self.kind != _STRUCT:
            raise ValueError(f"{self.name or 'a part of it'} is no struct")
        if len(self.content) < 2:
            raise ValueError("it is cut off before the names of its fields")
        length = int.from_bytes(self.content[0][1], "little" if self.order == "<" else "big")
        texts = bytes(self.content[1][1])
        if length < 1 or len(texts) % length:
            raise ValueError("the names of its fields are cut off")
        names = [texts[i : i + length].split(b"\0")[0].decode() for i in range(0, len(texts), length)]
        values = self.content[2:]
        if len(values) != prod(self.shape) * len(names):
            raise ValueError(f"{len(values)} values don't make structs with {len(names)} fields")
        rows = [values[i : i + len(names)] for i in range(0, len(values), len(names) or 1)]
        return [
            {name: _matrix(content, self.order) for name, (_, content) in zip(names, row, strict=True)} for row in rows
        ]

    def numbers(self) -> np.ndarray:
        """The values, in the type of the array's class and MATLAB's order of axes."""
        if self.kind not in _CLASSES or len(self.content) != 1:
            raise ValueError(f"it is of MATLAB's class {self.kind}, no real numbers")
        flat = _numbers(self.content[0], self.order)
        if flat.size != prod(self.shape):
            raise ValueError(f"{flat.size} values don't make an array of shape {self.shape}")
        return flat.astype(_CLASSES[self.kind]).reshape(self.shape, order="F")

    def text(self) -> str:
        """The characters."""
        if self.kind != _CHAR or len(self.content) != 1:
            raise ValueError("a name is no text")
        return "".join(map(chr, _numbers(self.content[0], self.order)))


def is_version_5(data: bytes) -> bool:
    """Whether a file begins as one of this format."""
    return data[_HEADER - 4 : _HEADER] in _MARKS


def variables(data: bytes) -> Iterator[Matrix]:
    """The variables of a file, each whole and, if it was compressed, right by its checksum."""
    order = _MARKS[data[_HEADER - 4 : _HEADER]]
    for kind, content in _elements(memoryview(data)[_HEADER:], order):
        if kind == _COMPRESSED:
            [(kind, content)] = _elements(memoryview(_inflated(content)), order)
        if kind != _MATRIX:
            raise ValueError(f"an element of type {kind} stands where a variable should")
        yield _matrix(content, order)


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Type and content of each element."""
    position = 0
    while position < len(data):
        if position + 8 > len(data):
            raise ValueError("it is cut off in a tag")
        kind, size = (int(number) for number in np.frombuffer(data, f"{order}u4", 2, position))
        if kind >> 16:  # a small one, with its content in the tag
            kind, size, start, end = kind & 0xFFFF, kind >> 16, position + 4, position + 8
            if size > 4:
                raise ValueError(f"a small element claims {size} bytes")
        else:
            start, end = position + 8, position + 8 + size
            if kind != _COMPRESSED:
                end += -size % 8
        if end > len(data):
            raise ValueError(f"it is cut off: an element of {size} bytes has {len(data) - start}")
        yield kind, data[start : start + size]
        position = end


def _inflated(stream: memoryview) -> bytes:
    decompressor = zlib.decompressobj()
    try:
        content = decompressor.decompress(stream, _MOST_BYTES)
    except zlib.error as error:
        raise ValueError(f"its compressed data are wrong ({error})") from error
    if not decompressor.eof:
        raise ValueError(f"its compressed data are cut off, or more than {_MOST_BYTES} bytes")
    return content


def _matrix(content: memoryview, order: str) -> Matrix:
    elements = list(_elements(content, order))
    if not elements:  # what MATLAB leaves for []
        return Matrix("", (0, 0), 6, [(9, content)], order)
    flags = _numbers(elements[0], order)
    if flags.size and int(flags[0]) & 255 == _OPAQUE:
        return Matrix("", (), _OPAQUE, [], order)
    if len(elements) < 3:
        raise ValueError("an array has no flags, shape or name")
    shape = _numbers(elements[1], order)
    name = bytes(elements[2][1]).decode("latin-1")
    if flags.size != 2 or (shape < 0).any():
        raise ValueError("an array's flags or shape can't be")
    return Matrix(name, tuple(map(int, shape)), int(flags[0]) & 255, elements[3:], order)


def _numbers(element: tuple[int, memoryview], order: str) -> np.ndarray:
    kind, data = element
    if kind not in _STORED:
        raise ValueError(f"an element of type {kind} stands where numbers should")
    return np.frombuffer(data, order + _STORED[kind])
