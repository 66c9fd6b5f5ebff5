from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import numpy as np
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from datamodules.index import read_sample, scan_shard
from datamodules.shards import Sample, write_shard

heights = st.integers(1, 5)
samples = st.builds(
    Sample,
    key=st.from_regex(r"[A-Za-z0-9_-]{1,90}", fullmatch=True),
    sdr=heights.flatmap(lambda h: st_numpy.arrays(np.uint8, (h, 3, 3))),
    hdr=heights.flatmap(lambda h: st_numpy.arrays(np.uint16, (2 * h, 6, 3))),
    meta=st.dictionaries(st.text(), st.integers() | st.text() | st.none()),
)


@settings(deadline=None)
@given(st.lists(samples, max_size=4, unique_by=lambda sample: sample.key))
def test_samples_read_back_as_written(tmp_path_factory, written):
    path = tmp_path_factory.mktemp("shard") / "a.tar"
    entry = write_shard(path, written)
    index = scan_shard(path)
    assert entry.samples == len(index) == len(written)
    assert index["whole"].all()
    for sample, row in zip(written, index, strict=True):
        read = read_sample(path, row)
        assert read.key == sample.key
        assert read.meta == sample.meta
        assert np.array_equal(read.sdr, sample.sdr)
        assert np.array_equal(read.hdr, sample.hdr)


def numbered(count: int) -> list[Sample]:
    rng = np.random.default_rng(0)
    return [
        Sample(
            f"k{i}", rng.integers(0, 255, (4, 4, 3), np.uint8), rng.integers(0, 1023, (8, 8, 3), np.uint16), {"i": i}
        )
        for i in range(count)
    ]


def test_plain_webdataset_reads_a_shard(tmp_path: Path):
    write_shard(tmp_path / "a.tar", numbered(3))
    read = list(webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False).decode())
    assert [sample["__key__"] for sample in read] == ["k0", "k1", "k2"]
    for sample, written in zip(read, numbered(3), strict=True):
        assert np.array_equal(sample["sdr.npy"], written.sdr)
        assert np.array_equal(sample["hdr.npy"], written.hdr)
        assert sample["json"] == written.meta


def test_the_entry_says_what_lies_on_the_disk(tmp_path: Path):
    path = tmp_path / "train-000000.tar"
    entry = write_shard(path, numbered(2))
    assert (entry.file, entry.samples, entry.bytes) == ("train-000000.tar", 2, path.stat().st_size)
    assert entry.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_headers_carry_neither_time_nor_owner(tmp_path: Path):
    write_shard(tmp_path / "a.tar", numbered(1))
    with tarfile.open(tmp_path / "a.tar") as tar:
        for member in tar:
            assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")
