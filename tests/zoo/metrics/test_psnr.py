from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from zoo.color import decode, encode
from zoo.errors import SignalError
from zoo.metrics import PSNR, MatchedPSNR, matched_psnr, psnr
from zoo.signal import HDR10_VIDEO


def frames(count: int, seed: int = 0) -> Tensor:
    """Muted colours as code / 1023."""
    light = 10 ** (3 * torch.rand(count, 3, 12, 16, generator=torch.Generator().manual_seed(seed)))
    return encode(0.3 * light + 0.7 * light.mean(1, keepdim=True), HDR10_VIDEO)


@given(st.lists(st.floats(0, 0.3), min_size=1, max_size=4))
def test_psnr_of_a_constant_error_is_that_errors_level_for_each_frame(errors: list[float]) -> None:
    target = torch.full((len(errors), 3, 4, 5), 0.5, dtype=torch.float64)
    scores = psnr(target + torch.tensor(errors, dtype=torch.float64).view(-1, 1, 1, 1), target)
    expected = [-20 * math.log10(error) if error > 1e-9 else math.inf for error in errors]
    for score, value, error in zip(scores.tolist(), expected, errors, strict=True):
        assert error < 1e-9 or score == pytest.approx(value, rel=1e-6)


def test_psnr_takes_one_mean_over_the_three_channels() -> None:
    target = torch.zeros(1, 3, 4, 4)
    preds = target.clone()
    preds[:, 1] = 30 / 1023
    assert psnr(preds, target).item() == pytest.approx(10 * math.log10(1023**2 / (30**2 / 3)), rel=1e-6)


def test_psnr_clips_the_prediction_but_does_not_round_it() -> None:
    target = torch.tensor([0.0, 0.5, 1.0]).view(1, 3, 1, 1)
    assert psnr(torch.tensor([-0.3, 0.5, 1.7]).view(1, 3, 1, 1), target).item() == math.inf
    assert psnr(target * 0.9999, target).isfinite()


def test_perfect_frame_scores_infinity() -> None:
    target = frames(1)
    assert psnr(target, target).item() == math.inf


@pytest.mark.parametrize("eighths", [-24, -5, 8, 24])
def test_matched_psnr_finds_a_gain_of_whole_eighths_of_a_stop(eighths: int) -> None:
    target = frames(2).double()
    dimmed = encode(decode(target, HDR10_VIDEO) * 2 ** (eighths / 8), HDR10_VIDEO)
    assert psnr(dimmed, target).max() < 60
    assert matched_psnr(dimmed, target).min() > 150


def test_matched_psnr_seeks_each_frames_own_gain() -> None:
    target = frames(3).double()
    gains = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64).view(-1, 1, 1, 1)
    assert matched_psnr(encode(decode(target, HDR10_VIDEO) * gains, HDR10_VIDEO), target).min() > 150


def test_matched_psnr_goes_no_further_than_three_stops() -> None:
    target = frames(1).double()
    assert matched_psnr(encode(decode(target, HDR10_VIDEO) / 16, HDR10_VIDEO), target).item() < 60


def test_matched_psnr_is_not_below_psnr() -> None:
    target, preds = frames(4), frames(4, seed=1)
    assert (matched_psnr(preds, target) >= psnr(preds, target) - 1e-3).all()


def test_wild_predictions_score_finite() -> None:
    wild = 5 * torch.randn(2, 3, 12, 16, generator=torch.Generator().manual_seed(0))
    assert psnr(wild, frames(2)).isfinite().all()
    assert matched_psnr(wild, frames(2)).isfinite().all()


@pytest.mark.parametrize("function", [psnr, matched_psnr])
@pytest.mark.parametrize("shape", [(2, 3, 12, 32), (1, 3, 12, 16), (3, 12, 16), (2, 1, 12, 16)])
def test_prediction_of_another_shape_is_refused(function, shape: tuple[int, ...]) -> None:
    with pytest.raises(SignalError, match=r"truth \(2, 3, 12, 16\)"):
        function(torch.zeros(shape), frames(2))


@pytest.mark.parametrize("metric", [PSNR, MatchedPSNR])
def test_sets_figure_is_the_mean_over_frames_however_they_are_batched(metric: type[PSNR]) -> None:
    target, preds = frames(5), frames(5, seed=1)
    whole, batched = metric(), metric()
    whole.update(preds, target)
    for batch in (slice(0, 1), slice(1, 5)):
        batched.update(preds[batch], target[batch])
    expected = (matched_psnr if metric is MatchedPSNR else psnr)(preds, target).mean()
    for figure in (whole.compute(), batched.compute()):
        torch.testing.assert_close(figure, expected, rtol=1e-12, atol=0)


def test_states_of_two_ranks_with_unequal_frames_merge_to_the_whole_sets_figure() -> None:
    target, preds = frames(5), frames(5, seed=1)
    ranks = PSNR(), PSNR()
    for metric, part in zip(ranks, (slice(0, 1), slice(1, 5)), strict=True):
        metric.update(preds[part], target[part])
    ranks[0].merge_state(ranks[1])
    torch.testing.assert_close(ranks[0].compute(), psnr(preds, target).mean(), rtol=1e-12, atol=0)


def test_forward_gives_the_batchs_figure_and_keeps_the_sets() -> None:
    target, preds = frames(3), frames(3, seed=1)
    metric = PSNR()
    first = metric(preds[:1], target[:1])
    metric(preds[1:], target[1:])
    torch.testing.assert_close(first, psnr(preds[:1], target[:1]).mean())
    torch.testing.assert_close(metric.compute(), psnr(preds, target).mean())


def test_half_precision_prediction_is_scored_in_float64() -> None:
    target, preds = frames(1), frames(1, seed=1).bfloat16()
    assert psnr(preds, target).dtype == torch.float64
    assert torch.equal(psnr(preds, target), psnr(preds.double(), target))
