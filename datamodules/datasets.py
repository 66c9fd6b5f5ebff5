"""Maps from slots or numbers to samples, and from samples to a batch, as loaders take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from datamodules.augment import CropSchedule, random_crop, random_turn
from datamodules.jitter import ColourJitter
from datamodules.mixture import MixedOrder
from datamodules.order import Slot, slot_generator
from datamodules.prefetch import Prefetcher
from datamodules.reader import ShardReader
from datamodules.shards import Sample
from zoo.errors import DataError


class TrainingPatches(Dataset):
    """Slot to a cropped and turned training sample, a function of (seed, epoch, slot) alone.

    A slot whose sample is lost takes the next good one of the order, going on at its start after its end.

    Args:
        reader: the training split of all sets.
        order: which sample each slot takes.
        seed: of crops, turns and jitter.
        crops: size of the crops by epoch.
        turns: give each crop one of the eight flips and quarter turns.
        jitter: changes the colours of both pictures; None leaves them.
        prefetch: how many slots ahead remote shards are fetched.
    """

    def __init__(
        self,
        reader: ShardReader,
        order: MixedOrder,
        seed: int,
        crops: CropSchedule,
        turns: bool = True,
        jitter: ColourJitter | None = None,
        prefetch: int = 0,
    ) -> None:
        self._reader = reader
        self._order = order
        self._seed = seed
        self._crops = crops
        self._turns = turns
        self._jitter = jitter
        self._prefetch = prefetch
        self._epoch: tuple[int, np.ndarray, Prefetcher | None] | None = None

    def __getitem__(self, slot: Slot) -> Sample:
        sample = self._read(slot)
        generator = slot_generator(self._seed, slot)
        sdr, hdr = random_crop(sample.sdr, sample.hdr, self._crops.size(slot.epoch), generator)
        if self._turns:
            sdr, hdr = random_turn(sdr, hdr, generator)
        sample = sample._replace(sdr=sdr, hdr=hdr)
        return sample if self._jitter is None else self._jitter(sample, generator)

    def _read(self, slot: Slot) -> Sample:
        # The order is kept for one epoch, since each process works through one at a time.
        if self._epoch is None or self._epoch[0] != slot.epoch:
            numbers = self._order.numbers(slot.epoch)
            self._epoch = (slot.epoch, numbers, Prefetcher(self._reader, numbers) if self._prefetch else None)
        _, numbers, prefetcher = self._epoch
        if prefetcher is not None:
            prefetcher.reach(slot.slot, slot.slot + self._prefetch)
        for place in range(slot.slot, slot.slot + len(numbers)):
            number = int(numbers[place % len(numbers)])
            if (sample := self._reader.read_if_there(number, meta=self._jitter is not None)) is not None:
                return sample
        raise DataError(self._reader.nothing_left())


class WholeFrames(Dataset):
    """Position to a whole, unchanged sample.

    Args:
        reader: a validation or test split.
        numbers: the samples of the reader to take, in this order.
    """

    def __init__(self, reader: ShardReader, numbers: Sequence[int]) -> None:
        self._reader = reader
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, position: int) -> Sample:
        return self._reader.read(self._numbers[position])


def collate(samples: Sequence[Sample]) -> dict[str, Any]:
    """Put samples of one size into a batch, channels first.

    Returns:
        ``sdr`` uint8 (B, 3, h, w), ``hdr`` int16 (B, 3, H, W) (torch.uint16 lacks most operations), ``key`` list of B.
    """
    return {
        "sdr": _stack([sample.sdr for sample in samples], np.uint8),
        "hdr": _stack([sample.hdr for sample in samples], np.int16),
        "key": [sample.key for sample in samples],
    }


def _stack(pictures: Sequence[np.ndarray], dtype: type[np.generic]) -> torch.Tensor:
    # Not torch.stack: it shares such small copies out to threads, and on busy cores waiting for those takes a hundred
    # times as long as copying.
    height, width, channels = pictures[0].shape
    batch = np.empty((len(pictures), channels, height, width), dtype)
    for place, picture in zip(batch, pictures, strict=True):
        place[...] = picture.transpose(2, 0, 1)
    return torch.from_numpy(batch)
