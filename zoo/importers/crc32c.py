"""CRC-32C (Castagnoli), the checksum in LevelDB tables and TensorFlow checkpoints, fast enough for 100 MB files."""

from __future__ import annotations

import numpy as np

_POLYNOMIAL = 0x82F63B78  # 0x1EDC6F41 with the bits in reverse, as the register is shifted right
_ONES = 0xFFFFFFFF
_MASK_DELTA = 0xA282EAD8
_SHORT = 4096  # bytes up to which one register is faster than many


def _byte_table() -> list[int]:
    table = []
    for byte in range(256):
        register = byte
        for _ in range(8):
            register = register >> 1 ^ (_POLYNOMIAL if register & 1 else 0)
        table.append(register)
    return table


_TABLE = _byte_table()
_TABLE_ARRAY = np.array(_TABLE, dtype=np.uint32)


def crc32c(data: bytes) -> int:
    """The checksum of ``data``, as 32 bits.

    The register is linear over GF(2). So long data are cut into lanes of one length, whose registers run side by side
    in NumPy; a register that is moved past the bytes behind it may then be added to theirs.
    """
    if len(data) <= _SHORT:
        return _run(_ONES, data) ^ _ONES
    lanes = 1 << (len(data).bit_length() // 2)
    steps, rest = divmod(len(data), lanes)
    registers = np.zeros(lanes, dtype=np.uint32)
    registers[0] = _run(_ONES, data[:rest])
    columns = np.frombuffer(data, dtype=np.uint8, offset=rest).reshape(lanes, steps).T
    for column in np.ascontiguousarray(columns):
        registers = _TABLE_ARRAY[(registers ^ column) & 255] ^ (registers >> 8)
    zeros = _past_zeros(steps)
    while len(registers) > 1:
        registers = _map(zeros, registers[::2]) ^ registers[1::2]
        zeros = _map(zeros, zeros)
    return int(registers[0]) ^ _ONES


def masked_crc32c(data: bytes) -> int:
    """The checksum as LevelDB and TensorFlow store it: rotated, and moved by a constant."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & _ONES


def _run(register: int, data: bytes) -> int:
    for byte in data:
        register = _TABLE[(register ^ byte) & 255] ^ register >> 8
    return register


def _past_zeros(count: int) -> np.ndarray:
    """What ``count`` zero bytes make of a register, as a linear map: the images of its 32 bits."""
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    one_byte = _TABLE_ARRAY[bits & 255] ^ (bits >> 8)
    result = bits
    while count:
        if count & 1:
            result = _map(one_byte, result)
        one_byte = _map(one_byte, one_byte)
        count >>= 1
    return result


def _map(images: np.ndarray, registers: np.ndarray) -> np.ndarray:
    result = np.zeros_like(registers)
    for bit, image in enumerate(images):
        result ^= (registers >> np.uint32(bit) & np.uint32(1)) * image
    return result
