from __future__ import annotations

import colour
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo.color import hlg_decode, hlg_encode, hlg_ootf, hlg_ootf_inverse
from zoo.color.hlg import hlg_system_gamma


def grey(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).expand(3, 1, len(values))


# ITU-R BT.2408, Table 1: grey card of 18 % at 38 % HLG, grey of 83 % at 71 %, 90 % at 73 %, diffuse white at 75 %.
@pytest.mark.parametrize(("luminance", "percent"), [(26, 38), (162, 71), (179, 73), (203, 75), (1000, 100)])
def test_greys_have_the_levels_of_bt2408(luminance: float, percent: int) -> None:
    assert round(100 * hlg_encode(grey(luminance))[0].item()) == percent


def test_system_gamma_is_1_2_at_1000_nits_and_near_bt2100_around_it() -> None:
    assert hlg_system_gamma(1000) == 1.2
    for peak in (400, 600, 1500, 2000):
        assert hlg_system_gamma(peak) == pytest.approx(1.2 + 0.42 * np.log10(peak / 1000), abs=0.012)


# ITU-R BT.2390: the extended formula at 100 and 4000 cd/m², 1.2 kappa^log2(L / 1000) with kappa = 1.111.
@pytest.mark.parametrize(("peak", "gamma"), [(100, 0.8459), (500, 1.0801), (4000, 1.4812)])
def test_system_gamma_goes_on_beyond_bt2100s_peaks(peak: float, gamma: float) -> None:
    assert hlg_system_gamma(peak) == pytest.approx(gamma, abs=5e-5)


def test_decoding_equals_colour_science() -> None:
    signal = np.random.default_rng(0).random((20, 30, 3))
    theirs = colour.models.eotf_BT2100_HLG(signal, L_B=0, L_W=1000, gamma=1.2)
    ours = hlg_decode(torch.from_numpy(signal).permute(2, 0, 1)).permute(1, 2, 0)
    np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.sampled_from([400.0, 1000.0, 4000.0]))
def test_encoding_undoes_decoding_for_any_display(signal: list[float], peak: float) -> None:
    rgb = torch.tensor(signal, dtype=torch.float64).view(3, 1, 1)
    torch.testing.assert_close(hlg_encode(hlg_decode(rgb, peak), peak), rgb, rtol=1e-9, atol=1e-12)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_ootf_keeps_chromaticity_and_is_undone_by_its_inverse(scene: list[float]) -> None:
    light = torch.tensor(scene, dtype=torch.float64).view(3, 1, 1)
    shown = hlg_ootf(light)
    torch.testing.assert_close(shown * light.sum(), light * shown.sum(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(hlg_ootf_inverse(shown), light, rtol=1e-12, atol=1e-15)


def test_what_lies_below_black_is_black() -> None:
    assert torch.equal(hlg_decode(grey(-0.07)), grey(0))
    assert torch.equal(hlg_encode(grey(-10)), grey(0))


def test_gradients_are_finite_on_black_and_on_colours_without_a_channel() -> None:
    for curve, end in ((hlg_decode, 1.0), (hlg_encode, 1000.0)):
        x = (end * torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.5, 0.0], [0.0, 1e-9, 0.0]])).view(3, 1, 3).requires_grad_()
        curve(x).sum().backward()
        assert x.grad is not None
        assert x.grad.isfinite().all()


def test_half_precision_is_computed_in_float32() -> None:
    signal = torch.rand(3, 8, 8).bfloat16()
    assert torch.equal(hlg_decode(signal), hlg_decode(signal.float()))
    assert torch.equal(hlg_encode(1000 * signal), hlg_encode((1000 * signal).float()))
