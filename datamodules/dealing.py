"""Dealing the samples of scratch shards to the shards of a set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodules.index import read_sample, scan_shard
from datamodules.manifest import ShardEntry
from datamodules.shards import Sample, write_shard


@dataclass(frozen=True)
class Scratch:
    """A scratch shard: its file, the scene of its samples, and its size as recorded."""

    path: Path
    scene: str
    entry: ShardEntry


class Deal:
    """How the samples of one split are dealt to shards of about equal size.

    Training samples are mixed: those of each scratch shard are spread evenly over the whole split, so that every shard
    has some of all. Others stay in order. Keys are numbered anew, through each scene.

    Args:
        split: ``train``, ``val`` or ``test``.
        scratch: in the order of scenes and frames.
        shard_bytes: about the size of a shard.
    """

    def __init__(self, split: str, scratch: Sequence[Scratch], shard_bytes: int) -> None:
        self.split = split
        self._scratch = scratch
        counts = np.array([part.entry.samples for part in scratch], np.int64)
        total = int(counts.sum())
        part = np.repeat(np.arange(len(scratch)), counts)
        row = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
        if split == "train":
            # Sample i of n stands at (i + 1/2) / n of the way; where several stand, the first part's comes first.
            order = np.lexsort((part, (2 * row + 1) / (2 * np.maximum(counts, 1)[part])))
            part, row = part[order], row[order]
        shards = min(total, -(-sum(file.entry.bytes for file in scratch) // shard_bytes))
        self._shards = list(
            zip(np.array_split(part, shards), np.array_split(row, shards), strict=True) if shards else ()
        )
        self._first_number = _first_numbers([part.scene for part in scratch], counts)
        self._indices: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        """Number of shards."""
        return len(self._shards)

    def write(self, number: int, folder: Path) -> ShardEntry:
        """Write one shard into ``folder``.

        Raises:
            OSError: it can't be written.
        """
        return write_shard(folder / f"{self.split}-{number:06d}.tar", self._samples(number))

    def _samples(self, number: int) -> Iterator[Sample]:
        for part, row in zip(*self._shards[number], strict=True):
            scratch = self._scratch[part]
            if part not in self._indices:
                self._indices[part] = scan_shard(scratch.path)
            sample = read_sample(scratch.path, self._indices[part][row])
            yield sample._replace(key=f"{scratch.scene}-{self._first_number[part] + row:05d}")


def _first_numbers(scenes: Sequence[str], counts: np.ndarray) -> list[int]:
    """The number within its scene of each part's first sample."""
    numbers, seen = [], dict.fromkeys(scenes, 0)
    for scene, count in zip(scenes, counts.tolist(), strict=True):
        numbers.append(seen[scene])
        seen[scene] += count
    return numbers
