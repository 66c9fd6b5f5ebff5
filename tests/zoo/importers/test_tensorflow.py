"""Tests of the reader of TensorFlow checkpoints, on files that a small writer makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from tests.zoo.importers.writers import (
    TYPES,
    bundle_entry,
    masked,
    message,
    number,
    slow_crc32c,
    table,
    write_checkpoint,
)
from zoo.errors import WeightsError
from zoo.importers.tensorflow import read_checkpoint

FUZZ = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, derandomize=True)
HEADER = (b"", number(1, 1))
SMALL = {
    "Network/conv/0/b": np.arange(4, dtype=np.float32),
    "Network/conv/0/w": np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4),
    "Variable": np.array(7, dtype=np.int64),
}


def read_all(prefix: Path) -> dict[str, np.ndarray]:
    return {name: variable.read() for name, variable in read_checkpoint(prefix).items()}


def outcome(prefix: Path) -> dict[str, np.ndarray] | str:
    """The variables, or why they were refused."""
    try:
        return read_all(prefix)
    except WeightsError as error:
        return str(error)


@FUZZ
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=12),
        arrays_of.arrays(
            st.sampled_from([np.float32, np.float64, np.int32, np.int64]),
            arrays_of.array_shapes(min_dims=0, max_side=4),
        ),
        max_size=20,
    ),
    st.integers(1, 3),
    st.integers(1, 5),
)
def test_what_was_written_is_read(tmp_path: Path, arrays: dict[str, np.ndarray], shards: int, each_block: int) -> None:
    # LevelDB sorts by bytes, which is the order of code points in UTF-8 too.
    prefix = write_checkpoint(tmp_path / "w", arrays, shards, slow_crc32c, each_block=each_block)
    found = read_all(prefix)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].shape == array.shape
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_a_cut_at_any_byte_is_refused(tmp_path: Path) -> None:
    prefix = write_checkpoint(tmp_path / "w", SMALL, each_block=2)
    for ending in ("index", "data-00000-of-00001"):
        path = Path(f"{prefix}.{ending}")
        whole = path.read_bytes()
        for size in range(len(whole)):
            path.write_bytes(whole[:size])
            with pytest.raises(WeightsError, match=rf"w\.{ending}"):
                read_all(prefix)
        path.write_bytes(whole)
    assert len(read_all(prefix)) == 3


def test_any_changed_byte_of_the_index_is_refused_or_without_effect(tmp_path: Path) -> None:
    prefix = write_checkpoint(tmp_path / "w", SMALL, each_block=2)
    path = Path(f"{prefix}.index")
    whole = path.read_bytes()
    harmless = []
    for position in range(len(whole)):
        for bit in (position % 7, 7):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << bit]) + whole[position + 1 :])
            found = outcome(prefix)
            if isinstance(found, str):
                assert "w.index" in found
                continue
            harmless.append(position)
            for name, array in SMALL.items():
                np.testing.assert_array_equal(found[name], array)
    assert min(harmless) >= len(whole) - 48  # the footer has padding


def test_any_changed_byte_of_the_data_is_refused_with_its_variable(tmp_path: Path) -> None:
    prefix = write_checkpoint(tmp_path / "w", SMALL)
    path = Path(f"{prefix}.data-00000-of-00001")
    whole = path.read_bytes()
    ends = np.cumsum([SMALL[name].nbytes for name in sorted(SMALL)])
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 16]) + whole[position + 1 :])
        name = sorted(SMALL)[np.searchsorted(ends, position, side="right")]
        with pytest.raises(WeightsError, match=rf"damaged: {name} has another checksum"):
            read_all(prefix)


@FUZZ
@given(st.lists(st.tuples(st.binary(max_size=6), st.binary(max_size=40)), max_size=4), st.binary(max_size=12))
def test_any_messages_in_a_sound_table_are_read_or_refused(
    tmp_path: Path, entries: list[tuple[bytes, bytes]], header: bytes
) -> None:
    (tmp_path / "w.data-00000-of-00001").write_bytes(bytes(64))
    (tmp_path / "w.index").write_bytes(table(sorted(dict([*entries, (b"", header)]).items())))
    found = outcome(tmp_path / "w")
    assert isinstance(found, dict) or "\n" not in found


@FUZZ
@given(st.binary(max_size=200))
def test_any_blocks_with_sound_checksums_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    stored = content + b"\0" + masked(slow_crc32c(content + b"\0"))
    place = bytes([0]) + (bytes([len(content)]) if len(content) < 128 else bytes([len(content) & 127 | 128, 1]))
    (tmp_path / "w.index").write_bytes(stored + (place + place).ljust(40, b"\0") + bytes.fromhex("57fb808b247547db"))
    found = outcome(tmp_path / "w")
    assert isinstance(found, dict) or "w.index" in found


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (bundle_entry(7, [2], 0, 0, 8, bytes(4)), "v is of TensorFlow's type 7, no float or integer"),
        (bundle_entry(1, [2], 0, 0, 12, bytes(4)), r"v of shape \(2,\) takes 8 bytes, not 12"),
        (bundle_entry(1, [2], 0, 0, 8, bytes(4), message(7, b"")), "v has a field 7: it is in slices"),
        (bundle_entry(1, [2**40], 0, 0, 2**42, bytes(4)), "truncated: v ends at byte 4398046511104, the file at 8"),
        (bundle_entry(1, [2**64 - 1], 0, 0, 8, bytes(4)), "v of shape"),  # -1, a size that isn't known
        (bundle_entry(1, [2], 0, 4, 8, bytes(4)), "truncated: v ends at byte 12, the file at 8"),
        (bundle_entry(1, [2], 1, 0, 8, bytes(4)), "data-00001-of-00001 is missing"),
        (bundle_entry(1, [2], 0, 0, 8, bytes(4)), "damaged: v has another checksum"),
        (bundle_entry(1, [2], 0, 0, 8, bytes(4))[:-1], "field 6 is cut off"),
        (number(1, 2**63) + b"\x80" * 9 + b"\x02", "more than 64 bits"),
    ],
    ids=["text", "size", "slices", "huge", "unknown", "beyond", "shard", "checksum", "cut", "varint"],
)
def test_an_entry_that_cannot_be_is_refused_by_name(tmp_path: Path, entry: bytes, reason: str) -> None:
    (tmp_path / "w.data-00000-of-00001").write_bytes(bytes(8))
    (tmp_path / "w.index").write_bytes(table([HEADER, (b"v", entry)]))
    with pytest.raises(WeightsError, match=reason):
        read_all(tmp_path / "w")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (table([HEADER], compression=1), "the block at byte 18 is compressed"),
        (table([HEADER, (b"b", b""), (b"a", b"")]), "key b'a' stands behind b'b'"),
        (table([HEADER, (b"a", b""), (b"a", b"")]), "key b'a' stands behind b'a'"),
        (table([]), "counts no data files"),
        (table([(b"", number(1, 1) + number(2, 1))]), "big-endian"),
        (table([HEADER, (b"\xff", b"")]), "can't be read"),
        (b"x" * 100, "doesn't end as a TensorFlow index ends"),
    ],
    ids=["compressed", "unsorted", "twice", "no header", "big-endian", "no text", "no table"],
)
def test_an_index_that_cannot_be_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "w.index").write_bytes(content)
    with pytest.raises(WeightsError, match=reason):
        read_all(tmp_path / "w")


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    prefix = write_checkpoint(tmp_path / "w", SMALL, shards=2)
    (tmp_path / "w.data-00001-of-00002").unlink()
    with pytest.raises(WeightsError, match="data-00001-of-00002 is missing"):
        read_all(prefix)


def test_half_precision_is_a_type_of_its_own(tmp_path: Path) -> None:
    """The authors' checkpoints have none, so it isn't read rather than read untested."""
    prefix = write_checkpoint(tmp_path / "w", {"v": np.zeros(2, dtype=np.float16)})
    with pytest.raises(WeightsError, match=f"type {TYPES['float16']}"):
        read_all(prefix)
