from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.zoo.metrics import slow_references as slow
from tests.zoo.metrics.slow_references import arrays, frames, noisy
from zoo.errors import DataError
from zoo.metrics import ms_ssim, ms_ssim_planes, ssim, ssim_planes, ssim_volume


def test_ssim_equals_the_formula_pixel_by_pixel() -> None:
    target = frames(1, 14, 19)
    preds = noisy(target, 0.05)
    p, t = arrays(preds.clamp(0, 1), target)
    planes = [slow.ssim_plane(p[..., c], t[..., c]) for c in range(3)]
    np.testing.assert_allclose(ssim_planes(preds, target)[0], planes, rtol=1e-9)
    assert ssim(preds, target).item() == pytest.approx(np.mean(planes), rel=1e-9)


def test_volume_ssim_equals_the_formula_with_a_window_in_three_dimensions() -> None:
    target = frames(1, 12, 13)
    preds = noisy(target, 0.05)
    assert ssim_volume(preds, target).item() == pytest.approx(
        slow.ssim_volume(*arrays(preds.clamp(0, 1), target)), rel=1e-9
    )


@pytest.mark.parametrize(("height", "width"), [(176, 192), (179, 201)])
def test_ms_ssim_equals_the_formula_on_odd_sizes_too(height: int, width: int) -> None:
    target = frames(1, height, width)
    preds = noisy(target, 0.05)
    p, t = arrays(preds.clamp(0, 1), target)
    planes = [slow.ms_ssim_plane(p[..., c], t[..., c]) for c in range(3)]
    np.testing.assert_allclose(ms_ssim_planes(preds, target)[0], planes, rtol=1e-9)
    assert ms_ssim(preds, target).item() == pytest.approx(planes[0], rel=1e-9)


def test_ssim_forms_and_ms_ssim_equal_the_reference_figures(reference) -> None:
    # The authors' MS-SSIM in GNU Octave; SSIM by MATLAB's documented algorithm.
    golden = np.load(reference / "golden" / "matlab_pieces.npz")
    for name in ("metric", "metric_dark"):
        codes = golden[f"{name}/ref_u10"].astype(np.float32) / np.float32(1023)
        target, preds = (torch.from_numpy(x).permute(2, 0, 1)[None] for x in (codes, golden[f"{name}/dist"]))
        assert ssim_volume(preds, target).item() == pytest.approx(golden[f"{name}/ssim_volume"].item(), abs=1e-9)
        np.testing.assert_allclose(ms_ssim_planes(preds, target)[0], golden[f"{name}/msssim_yuv"], rtol=0, atol=1e-7)
        if name == "metric":
            planes = golden["metric/ssim_planes_yuv"]
            np.testing.assert_allclose(ssim_planes(preds, target)[0], planes, rtol=0, atol=1e-9)


def test_opposite_structure_scores_zero_in_ms_ssim() -> None:
    target = frames(1, 176, 176)
    assert ms_ssim(1 - target, target).item() == 0


def test_frame_smaller_than_the_window_is_refused() -> None:
    with pytest.raises(DataError, match="frame of 30x10 is smaller than SSIM's window of 11x11"):
        ssim(frames(1, 10, 30), frames(1, 10, 30))
    with pytest.raises(DataError, match="frame of 200x175 is too small for MS-SSIM, whose five scales want 176"):
        ms_ssim(frames(1, 175, 200), frames(1, 175, 200))
