from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.patches import (
    GRID,
    PATCH_SIZE,
    Window,
    choose_place,
    flat_places,
    panorama_places,
    with_margin,
)


def test_window_wraps_around_the_right_edge() -> None:
    picture = torch.arange(8.0).expand(2, 8)
    assert Window(0, 6, 1, 4).cut(picture).tolist() == [[6, 7, 0, 1]]


def test_panorama_gives_places_in_rows_an_eighth_off_the_poles_and_all_columns() -> None:
    rows, columns = panorama_places(512, 1024)
    assert (rows[0], rows[-1] + PATCH_SIZE) == (64, 448)
    assert columns == range(1024)
    assert not panorama_places(208, 416)[0]


@given(bars=st.tuples(*4 * [st.integers(0, 40)]), height=st.integers(250, 300), width=st.integers(250, 300))
@settings(max_examples=50)
def test_patches_of_a_flat_picture_keep_off_its_black_bars(
    bars: tuple[int, int, int, int], height: int, width: int
) -> None:
    top, bottom, left, right = bars
    luma = torch.full((height, width), 66.0)
    luma[top : height - bottom, left : width - right] = 300
    rows, columns = flat_places(luma)
    for places, before, end in ((rows, top, height - bottom), (columns, left, width - right)):
        assert all(place % GRID == 0 for place in (places[0], places[-1], places.step))
        assert before <= places[0] < before + GRID
        assert end - GRID < places[-1] + PATCH_SIZE <= end


def test_black_picture_gives_no_places() -> None:
    assert not any(map(len, flat_places(torch.full((200, 200), 64.0))))


def test_picture_between_bars_smaller_than_a_patch_gives_no_places() -> None:
    luma = torch.full((300, 400), 64.0)
    luma[100:250] = 400
    rows, columns = flat_places(luma)
    assert not rows
    assert columns


def half_lively() -> torch.Tensor:
    """Flat on the left, noise of 20 codes on the right."""
    luma = torch.full((400, 800), 400.0)
    luma[:, 400:] += 20 * torch.randn(400, 400, generator=torch.Generator().manual_seed(0))
    return luma


def test_chosen_places_are_lively_unless_any_kind_will_do() -> None:
    luma = half_lively()
    rows, columns = flat_places(luma)
    for seed in range(20):
        top, left = choose_place(luma, rows, columns, np.random.default_rng(seed), any_kind=False)
        assert luma[top : top + PATCH_SIZE, left : left + PATCH_SIZE].std() >= 8
    lefts = [choose_place(luma, rows, columns, np.random.default_rng(seed), any_kind=True)[1] for seed in range(20)]
    assert min(lefts) + PATCH_SIZE <= 400


def test_liveliest_of_many_places_is_taken_where_none_is_lively() -> None:
    luma = 400 + 0.1 * half_lively()
    rows, columns = flat_places(luma)
    _, left = choose_place(luma, rows, columns, np.random.default_rng(0), any_kind=False)
    assert left + PATCH_SIZE > 400


@pytest.mark.parametrize(
    ("window", "around", "inner"),
    [
        (Window(40, 60, 160, 160), Window(24, 44, 192, 192), Window(16, 16, 160, 160)),
        (Window(0, 4, 160, 160), Window(0, 0, 176, 180), Window(0, 4, 160, 160)),
        (Window(140, 240, 160, 160), Window(124, 224, 176, 176), Window(16, 16, 160, 160)),
    ],
)
def test_margin_of_16_pixels_ends_where_a_flat_picture_ends(window: Window, around: Window, inner: Window) -> None:
    assert with_margin(window, 300, 400, panoramic=False) == (around, inner)


def test_margin_goes_on_around_a_panorama() -> None:
    around, inner = with_margin(Window(64, 0, 160, 160), 512, 1024, panoramic=True)
    assert (around, inner) == (Window(48, -16, 192, 192), Window(16, 16, 160, 160))
    columns = around.cut(torch.arange(1024.0).expand(512, 1024))[0]
    assert columns[:17].tolist() == [*range(1008, 1024), 0]
