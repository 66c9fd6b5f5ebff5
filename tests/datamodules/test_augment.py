from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.augment import CropSchedule, random_crop, random_turn


def pictures(scale: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """LR pixels that hold their place, each repeated over the HR pixels that it covers."""
    rows, columns = np.mgrid[0:height, 0:width]
    sdr = np.stack([rows, columns, rows], axis=-1)
    return sdr, sdr.repeat(scale, axis=0).repeat(scale, axis=1)


@given(st.sampled_from([1, 2, 4]), st.integers(3, 9), st.integers(3, 9), st.integers(1, 3), st.integers(0, 1000))
def test_both_pictures_of_a_crop_show_the_same_part(scale, height, width, lr_size, seed):
    sdr, hdr = random_crop(*pictures(scale, height, width), scale * lr_size, np.random.default_rng(seed))
    assert sdr.shape == (lr_size, lr_size, 3)
    assert np.array_equal(hdr, sdr.repeat(scale, axis=0).repeat(scale, axis=1))


def test_crops_reach_every_place():
    rng = np.random.default_rng(0)
    corners = {tuple(random_crop(*pictures(2, 4, 5), 4, rng)[0][0, 0, :2]) for _ in range(300)}
    assert corners == {(top, left) for top in range(3) for left in range(4)}


@given(st.integers(0, 1000))
def test_both_pictures_are_turned_alike(seed):
    sdr, hdr = random_turn(*pictures(2, 5, 5), np.random.default_rng(seed))
    assert np.array_equal(hdr, sdr.repeat(2, axis=0).repeat(2, axis=1))


@pytest.mark.parametrize("mirrored", [0, 1])
@pytest.mark.parametrize("quarters", range(4))
def test_turns_are_numpys(quarters, mirrored):
    class Drawn:
        def integers(self, high: int) -> int:
            return {4: quarters, 2: mirrored}[high]

    picture = np.arange(27).reshape(3, 3, 3)
    expected = np.rot90(picture[:, ::-1] if mirrored else picture, quarters)
    for turned in random_turn(picture, picture, Drawn()):
        assert np.array_equal(turned, expected)


def test_all_eight_turns_occur_equally_often():
    rng = np.random.default_rng(0)
    turned = [random_turn(*pictures(1, 3, 3), rng)[0].tobytes() for _ in range(800)]
    counts = [turned.count(form) for form in set(turned)]
    assert len(counts) == 8
    assert min(counts) > 60  # 100 expected, 4 standard deviations below


@pytest.mark.parametrize(("epoch", "size"), [(0, 96), (1, 96), (2, 160), (9, 160)])
def test_the_second_stage_takes_its_own_crop(epoch, size):
    assert CropSchedule((96, 160), stage_epoch=2).size(epoch) == size


@pytest.mark.parametrize("stage_epoch", [None, 0, 3])
def test_one_crop_serves_all_epochs(stage_epoch):
    schedule = CropSchedule((160,), stage_epoch)
    assert {schedule.size(epoch) for epoch in range(5)} == {160}
