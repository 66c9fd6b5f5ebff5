from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from zoo.color import bt1886_decode, pq_encode, reinhard, reinhard_inverse, roll_off

Curve = Callable[[Tensor], Tensor]


def grey(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).expand(3, 1, len(values))


def colours(count: int, peak: float) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return peak * torch.rand(3, 1, count, generator=generator, dtype=torch.float64) ** 2.4


def test_roll_off_leaves_what_lies_below_500_as_it_is() -> None:
    light = colours(100, 500.0)
    assert torch.equal(roll_off(light), light)


def test_roll_off_follows_its_formula_on_the_largest_channel_and_keeps_the_hue() -> None:
    light = torch.tensor([2000.0, 500.0, 1000.0], dtype=torch.float64).view(3, 1, 1)
    peak = 1000 - 500 * torch.tensor(-3.0, dtype=torch.float64).exp()
    torch.testing.assert_close(roll_off(light), light / 2000 * peak)


@given(st.floats(0, 1e7))
def test_roll_off_stays_within_1000_nits(luminance: float) -> None:
    assert 0 <= roll_off(grey(luminance)).max().item() <= 1000 * (1 + 1e-12)


def test_roll_off_has_no_kink_at_500() -> None:
    light = torch.linspace(499.9, 500.1, 21, dtype=torch.float64)
    slopes = roll_off(light.expand(3, 1, -1))[0, 0].diff() / light.diff()
    assert (slopes - 1).abs().max() < 1e-3


def test_reinhard_takes_1000_nits_to_white_and_clips_above() -> None:
    torch.testing.assert_close(reinhard(grey(0, 1000, 5000)), grey(0, 100, 100))


@given(st.floats(0, 1000))
def test_reinhard_inverse_undoes_reinhard(luminance: float) -> None:
    torch.testing.assert_close(reinhard_inverse(reinhard(grey(luminance))), grey(luminance), rtol=1e-9, atol=1e-9)


def test_reinhard_inverse_keeps_the_shadows_in_float32() -> None:
    light = torch.logspace(-4, 2, 1000, dtype=torch.float64)
    torch.testing.assert_close(reinhard_inverse(light.float()).double(), reinhard_inverse(light), rtol=2e-6, atol=0)


def test_reinhard_counts_negative_light_as_black_even_at_its_pole() -> None:
    assert torch.equal(reinhard(grey(-1e-3, -100, -101)), grey(0, 0, 0))


def test_black_stays_black_and_each_8_bit_code_is_brighter_than_the_one_below() -> None:
    codes = torch.arange(16, 236, dtype=torch.float64)
    light = reinhard_inverse(bt1886_decode((codes - 16) / 219))
    assert light[0] == 0
    assert (light.diff() > 0).all()


def test_float32_agrees_with_float64_to_a_tenth_of_a_code() -> None:
    light = colours(2000, 100.0)
    single, double = (1023 * pq_encode(reinhard_inverse(x)).double() for x in (light.float(), light))
    assert (single - double).abs().max() < 0.1


@pytest.mark.parametrize("curve", [roll_off, reinhard, reinhard_inverse])
def test_gradients_are_finite_from_black_to_white(curve: Curve) -> None:
    light = torch.cat([grey(0, 1e-6, 58.5, 99.9, 100), colours(50, 100.0)], dim=-1).requires_grad_()
    curve(light).sum().backward()
    assert light.grad is not None
    assert light.grad.isfinite().all()
