from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from datamodules.cache import ShardCache
from datamodules.reader import ShardReader
from datamodules.sets import open_set
from zoo.errors import ConfigError, DataError


def open_reader(folder: Path, scale: int = 2, tolerate_damage: bool = False, crop: int = 1) -> ShardReader:
    shards = open_set(str(folder), ShardCache(folder, 0)).shards("train")
    reader = ShardReader(shards, scale, tolerate_damage, crop)
    reader.index_all()
    return reader


def test_samples_are_numbered_through_the_shards(make_set):
    reader = open_reader(make_set(train=(2, 0, 3, 1)))
    assert len(reader) == 6
    for number in range(6):
        sample = reader.read(number)
        assert sample.key == f"train-{number:03d}"
        assert (sample.hdr[..., 1] == number).all()
        assert reader.meta(number) == {"scene": f"scene{number // 4}"}
        assert reader.hdr_size(number) == (16, 16)
    assert reader.shard_of(np.arange(6)).tolist() == [0, 0, 2, 2, 2, 3]


def test_samples_smaller_than_the_crop_are_refused(make_set):
    open_reader(make_set(size=16), crop=16)
    with pytest.raises(ConfigError, match=r"data.crop 18 is larger than the stored patches of .*train-0.tar, 16"):
        open_reader(make_set(size=16, name="other"), crop=18)


def test_samples_of_another_scale_are_refused(make_set):
    folder = make_set(scale=4)
    with pytest.raises(
        DataError, match=r"train-0.tar: sample train-000 has HDR \[16 16\] over SDR \[4 4\], not scale 2"
    ):
        open_reader(folder, scale=2)


def test_damage_is_counted_and_its_samples_are_known(make_set, caplog):
    folder = make_set(train=(5, 3))
    path = folder / "train-0.tar"
    os.truncate(path, path.stat().st_size // 2)
    reader = open_reader(folder, tolerate_damage=True)
    lost = [number for number in range(8) if not reader.has(number)]
    assert lost == list(range(5 - len(lost), 5))
    assert 1 <= len(lost) <= 4
    assert reader.read_if_there(lost[0]) is None
    assert f"train-0.tar: {len(lost)} of 5 samples can't be read" in caplog.text
    assert len(reader) == 8
    assert reader.read(5).key == "train-005"


def test_a_set_of_which_nothing_is_left_is_refused_even_when_damage_is_tolerated(make_set):
    folder = make_set(train=(2,))
    (folder / "train-0.tar").write_bytes(b"")
    with pytest.raises(DataError, match="none of the 2 samples"):
        open_reader(folder, tolerate_damage=True)


@pytest.mark.parametrize("tolerate", [False, True])
def test_a_shard_that_vanishes_in_use_is_lost_where_damage_is_tolerated_else_an_error(make_set, tolerate, caplog):
    folder = make_set(train=(5, 3))
    reader = open_reader(folder, tolerate_damage=tolerate)
    (folder / "train-0.tar").unlink()
    if not tolerate:
        with pytest.raises(DataError, match=r"train-0.tar can't be read any more"):
            reader.read_if_there(1)
        return
    assert reader.read_if_there(1) is None
    assert "train-0.tar can't be read any more" in caplog.text
    assert [reader.has(number) for number in (0, 4, 5)] == [False, False, True]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_shard_cut_at_any_byte_is_refused_or_its_losses_are_counted(make_set, tmp_path, data):
    folder = tmp_path / "cut"
    if not folder.exists():
        make_set(train=(4, 2), name="cut")
        (folder / "whole").write_bytes((folder / "train-0.tar").read_bytes())
    content = (folder / "whole").read_bytes()
    cut = data.draw(st.integers(0, len(content) - 1))
    (folder / "train-0.tar").write_bytes(content[:cut])
    with pytest.raises(DataError, match=rf"train-0.tar has {cut} bytes, dataset.json says {len(content)}"):
        open_reader(folder)
    reader = open_reader(folder, tolerate_damage=True)
    left = [number for number in range(6) if reader.read_if_there(number) is not None]
    for number in left:
        sample = reader.read(number)
        assert (sample.hdr[..., 1] == number).all()
        assert (sample.sdr == sample.hdr[::2, ::2]).all()
    assert left[-2:] == [4, 5]
    assert left[:-2] == list(range(len(left) - 2))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_shard_damaged_anywhere_is_refused_or_its_losses_are_counted(make_set, tmp_path, data):
    folder = tmp_path / "damaged"
    if not folder.exists():
        make_set(train=(4, 2), name="damaged")
        (folder / "whole").write_bytes((folder / "train-0.tar").read_bytes())
    content = bytearray((folder / "whole").read_bytes())
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        members = tar.getmembers()
    # Headers, of tar and npy, and records are where damage leads somewhere; most bytes are pixels.
    for member in data.draw(st.lists(st.sampled_from(members), min_size=1, max_size=3)):
        start = data.draw(st.sampled_from([member.offset, member.offset_data]))
        place = start + data.draw(st.integers(0, 127 if start == member.offset_data else 511))
        content[place : place + 8] = data.draw(st.binary(min_size=1, max_size=8))
        if data.draw(st.booleans()):  # damage that the header's own sum doesn't show
            header = content[member.offset : member.offset + 512]
            header[148:156] = b" " * 8
            content[member.offset + 148 : member.offset + 156] = b"%06o\0 " % sum(header)
    del content[data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content)))) :]
    assume(content != (folder / "whole").read_bytes())
    (folder / "train-0.tar").write_bytes(content)
    with pytest.raises(DataError, match=r"train-0.tar has (\d+ bytes|SHA-256)"):
        open_reader(folder)
    reader = open_reader(folder, tolerate_damage=True)
    samples = [reader.read_if_there(number) for number in range(6)]
    assert [sample.key for sample in samples[4:]] == ["train-004", "train-005"]
    for sample in samples:
        assert sample is None or sample.hdr[::2, ::2].shape == sample.sdr.shape
