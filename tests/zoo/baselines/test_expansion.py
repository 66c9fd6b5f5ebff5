"""Tests of the papers' expansion operators and their filter against slow references and hand-computed levels."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.zoo.baselines import slow_references
from zoo.baselines import create_baseline, expansion
from zoo.baselines.bilateral import cross_bilateral
from zoo.color import bt1886_decode, decode
from zoo.signal import HDR10_VIDEO

NAMES = ("kovaleski", "masia", "huo")
Operator = Callable[[Tensor], Tensor]


def operator(name: str) -> Operator:
    return getattr(expansion, name)


def scene(height: int = 36, width: int = 48) -> Tensor:
    """SDR light of a dark and a bright half with colour, noise, black and clipped pixels, float64."""
    generator = torch.Generator().manual_seed(1)
    signal = torch.rand(1, 3, height, width, generator=generator, dtype=torch.float64) * 0.2 + 0.1
    signal[..., width // 2 :] += 0.5
    signal[..., 4:12, width - 14 : width - 4] = 1
    signal[..., -3:, :3] = 0
    return bt1886_decode(signal)


def greys(signal: float, side: int = 8) -> Tensor:
    """Light of a flat grey, V = ``signal``."""
    return bt1886_decode(torch.full((1, 3, side, side), signal, dtype=torch.float64))


def test_the_bilateral_filter_equals_the_grid_written_out() -> None:
    generator = torch.Generator().manual_seed(0)
    x, edge = torch.rand(2, 1, 1, 23, 31, generator=generator, dtype=torch.float64)
    expected = slow_references.bilateral_grid(x[0, 0].numpy(), edge[0, 0].numpy(), 5.5, 0.13)
    np.testing.assert_allclose(cross_bilateral(x, edge, 5.5, 0.13)[0, 0], expected, rtol=0, atol=1e-12)


def test_the_bilateral_filter_smooths_but_not_across_an_edge() -> None:
    generator = torch.Generator().manual_seed(0)
    step = torch.zeros(1, 1, 40, 40, dtype=torch.float64)
    step[..., 20:] = 1
    noise = 0.02 * torch.rand(step.shape, generator=generator, dtype=torch.float64)
    smooth = cross_bilateral(step + noise, step, 10, 0.2)
    assert (smooth - step - noise.mean()).abs().max() < 0.005
    assert smooth[..., :20].std() < noise.std() / 4


@pytest.mark.parametrize("name", NAMES)
def test_equals_the_formula_written_out(name: str) -> None:
    light = scene()
    expected = getattr(slow_references, name)(light[0].numpy() / 100)
    np.testing.assert_allclose(operator(name)(light)[0], expected, rtol=1e-9, atol=1e-9)
    # The protocol's float32 is as good as exact: less than a hundredth of a 10-bit code.
    np.testing.assert_allclose(operator(name)(light.float())[0], expected, rtol=2e-4, atol=1e-3)


# V = 0.5 is L = 0.5^2.4 = 0.189465, white L = 1; flat, so the filters change nothing and Masia's key is -1:
# Kovaleski 0.3 + 999.7 L and 4 x 1000, clipped; Masia's gamma is 2.4379 + 0.2319 ln L + 1.1228 and 0.85 more where all
# is clipped; Huo 1000 L 2^(1 / 0.86).
@pytest.mark.parametrize(
    ("name", "grey", "white"),
    [
        ("kovaleski", 0.3 + 999.7 * 0.5**2.4, 1000.0),
        ("masia", 1000 * 0.5 ** (2.4 * (3.5607 + 0.2319 * 2.4 * math.log(0.5))), 1000.0),
        ("huo", 1000 * 0.5**2.4 * 2 ** (1 / 0.86), 1000.0),
    ],
)
def test_flat_greys_come_out_at_the_level_of_the_formula(name: str, grey: float, white: float) -> None:
    assert operator(name)(greys(0.5)).mean().item() == pytest.approx(grey, rel=1e-4)
    assert operator(name)(greys(1.0)).mean().item() == pytest.approx(white)
    assert operator(name)(greys(0.0)).abs().max() == 0


def test_kovaleski_brightens_clipped_pixels_and_what_is_as_bright() -> None:
    # The range sigma is 0.4 % of white, so the boost reaches next to nothing of another luminance.
    blue = 0.0722
    light = torch.full((1, 3, 30, 30), 100 * blue, dtype=torch.float64)
    light[..., 20:] = 0.8 * 100 * blue
    without = expansion.kovaleski(light)
    light[..., :10] = torch.tensor([0.0, 0.0, 100.0], dtype=torch.float64).view(3, 1, 1)
    boosted = expansion.kovaleski(light)
    assert torch.equal(boosted[..., 20:], without[..., 20:])
    # A third of the pixels of that luminance is clipped as the other third isn't: E is 1 + 3 / 2.
    torch.testing.assert_close(boosted[..., 10:20], 2.5 * without[..., 10:20], rtol=1e-9, atol=0)
    assert boosted[0, 2, 0, 0] == 1000


def test_huo_lets_a_bright_pixel_of_a_dark_picture_keep_less_than_the_peak() -> None:
    light = greys(0.2, 64)
    light[..., 30:34, 30:34] = 100
    out = expansion.huo(light)
    assert 500 < out.amax().item() <= 1000
    # Far from it, L / max(L) is 0.2^2.4 and both terms are about that.
    assert out[0, 0, 0, 0].item() == pytest.approx(1000 * 0.2**2.4 * (2 * (0.2**2.4) ** 0.86) ** (1 / 0.86), rel=0.05)


def test_masia_inverts_a_dark_picture_without_contrast() -> None:
    # The mean lies near the 99th percentile and is tiny: gamma is below 0, where the toolbox warns.
    light = torch.full((1, 3, 20, 20), 0.02, dtype=torch.float64)
    light[..., 0, :10] = 0.0001
    gamma = slow_references.masia_gamma(slow_references.luminance(light[0].numpy() / 100))
    assert gamma < 0
    out = expansion.masia(light)
    assert out.isfinite().all()
    assert out.amin() > 100


@pytest.mark.parametrize("name", NAMES)
def test_greys_stay_grey(name: str) -> None:
    grey = scene()[:, 1:2].expand(-1, 3, -1, -1)
    out = operator(name)(grey)
    torch.testing.assert_close(out, out[:, 1:2].expand_as(out), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_ramp_stays_a_ramp(name: str) -> None:
    ramp = torch.linspace(16, 235, 220, dtype=torch.float64)[None, :].expand(64, -1)
    sdr = torch.stack([ramp, *torch.full((2, 64, 220), 128, dtype=torch.float64)])[None] / 255
    light = decode(create_baseline(f"bicubic+{name}", 1)(sdr), HDR10_VIDEO)
    assert (light.diff(dim=-1) >= -1e-6).all()
    assert light.amax().item() == pytest.approx(1000, rel=1e-3)
    assert light[..., 0].abs().max() < 1e-6


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_black_white_noise_and_wild_codes_give_finite_light_below_the_peak(name: str, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    sdr = torch.rand(4, 3, 6, 9, generator=generator).to(dtype)
    sdr[0], sdr[1], sdr[2, :, 3] = 0, 1, 0.002
    for scale in (1, 2, 4):
        out = create_baseline(f"bicubic+{name}", scale)(sdr)
        assert out.dtype == torch.float32
        assert out.isfinite().all()
        assert decode(out, HDR10_VIDEO).amax() < 1000.5


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_without_numbers_gives_none_and_leaves_the_others_alone(name: str) -> None:
    light = scene()
    broken = light.clone()
    broken[..., 3, 5] = float("nan")
    out = operator(name)(torch.cat([broken, light]))
    assert out[0].isnan().any()
    torch.testing.assert_close(out[1:], operator(name)(light), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_statistics_are_of_each_picture_by_itself(name: str) -> None:
    light = torch.cat([scene(), greys(0.0, 8).new_zeros(1, 3, 36, 48), 0.2 * scene()])
    together = operator(name)(light)
    alone = torch.cat([operator(name)(picture) for picture in light.split(1)])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=0)
    assert not torch.allclose(together[2], 0.2 * together[0])


@pytest.mark.parametrize("name", NAMES)
def test_a_single_pixel_is_a_picture(name: str) -> None:
    assert operator(name)(greys(0.5, 1)).isfinite().all()
