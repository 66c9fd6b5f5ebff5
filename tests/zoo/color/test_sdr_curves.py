from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from zoo.color import (
    SDR_CURVES,
    bt1886_encode,
    bt2390,
    bt2446a,
    bt2446a_inverse,
    bt2446c_inverse,
    convert_primaries,
    encode,
    hable,
    luma,
    pq_decode,
    pq_encode,
    quantize,
    reinhard,
    to_sdr,
    video_site,
)
from zoo.color.sdr_curves import bt2390_eetf
from zoo.errors import SignalError
from zoo.signal import SDR_VIDEO

every_curve = pytest.mark.parametrize("curve", SDR_CURVES)
one_colour = st.lists(st.floats(0, 1000), min_size=3, max_size=3)


def grey(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).expand(3, 1, len(values))


def pixel(light: list[float]) -> Tensor:
    return torch.tensor(light, dtype=torch.float64).view(3, 1, 1)


def colours(count: int, peak: float) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return peak * torch.rand(3, 1, count, generator=generator, dtype=torch.float64) ** 2.4


def test_curves_are_those_that_the_presets_name() -> None:
    assert set(SDR_CURVES) == {"reinhard-1000", "bt2446a", "bt2446c", "bt2390", "hable", "video-site"}


# 8-bit codes of greys of 1, 10, 26, 100, 203, 500 and 1000 cd/m²: shards made with a curve keep their numbers.
@pytest.mark.parametrize(
    ("curve", "codes"),
    [
        ("reinhard-1000", [48, 97, 130, 181, 203, 223, 235]),
        ("hable", [44, 87, 118, 172, 199, 223, 235]),
        ("video-site", [40, 78, 109, 178, 213, 233, 235]),
        ("bt2446a", [38, 68, 89, 134, 166, 208, 235]),
        ("bt2446c", [46, 94, 132, 209, 226, 235, 235]),
        ("bt2390", [48, 100, 141, 204, 224, 234, 235]),
    ],
)
def test_greys_have_the_curves_codes(curve: str, codes: list[int]) -> None:
    sdr = encode(to_sdr(grey(1, 10, 26, 100, 203, 500, 1000), "bt2020", curve), SDR_VIDEO)
    ycbcr = quantize(255 * sdr, SDR_VIDEO).squeeze(1)
    assert ycbcr[0].tolist() == codes
    assert (ycbcr[1:] == 128).all()


