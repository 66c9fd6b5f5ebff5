from __future__ import annotations

import colour
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo.color import convert_primaries, primaries_matrix, rgb_to_xyz_matrix
from zoo.color.primaries import apply_matrix

SPACES = {
    "bt709": "ITU-R BT.709",
    "bt2020": "ITU-R BT.2020",
    "p3d65": "P3-D65",
    "smpte170m": "SMPTE C",
    "bt470bg": "ITU-R BT.470 - 625",
}


@pytest.mark.parametrize("primaries", SPACES)
def test_rgb_to_xyz_equals_colour_science(primaries: str) -> None:
    space = colour.RGB_COLOURSPACES[SPACES[primaries]]
    theirs = colour.models.normalised_primary_matrix(space.primaries, space.whitepoint)
    np.testing.assert_allclose(rgb_to_xyz_matrix(primaries), theirs, atol=1e-14)


def test_bt709_to_bt2020_rounds_to_the_matrix_of_bt2087() -> None:
    # ITU-R BT.2087-0, Annex 1.
    published = [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]
    np.testing.assert_array_equal(np.round(primaries_matrix("bt709", "bt2020"), 4), published)


def test_luminance_of_the_primaries_rounds_to_the_weights_of_luma() -> None:
    assert np.round(rgb_to_xyz_matrix("bt709")[1], 4).tolist() == [0.2126, 0.7152, 0.0722]
    assert np.round(rgb_to_xyz_matrix("bt2020")[1], 4).tolist() == [0.2627, 0.6780, 0.0593]


def test_matrix_to_the_same_primaries_is_the_identity() -> None:
    np.testing.assert_array_equal(primaries_matrix("bt2020", "bt2020"), np.eye(3))


@pytest.mark.parametrize("primaries", ["bt709", "p3d65", "smpte170m", "bt470bg"])
@given(st.lists(st.floats(0, 10000), min_size=3, max_size=3))
def test_to_bt2020_and_back_returns_the_colour(primaries: str, rgb: list[float]) -> None:
    light = torch.tensor(rgb, dtype=torch.float64).view(3, 1, 1)
    there = convert_primaries(light, primaries, "bt2020")
    torch.testing.assert_close(convert_primaries(there, "bt2020", primaries), light, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("primaries", ["bt709", "smpte170m", "bt470bg"])
def test_bt2020_holds_all_colours_of_sdr_video(primaries: str) -> None:
    assert np.min(primaries_matrix(primaries, "bt2020")) > 0


def test_red_of_p3_lies_a_little_outside_bt2020() -> None:
    red = convert_primaries(torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64).view(3, 1, 1), "p3d65", "bt2020")
    assert red.flatten().tolist() == pytest.approx([0.7538, 0.0457, -0.0012], abs=5e-5)


def test_white_stays_white() -> None:
    white = torch.ones(3, 1, 1, dtype=torch.float64)
    torch.testing.assert_close(convert_primaries(white, "bt709", "bt2020"), white, rtol=1e-15, atol=0)


def test_matrix_acts_on_the_channel_axis() -> None:
    x = torch.rand(2, 5, 3, 4, 6, dtype=torch.float64)
    matrix = primaries_matrix("bt709", "bt2020")
    expected = torch.einsum("ij,...jhw->...ihw", torch.tensor(matrix, dtype=torch.float64), x)
    torch.testing.assert_close(apply_matrix(matrix, x), expected, rtol=1e-14, atol=1e-15)


def test_autocast_leaves_float32_alone() -> None:
    x = torch.rand(3, 8, 8)
    plain = convert_primaries(x, "bt709", "bt2020")
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(convert_primaries(x, "bt709", "bt2020"), plain)
