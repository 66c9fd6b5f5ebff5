"""Random access to the samples of a split."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.index import open_index, read_sample
from datamodules.manifest import ShardEntry
from datamodules.shards import Sample
from zoo.errors import DataError

logger = logging.getLogger(__name__)


class ShardReader:
    """The samples of several shards, numbered through: sample i of shard k is number ``sum(shard_sizes[:k]) + i``.

    It holds no open files, so it can be handed to worker processes.

    Args:
        folder: the set's folder.
        entries: the shards, in the order of the manifest.
        scale: HR over LR size that each sample must have.
        tolerate_damage: take what can be read of damaged shards instead of refusing them.

    Raises:
        DataError: a shard is missing, differs from its entry or holds samples of another kind or scale; or nothing
            can be read at all.
    """

    def __init__(self, folder: Path, entries: Sequence[ShardEntry], scale: int, tolerate_damage: bool = False) -> None:
        self.shard_sizes = [entry.samples for entry in entries]
        self._starts = np.cumsum([0, *self.shard_sizes])
        self._paths = [folder / entry.file for entry in entries]
        self._indices = [open_index(folder, entry, tolerate_damage) for entry in entries]
        self.readable = np.zeros(len(self), bool)
        for path, start, end, index in zip(self._paths, self._starts, self._starts[1:], self._indices, strict=False):
            whole = index["whole"]
            if other := np.flatnonzero(whole & (index["hdr_size"] != scale * index["sdr_size"]).any(axis=1)).tolist():
                row = index[other[0]]
                raise DataError(
                    f"shard {path}: sample {row['key'].decode()} has HDR {row['hdr_size']} over SDR {row['sdr_size']}, "
                    f"not scale {scale}; make the set anew"
                )
            known = whole[: end - start]  # a file that isn't the manifest's may hold more
            self.readable[start : start + len(known)] = known
            if lost := int(end - start - known.sum()):
                logger.warning("shard %s: %d of %d samples can't be read", path, lost, end - start)
        if len(self) and not self.readable.any():
            raise DataError(f"none of the {len(self)} samples of {folder} can be read; make the set anew")

    def __len__(self) -> int:
        """Samples according to the manifest, whether they can be read or not."""
        return int(self._starts[-1])

    def hdr_size(self, number: int) -> tuple[int, int]:
        """HR height and width of a sample."""
        _, row = self._find(number)
        height, width = row["hdr_size"].tolist()
        return height, width

    def smallest_side(self) -> int:
        """The smallest HR height or width of all samples that can be read."""
        return min(int(index["hdr_size"][index["whole"]].min(initial=2**31 - 1)) for index in self._indices)

    def meta(self, number: int) -> dict[str, Any]:
        """How a sample was made: the content of its ``KEY.json``."""
        return self.read(number).meta

    def read(self, number: int) -> Sample:
        """A sample; its arrays are read-only.

        Raises:
            DataError: the shard was removed or cut since it was opened.
        """
        return read_sample(*self._find(number))

    def _find(self, number: int) -> tuple[Path, np.void]:
        assert self.readable[number]
        shard = int(np.searchsorted(self._starts, number, side="right")) - 1
        return self._paths[shard], self._indices[shard][number - self._starts[shard]]
