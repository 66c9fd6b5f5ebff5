from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import zoo
from zoo.color import bt1886_decode, pq_encode, srgb_decode
from zoo.color.primaries import convert_primaries
from zoo.errors import SignalError
from zoo.rgb import Pipeline
from zoo.signal import HDR10_VIDEO, SDR_VIDEO, Signal

NET_OUT = str(HDR10_VIDEO)
LINEAR = {"srgb": lambda x: 100 * srgb_decode(x), "bt709": bt1886_decode}


def white203(picture: np.ndarray, signal: str) -> Tensor:
    """What bicubic+white203 at x1 stands for: SDR light, brightened, in BT.2020 PQ."""
    x = torch.from_numpy(picture.astype(np.float64)).permute(2, 0, 1) / np.iinfo(picture.dtype).max
    light = convert_primaries(LINEAR[signal](x) * 2.03, "bt709", "bt2020")
    return pq_encode(light).permute(1, 2, 0)


@pytest.fixture(scope="module")
def static() -> Pipeline:
    return zoo.pipeline("bicubic+white203", scale=1)


@settings(deadline=None, max_examples=30)
@given(
    signal=st.sampled_from(["srgb", "bt709"]), dtype=st.sampled_from([np.uint8, np.uint16]), seed=st.integers(0, 2**32)
)
def test_rgb_of_either_curve_and_depth_becomes_its_own_light(static, signal, dtype, seed):
    picture = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (3, 5, 3), dtype, endpoint=True)
    hdr = static(picture, signal)
    assert hdr.dtype == np.float32
    assert hdr.shape == (3, 5, 3)
    assert np.abs(hdr - white203(picture, signal).numpy()).max() < 2e-5  # of the code range; a 10-bit code is 1e-3


def test_kinds_of_pictures_give_the_same_and_come_back_as_they_came(static):
    codes = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    shares = codes.astype(np.float32) / 255
    batch = torch.from_numpy(shares).permute(2, 0, 1)[None].repeat(2, 1, 1, 1)
    expected = static(codes, "srgb")
    np.testing.assert_allclose(static(shares, "srgb"), expected, atol=1e-6)
    np.testing.assert_allclose(static(codes, Signal.parse("bt709-srgb-rgb-full-8")), expected, atol=0)
    hdr = static(batch, "srgb")
    assert hdr.shape == (2, 3, 4, 6)
    np.testing.assert_allclose(hdr[1].permute(1, 2, 0).numpy(), expected, atol=1e-6)


def test_arrays_of_any_layout_byte_order_and_float_type_give_the_same(static):
    codes = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    expected = static(codes, "srgb")
    bgr = np.ascontiguousarray(codes[..., ::-1])
    assert np.array_equal(static(bgr[..., ::-1], "srgb"), expected)  # how BGR is usually turned round
    np.testing.assert_allclose(static(codes[::-1], "srgb")[::-1], expected, atol=2e-5)
    codes.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(static(codes, "srgb"), expected)
    for dtype in (">f4", np.float64, np.longdouble):
        np.testing.assert_allclose(static((codes / 255).astype(dtype), "srgb"), expected, atol=2e-5)
    assert np.array_equal(static(codes.astype(">u2") * 257, "srgb"), static(codes.astype(np.uint16) * 257, "srgb"))
    white = np.full((2, 2, 3), 1 + 2e-7)
    np.testing.assert_allclose(static(white, "srgb"), static(np.ones((2, 2, 3)), "srgb"))


def test_a_large_picture_goes_through_in_tiles(monkeypatch):
    monkeypatch.setattr("zoo.convert.tiling._WORKSPACE", {"cpu": 0})
    picture = np.random.default_rng(0).random((160, 130, 3), np.float32)
    net = zoo.load("jsinet_x2.preview")
    sizes = []
    # Also called when memory is counted, on tensors without data.
    net.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0][0, 0].numel() * (not inputs[0].is_meta)))
    monkeypatch.setattr("zoo.rgb.load", lambda name: net)
    whole = zoo.pipeline("jsinet_x2")(picture, "srgb")
    tiled = zoo.pipeline("jsinet_x2", memory=40_000_000)(picture, "srgb")
    first, *others = [size for size in sizes if size]
    assert first == 160 * 130
    assert len(others) > 1
    assert max(others) < 160 * 130
    assert np.array_equal(tiled, whole)


def test_on_the_networks_own_signals_nothing_is_converted():
    class Net(nn.Module):
        input_signal, output_signal, scale = SDR_VIDEO, HDR10_VIDEO, 2

        def forward(self, x: Tensor) -> Tensor:
            self.seen = x
            return nn.functional.interpolate(1.5 * x - 0.1, scale_factor=2)

    net = Net()
    x = torch.rand(1, 3, 4, 5)
    hdr = Pipeline(net)(x, str(SDR_VIDEO), NET_OUT)
    assert torch.equal(net.seen, x)
    assert torch.equal(hdr, net(x).clamp(0, 1))


