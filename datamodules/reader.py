"""Random access to the samples of a split."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from datamodules.index import no_samples, read_open_sample
from datamodules.sets import Shard
from datamodules.shards import Sample
from zoo.errors import ConfigError, DataError

logger = logging.getLogger(__name__)


class ShardReader:
    """The samples of several shards, numbered through: sample i of shard k is number ``sum(shard_sizes[:k]) + i``.

    Shards are indexed when first needed. It holds no open files, so it can be handed to worker processes.

    Args:
        shards: of one or several sets.
        scale: HR over LR size that each sample must have.
        tolerate_damage: take what can be read of damaged shards, and is of the scale, instead of refusing them.
        crop: the smallest HR height and width that will do.
    """

    def __init__(self, shards: Sequence[Shard], scale: int, tolerate_damage: bool = False, crop: int = 1) -> None:
        self.shards = shards
        self.shard_sizes = [shard.entry.samples for shard in shards]
        self._starts = [0, *accumulate(self.shard_sizes)]
        self._scale = scale
        self._tolerate_damage = tolerate_damage
        self._crop = crop
        self._indices: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        """Samples according to the manifest, whether they can be read or not."""
        return self._starts[-1]

    def index(self, shard: int) -> np.ndarray:
        """The index of a shard, checked when first asked for.

        Raises:
            DataError: it is missing, differs from its entry or holds samples of another kind or scale.
            ConfigError: it holds samples smaller than the crop.
        """
        if shard not in self._indices:
            self._indices[shard] = self._checked(self.shards[shard])
        return self._indices[shard]

    def index_all(self, remote: bool = True) -> None:
        """Index shards now, so that what is wrong with them shows before they are used.

        Args:
            remote: those that must be fetched for it too.

        Raises:
            DataError: as ``index``, or nothing can be read at all.
            ConfigError: as ``index``.
        """
        for number, shard in enumerate(self.shards):
            if remote or not shard.remote:
                self.index(number)
        if len(self._indices) == len(self.shards) and len(self) and not any(map(self.has, range(len(self)))):
            raise DataError(self.nothing_left())

    def nothing_left(self) -> str:
        """What to say where no sample can be read."""
        return f"none of the {len(self)} samples from {self.shards[0].name} on can be read; make the set anew"

    def _checked(self, shard: Shard) -> np.ndarray:
        index = shard.index(self._tolerate_damage)
        whole = index["whole"]
        if other := np.flatnonzero(whole & (index["hdr_size"] != self._scale * index["sdr_size"]).any(axis=1)).tolist():
            row = index[other[0]]
            said = (
                f"shard {shard.name}: sample {row['key'].decode()} has HDR {row['hdr_size']} over SDR "
                f"{row['sdr_size']}, not scale {self._scale}; make the set anew"
            )
            if not self._tolerate_damage:
                raise DataError(said)
            logger.warning("%s", said)
            index = index.copy()
            index["whole"][other] = False
            whole = index["whole"]
        if (smallest := int(index["hdr_size"][whole].min(initial=self._crop))) < self._crop:
            raise ConfigError(
                f"data.crop {self._crop} is larger than the stored patches of {shard.name}, {smallest} HR pixels; "
                "give a smaller crop"
            )
        samples = shard.entry.samples
        if lost := samples - int(whole[:samples].sum()):  # a file that isn't the manifest's may hold more
            logger.warning("shard %s: %d of %d samples can't be read", shard.name, lost, samples)
        return index

    def shard_of(self, numbers: np.ndarray) -> np.ndarray:
        """Which shard each of these samples lies in."""
        return np.searchsorted(self._starts, numbers, side="right") - 1

    def has(self, number: int) -> bool:
        """Whether a sample can be read.

        Raises:
            DataError: as ``index``.
            ConfigError: as ``index``.
        """
        index, place = self._find(number)[1:]
        return place < len(index) and bool(index[place]["whole"])

    def hdr_size(self, number: int) -> tuple[int, int]:
        """HR height and width of a sample."""
        _, index, place = self._find(number)
        height, width = index[place]["hdr_size"].tolist()
        return height, width

    def meta(self, number: int) -> dict[str, Any]:
        """How a sample was made: the content of its ``KEY.json``."""
        return self.read(number).meta

    def read(self, number: int, meta: bool = True) -> Sample:
        """A sample that ``has`` says can be read; its arrays are read-only.

        Args:
            number: which.
            meta: read its record too; else it is left empty.

        Raises:
            DataError: the shard was removed or cut since it was opened, or can't be fetched any more.
        """
        shard, index, place = self._find(number)
        with shard.open() as stream:
            return read_open_sample(stream, shard.name, index[place], meta)

    def read_if_there(self, number: int, meta: bool = True) -> Sample | None:
        """A sample, or None where damage is tolerated and it is lost.

        Raises:
            DataError: as ``index`` and ``read``, where damage isn't tolerated.
            ConfigError: as ``index``.
        """
        if not self.has(number):
            return None
        try:
            return self.read(number, meta)
        except DataError as error:
            if not self._tolerate_damage:
                raise
            logger.warning("%s; its samples are left out", error)
            self._indices[int(self.shard_of(np.asarray(number)))] = no_samples()
            return None

    def _find(self, number: int) -> tuple[Shard, np.ndarray, int]:
        shard = bisect_right(self._starts, number) - 1
        return self.shards[shard], self.index(shard), number - self._starts[shard]
