from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import numpy as np

from datamodules.prefetch import Prefetcher
from zoo.errors import DataError


class Shards:
    """Ten samples in each shard; notes which shards are opened. Odd shards are local; those in ``bad`` fail."""

    def __init__(self, bad: tuple[int, ...] = ()) -> None:
        self.opened: list[int] = []
        self.shards = [
            SimpleNamespace(remote=shard % 2 == 0, open=lambda shard=shard: self._open(shard, bad))
            for shard in range(12)
        ]

    def _open(self, shard: int, bad: tuple[int, ...]) -> Any:
        self.opened.append(shard)
        if shard in bad:
            raise DataError("gone")
        return SimpleNamespace(close=lambda: None)

    def shard_of(self, numbers: np.ndarray) -> np.ndarray:
        return numbers // 10


def settled(shards: Shards, count: int) -> list[int]:
    """What was opened, once it is as many as expected (or too many)."""
    for _ in range(200):
        if len(shards.opened) >= count:
            break
        time.sleep(0.01)
    time.sleep(0.02)
    return shards.opened


def test_remote_shards_are_fetched_once_in_the_order_of_need_up_to_the_horizon():
    shards = Shards()
    numbers = np.concatenate([np.arange(60, 120), np.arange(0, 60)])
    prefetcher = Prefetcher(shards, numbers)
    prefetcher.reach(0, 25)
    assert settled(shards, 2) == [6, 8]
    for slot in range(1, 60):
        prefetcher.reach(slot, slot + 25)
    assert settled(shards, 5) == [6, 8, 10, 0, 2]
    assert [thread is None or not thread.is_alive() for thread in [prefetcher._thread]] == [True]


def test_after_a_resume_what_the_epoch_is_past_is_left_out():
    shards = Shards()
    Prefetcher(shards, np.arange(120)).reach(45, 65)
    assert settled(shards, 2) == [4, 6]


def test_a_shard_that_cant_be_fetched_is_left_to_the_reader():
    shards = Shards(bad=(0,))
    Prefetcher(shards, np.arange(120)).reach(0, 20)
    assert settled(shards, 2) == [0, 2]
