from __future__ import annotations

import colour
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo.color import decode, encode, quantize, rgb_to_signal, signal_to_rgb
from zoo.signal import HDR10_VIDEO, SDR_VIDEO, Signal

SRGB = Signal.parse("bt709-srgb-rgb-full-8")
CAMERA = Signal.parse("bt709-bt709-ycbcr709-narrow-10")
HLG = Signal.parse("bt2020-hlg-ycbcr2020-narrow-10")
SIGNALS = [SDR_VIDEO, HDR10_VIDEO, SRGB, CAMERA, HLG, Signal.parse("bt470bg-bt1886-ycbcr601-full-16")]


@pytest.mark.parametrize(
    ("signal", "weights"),
    [
        (SDR_VIDEO, "ITU-R BT.709"),
        (HDR10_VIDEO, "ITU-R BT.2020"),
        (Signal.parse("smpte170m-bt1886-ycbcr601-narrow-8"), "ITU-R BT.601"),
        (Signal.parse("bt2020-pq-ycbcr2020-narrow-12"), "ITU-R BT.2020"),
        (Signal.parse("bt2020-hlg-ycbcr2020-narrow-16"), "ITU-R BT.2020"),
    ],
    ids=str,
)
def test_ycbcr_codes_equal_colour_science(signal: Signal, weights: str) -> None:
    rgb = np.random.default_rng(0).random((3, 20, 30))
    theirs = colour.RGB_to_YCbCr(
        rgb.transpose(1, 2, 0), K=colour.WEIGHTS_YCBCR[weights], out_bits=signal.depth, out_legal=True
    )
    ours = rgb_to_signal(torch.from_numpy(rgb), signal).permute(1, 2, 0)
    np.testing.assert_allclose(ours, theirs, atol=1e-14)


# ITU-R BT.2100-2, Tables 4 and 9: 876 V' + 64 for PQ signals V' of 7e-7, 0.5807, 0.7518 and 1.
@pytest.mark.parametrize(("luminance", "code"), [(0, 64), (203, 573), (1000, 723), (10000, 940)])
def test_grey_light_has_the_published_pq_codes(luminance: float, code: int) -> None:
    grey = torch.full((3, 1, 1), luminance, dtype=torch.float64)
    assert quantize(1023 * encode(grey, HDR10_VIDEO), HDR10_VIDEO).flatten().tolist() == [code, 512, 512]


# ITU-R BT.2408, Table 1: diffuse white of 203 cd/m² is 75 % HLG on the display of 1000 cd/m², 721 of 10 bit.
def test_reference_white_is_75_percent_of_hlg() -> None:
    white = torch.full((3, 1, 1), 203, dtype=torch.float64)
    assert quantize(1023 * encode(white, HLG), HLG).flatten().tolist() == [721, 512, 512]


def test_sdr_white_is_100_nits_unless_told_otherwise() -> None:
    white = torch.tensor([235, 128, 128], dtype=torch.float64).view(3, 1, 1) / 255
    torch.testing.assert_close(decode(white, SDR_VIDEO), torch.full_like(white, 100))
    torch.testing.assert_close(decode(white, SDR_VIDEO, white=203), torch.full_like(white, 203))
    torch.testing.assert_close(decode(torch.ones_like(white), SRGB, white=80), torch.full_like(white, 80))


@given(st.sampled_from(SIGNALS), st.lists(st.floats(0, 100), min_size=3, max_size=3))
def test_encode_then_decode_returns_light(signal: Signal, light: list[float]) -> None:
    rgb = torch.tensor(light, dtype=torch.float64).view(3, 1, 1)
    # The standards' rounded constants leave BT.709 and sRGB a small step between their parts.
    torch.testing.assert_close(decode(encode(rgb, signal), signal), rgb, rtol=1e-7, atol=4e-3)


@pytest.mark.parametrize("signal", SIGNALS, ids=str)
def test_signal_to_rgb_undoes_rgb_to_signal(signal: Signal) -> None:
    rgb = torch.rand(2, 3, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(signal_to_rgb(rgb_to_signal(rgb, signal), signal), rgb, rtol=0, atol=1e-14)


@pytest.mark.parametrize("signal", SIGNALS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_float_type_is_kept_and_autocast_changes_nothing(signal: Signal, dtype: torch.dtype) -> None:
    light = 100 * torch.rand(2, 3, 8, 8, dtype=dtype)
    plain = encode(light, signal), decode(encode(light, signal), signal)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = encode(light, signal), decode(encode(light, signal), signal)
    for one, other in zip(plain, mixed, strict=True):
        assert one.dtype == dtype
        assert torch.equal(one, other)


@pytest.mark.parametrize("signal", SIGNALS, ids=str)
def test_gradient_through_encode_is_finite_on_black(signal: Signal) -> None:
    light = torch.zeros(1, 3, 4, 4, requires_grad=True)
    encode(light, signal).sum().backward()
    assert light.grad is not None
    assert light.grad.isfinite().all()
    assert light.grad.abs().sum() > 0
