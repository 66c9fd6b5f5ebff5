"""Tests of the guided filter and the division against the authors' layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.golden_parameters import pictures
from zoo.errors import DataError
from zoo.ops import detail_layer, guided_filter

MATLAB_EPS = 2.220446049250313e-16
# float32 against TensorFlow's float32 and Octave's float64; a wrong border alone costs 5e-3.
TOLERANCE = 1e-5


@pytest.mark.parametrize("picture", ["a", "b", "c"])
def test_mirrored_border_equals_the_jsi_gan_authors(golden: Path, picture: str) -> None:
    arrays = np.load(golden / "jsi_gan_guided_filter.npz")
    x = pictures(arrays[f"{picture}_input"])
    base = guided_filter(x, border="reflect")
    torch.testing.assert_close(base, pictures(arrays[f"{picture}_base"]), rtol=0, atol=TOLERANCE)
    detail = detail_layer(x, base, eps=1e-15)
    torch.testing.assert_close(detail, pictures(arrays[f"{picture}_detail"]), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("picture", ["guided", "guided_tiny"])
def test_repeated_border_equals_the_deep_sritm_authors(golden: Path, picture: str) -> None:
    arrays = np.load(golden / "matlab_operators.npz")
    x = pictures(arrays[f"{picture}/input"])
    base = guided_filter(x, border="replicate")
    torch.testing.assert_close(base, pictures(arrays[f"{picture}/base"]), rtol=0, atol=TOLERANCE)
    detail = detail_layer(x, base, eps=MATLAB_EPS)
    torch.testing.assert_close(detail, pictures(arrays[f"{picture}/detail"]), rtol=0, atol=TOLERANCE)


def test_division_equals_the_deep_sritm_authors_and_zero_over_zero_is_zero(golden: Path) -> None:
    arrays = np.load(golden / "matlab_operators.npz")
    detail = detail_layer(pictures(arrays["divide/a"]), pictures(arrays["divide/b"]), eps=MATLAB_EPS)
    torch.testing.assert_close(detail, pictures(arrays["divide/out"]), rtol=2e-7, atol=0)  # 1 ulp
    assert detail_layer(torch.zeros(1), torch.zeros(1), eps=1e-15).item() == 0


@given(
    height=st.integers(3, 12),
    width=st.integers(3, 12),
    shift=st.floats(-0.5, 0.5),
    border=st.sampled_from(["replicate", "reflect"]),
)
@settings(max_examples=20, deadline=None)
def test_adding_a_constant_adds_it_to_the_base_layer(height: int, width: int, shift: float, border: str) -> None:
    x = torch.rand(1, 2, height, width, dtype=torch.float64)
    shifted = guided_filter(x + shift, border=border)
    torch.testing.assert_close(shifted, guided_filter(x, border=border) + shift, rtol=0, atol=1e-12)


def test_channels_are_filtered_by_themselves() -> None:
    x = torch.rand(2, 3, 9, 8)
    together = guided_filter(x, border="reflect")
    torch.testing.assert_close(together[:, 1:2], guided_filter(x[:, 1:2], border="reflect"))


def test_a_flat_picture_is_its_base_layer_and_its_detail_is_one() -> None:
    x = torch.full((1, 1, 6, 7), 0.25, dtype=torch.float64)
    base = guided_filter(x, border="replicate")
    torch.testing.assert_close(base, x)
    torch.testing.assert_close(detail_layer(x, base, eps=1e-15), torch.ones_like(x))


def test_half_precision_is_lifted_even_inside_autocast() -> None:
    # Values that bfloat16 holds exactly: what differs is the arithmetic alone.
    x = (torch.randint(0, 256, (1, 3, 16, 16)) / 256).bfloat16()
    expected = guided_filter(x.float(), border="reflect")
    with torch.autocast("cpu", torch.bfloat16):
        base = guided_filter(x, border="reflect")
        detail = detail_layer(x, base, eps=1e-15)
    assert base.dtype == detail.dtype == torch.float32
    assert torch.equal(base, expected)
    assert torch.equal(detail, detail_layer(x.float(), expected, eps=1e-15))


@pytest.mark.parametrize("border", ["replicate", "reflect"])
def test_gradients_flow_through_base_and_detail(border: str) -> None:
    x = torch.rand(1, 1, 5, 4, dtype=torch.float64) + 0.5

    def decompose(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        base = guided_filter(x, border=border)
        return base, detail_layer(x, base, eps=1e-15)

    assert torch.autograd.gradcheck(decompose, x.requires_grad_())


def test_a_picture_too_small_to_be_mirrored_is_refused_in_one_line() -> None:
    with pytest.raises(DataError, match=r"2x5 is too small .* at least 3 samples a side"):
        guided_filter(torch.rand(1, 3, 5, 2), border="reflect")


def test_a_repeated_border_takes_a_single_pixel() -> None:
    x = torch.rand(1, 3, 1, 1)
    torch.testing.assert_close(guided_filter(x, border="replicate"), x)
