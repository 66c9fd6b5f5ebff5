from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.zoo.metrics import slow_references as slow
from tests.zoo.metrics.slow_references import arrays, frames, noisy
from zoo.metrics import mpsnr, psnr
from zoo.signal import Signal

PQ_RGB_FULL = Signal.parse("bt2020-pq-rgb-full-10")


@pytest.mark.parametrize("strength", [0.3 / 1023, 0.02, 0.5])
def test_mpsnr_equals_the_formula_code_by_code(strength: float) -> None:
    target = frames(1, 20, 24)
    preds = noisy(target, strength)
    assert mpsnr(preds, target).item() == pytest.approx(slow.mpsnr(*arrays(preds, target)), rel=1e-12)


def test_psnr_and_mpsnr_equal_the_authors_scripts(reference) -> None:
    # Run in GNU Octave; float64 arithmetic in place of float32 would be 0.02 dB off.
    golden = np.load(reference / "golden" / "matlab_pieces.npz")
    for name in ("metric", "metric_dark"):
        codes = golden[f"{name}/ref_u10"].astype(np.float32) / np.float32(1023)
        target, preds = (torch.from_numpy(x).permute(2, 0, 1)[None] for x in (codes, golden[f"{name}/dist"]))
        assert psnr(preds, target).item() == pytest.approx(golden[f"{name}/psnr"].item(), abs=1e-6)
        assert mpsnr(preds, target).item() == pytest.approx(golden[f"{name}/mpsnr"].item(), abs=1e-9)
        assert mpsnr(preds.double(), target.double()).item() == mpsnr(preds, target).item()


def test_frame_without_an_exposure_that_counts_has_no_figure() -> None:
    black = torch.zeros(1, 3, 16, 16)
    assert mpsnr(black + 0.01, black, PQ_RGB_FULL).isnan().all()
