"""Tests of the reader of MATLAB's version 5, on elements put together by hand; test_matconvnet.py has whole files."""

from __future__ import annotations

import struct
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.importers.matlab5 import is_version_5, variables

MARKS = {"<": b"\x00\x01IM", ">": b"\x01\x00MI"}


def element(order: str, kind: int, content: bytes) -> bytes:
    return struct.pack(f"{order}II", kind, len(content)) + content + bytes(-len(content) % 8)


def small(order: str, kind: int, content: bytes) -> bytes:
    return struct.pack(f"{order}I", len(content) << 16 | kind) + content.ljust(4, b"\0")


def file_of(order: str, kind: int, shape: tuple[int, ...], content: bytes, name: bytes = b"net") -> bytes:
    flags = element(order, 6, struct.pack(f"{order}II", kind, 0))
    dims = element(order, 5, struct.pack(f"{order}{len(shape)}i", *shape))
    return bytes(124) + MARKS[order] + element(order, 14, flags + dims + small(order, 1, name) + content)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("stored", "number", "kind", "type_"),
    [("u1", 2, 6, "f8"), ("i2", 3, 6, "f8"), ("f8", 9, 6, "f8"), ("f4", 7, 7, "f4"), ("u1", 2, 7, "f4")],
)
def test_numbers_have_the_type_of_their_class_however_they_are_stored(
    order: str, stored: str, number: int, kind: int, type_: str
) -> None:
    """MATLAB stores doubles that are small whole numbers in a byte each."""
    array = np.arange(12).reshape(3, 2, 2)
    content = element(order, number, array.astype(order + stored).tobytes("F"))
    data = file_of(order, kind, (3, 2, 2), content)
    assert is_version_5(data)
    [matrix] = variables(data)
    assert matrix.name == "net"
    assert matrix.numbers().dtype == np.dtype(type_)
    np.testing.assert_array_equal(matrix.numbers(), array)


def test_a_struct_has_its_fields_by_name() -> None:
    texts = b"name\0\0\0\0value\0\0\0"
    bodies = [
        file_of("<", 4, (1, 2), element("<", 4, "ab".encode("utf-16-le")), b"")[128:],
        file_of("<", 6, (1, 1), small("<", 2, b"\7"), b"")[128:],
    ]
    content = small("<", 5, struct.pack("<i", 8)) + element("<", 1, texts) + b"".join(bodies)
    [matrix] = variables(file_of("<", 2, (1, 1), content))
    [fields] = matrix.structs()
    assert fields["name"].text() == "ab"
    assert fields["value"].numbers().tolist() == [[7.0]]


def test_an_array_on_a_gpu_is_refused_when_it_is_read() -> None:
    flags = element("<", 6, struct.pack("<II", 17, 0))
    [variable] = variables(bytes(124) + MARKS["<"] + element("<", 14, flags + small("<", 1, b"net") + bytes(8)))
    with pytest.raises(ValueError, match="of MATLAB's class 17, no real numbers"):
        variable.numbers()


@pytest.mark.parametrize(
    ("kind", "shape", "content", "reason"),
    [
        (6, (3, 1), element("<", 2, b"12"), r"2 values don't make an array of shape \(3, 1\)"),
        (6, (-1, -2), element("<", 2, b"12"), "flags or shape can't be"),
        (6, (1, 2), element("<", 99, b"12"), "type 99 stands where numbers should"),
        (6, (1, 1), element("<", 9, b"12"), "multiple of element size"),
        (6, (1, 1), struct.pack("<I", 5 << 16 | 2) + b"1234", "a small element claims 5 bytes"),
        (6, (1, 1), element("<", 2, b"12")[:-7], "cut off"),
        (6, (1, 1), b"1234", "cut off in a tag"),
        (1, (1, 1), element("<", 2, b"1"), "of MATLAB's class 1, no real numbers"),
        (6, (1, 1), element("<", 2, b"1") * 2, "of MATLAB's class 6, no real numbers"),
    ],
)
def test_what_cannot_be_is_refused(kind: int, shape: tuple[int, ...], content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        [variable.numbers() for variable in variables(file_of("<", kind, shape, content))]


@settings(deadline=None, derandomize=True)
@given(st.sampled_from([1, 2, 4, 6, 7]), st.lists(st.integers(-2, 4), max_size=3), st.binary(max_size=120))
def test_any_bytes_are_read_or_refused(kind: int, shape: list[int], content: bytes) -> None:
    with suppress(ValueError):
        [variable] = variables(file_of("<", kind, tuple(shape), content))
        for read in (variable.numbers, variable.text, variable.structs):
            with suppress(ValueError):
                read()
