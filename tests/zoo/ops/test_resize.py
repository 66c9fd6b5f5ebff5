"""Tests of the bicubic resizing against MATLAB's algorithm."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.golden_parameters import pictures
from zoo.ops import imresize

GOLDEN_PAIRS = [
    ("up_input", "up_x2", 2),
    ("up_input", "up_x4", 4),
    ("down_input_u8", "down_half", 1 / 2),
    ("down_input_u8", "down_quarter", 1 / 4),
    ("odd_input_u8", "odd_half", 1 / 2),  # 37x45 gives 19x23: scales the grid by 1/2, not by 19/37
    ("odd_input_u8", "odd_quarter", 1 / 4),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("source", "target", "scale"), GOLDEN_PAIRS)
def test_equals_matlab(golden: Path, source: str, target: str, scale: float, dtype: torch.dtype) -> None:
    arrays = np.load(golden / "matlab_operators.npz")
    x = pictures(arrays[f"resize/{source}"], peak=255 if source.endswith("u8") else None)
    resized = imresize(x.to(dtype), scale)
    assert resized.dtype == dtype
    # The reference is float64 rounded to float32.
    torch.testing.assert_close(resized.float(), pictures(arrays[f"resize/{target}"]), rtol=0, atol=1e-6)


@given(height=st.integers(1, 20), width=st.integers(1, 20), scale=st.floats(0.1, 5))
@settings(max_examples=40, deadline=None)
def test_size_is_rounded_up_and_a_flat_picture_stays_flat(height: int, width: int, scale: float) -> None:
    resized = imresize(torch.full((2, height, width), 0.7, dtype=torch.float64), scale)
    assert resized.shape == (2, math.ceil(scale * height), math.ceil(scale * width))
    torch.testing.assert_close(resized, torch.full_like(resized, 0.7))


@given(scale=st.sampled_from([2, 4, Fraction(1, 2), Fraction(1, 4), Fraction(1, 3)]))
@settings(max_examples=10, deadline=None)
def test_mirroring_and_resizing_commute(scale: Fraction) -> None:
    x = torch.rand(1, 12, 24, dtype=torch.float64)
    for axis in (-1, -2):
        torch.testing.assert_close(imresize(x.flip(axis), scale), imresize(x, scale).flip(axis))


def test_scale_one_changes_no_bit() -> None:
    x = torch.rand(3, 7, 9)
    assert torch.equal(imresize(x, 1), x)


def test_an_exact_fraction_gives_the_exact_size() -> None:
    assert imresize(torch.rand(30, 10), Fraction(1, 10)).shape == (3, 1)


def test_a_ramp_is_enlarged_to_a_ramp_away_from_the_border() -> None:
    ramp = torch.arange(12, dtype=torch.float64).expand(12, 12)
    steps = imresize(ramp, 4)[..., 12:-12].diff(dim=-1)
    torch.testing.assert_close(steps, torch.full_like(steps, 1 / 4))


def test_gradients_are_those_of_the_linear_map() -> None:
    x = torch.rand(1, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: imresize(x, 2), x)
    assert torch.autograd.gradcheck(lambda x: imresize(x, 0.5), x)


def test_half_precision_is_lifted_even_inside_autocast() -> None:
    x = torch.rand(1, 3, 8, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        resized = imresize(x, 2)
    assert resized.dtype == torch.float32
    assert torch.equal(resized, imresize(x.float(), 2))


def test_weights_first_made_in_inference_mode_serve_training() -> None:
    x = torch.rand(1, 3, 23, 29)
    with torch.inference_mode():
        imresize(x, 3)
    trained = x.clone().requires_grad_()
    imresize(trained, 3).sum().backward()
    assert trained.grad is not None


def test_the_number_of_threads_changes_no_bit() -> None:
    x = torch.rand(3, 200, 301, dtype=torch.float64)
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 3):
            torch.set_num_threads(count)
            results.append(imresize(x, 0.5))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)
