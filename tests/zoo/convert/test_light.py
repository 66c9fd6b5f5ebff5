from __future__ import annotations

import numpy as np
import pytest
import torch

from zoo.color import components_to_codes, pq_encode, rgb_to_ycbcr
from zoo.convert.light import LightLevels, LightMeter
from zoo.signal import HDR10_VIDEO, Signal

RGB = Signal("bt2020", "pq", "rgb", "full", 16)


def rgb_codes(light: np.ndarray) -> list[np.ndarray]:
    """``(3, H, W)`` cd/m² to planes of 16-bit codes."""
    return list((pq_encode(torch.from_numpy(light)).numpy() * RGB.peak + 0.5).astype(np.uint16))


def test_levels_are_the_brightest_component_and_the_brightest_frame_s_mean() -> None:
    meter = LightMeter(RGB, "left")
    spark = np.full((3, 10, 10), 10.0)
    spark[2, 0, 0] = 4000.0  # blue alone
    meter.update(rgb_codes(spark))
    meter.update(rgb_codes(np.full((3, 10, 10), 200.0)))
    assert meter.levels.max_cll == pytest.approx(4000, rel=1e-3)
    assert meter.levels.max_fall == pytest.approx(200, rel=1e-3)


def test_bars_do_not_dim_the_mean() -> None:
    film = np.zeros((3, 12, 8))
    film[:, 4:8] = 300.0
    whole, active = LightMeter(RGB, "left"), LightMeter(RGB, "left", (slice(4, 8), slice(None)))
    whole.update(rgb_codes(film))
    active.update(rgb_codes(film))
    assert whole.levels.max_fall == pytest.approx(100, rel=1e-3)
    assert active.levels.max_fall == pytest.approx(300, rel=1e-3)


def test_a_subtitle_on_the_bars_counts_as_the_brightest() -> None:
    film = np.zeros((3, 12, 8))
    film[:, 4:8], film[:, 10, 3] = 300.0, 700.0
    meter = LightMeter(RGB, "left", (slice(4, 8), slice(None)))
    meter.update(rgb_codes(film))
    assert meter.levels.max_cll == pytest.approx(700, rel=1e-3)
    assert meter.levels.max_fall == pytest.approx(300, rel=1e-3)


def test_subsampled_codes_of_one_colour_give_its_light() -> None:
    light = torch.tensor([500.0, 80.0, 20.0], dtype=torch.float64)[:, None, None].expand(3, 8, 8)
    codes = components_to_codes(rgb_to_ycbcr(pq_encode(light), "ycbcr2020"), HDR10_VIDEO).round().numpy()
    meter = LightMeter(HDR10_VIDEO, "topleft")
    meter.update([codes[0].astype("u2"), codes[1, ::2, ::2].astype("u2"), codes[2, ::2, ::2].astype("u2")])
    # Half a code of Cr is 0.74 of 876 codes of R', each of them 1.1 %.
    assert meter.levels.max_cll == pytest.approx(500, rel=0.02)


def test_message_is_rounded_up_and_never_ends_in_a_zero_byte() -> None:
    assert LightLevels(303.2, 36.1).message == (304, 37)
    assert LightLevels(255.5, 0.0).message == (257, 1)
    assert LightLevels(20000.0, 256.0).message == (10000, 256)
