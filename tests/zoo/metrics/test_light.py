"""Metrics on light: delta E ITP and PU21; and on R'G'B' and luma."""

from __future__ import annotations

import colour
import numpy as np
import pytest
import torch

from tests.zoo.metrics import slow_references as slow
from tests.zoo.metrics.slow_references import arrays, frames, noisy
from zoo.color import convert_primaries, decode, encode, luma, signal_to_rgb
from zoo.color.ictcp import light_to_ictcp
from zoo.errors import DataError
from zoo.metrics import delta_e_itp, delta_e_itp_map, psnr_rgb, pu21_encode, pu21_psnr, pu21_ssim, sr_sim
from zoo.signal import HDR10_VIDEO, Signal

PQ_RGB_FULL = Signal.parse("bt2020-pq-rgb-full-16")


def test_ictcp_equals_colour_sciences() -> None:
    light = 10 ** (4 * torch.rand(3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    expected = colour.RGB_to_ICtCp(light.permute(1, 2, 0).numpy(), method="ITU-R BT.2100-2 PQ")
    np.testing.assert_allclose(light_to_ictcp(light).permute(1, 2, 0), expected, rtol=0, atol=1e-12)


def test_delta_e_itp_equals_colour_sciences() -> None:
    target = frames(1, 40, 48)
    preds = noisy(target, 0.01)
    light = [decode(x.double().clamp(0, 1), HDR10_VIDEO).clamp(0, 10000) for x in (preds, target)]
    a, b = (colour.RGB_to_ICtCp(x[0].permute(1, 2, 0).numpy()) for x in light)
    expected = colour.difference.delta_E_ITP(a, b)
    in_float64 = delta_e_itp_map(preds.double(), target.double())
    np.testing.assert_allclose(in_float64[0, 0], expected, rtol=1e-6, atol=1e-9)
    assert delta_e_itp(preds.double(), target.double()).item() == pytest.approx(expected.mean(), rel=1e-7)
    assert delta_e_itp(preds, target).item() == pytest.approx(expected.mean(), abs=1e-3)


def test_delta_e_itp_of_one_just_noticeable_step_of_grey_is_one() -> None:
    # ITU-R BT.2124: a difference of 1/720 in I alone.
    light = torch.full((1, 3, 4, 4), 100.0, dtype=torch.float64)
    signal = signal_to_rgb(encode(light, HDR10_VIDEO), HDR10_VIDEO)
    brighter = colour.models.eotf_ST2084(signal.numpy() + 1 / 720)
    step = encode(torch.from_numpy(brighter), HDR10_VIDEO)
    assert delta_e_itp(step, encode(light, HDR10_VIDEO)).item() == pytest.approx(1, rel=1e-6)


def test_same_colour_on_other_primaries_has_the_same_light() -> None:
    p3 = Signal.parse("p3d65-pq-rgb-full-16")
    light = 10 ** (3 * torch.rand(2, 3, 24, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    on_p3 = [encode(x, p3) for x in (light[:1], light[1:])]
    on_bt2020 = [encode(convert_primaries(x, "p3d65", "bt2020"), PQ_RGB_FULL) for x in (light[:1], light[1:])]
    for metric in (delta_e_itp, pu21_psnr, pu21_ssim):
        assert metric(*on_p3, p3).item() == pytest.approx(metric(*on_bt2020, PQ_RGB_FULL).item(), rel=1e-9)


def test_pu21_has_the_published_values() -> None:
    # From the fit's authors: github.com/gfxdisp/pu21, pu21_encoder.m, 'banding_glare'.
    light = torch.tensor([0.0, 0.005, 0.1, 1, 100, 203, 1000, 10000, 2e4], dtype=torch.float64)
    expected = [0.0, 0.0, 5.717, 36.544, 256.384, 303.800, 420.097, 595.394, 595.394]
    np.testing.assert_allclose(pu21_encode(light), expected, rtol=0, atol=6e-4)


def test_pu21_psnr_and_ssim_equal_the_formulas() -> None:
    target = frames(1, 16, 17).double()
    preds = noisy(target, 0.03).clamp(0, 1)
    p, t = (decode(x, HDR10_VIDEO).clamp(0, 10000) for x in (preds, target))
    a, b = arrays(pu21_encode(p), pu21_encode(t))
    assert pu21_psnr(preds, target).item() == pytest.approx(10 * np.log10(256**2 / ((a - b) ** 2).mean()), rel=1e-9)
    y = [pu21_encode(0.2627 * x[:, 0] + 0.678 * x[:, 1] + 0.0593 * x[:, 2])[0].numpy() for x in (p, t)]
    assert pu21_ssim(preds, target).item() == pytest.approx(slow.ssim_plane(*y, data_range=256), rel=1e-9)


def test_psnr_rgb_is_that_of_clipped_signals() -> None:
    target = frames(1, 12, 12).double()
    preds = noisy(target, 0.1)
    a, b = (signal_to_rgb(x, HDR10_VIDEO).clamp(0, 1) for x in (preds.clamp(0, 1), target))
    assert a.min() == 0
    assert psnr_rgb(preds, target).item() == pytest.approx(-10 * (a - b).square().mean().log10().item(), rel=1e-12)


def test_psnr_rgb_of_an_rgb_signal_is_psnr_of_its_values() -> None:
    target = frames(1, 8, 8, signal=PQ_RGB_FULL)
    preds = (target + 0.01).clamp(0, 1)
    assert psnr_rgb(preds, target, PQ_RGB_FULL).item() == pytest.approx(40, abs=1e-4)


@pytest.mark.parametrize(("height", "width"), [(64, 80), (90, 101), (400, 385), (640, 720)])
def test_sr_sim_equals_the_formula(height: int, width: int) -> None:
    target = frames(1, height, width)
    preds = noisy(target, 0.03)
    y = [
        255 * luma(signal_to_rgb(x.double().clamp(0, 1), HDR10_VIDEO), "ycbcr2020").clamp(0, 1)[0, 0].numpy()
        for x in (preds, target)
    ]
    assert sr_sim(preds, target).item() == pytest.approx(slow.sr_sim(*y), rel=1e-6)


def test_sr_sim_of_flat_frames_is_finite() -> None:
    flat = torch.full((1, 3, 64, 64), 0.5)
    assert sr_sim(flat, flat).item() == pytest.approx(1, abs=1e-9)
    assert sr_sim(flat, flat * 0.8).isfinite().all()


def test_frame_too_small_for_sr_sim_is_refused() -> None:
    with pytest.raises(DataError, match="frame of 64x39 is too small for SR-SIM, which wants 40 pixels"):
        sr_sim(frames(1, 39, 64), frames(1, 39, 64))
