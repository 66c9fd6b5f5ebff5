"""Small sets of shards whose samples can be told apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datamodules.manifest import Manifest, SourceEntry
from datamodules.shards import Sample, write_shard

SIGNALS = {"sdr": "bt709-bt1886-ycbcr709-narrow-8", "hdr": "bt2020-pq-ycbcr2020-narrow-10"}


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of its own for each test."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("SRITM_HOME", str(folder))
    return folder


def numbered_sample(number: int, scale: int = 2, size: int = 16, prefix: str = "train", **meta: Any) -> Sample:
    """A sample whose pixels hold its number (blue-difference channel) and their place in the picture (the others)."""
    rows, columns = np.mgrid[0:size, 0:size]
    hdr = np.stack([rows, np.full((size, size), number), columns], axis=-1).astype(np.uint16)
    sdr = hdr[::scale, ::scale].astype(np.uint8)
    return Sample(f"{prefix}-{number:03d}", sdr, hdr, {"scene": f"scene{number // 4}", **meta})


MakeSet = Callable[..., Path]


@pytest.fixture
def make_set(tmp_path: Path) -> MakeSet:
    """Write a set with shards of the given numbers of samples; ``meta`` is added to each record; returns its folder."""

    def write(
        train: Sequence[int] = (5, 3),
        val: Sequence[int] = (4,),
        scale: int = 2,
        size: int = 16,
        name: str = "set",
        prefix: str = "train",
        preset: str = "val-v1",
        **meta: Any,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        splits = {}
        for split, shard_sizes in (("train", train), ("val", val), ("test", ())):
            keys = prefix if split == "train" else split
            numbers = iter(range(sum(shard_sizes)))
            splits[split] = tuple(
                write_shard(
                    folder / f"{split}-{shard}.tar",
                    [numbered_sample(next(numbers), scale, size, keys, **meta) for _ in range(samples)],
                )
                for shard, samples in enumerate(shard_sizes)
            )
        Manifest(scale, SIGNALS, preset, 0, (SourceEntry("noise", None, "0" * 64),), splits).write(folder)
        return folder

    return write