@pytest.mark.parametrize("name", ["jsinet_x2", "deep_sritm_x4", "multipurpose_cnn_x2"])
def test_a_network_is_given_ycbcr_and_its_output_made_rgb(name, tmp_path):
    net = zoo.create(name).eval()
    picture = np.random.default_rng(1).integers(0, 256, (12, 14, 3), np.uint8)
    to_hdr = Pipeline(net)
    hdr = to_hdr(picture, "bt709", "bt2020-pq-ycbcr2020-narrow-10")
    assert hdr.shape == (12 * net.scale, 14 * net.scale, 3)
    # By hand: Y' of BT.709 in narrow range.
    r, g, b = np.moveaxis(picture / 255, -1, 0)
    y = 0.2126 * r + 0.7152 * g + 0.0722 * b
    cb, cr = (b - y) / 1.8556, (r - y) / 1.5748
    codes = np.stack([219 * y + 16, 224 * cb + 128, 224 * cr + 128])
    with torch.inference_mode():
        own = net(torch.from_numpy(codes / 255)[None].float()).clamp(0, 1)
    np.testing.assert_allclose(hdr, own[0].permute(1, 2, 0).numpy(), atol=1e-5)


def test_black_and_white_of_narrow_and_full_range_are_the_same_light(static):
    for full, narrow in ((0, 64), (1023, 940)):
        own = [
            static(np.full((2, 2, 3), code, np.uint16), f"bt709-bt1886-rgb-{kind}-10")
            for code, kind in ((full, "full"), (narrow, "narrow"))
        ]
        np.testing.assert_allclose(*own, atol=1e-6)
    assert own[0].max() == pytest.approx(0.5806, abs=1e-4)  # 203 cd/m²
    hlg = static(np.full((2, 2, 3), 255, np.uint8), "bt709", "bt2020-hlg-rgb-full-10")
    assert hlg.max() == pytest.approx(0.75, abs=2e-3)  # ITU-R BT.2408: 203 cd/m² is 75 % HLG


def test_wide_gamut_input_is_clipped_to_the_networks(static):
    green = np.zeros((1, 1, 3), np.uint8)
    green[..., 1] = 255
    p3 = static(green, "p3d65-srgb-rgb-full-8")
    np.testing.assert_allclose(p3, static(green, "srgb"), atol=2e-3)
    assert np.isfinite(p3).all()


PICTURE = np.zeros((2, 2, 3), np.uint8)


@pytest.mark.parametrize(
    ("picture", "signal", "output", "message"),
    [
        (np.zeros((2, 2), np.uint8), "srgb", NET_OUT, r"got uint8 \(2, 2\); a picture is an array \(H, W, 3\)"),
        (np.zeros((2, 2, 4), np.uint8), "srgb", NET_OUT, r"got uint8 \(2, 2, 4\)"),
        (np.zeros((0, 2, 3), np.uint8), "srgb", NET_OUT, r"got uint8 \(0, 2, 3\)"),
        (np.zeros((2, 2, 3), np.int64), "srgb", NET_OUT, r"got int64"),
        (torch.zeros(1, 3, 2, 2, dtype=torch.uint8), "srgb", NET_OUT, r"got uint8 \(1, 3, 2, 2\)"),
        (torch.zeros(3, 2, 2), "srgb", NET_OUT, r"a batch a tensor \(B, 3, H, W\) of floats"),
        (np.full((2, 2, 3), 255.0), "srgb", NET_OUT, r"values reach from 255 to 255 of the peak .* must be in 0..1"),
        (np.full((2, 2, 3), np.nan), "srgb", NET_OUT, r"values reach from nan to nan"),
        (np.full((2, 2, 3), 1024, np.uint16), "bt709-bt1886-rgb-full-10", NET_OUT, r"values reach from 1\.0\d* to"),
        (PICTURE, "bt709-bt1886-rgb-full-10", NET_OUT, r"codes of bt709-bt1886-rgb-full-10 don't come as uint8"),
        (PICTURE.astype(np.uint16), "bt709-bt1886-rgb-full-8", NET_OUT, r"-8 don't come as uint16"),
        (PICTURE, "sRGB", NET_OUT, r"signal 'sRGB' isn't of the form .*; or srgb or bt709, R'G'B' in full range"),
        (PICTURE.astype(np.uint16), "bt2020-pq-rgb-full-10", NET_OUT, r"is HDR already; networks take SDR"),
        (PICTURE, "srgb", "bt709-srgb-rgb-full-8", r"the output bt709-srgb-rgb-full-8 is SDR; networks give HDR"),
        (PICTURE, "srgb", "pq", r"signal 'pq' isn't of the form"),
        (PICTURE, None, NET_OUT, r"signal None isn't of the form"),
        (PICTURE, "srgb", None, r"signal None isn't of the form"),
        (PICTURE.tolist(), "srgb", NET_OUT, r"got list; give numpy.asarray\(picture\)"),
    ],
)
def test_what_cannot_be_meant_is_refused(static, picture, signal, output, message):
    with pytest.raises(SignalError, match=message):
        static(picture, signal, output)


def test_the_function_is_there_without_torch():
    code = "import sys, zoo; assert 'torch' not in sys.modules; assert callable(zoo.pipeline)"
    subprocess.run([sys.executable, "-c", code], check=True)
