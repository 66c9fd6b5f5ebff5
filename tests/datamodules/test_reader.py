from __future__ import annotations

import os
from pathlib import Path

import pytest

from datamodules.manifest import Manifest
from datamodules.reader import ShardReader
from zoo.errors import DataError


def open_reader(folder: Path, scale: int = 2, tolerate_damage: bool = False) -> ShardReader:
    return ShardReader(folder, Manifest.read(folder).splits["train"], scale, tolerate_damage)


def test_samples_are_numbered_through_the_shards(make_set):
    reader = open_reader(make_set(train=(2, 0, 3, 1)))
    assert len(reader) == 6
    for number in range(6):
        sample = reader.read(number)
        assert sample.key == f"train-{number:03d}"
        assert (sample.hdr[..., 1] == number).all()
        assert reader.meta(number) == {"scene": f"scene{number // 4}"}
        assert reader.hdr_size(number) == (16, 16)
    assert reader.smallest_side() == 16


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
    lost = (~reader.readable).sum()
    assert 1 <= lost <= 4
    assert reader.readable[5:].all()
    assert f"train-0.tar: {lost} of 5 samples can't be read" in caplog.text
    assert len(reader) == 8
    assert reader.read(5).key == "train-005"


def test_a_set_of_which_nothing_is_left_is_refused_even_when_damage_is_tolerated(make_set):
    folder = make_set(train=(2,))
    (folder / "train-0.tar").write_bytes(b"")
    with pytest.raises(DataError, match="none of the 2 samples"):
        open_reader(folder, tolerate_damage=True)
