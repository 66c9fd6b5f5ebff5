from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from zoo.color import (
    bt1886_decode,
    bt1886_encode,
    bt2446a,
    bt2446a_inverse,
    bt2446a_table4,
    bt2446c,
    bt2446c_inverse,
    hlg_decode,
    pq_encode,
    rgb_to_ycbcr,
    ycbcr_to_rgb,
)

Curve = Callable[[Tensor], Tensor]
CONVERTERS = (bt2446c_inverse, bt2446a_inverse, bt2446a_table4)


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


def test_bt2446a_equals_the_reports_formulas() -> None:
    light = torch.cat([colours(2000, 1000.0) + 1e-6, grey(*range(1, 1000))], dim=-1)
    expected = bt1886_decode(ycbcr_to_rgb(torch.cat(bt2446a_forward(light)), "ycbcr2020"))
    torch.testing.assert_close(bt2446a(light), expected, rtol=1e-11, atol=1e-11)


def test_bt2446a_inverse_undoes_bt2446a() -> None:
    light = 0.7 * colours(2000, 1000.0) + 300  # muted: the SDR of vivid BT.2020 colours has negative R'G'B'
    torch.testing.assert_close(pq_encode(bt2446a_inverse(bt2446a(light))), pq_encode(light), rtol=0, atol=1e-12)


@given(st.floats(0, 1000))
def test_bt2446a_inverse_undoes_bt2446a_on_any_grey(luminance: float) -> None:
    torch.testing.assert_close(bt2446a_inverse(bt2446a(grey(luminance))), grey(luminance), rtol=1e-10, atol=1e-12)


# ITU-R BT.2446-1, 6.1.5: skin (50 % HLG) to 70 %, reference white (75 % HLG) to 96 % SDR, 1000 cd/m² to 107 %.
@pytest.mark.parametrize(("hlg", "percent"), [(0.5, 70), (0.75, 96), (1.0, 107)])
def test_bt2446c_puts_hlg_levels_where_the_report_says(hlg: float, percent: int) -> None:
    sdr = bt1886_encode(bt2446c(hlg_decode(grey(hlg))))
    assert round(100 * sdr[0].item()) == percent


@given(st.lists(st.floats(0, 1000), min_size=3, max_size=3).filter(lambda light: max(light) > 0))
def test_bt2446c_inverse_undoes_bt2446c_even_above_white(light: list[float]) -> None:
    hdr = torch.tensor(light, dtype=torch.float64).view(3, 1, 1)
    torch.testing.assert_close(bt2446c_inverse(bt2446c(hdr)), hdr, rtol=1e-10, atol=1e-300)


def test_crosstalk_leaves_greys_and_brightens_less_of_a_vivid_colour() -> None:
    levels = grey(0, 1, 69, 70, 300, 1000)
    torch.testing.assert_close(bt2446c(levels, crosstalk=0.1), bt2446c(levels), rtol=1e-12, atol=1e-12)
    # Far below the inflection the curve is a scale, which crosstalk and its inverse enclose.
    dark = colours(100, 20.0)
    torch.testing.assert_close(bt2446c(dark, crosstalk=0.1), bt2446c(dark), rtol=1e-12, atol=1e-12)
    # With crosstalk a bright blue counts as brighter than its own luminance of 59 cd/m² and is held down.
    blue = torch.tensor([0.0, 0.0, 1000.0], dtype=torch.float64).view(3, 1, 1)
    assert bt2446c(blue, crosstalk=0.1)[2].item() < 0.8 * bt2446c(blue)[2].item()


def test_bt2446a_table4_scales_colour_differences_by_1_075_times_the_lumas_ratio() -> None:
    light = 0.5 * colours(500, 100.0) + 5
    y, cb, cr = rgb_to_ycbcr((light / 100) ** (1 / 2.4), "ycbcr2020")
    y_hdr, cb_hdr, cr_hdr = rgb_to_ycbcr((bt2446a_table4(light) / 1000) ** (1 / 2.4), "ycbcr2020")
    torch.testing.assert_close(cb_hdr, 1.075 * y_hdr / y * cb, rtol=0, atol=1e-12)
    torch.testing.assert_close(cr_hdr, 1.075 * y_hdr / y * cr, rtol=0, atol=1e-12)


def test_bt2446c_inverse_undoes_the_printed_curve_and_keeps_the_hue() -> None:
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


@pytest.mark.parametrize("curve", [bt2446a, bt2446c, *CONVERTERS])
def test_gradients_are_finite_from_black_to_white(curve: Curve) -> None:
    light = torch.cat([grey(0, 1e-6, 58.5, 99.9, 100), colours(50, 100.0)], dim=-1).requires_grad_()
    curve(light).sum().backward()
    assert light.grad is not None
    assert light.grad.isfinite().all()
