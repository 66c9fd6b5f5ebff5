from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from zoo.color import convert_primaries, encode
from zoo.pictures import ERROR_SCALE, comparison, show_error, show_hdr, show_sdr, write_png
from zoo.signal import HDR10_VIDEO


def test_the_truth_looks_like_the_sdr_it_was_made_with(golden: Path) -> None:
    """HDR is shown by the protocol's own SDR curve, so at full size both pictures agree to some codes."""
    frames = np.load(golden / "val_v1_frames.npz")
    name = next(key.removesuffix("_hr") for key in frames.files if key.endswith("_hr"))
    hdr = torch.from_numpy(frames[f"{name}_hr"].astype(np.float32).transpose(2, 0, 1) / 1023)
    sdr = torch.from_numpy(frames[f"{name}_lr_x2"].astype(np.float32).transpose(2, 0, 1) / 255)
    shown = show_hdr(hdr).astype(float)
    reduced = shown.reshape(128, 2, 128, 2, 3).mean((1, 3))
    assert np.median(np.abs(reduced - show_sdr(sdr))) <= 2


def test_grey_of_100_cd_per_m2_is_shown_by_the_curve() -> None:
    light = torch.full((3, 4, 4), 100.0)
    picture = show_hdr(encode(convert_primaries(light, "bt709", "bt2020"), HDR10_VIDEO))
    # x = 1: x (1 + x / 100) / (1 + x) = 0.505 of white, sRGB-encoded.
    expected = round(255 * (1.055 * 0.505 ** (1 / 2.4) - 0.055))
    assert np.abs(picture.astype(int) - expected).max() <= 1


def test_the_error_map_is_dark_for_none_and_brightest_at_its_scale() -> None:
    target = torch.full((3, 4, 4), 0.5)
    none, half, most = (show_error(target + k * ERROR_SCALE / 1023, target) for k in (0, 0.5, 1))
    assert none.max() < 5 < half.mean() < most.mean()
    assert np.array_equal(most, show_error(target + 2 * ERROR_SCALE / 1023, target))


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_comparison_holds_all_pictures_side_by_side(tmp_path: Path, scale: int) -> None:
    sdr, hdr = torch.rand(3, 32, 40), torch.rand(3, 32 * scale, 40 * scale)
    picture = comparison(sdr, {"a": hdr + 0.01, "b": hdr - 5}, hdr)
    assert picture.dtype == np.uint8
    assert picture.shape[1] == 4 * 40 * scale
    write_png(tmp_path / "new" / "picture.png", picture)
    assert np.array_equal(cv2.imread(str(tmp_path / "new" / "picture.png"))[..., ::-1], picture)
