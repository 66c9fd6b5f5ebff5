from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from datamodules.grading import (
    by_strips,
    display_light,
    expand_gamut,
    exposure_key,
    given_code_units,
    grade,
    graded_light,
    hdr_codes,
    reduce_sdr,
    sdr_code_units,
)
from datamodules.sources.frame import Frame, Picture
from zoo.color import convert_primaries, decode, encode, luma, quantize, srgb_encode, to_sdr
from zoo.errors import DataError
from zoo.signal import HDR10_VIDEO, SDR_VIDEO, Signal

HLG = Signal.parse("bt2020-hlg-rgb-full-10")
WIDE_PQ = Signal.parse("bt2020-pq-rgb-full-16")
P3_SDR = Signal.parse("p3d65-srgb-rgb-full-8")


def noise(*shape: int, low: float = 0.0, high: float = 1.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)


def test_key_of_uniform_light_is_that_light() -> None:
    for panoramic in (True, False):
        light = torch.full((3, 64, 128), 0.7, dtype=torch.float64)
        assert exposure_key(light, panoramic) == pytest.approx(0.7, rel=1e-12)


def test_key_weighs_rows_of_the_band_by_the_cosine_of_their_elevation() -> None:
    light = torch.ones(3, 8, 16, dtype=torch.float64)
    light[:, 2] = math.e**2  # the band's rows 2..5 lie at elevations 33.75, 11.25, -11.25 and -33.75
    light[:, [0, 1, 6, 7]] = 1e6  # beyond the band
    outer, inner = math.cos(math.radians(33.75)), math.cos(math.radians(11.25))
    assert math.log(exposure_key(light, panoramic=True)) == pytest.approx(
        2 * outer / (2 * outer + 2 * inner), rel=1e-12
    )


def test_key_of_a_flat_picture_counts_all_pixels_alike() -> None:
    light = torch.ones(3, 5, 7, dtype=torch.float64)
    light[:, 0, :] = math.e**2
    assert math.log(exposure_key(light, panoramic=False)) == pytest.approx(2 / 5, rel=1e-12)


def test_key_holds_black_at_a_ten_thousandth_of_the_mean() -> None:
    light = torch.zeros(3, 8, 16, dtype=torch.float64)
    light[:, :, 0] = 16
    for panoramic in (True, False):
        assert exposure_key(light, panoramic) == pytest.approx(16 ** (1 / 16) * 1e-4 ** (15 / 16), rel=1e-12)


def test_grey_at_the_key_is_shown_at_26_nits() -> None:
    grey = torch.full((3, 2, 2), 0.3, dtype=torch.float64)
    light = display_light(grey, key=0.3)
    torch.testing.assert_close(light, torch.full_like(grey, 26))
    # PQ of 26 cd/m² is 0.3800 (colour-science), Reinhard's curve gives 100 (0.26 1.0026 / 1.26) cd/m² of SDR.
    assert hdr_codes(light)[:, 0, 0].tolist() == [397, 512, 512]
    y = 16 + 219 * (0.26 * 1.0026 / 1.26) ** (1 / 2.4)
    expected = torch.tensor([y, 128, 128], dtype=torch.float64)
    torch.testing.assert_close(sdr_code_units(light, "bt709", "reinhard-1000")[:, 0, 0], expected)


@given(stops=st.floats(-1, 1), level=st.floats(0.01, 4))
@settings(max_examples=20)
def test_stops_multiply_light_below_the_roll_off(stops: float, level: float) -> None:
    light = display_light(torch.full((3, 1, 1), level, dtype=torch.float64), key=1.0, stops=stops)
    assert light[0, 0, 0].item() == pytest.approx(26 * level * 2**stops, rel=1e-12)


def test_light_far_above_the_key_stays_below_1000_nits() -> None:
    assert display_light(torch.full((3, 1, 1), 1e4, dtype=torch.float64), key=1.0).max() <= 1000


def test_expanded_gamut_keeps_greys_and_saturates_colours_without_negative_light() -> None:
    grey = torch.full((3, 1, 1), 50.0, dtype=torch.float64)
    torch.testing.assert_close(expand_gamut(grey), grey)
    colours = torch.eye(3, dtype=torch.float64).view(3, 3, 1)  # columns of red, green and blue
    expanded, same = expand_gamut(colours), convert_primaries(colours, "bt709", "bt2020")
    assert (expanded >= 0).all()
    assert (expanded.amin(0) < same.amin(0)).all()
    change = luma(expanded, "ycbcr2020") / luma(same, "ycbcr2020") - 1
    assert [round(100 * value) for value in change.flatten().tolist()] == [12, -3, -9]


