from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.augment import CropSchedule
from datamodules.datasets import TrainingPatches, WholeFrames, collate
from datamodules.mixture import MixedOrder, Part
from datamodules.order import Slot
from datamodules.shards import Sample
from zoo.errors import DataError


class Reader:
    """Samples that hold their number; those in ``lost`` can't be read."""

    def __init__(self, lost: set[int]) -> None:
        self.lost = lost

    def read(self, number: int) -> Sample:
        return Sample(str(number), np.full((2, 2, 3), number, np.uint8), np.full((4, 4, 3), number, np.uint16), {})

    def read_if_there(self, number: int, meta: bool) -> Sample | None:
        return None if number in self.lost else self.read(number)

    def nothing_left(self) -> str:
        return "nothing is left"


def patches(samples: int, lost: set[int]) -> tuple[TrainingPatches, MixedOrder]:
    order = MixedOrder([Part([samples], 1)], seed=0)
    return TrainingPatches(Reader(lost), order, 0, CropSchedule((4,))), order


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=12).filter(any), st.integers(0, 9))
def test_a_lost_slot_takes_the_next_good_sample_of_the_order(readable, epoch):
    dataset, order = patches(len(readable), {number for number, good in enumerate(readable) if not good})
    numbers = order.numbers(epoch).tolist()
    for slot in range(len(numbers)):
        expected = next(n for n in [*numbers[slot:], *numbers[:slot]] if readable[n])
        assert dataset[Slot(epoch, slot)].key == str(expected)


def test_crops_are_turned_unless_told_otherwise():
    sdr = np.arange(4, dtype=np.uint8).reshape(2, 2, 1).repeat(3, axis=2)
    hdr = sdr.astype(np.uint16).repeat(2, axis=0).repeat(2, axis=1)

    class Picture(Reader):
        def read(self, number: int) -> Sample:
            return Sample(str(number), sdr, hdr, {})

    order = MixedOrder([Part([40], 1)], seed=0)
    for turns, forms in ((True, 8), (False, 1)):
        dataset = TrainingPatches(Picture(set()), order, 0, CropSchedule((4,)), turns)
        assert len({dataset[Slot(0, slot)].sdr.tobytes() for slot in range(40)}) == forms


def test_an_epoch_of_which_nothing_is_left_is_an_error():
    dataset, _ = patches(3, {0, 1, 2})
    with pytest.raises(DataError, match="nothing is left"):
        dataset[Slot(0, 1)]


def test_whole_frames_are_the_samples_of_the_given_numbers():
    frames = WholeFrames(Reader(set()), [4, 2])
    assert [frames[position].key for position in range(len(frames))] == ["4", "2"]


def test_a_batch_is_channels_first_with_the_keys():
    rng = np.random.default_rng(0)
    samples = [
        Sample(name, rng.integers(0, 255, (2, 3, 3), np.uint8), rng.integers(0, 1023, (4, 6, 3)).astype(np.uint16), {})
        for name in "ab"
    ]
    batch = collate(samples)
    assert batch["key"] == ["a", "b"]
    for name, dtype in (("sdr", torch.uint8), ("hdr", torch.int16)):
        assert batch[name].dtype == dtype
        expected = np.stack([getattr(sample, name).transpose(2, 0, 1) for sample in samples])
        assert np.array_equal(batch[name].numpy(), expected)
