from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from zoo.color import convert_primaries, encode
from zoo.pictures import (
    ERROR_SCALE,
    Panel,
    comparison,
    error_panel,
    hdr_panel,
    map_panel,
    sdr_panel,
    sheet,
    show_error,
    show_hdr,
    show_sdr,
    write_png,
)
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


def test_a_map_is_white_where_it_has_no_effect_blue_below_and_red_above() -> None:
    values = torch.ones(40, 50)
    values[:20], values[20] = 0.7, 1.3
    panel = map_panel(values, neutral=1)
    assert panel.figures == pytest.approx({"min": 0.7, "mean": 1 - 0.3 * 19 / 40, "max": 1.3})
    below, above, none = (panel.picture[row, 0].astype(int) for row in (5, 20, 30))
    assert below[2] > below[0] + 50
    assert above[0] > above[2] + 50
    assert none.min() > 240


def test_the_scale_below_a_map_holds_its_colours_from_the_lowest_to_the_highest() -> None:
    """It reaches to 0.5 on both sides, as does that of a map of 0.3."""
    values = torch.tensor([0.5, 1.0, 1.5])[:, None].repeat(10, 64)
    panel = map_panel(values, neutral=1)
    assert panel.picture.shape[1] == 64
    bar = panel.picture[30 + 22 + 7]
    for row, place in ((0, 0), (2, -1)):
        assert np.array_equal(panel.picture[row, 0], bar[place])
    assert bar[31].min() > 235
    assert np.array_equal(map_panel(0.6 * (values - 1) + 1, neutral=1).picture[30 + 22 :], panel.picture[30 + 22 :])


def test_a_few_values_at_the_border_do_not_take_the_scale() -> None:
    values = 0.01 * torch.rand(100, 100)
    values[0] = 100.0
    panel = map_panel(values, neutral=0)
    assert panel.figures["max"] == 100
    assert np.ptp(panel.picture[1:100].astype(int)) > 100


def test_a_map_without_a_neutral_value_is_grey_from_its_least_to_its_greatest() -> None:
    panel = map_panel(torch.linspace(-3, 5, 100).repeat(4, 1), scale=2)
    row = panel.picture[0].astype(int)
    assert panel.picture.shape[1] == 200
    assert (row == row[:, :1]).all()
    assert (np.diff(row[:, 0]) >= 0).all()
    assert (row[0, 0], row[-1, 0]) == (0, 255)


@pytest.mark.parametrize("neutral", [None, 1.0])
def test_a_map_of_one_value_and_one_that_is_not_finite_are_drawn(neutral: float | None) -> None:
    map_panel(torch.ones(8, 30), neutral=neutral)
    panel = map_panel(torch.tensor([[float("nan"), float("inf"), -float("inf")]]).repeat(8, 10), neutral=neutral)
    assert panel.picture.dtype == np.uint8
    assert np.isnan(panel.figures["mean"])


def test_an_error_panel_counts_in_10_bit_codes() -> None:
    target = torch.full((3, 20, 30), 0.5)
    preds = target.clone()
    preds[0, :10] += 30 / 1023  # one of three channels, half of the picture
    panel = error_panel(preds, target)
    assert panel.figures == pytest.approx({"min": 0, "mean": 5, "max": 10}, abs=1e-3)
    assert np.array_equal(panel.picture[:20], show_error(preds, target))


@pytest.mark.parametrize("count", [1, 2, 3, 9, 11, 13])
def test_a_sheet_holds_every_panel_once(count: int) -> None:
    """Panels of different heights; the first rows of each are looked for in the sheet, below its title."""
    panels = {str(i): Panel(np.full((30 + i, 40, 3), 100 + i, np.uint8), {}) for i in range(count)}
    picture = sheet(panels)
    for i in range(count):
        assert (picture == 100 + i).all(-1).sum() >= (30 + i) * 40
    cells = (picture.shape[0] // (29 + count + 22)) * (picture.shape[1] // 48)
    assert count <= cells <= count + 2


def test_an_ordinary_picture_has_no_figures() -> None:
    assert sdr_panel(torch.rand(3, 4, 4), 2).figures == hdr_panel(torch.rand(3, 8, 8)).figures == {}


def test_a_picture_that_can_not_be_written_says_why() -> None:
    with pytest.raises(OSError, match="No space left on device"):
        write_png("/dev/full", np.zeros((4, 4, 3), np.uint8))