def test_gamut_expansion_can_be_undone() -> None:
    light = noise(3, 4, 4, high=1000)
    matrix = expand_gamut(torch.eye(3, dtype=torch.float64).view(3, 3, 1))[..., 0]
    undone = (torch.linalg.inv(matrix) @ expand_gamut(light).flatten(1)).view_as(light)
    torch.testing.assert_close(undone, light)


def test_curves_see_light_above_1000_nits_dimmed_with_its_hue() -> None:
    bright = torch.tensor([4000.0, 2000, 1000], dtype=torch.float64).view(3, 1, 1)
    dimmed = bright / 4
    for curve in ("bt2390", "bt2446a", "hable"):
        torch.testing.assert_close(sdr_code_units(bright, "bt2020", curve), sdr_code_units(dimmed, "bt2020", curve))


def test_reduction_rounds_once_and_at_x1_only_rounds() -> None:
    units = noise(3, 16, 16, low=16, high=216)
    assert torch.equal(reduce_sdr(units, 1), quantize(units, SDR_VIDEO))
    flat = torch.full((3, 16, 16), 99.5, dtype=torch.float64)
    assert torch.equal(reduce_sdr(flat - 1e-9, 2), torch.full((3, 8, 8), 99.0, dtype=torch.float64))


def test_strips_make_the_whole() -> None:
    picture = noise(3, 600, 5)
    assert torch.equal(by_strips(lambda strip: 2 * strip, picture), 2 * picture)


def graded_frame(values: Tensor, signal: Signal, sdr: Picture | None = None) -> Frame:
    return Frame(0, Picture(values, signal), sdr)


def test_codes_of_the_hdr_signal_pass_untouched() -> None:
    codes = torch.arange(4.0, 1020, dtype=torch.float64).repeat(3, 1, 1)
    graded = grade(graded_frame(codes / 1023, HDR10_VIDEO), "film.mp4", panoramic=False, curve="bt2390")
    assert torch.equal(graded.hdr, codes)
    assert graded.record == {"curve": "bt2390", "exposure": None}


def test_pq_on_bt2020_primaries_is_only_coded_anew() -> None:
    codes = noise(3, 8, 8, low=64, high=940).round()
    shifted = 64 * codes / 65535  # the same codes in 16 bit
    sixteen = Signal.parse("bt2020-pq-ycbcr2020-narrow-16")
    graded = grade(graded_frame(shifted, sixteen), "film.mp4", panoramic=False, curve="bt2390")
    assert torch.equal(graded.hdr, codes)


@pytest.mark.parametrize("signal", [WIDE_PQ, Signal.parse("p3d65-pq-rgb-full-12"), HLG], ids=str)
def test_graded_hdr_keeps_its_display_light(signal: Signal) -> None:
    values = noise(3, 40, 40, low=0.2, high=0.7)
    graded = grade(graded_frame(values, signal), "film.mp4", panoramic=False, curve="reinhard-1000")
    light = convert_primaries(graded_light(values, signal), signal.primaries, "bt2020")
    ours = decode(graded.hdr / 1023, HDR10_VIDEO)
    # A code of 10-bit PQ Y'CbCr is at most 2 % of light here; chroma adds its own rounding.
    torch.testing.assert_close(ours, light, rtol=0.06, atol=0.02)
    units = graded.to_code_units(graded.origin)
    torch.testing.assert_close(units, 255 * encode(to_sdr(light, "bt2020", "reinhard-1000"), SDR_VIDEO))


def test_content_above_1000_nits_stays_in_the_hdr_codes() -> None:
    values = encode(torch.full((3, 1, 1), 4000.0, dtype=torch.float64), WIDE_PQ)
    graded = grade(graded_frame(values, WIDE_PQ), "film.mp4", panoramic=False, curve="hable")
    assert decode(graded.hdr / 1023, HDR10_VIDEO).max().item() == pytest.approx(4000, rel=0.01)
    assert graded.to_code_units(graded.origin)[0].item() == pytest.approx(235)


def test_exposure_leaves_graded_hdr_alone() -> None:
    frame = graded_frame(noise(3, 8, 8), WIDE_PQ)
    one, other = (grade(frame, "f", panoramic=False, curve="hable", stops=stops) for stops in (0, 1))
    assert torch.equal(one.hdr, other.hdr)
    assert torch.equal(one.to_code_units(one.origin), other.to_code_units(other.origin))


def test_stops_brighten_both_sides_of_scene_light() -> None:
    frame = Frame(0, Picture(noise(3, 8, 8, low=0.5, high=1.5)))
    one, other = (grade(frame, "f", panoramic=False, curve="hable", stops=stops) for stops in (0, 1))
    torch.testing.assert_close(other.origin, 2 * one.origin)
    ratio = decode(other.hdr / 1023, HDR10_VIDEO) / decode(one.hdr / 1023, HDR10_VIDEO)
    torch.testing.assert_close(ratio, torch.full_like(ratio, 2), rtol=0.06, atol=0)
    assert torch.equal(other.to_code_units(other.origin), sdr_code_units(2 * one.origin, "bt709", "hable"))
    assert one.record == other.record


