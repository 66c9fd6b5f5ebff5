from __future__ import annotations

from collections.abc import Callable

import colour
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from zoo.color import (
    bt709_decode,
    bt709_encode,
    bt1886_decode,
    bt1886_encode,
    hlg_oetf,
    hlg_oetf_inverse,
    pq_decode,
    pq_encode,
    srgb_decode,
    srgb_encode,
)

Curve = Callable[[Tensor], Tensor]

# encode, decode, light of signal 1
CURVES = {
    "bt709": (bt709_encode, bt709_decode, 1.0),
    "bt1886": (bt1886_encode, bt1886_decode, 100.0),
    "srgb": (srgb_encode, srgb_decode, 1.0),
    "pq": (pq_encode, pq_decode, 10000.0),
    "hlg": (hlg_oetf, hlg_oetf_inverse, 1.0),
}
every_curve = pytest.mark.parametrize(("encode", "decode", "white"), CURVES.values(), ids=CURVES)


# ITU-R BT.2408-7, Table 1 (PQ signal, in whole percent) and BT.2100: 10000 cd/m² is 1.
@pytest.mark.parametrize(("luminance", "percent"), [(26, 38), (100, 51), (203, 58), (1000, 75), (10000, 100)])
def test_pq_encode_gives_the_levels_of_bt2408(luminance: float, percent: int) -> None:
    assert round(100 * pq_encode(torch.tensor(luminance, dtype=torch.float64)).item()) == percent


# SMPTE ST 2084 evaluated in float64 elsewhere (colour-science 0.4.7).
@pytest.mark.parametrize(("luminance", "signal"), [(0, 7.30955903e-07), (100, 0.508078421517), (203, 0.580688881)])
def test_pq_encode_gives_published_values(luminance: float, signal: float) -> None:
    value = pq_encode(torch.tensor(luminance, dtype=torch.float64)).item()
    assert value == pytest.approx(signal, rel=1e-8)


@pytest.mark.parametrize(
    ("ours", "theirs", "end"),
    [
        (bt709_encode, colour.models.oetf_BT709, 1.0),
        # colour-science switches where the power begins, 0.08124, not at the standard's 0.081.
        (lambda v: bt709_decode(0.082 + v), lambda v: colour.models.oetf_inverse_BT709(0.082 + v), 0.918),
        (lambda v: bt1886_decode(v, white=203.0), lambda v: colour.models.eotf_BT1886(v, L_W=203.0), 1.0),
        (lambda y: bt1886_encode(y, white=203.0), lambda y: colour.models.eotf_inverse_BT1886(y, L_W=203.0), 203.0),
        (srgb_encode, colour.models.eotf_inverse_sRGB, 1.0),
        (srgb_decode, colour.models.eotf_sRGB, 1.0),
        (pq_encode, colour.models.eotf_inverse_ST2084, 10000.0),
        (pq_decode, colour.models.eotf_ST2084, 1.0),
        (hlg_oetf, colour.models.oetf_BT2100_HLG, 1.0),
        (hlg_oetf_inverse, colour.models.oetf_inverse_BT2100_HLG, 1.0),
    ],
    ids=[
        "bt709",
        "bt709 inverse",
        "bt1886",
        "bt1886 inverse",
        "srgb inverse",
        "srgb",
        "pq inverse",
        "pq",
        "hlg",
        "hlg inverse",
    ],
)
def test_curve_equals_colour_science(ours: Curve, theirs: Callable[[np.ndarray], np.ndarray], end: float) -> None:
    x = np.concatenate([np.linspace(0, end, 1001), end * np.geomspace(1e-7, 1, 1001)])
    with np.errstate(invalid="ignore"):  # colour-science evaluates HLG's logarithm where it doesn't use it
        expected = theirs(x)
    np.testing.assert_allclose(ours(torch.from_numpy(x)).numpy(), expected, rtol=1e-10, atol=1e-12)


@every_curve
@given(share=st.floats(0, 1))
def test_encode_then_decode_returns_light(encode: Curve, decode: Curve, white: float, share: float) -> None:
    light = torch.tensor(white * share, dtype=torch.float64)
    # The standards' rounded constants leave BT.709 and sRGB a small step between their parts.
    assert decode(encode(light)).item() == pytest.approx(light.item(), rel=1e-9, abs=4e-5 if white == 1 else 1e-9)


