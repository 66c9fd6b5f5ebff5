from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from zoo.color import (
    bt1886_decode,
    bt2446a_inverse,
    bt2446a_table4,
    bt2446c_inverse,
    pq_encode,
    reinhard,
    reinhard_inverse,
    rgb_to_ycbcr,
    roll_off,
    ycbcr_to_rgb,
)

Curve = Callable[[Tensor], Tensor]
CONVERTERS = (reinhard_inverse, bt2446c_inverse, bt2446a_inverse, bt2446a_table4)


def grey(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).expand(3, 1, len(values))


def colours(count: int, peak: float) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return peak * torch.rand(3, 1, count, generator=generator, dtype=torch.float64) ** 2.4


def bt2446a_forward(light: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """HDR to SDR as ITU-R BT.2446-1, 4.1, Tables 2 and 3 print it, for 1000 and 100 cd/m²: Y', Cb, Cr."""
    y, cb, cr = rgb_to_ycbcr((light / 1000) ** (1 / 2.4), "ycbcr2020").split(1, dim=-3)
    rho_hdr, rho_sdr = 1 + 32 * 0.1 ** (1 / 2.4), 1 + 32 * 0.01 ** (1 / 2.4)
    y_p = torch.log(1 + (rho_hdr - 1) * y) / torch.log(torch.tensor(rho_hdr, dtype=torch.float64))
    y_c = torch.where(
        y_p <= 0.7399,
        1.0770 * y_p,
        torch.where(y_p < 0.9909, -1.1510 * y_p**2 + 2.7811 * y_p - 0.6302, 0.5 * y_p + 0.5),
    )
    y_sdr = (rho_sdr**y_c - 1) / (rho_sdr - 1)
    scale = y_sdr / (1.1 * y)
    cb, cr = scale * cb, scale * cr
    return y_sdr - (0.1 * cr).clamp(min=0), cb, cr


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


# Greys that the converters give for SDR signals of 0.2, 0.5, 0.8 and 1; the Report's formulas evaluated independently.
@pytest.mark.parametrize(
    ("converter", "expected"),
    [
        (bt2446a_inverse, (6.39, 80.7, 342.0, 1000)),
        (bt2446a_table4, (6.51, 76.3, 357.7, 999.5)),
        (bt2446c_inverse, (2.507, 22.61, 69.81, 332.4)),
    ],
)
def test_greys_come_out_at_the_converters_levels(converter: Curve, expected: tuple[float, ...]) -> None:
    light = bt1886_decode(grey(0.2, 0.5, 0.8, 1.0))
    torch.testing.assert_close(converter(light), grey(*expected), rtol=1e-3, atol=0)


def test_bt2446a_inverse_undoes_the_forward_transform() -> None:
    light = 0.7 * colours(2000, 1000.0) + 300  # muted: the SDR of vivid BT.2020 colours has negative R'G'B'
    sdr = bt1886_decode(ycbcr_to_rgb(torch.cat(bt2446a_forward(light)), "ycbcr2020"))
    torch.testing.assert_close(pq_encode(bt2446a_inverse(sdr)), pq_encode(light), rtol=0, atol=1e-12)


def test_bt2446a_table4_scales_colour_differences_by_1_075_times_the_lumas_ratio() -> None:
    light = 0.5 * colours(500, 100.0) + 5
    y, cb, cr = rgb_to_ycbcr((light / 100) ** (1 / 2.4), "ycbcr2020")
    y_hdr, cb_hdr, cr_hdr = rgb_to_ycbcr((bt2446a_table4(light) / 1000) ** (1 / 2.4), "ycbcr2020")
    torch.testing.assert_close(cb_hdr, 1.075 * y_hdr / y * cb, rtol=0, atol=1e-12)
    torch.testing.assert_close(cr_hdr, 1.075 * y_hdr / y * cr, rtol=0, atol=1e-12)


def test_bt2446c_inverse_undoes_the_forward_curve_and_keeps_the_hue() -> None:
    # ITU-R BT.2446-1, 6.1.5: luminance Y of HDR to 0.83802 Y below the inflection, logarithmic above.
    hdr = torch.cat([torch.linspace(0.1, 69, 100), torch.linspace(70, 332, 100)]).double()
    scaled = hdr / (58.5 / 0.83802)
    sdr = torch.where(scaled < 1, 0.83802 * hdr, 15.09968 * torch.log((scaled - 0.74204).clamp(min=0.1)) + 78.99439)
    torch.testing.assert_close(bt2446c_inverse(sdr.expand(3, 1, -1)), hdr.expand(3, 1, -1), rtol=1e-9, atol=0)

    colour = torch.tensor([50.0, 10.0, 2.0], dtype=torch.float64).view(3, 1, 1)
    torch.testing.assert_close(bt2446c_inverse(colour) / colour, torch.full_like(colour, 1 / 0.83802))


@pytest.mark.parametrize("converter", CONVERTERS)
def test_black_stays_black_and_each_8_bit_code_is_brighter_than_the_one_below(converter: Curve) -> None:
    codes = torch.arange(16, 236, dtype=torch.float64)
    light = converter(bt1886_decode((codes - 16) / 219).expand(3, 1, -1))[0, 0]
    assert light[0] == 0
    assert (light.diff() > 0).all()


@pytest.mark.parametrize("converter", CONVERTERS)
def test_float32_agrees_with_float64_to_a_tenth_of_a_code(converter: Curve) -> None:
    light = colours(2000, 100.0)
    single, double = (1023 * pq_encode(converter(x)).double() for x in (light.float(), light))
    assert (single - double).abs().max() < 0.1


@pytest.mark.parametrize("curve", [roll_off, reinhard, *CONVERTERS])
def test_gradients_are_finite_from_black_to_white(curve: Curve) -> None:
    light = torch.cat([grey(0, 1e-6, 58.5, 99.9, 100), colours(50, 100.0)], dim=-1).requires_grad_()
    curve(light).sum().backward()
    assert light.grad is not None
    assert light.grad.isfinite().all()
