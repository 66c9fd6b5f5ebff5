"""Maps from slots or numbers to samples, and from samples to a batch, as loaders take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from datamodules.augment import CropSchedule, random_crop, random_turn
from datamodules.order import Slot, epoch_order, fill_lost, slot_generator
from datamodules.reader import ShardReader
from datamodules.shards import Sample


class TrainingPatches(Dataset):
    """Slot to a cropped and turned training sample, a function of (seed, epoch, slot) alone.

    Args:
        reader: the training split.
        seed: of order, crops and turns.
        crops: size of the crops by epoch.
    """

    def __init__(self, reader: ShardReader, seed: int, crops: CropSchedule) -> None:
        self._reader = reader
        self._seed = seed
        self._crops = crops
        self._order: tuple[int, np.ndarray] | None = None

    def __getitem__(self, slot: Slot) -> Sample:
        sample = self._reader.read(int(self._numbers(slot.epoch)[slot.slot]))
        generator = slot_generator(self._seed, slot)
        sdr, hdr = random_crop(sample.sdr, sample.hdr, self._crops.size(slot.epoch), generator)
        sdr, hdr = random_turn(sdr, hdr, generator)
        return sample._replace(sdr=sdr, hdr=hdr)

    def _numbers(self, epoch: int) -> np.ndarray:
        """Sample numbers by slot; kept for one epoch, since each process works through one at a time."""
        if self._order is None or self._order[0] != epoch:
            order = epoch_order(self._reader.shard_sizes, self._seed, epoch)
            self._order = (epoch, fill_lost(order, self._reader.readable))
        return self._order[1]


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