def test_gamut_expansion_changes_the_hdr_side_alone_and_is_recorded() -> None:
    frame = Frame(0, Picture(noise(3, 8, 8)))
    plain, expanded = (
        grade(frame, "f", panoramic=False, curve="hable", gamut_expansion=expansion) for expansion in (False, True)
    )
    assert not torch.equal(plain.hdr, expanded.hdr)
    assert torch.equal(plain.to_code_units(plain.origin), expanded.to_code_units(expanded.origin))
    assert "gamut_expansion" not in plain.record
    assert expanded.record["gamut_expansion"] == 0.5


def test_gamut_of_wide_material_or_of_a_true_pair_is_not_expanded() -> None:
    wide = graded_frame(noise(3, 8, 8), WIDE_PQ)
    with pytest.raises(DataError, match=r"film\.mp4 is on bt2020 primaries; leave gamut expansion to"):
        grade(wide, "film.mp4", panoramic=False, curve="hable", gamut_expansion=True)
    narrow = Signal.parse("bt709-pq-rgb-full-10")
    pair = graded_frame(noise(3, 8, 8), narrow, Picture(noise(3, 8, 8), SDR_VIDEO))
    with pytest.raises(DataError, match=r"film\.mp4 comes with its SDR side; leave gamut expansion to"):
        grade(pair, "film.mp4", panoramic=False, curve="hable", gamut_expansion=True)


def test_black_scene_light_is_refused_by_name() -> None:
    frame = Frame(0, Picture(torch.zeros(3, 32, 64, dtype=torch.float64)))
    with pytest.raises(DataError, match=r"^night\.exr: black between 45 degrees below and above the horizon; leave it"):
        grade(frame, "night.exr", panoramic=True, curve="hable")
    with pytest.raises(DataError, match=r"^night\.exr: black; leave it out"):
        grade(frame, "night.exr", panoramic=False, curve="hable")


def test_codes_of_the_sdr_signal_come_out_exactly() -> None:
    codes = torch.arange(256.0, dtype=torch.float64).repeat(3, 1, 1)
    assert torch.equal(given_code_units(codes / 255, SDR_VIDEO), codes)


def test_full_range_rgb_of_bt1886_is_only_coded_anew() -> None:
    rgb = noise(3, 8, 8)
    units = given_code_units(rgb, Signal.parse("bt709-bt1886-rgb-full-8"))
    y = 0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2]
    torch.testing.assert_close(units[0], 16 + 219 * y)
    ten_bit = Signal.parse("bt709-bt1886-ycbcr709-narrow-10")
    super_white = torch.tensor([1000.0, 512, 512], dtype=torch.float64).view(3, 1, 1) / 1023
    torch.testing.assert_close(given_code_units(super_white, ten_bit), 1023 / 4 * super_white)


def test_srgb_is_decoded_and_encoded_for_a_bt1886_display() -> None:
    light = torch.linspace(0, 1, 11, dtype=torch.float64).expand(3, 1, 11)
    units = given_code_units(srgb_encode(light), Signal.parse("bt709-srgb-rgb-full-8"))
    torch.testing.assert_close(units[0], 16 + 219 * light[0] ** (1 / 2.4))


def test_p3_colours_outside_bt709_are_clipped() -> None:
    red = torch.tensor([1.0, 0, 0], dtype=torch.float64).view(3, 1, 1)
    # P3's red is R = 1.2249, G = -0.0420, B = -0.0196 in BT.709.
    expected = encode(torch.tensor([100.0, 0, 0], dtype=torch.float64).view(3, 1, 1), SDR_VIDEO)
    torch.testing.assert_close(given_code_units(red, P3_SDR), 255 * expected)
    grey = torch.full((3, 1, 1), 0.5, dtype=torch.float64)
    assert given_code_units(grey, P3_SDR)[1:].flatten().tolist() == pytest.approx([128, 128])


def test_given_sdr_is_taken_whatever_the_curve() -> None:
    codes = noise(3, 8, 8, low=16, high=235).round()
    frame = graded_frame(noise(3, 16, 16), HDR10_VIDEO, Picture(codes / 255, SDR_VIDEO))
    graded = grade(frame, "f", panoramic=False, curve="hable")
    assert torch.equal(graded.to_code_units(graded.origin), codes)
    assert graded.record == {"curve": "paired", "exposure": None}
