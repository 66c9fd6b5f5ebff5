from __future__ import annotations

import numpy as np
import pytest

from tests.zoo.importers.writers import slow_crc32c
from zoo.importers.crc32c import crc32c, masked_crc32c


# RFC 3720, B.4, and the check value of the catalogue of CRCs.
@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ],
)
def test_published_checksums(data: bytes, checksum: int) -> None:
    assert crc32c(data) == checksum


@pytest.mark.parametrize("size", [1, 4096, 4097, 4160, 8191, 8192, 20_011])
def test_lanes_give_what_one_register_gives(size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    assert crc32c(data) == slow_crc32c(data)


def test_every_bit_of_long_data_counts() -> None:
    data = bytearray(6000)
    checksums = {crc32c(bytes(data))}
    for position in range(0, 6000, 37):
        data[position] ^= 1 << position % 8
        checksums.add(crc32c(bytes(data)))
        data[position] ^= 1 << position % 8
    assert len(checksums) == 1 + len(range(0, 6000, 37))


def test_the_mask_is_that_of_leveldb() -> None:
    """LevelDB's ``util/crc32c.h``: rotate right by 15 bits, add 0xa282ead8."""
    assert masked_crc32c(b"123456789") == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) % 2**32
