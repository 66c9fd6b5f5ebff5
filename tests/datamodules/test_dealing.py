from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.dealing import Deal, Scratch
from datamodules.index import read_sample, scan_shard
from datamodules.shards import Sample, write_shard

# Scenes by the numbers of samples in their parts.
scenes = st.dictionaries(
    st.sampled_from(["attic", "beach", "cave"]), st.lists(st.integers(0, 5), min_size=1, max_size=3), max_size=3
)


def write_scratch(folder: Path, counts: dict[str, list[int]]) -> list[Scratch]:
    scratch = []
    for scene, parts in counts.items():
        numbers = iter(range(100))
        for count in parts:
            path = folder / f"{len(scratch)}.tar"
            samples = [
                Sample(
                    f"{i}",
                    np.full((2, 2, 3), next(numbers), np.uint8),
                    np.zeros((4, 4, 3), np.uint16),
                    {"scene": scene},
                )
                for i in range(count)
            ]
            scratch.append(Scratch(path, scene, write_shard(path, samples)))
    return scratch


def deal(folder: Path, split: str, scratch: list[Scratch], shard_bytes: int) -> list[list[Sample]]:
    dealt = Deal(split, scratch, shard_bytes)
    entries = [dealt.write(number, folder) for number in range(len(dealt))]
    assert [entry.file for entry in entries] == [f"{split}-{number:06d}.tar" for number in range(len(dealt))]
    return [[read_sample(folder / entry.file, row) for row in scan_shard(folder / entry.file)] for entry in entries]


@settings(max_examples=25, deadline=None)
@given(counts=scenes, split=st.sampled_from(["train", "val"]), shard_bytes=st.sampled_from([9000, 20000, 10**6]))
def test_every_sample_is_dealt_once_and_numbered_through_its_scene(tmp_path_factory, counts, split, shard_bytes):
    folder = tmp_path_factory.mktemp("deal")
    shards = deal(folder, split, write_scratch(folder, counts), shard_bytes)
    samples = [sample for shard in shards for sample in shard]
    expected = [f"{scene}-{number:05d}" for scene, parts in counts.items() for number in range(sum(parts))]
    keys = [sample.key for sample in samples]
    assert (sorted(keys) if split == "train" else keys) == (sorted(expected) if split == "train" else expected)
    assert all(f"{s.meta['scene']}-{s.sdr[0, 0, 0]:05d}" == s.key for s in samples)
    assert all(shards)
    assert not shards or max(map(len, shards)) - min(map(len, shards)) <= 1


def test_training_samples_of_scenes_of_unlike_size_are_spread_evenly(tmp_path):
    shards = deal(tmp_path, "train", write_scratch(tmp_path, {"attic": [40], "beach": [10]}), 60_000)
    assert len(shards) > 2
    shares = [sum(sample.meta["scene"] == "beach" for sample in shard) / len(shard) for shard in shards]
    assert shares == pytest.approx([0.2] * len(shards), abs=0.1)