@every_curve
@pytest.mark.parametrize("primaries", ["bt709", "bt2020"])
def test_greys_stay_grey_and_rise_from_black_to_white(curve: str, primaries: str) -> None:
    levels = torch.cat([torch.zeros(1), torch.logspace(-3, 3, 1000), torch.tensor([2000.0])]).double()
    sdr = to_sdr(levels.expand(3, 1, -1), primaries, curve).squeeze(1)
    torch.testing.assert_close(sdr[0], sdr[1], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(sdr[0], sdr[2], rtol=1e-9, atol=1e-12)
    assert (sdr[:, 0] == 0).all()
    assert sdr[0, -1].item() == pytest.approx(100, rel=1e-9)  # method C is at white from 332 cd/m² on
    steps = sdr[1].diff()
    assert (steps > -1e-12).all()
    assert (steps[levels[1:] < 330] > 0).all()


@every_curve
@given(light=st.lists(st.floats(0, 10000), min_size=3, max_size=3), primaries=st.sampled_from(["bt709", "bt2020"]))
def test_sdr_lies_between_black_and_white_whatever_the_colour(curve: str, light: list[float], primaries: str) -> None:
    sdr = to_sdr(pixel(light), primaries, curve)
    assert sdr.isfinite().all()
    assert sdr.min() >= 0
    assert sdr.max() <= 100


@every_curve
@given(light=one_colour)
def test_primaries_of_the_light_make_no_difference(curve: str, light: list[float]) -> None:
    narrow = pixel(light)
    wide = convert_primaries(narrow, "bt709", "bt2020")
    # 1e-6: the signals of the darkest colours lie in roundings of the matrix
    torch.testing.assert_close(to_sdr(wide, "bt2020", curve), to_sdr(narrow, "bt709", curve), rtol=1e-7, atol=1e-6)


@every_curve
def test_no_pixel_depends_on_another(curve: str) -> None:
    light = colours(50, 1000.0)
    alone = torch.cat([to_sdr(one, "bt709", curve) for one in light.split(1, dim=-1)], dim=-1)
    torch.testing.assert_close(to_sdr(light, "bt709", curve), alone, rtol=1e-13, atol=1e-13)


@every_curve
def test_float32_agrees_with_float64_to_a_tenth_of_an_8_bit_code(curve: str) -> None:
    light = colours(2000, 1000.0)
    assert to_sdr(light.float(), "bt709", curve).dtype == torch.float32
    single, double = (219 * bt1886_encode(to_sdr(x, "bt709", curve)).double() for x in (light.float(), light))
    # Below the first code the signal's slope is without bound, and the matrices' roundings are all there is.
    visible = double > 1
    assert (single - double)[visible].abs().max() < 0.1


def test_the_protocols_curve_is_reinhard_bit_by_bit() -> None:
    light = colours(2000, 1500.0)
    assert torch.equal(to_sdr(light, "bt709", "reinhard-1000"), reinhard(light))


@given(st.floats(0, 1000))
def test_method_a_is_undone_by_its_inverse(luminance: float) -> None:
    sdr = convert_primaries(to_sdr(grey(luminance), "bt2020", "bt2446a"), "bt709", "bt2020")
    torch.testing.assert_close(pq_encode(bt2446a_inverse(sdr)), pq_encode(grey(luminance)), rtol=0, atol=1e-10)


@given(one_colour.filter(lambda light: 1e-3 < max(light) < 300))
def test_method_c_is_undone_by_its_inverse_below_super_white(light: list[float]) -> None:
    sdr = to_sdr(pixel(light), "bt709", "bt2446c")
    if sdr.max() < 100:
        back = bt2446c_inverse(convert_primaries(sdr, "bt709", "bt2020"))
        torch.testing.assert_close(convert_primaries(back, "bt2020", "bt709"), pixel(light), rtol=1e-10, atol=1e-10)


def test_eetf_equals_the_reports_spline() -> None:
    # Report ITU-R BT.2390, 5.4.1, as a Bezier curve of the same ends and slopes.
    source, target = (pq_encode(torch.tensor(peak, dtype=torch.float64)) for peak in (1000.0, 100.0))
    p = target / source
    k = 1.5 * p - 0.5
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    third = (1 - k) / 3
    bezier = (1 - t) ** 3 * k + 3 * (1 - t) ** 2 * t * (k + third) + 3 * (1 - t) * t**2 * p + t**3 * p
    light = pq_decode(source * (k + t * (1 - k)))
    torch.testing.assert_close(bt2390_eetf(light, 1000, 100), pq_decode(source * bezier), rtol=1e-9, atol=0)


def test_eetf_leaves_light_below_the_knee_and_holds_light_above_the_source() -> None:
    dark = torch.linspace(0, 27.8, 1000)
    assert torch.equal(bt2390_eetf(dark, 1000, 100), dark)
    assert bt2390_eetf(torch.tensor([1000.0, 5000.0]), 1000, 100).tolist() == pytest.approx([100, 100], rel=1e-5)
    near = torch.linspace(27.5, 28.2, 701, dtype=torch.float64)
    slopes = bt2390_eetf(near, 1000, 100).diff() / near.diff()
    assert (slopes - 1).abs().max() < 0.02  # no kink


def test_bt2390_scales_all_channels_as_the_largest() -> None:
    light = colours(500, 1000.0)
    sdr = bt2390(light)
    torch.testing.assert_close(sdr.amax(0), bt2390_eetf(light.amax(0), 1000, 100), rtol=1e-12, atol=0)
    torch.testing.assert_close(sdr * light.amax(0), light * sdr.amax(0), rtol=1e-12, atol=1e-12)


def test_hable_equals_the_published_formula_in_exact_fractions() -> None:
    def filmic(x: Fraction) -> Fraction:
        a, b, c, d, e, f = (Fraction(n, 100) for n in (15, 50, 10, 20, 2, 30))
        return (x * (a * x + c * b) + d * e) / (x * (a * x + b) + d * f) - e / f

    levels = (1, 26, 100, 203, 1000)
    expected = [float(100 * filmic(Fraction(2 * level, 100)) / filmic(Fraction(20))) for level in levels]
    assert hable(grey(*levels))[0, 0].tolist() == pytest.approx(expected, rel=1e-12)
    assert torch.equal(hable(grey(0, -50)), grey(0, 0))


def test_video_site_puts_diffuse_white_near_sdr_white() -> None:
    signal = bt1886_encode(video_site(grey(203)))[0].item()
    assert 0.88 < signal < 0.93


@given(one_colour.filter(lambda light: max(light) > 1))
def test_video_site_keeps_luminance_and_hue_of_colours_outside_bt709(light: list[float]) -> None:
    narrow = convert_primaries(pixel(light), "bt2020", "bt709")
    sdr = video_site(narrow)
    y, y_sdr = luma(narrow, "ycbcr709"), luma(sdr, "ycbcr709")
    assert y_sdr.item() == pytest.approx(bt2390_eetf(y * 100 / 203, 1000 * 100 / 203, 100).item(), rel=1e-9)
    assert sdr.min() > -1e-9
    assert sdr.max() < 100 + 1e-9
    # On a straight line to grey: colour differences keep their proportions.
    before, after = (narrow - y).flatten(), (sdr - y_sdr).flatten()
    torch.testing.assert_close(torch.linalg.cross(before, after) / 1000, torch.zeros(3).double(), rtol=0, atol=1e-9)
    assert torch.dot(before, after) >= -1e-20


def test_method_a_works_on_bt2020() -> None:
    light = colours(200, 300.0) + 100
    expected = convert_primaries(bt2446a(convert_primaries(light, "bt709", "bt2020")), "bt2020", "bt709").clamp(0, 100)
    assert torch.equal(to_sdr(light, "bt709", "bt2446a"), expected)


def test_unknown_curve_and_primaries_are_refused_in_one_line() -> None:
    with pytest.raises(SignalError, match="unknown SDR curve 'aces'; known: reinhard-1000, hable"):
        to_sdr(grey(1), "bt709", "aces")
    with pytest.raises(SignalError, match="on bt709 or bt2020 primaries, not 'p3d65'; convert it first"):
        to_sdr(grey(1), "p3d65", "hable")
