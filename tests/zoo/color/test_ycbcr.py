from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo.color import luma, rgb_to_ycbcr, ycbcr_to_rgb

MATRICES = ("ycbcr709", "ycbcr2020", "ycbcr601")


# ITU-R BT.709-6, items 3.2, 3.3: divisors 1.8556, 1.5748. BT.2020-2, Table 4: 1.8814, 1.4746.
# BT.601-7, items 2.5.1, 2.5.2: 1.772, 1.402.
@pytest.mark.parametrize(
    ("matrix", "weights", "blue_divisor", "red_divisor"),
    [
        ("ycbcr709", (0.2126, 0.7152, 0.0722), 1.8556, 1.5748),
        ("ycbcr2020", (0.2627, 0.6780, 0.0593), 1.8814, 1.4746),
        ("ycbcr601", (0.299, 0.587, 0.114), 1.772, 1.402),
    ],
)
def test_coefficients_are_those_of_the_standard(
    matrix: str, weights: tuple[float, ...], blue_divisor: float, red_divisor: float
) -> None:
    rgb = torch.rand(3, 5, 7, dtype=torch.float64)
    y = sum(weight * channel for weight, channel in zip(weights, rgb, strict=True))
    expected = torch.stack([y, (rgb[2] - y) / blue_divisor, (rgb[0] - y) / red_divisor])
    torch.testing.assert_close(rgb_to_ycbcr(rgb, matrix), expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("matrix", MATRICES)
@given(st.lists(st.floats(-0.5, 2), min_size=3, max_size=3))
def test_there_and_back_returns_the_colour(matrix: str, rgb: list[float]) -> None:
    colour = torch.tensor(rgb, dtype=torch.float64).view(3, 1, 1)
    torch.testing.assert_close(ycbcr_to_rgb(rgb_to_ycbcr(colour, matrix), matrix), colour, rtol=0, atol=1e-14)


@pytest.mark.parametrize("matrix", MATRICES)
def test_corners_of_the_cube_reach_the_ends_of_the_components(matrix: str) -> None:
    corners = torch.cartesian_prod(*3 * [torch.tensor([0.0, 1.0], dtype=torch.float64)]).T.unsqueeze(-1)
    ycbcr = rgb_to_ycbcr(corners, matrix).squeeze(-1)
    torch.testing.assert_close(ycbcr.amax(1), torch.tensor([1.0, 0.5, 0.5], dtype=torch.float64), rtol=0, atol=1e-15)
    torch.testing.assert_close(ycbcr.amin(1), torch.tensor([0.0, -0.5, -0.5], dtype=torch.float64), rtol=0, atol=1e-15)


@pytest.mark.parametrize("matrix", MATRICES)
def test_greys_have_no_colour_difference(matrix: str) -> None:
    grey = torch.linspace(0, 1, 11, dtype=torch.float64).expand(3, 1, 11)
    torch.testing.assert_close(rgb_to_ycbcr(grey, matrix)[1:], torch.zeros(2, 1, 11, dtype=torch.float64))


@pytest.mark.parametrize("matrix", MATRICES)
def test_luma_is_the_first_component_and_keeps_its_axis(matrix: str) -> None:
    rgb = torch.rand(2, 3, 4, 5)
    assert torch.equal(luma(rgb, matrix), rgb_to_ycbcr(rgb, matrix)[:, :1])


def test_half_precision_is_computed_in_float32() -> None:
    rgb = torch.rand(3, 8, 8).bfloat16()
    assert torch.equal(rgb_to_ycbcr(rgb, "ycbcr709"), rgb_to_ycbcr(rgb.float(), "ycbcr709"))