@every_curve
def test_encode_rises_with_light(encode: Curve, decode: Curve, white: float) -> None:
    light = white * torch.linspace(0, 1, 5001, dtype=torch.float64)
    assert (encode(light).diff() > 0).all()


@pytest.mark.parametrize(
    ("encode", "decode"), [(bt1886_encode, bt1886_decode), (pq_encode, pq_decode), (hlg_oetf, hlg_oetf_inverse)]
)
def test_curves_of_displays_and_hlg_take_negative_values_for_black(encode: Curve, decode: Curve) -> None:
    below = torch.tensor([-1.0, -1e-3])
    black = torch.zeros(2)
    assert torch.equal(encode(below), encode(black))
    assert torch.equal(decode(below), black)


def test_pq_decode_stays_finite_beyond_its_pole() -> None:
    light = pq_decode(torch.tensor([1.9, 1.992, 2.17, 100.0], dtype=torch.float64))
    assert light.isfinite().all()
    assert (light == light[0]).all()


@every_curve
def test_gradients_are_finite_from_below_black_to_above_white(encode: Curve, decode: Curve, white: float) -> None:
    for curve, end in ((encode, white), (decode, 1.0)):
        x = (end * torch.tensor([-0.1, 0.0, 1e-9, 1e-3, 0.05, 1.0, 1.5], dtype=torch.float64)).requires_grad_()
        curve(x).sum().backward()
        assert x.grad is not None
        assert x.grad.isfinite().all()
        assert (x.grad[3:] > 0).all()


@pytest.mark.parametrize(("encode", "peak"), [(pq_encode, 10000.0), (bt1886_encode, 100.0), (hlg_oetf, 1.0)])
def test_gradient_is_the_curves_above_a_millionth_of_the_peak_and_the_chords_below(encode: Curve, peak: float) -> None:
    end = 1e-6 * peak
    light = torch.tensor([0.0, end / 3, 0.999 * end, 1.001 * end, 0.3 * peak], dtype=torch.float64, requires_grad=True)
    encode(light).sum().backward()
    assert light.grad is not None

    values = encode(torch.tensor([0.0, end], dtype=torch.float64))
    chord = (values[1] - values[0]) / end
    torch.testing.assert_close(light.grad[:3], chord.expand(3), rtol=1e-12, atol=0)
    for point, gradient in zip(light[3:].tolist(), light.grad[3:].tolist(), strict=True):
        step = 1e-5 * point
        two = encode(torch.tensor([point - step, point + step], dtype=torch.float64))
        assert gradient == pytest.approx((two[1] - two[0]).item() / (2 * step), rel=1e-6)


@pytest.mark.parametrize("encode", [pq_encode, bt1886_encode, hlg_oetf])
def test_value_is_the_same_with_and_without_gradient(encode: Curve) -> None:
    light = torch.cat([torch.zeros(1), torch.logspace(-9, 4, 200)])
    assert torch.equal(encode(light.clone().requires_grad_()).detach(), encode(light))


@every_curve
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_float_type_and_shape_are_kept(encode: Curve, decode: Curve, white: float, dtype: torch.dtype) -> None:
    x = torch.rand(2, 3, 4, dtype=dtype)
    for curve in (encode, decode):
        assert curve(x).dtype == dtype
        assert curve(x).shape == x.shape


@every_curve
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(encode: Curve, decode: Curve, white: float, dtype: torch.dtype) -> None:
    light = (white * torch.rand(1000, generator=torch.Generator().manual_seed(0))).to(dtype)
    assert torch.equal(encode(light), encode(light.float()))
    assert torch.equal(decode(encode(light)), decode(encode(light.float())))


def test_float32_pq_is_right_to_a_fiftieth_of_a_10_bit_code() -> None:
    light = torch.logspace(-4, 4, 10001, dtype=torch.float64)
    assert 1023 * (pq_encode(light.float()) - pq_encode(light)).abs().max() < 0.02
