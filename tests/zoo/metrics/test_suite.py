"""What all metrics keep to: perfect scores, order, streams, ranks, bad input; and the suite."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from tests.zoo.metrics.slow_references import frames, noisy
from zoo.errors import ConfigError, DataError, SignalError
from zoo.metrics import METRICS, PSNR, FrameMean, Suite, create
from zoo.signal import SDR_VIDEO

OWN = [name for name in METRICS if name not in ("cvvdp", "hdr_vdp2", "hdr_vdp3")]
PERFECT = {"delta_e_itp": 0.0} | {name: float("inf") for name in OWN if "psnr" in name}


@pytest.fixture(scope="module")
def target() -> Tensor:
    return frames(3, 176, 192)


@pytest.fixture(scope="module")
def preds(target: Tensor) -> Tensor:
    return torch.cat([noisy(target[i : i + 1], 0.01 * (i + 1), seed=i) for i in range(3)])


@pytest.mark.parametrize("name", OWN)
def test_truth_itself_scores_perfect(name: str, target: Tensor) -> None:
    score = create(name).score(target[:1], target[:1]).item()
    # The matched form decodes and encodes again, which costs float32's last digits.
    assert score > 100 if name == "psnr_matched" else score == pytest.approx(PERFECT.get(name, 1.0), abs=1e-12)


@pytest.mark.parametrize("name", OWN)
def test_more_noise_scores_worse(name: str, target: Tensor) -> None:
    metric = create(name)
    scores = [metric.score(noisy(target[:1], strength), target[:1]).item() for strength in (0.002, 0.01, 0.05)]
    assert scores == sorted(scores, reverse=bool(metric.higher_is_better))
    assert len(set(scores)) == 3


@pytest.mark.parametrize("name", [name for name in OWN if name not in ("mpsnr", "psnr_matched")])
def test_prediction_and_truth_may_be_exchanged(name: str, target: Tensor, preds: Tensor) -> None:
    metric, inside = create(name), preds[:1].clamp(0, 1)
    assert metric.score(inside, target[:1]).item() == pytest.approx(metric.score(target[:1], inside).item(), rel=1e-9)


@pytest.mark.parametrize("name", OWN)
def test_prediction_is_clipped_to_its_codes(name: str, target: Tensor) -> None:
    wild = noisy(target[:1], 0.6)
    metric = create(name)
    assert torch.equal(metric.score(wild, target[:1]), metric.score(wild.clamp(0, 1), target[:1]))


def test_suite_gives_what_its_metrics_give_alone(target: Tensor, preds: Tensor) -> None:
    suite = Suite(OWN)
    scores = suite.score(preds, target)
    assert list(scores) == OWN
    for name, score in scores.items():
        assert score.shape == (3,)
        assert score.dtype == torch.float64
        torch.testing.assert_close(score, create(name).score(preds, target), rtol=1e-12, atol=0)


def test_frames_score_the_same_in_strips_and_whole(
    target: Tensor, preds: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Suite(OWN).score(preds, target)
    for module in ("frames", "windows"):
        monkeypatch.setattr(f"zoo.metrics.{module}.STRIP_PIXELS", 7 * 192)
    for name, score in Suite(OWN).score(preds, target).items():
        torch.testing.assert_close(score, whole[name], rtol=1e-7 if name == "delta_e_itp" else 1e-11, atol=0)


def test_sets_figures_are_means_over_frames_however_they_are_batched(target: Tensor, preds: Tensor) -> None:
    batched = Suite(OWN)
    alone = [batched.update(preds[i], target[i]) for i in (slice(0, 1), slice(1, 3))]
    for name, figure in batched.compute().items():
        metric = create(name)
        metric.update(preds, target)
        torch.testing.assert_close(figure, torch.cat([scores[name] for scores in alone]).mean(), rtol=1e-12, atol=0)
        torch.testing.assert_close(metric.compute(), figure, rtol=1e-12, atol=0)
    batched.reset()
    batched.update(preds[:1], target[:1])
    torch.testing.assert_close(batched.compute()["ssim"], alone[0]["ssim"][0])


def score_share(rank: int, folder: str, preds: Tensor, target: Tensor) -> None:
    """Rank 0 scores one frame, rank 1 two."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    suite, part = Suite(OWN), slice(0, 1) if rank == 0 else slice(1, 3)
    suite.update(preds[part], target[part])
    figures = {name: figure.item() for name, figure in suite.compute().items()}
    Path(folder, f"{rank}.json").write_text(json.dumps(figures))
    dist.barrier()
    os._exit(0)  # without the teardown of gloo's threads, which aborts once in many runs


def test_two_ranks_with_unequal_shares_give_one_ranks_figures(tmp_path: Path, target: Tensor, preds: Tensor) -> None:
    mp.start_processes(score_share, (str(tmp_path), preds, target), nprocs=2, start_method="fork")
    suite = Suite(OWN)
    suite.update(preds, target)
    whole = {name: figure.item() for name, figure in suite.compute().items()}
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == pytest.approx(whole, rel=1e-12)


def test_states_of_two_processes_merge_to_the_whole_sets_figure(target: Tensor, preds: Tensor) -> None:
    parts = [create("ssim") for _ in range(2)]
    for metric, part in zip(parts, (slice(0, 1), slice(1, 3)), strict=True):
        metric.update(preds[part], target[part])
    parts[0].merge_state(parts[1])
    torch.testing.assert_close(parts[0].compute(), create("ssim").score(preds, target).mean(), rtol=1e-12, atol=0)


def test_state_is_saved_as_plain_tensors() -> None:
    mean = FrameMean()
    mean.persistent(True)
    mean.update(torch.tensor([1.0, 2.0]))
    file = io.BytesIO()
    torch.save(mean.state_dict(), file)
    file.seek(0)
    again = FrameMean()
    again.persistent(True)
    again.load_state_dict(torch.load(file, weights_only=True))
    again.update(torch.tensor([6.0]))
    assert again.compute().item() == 3


@pytest.mark.parametrize("name", OWN)
def test_protocol_states_what_the_figure_means(name: str) -> None:
    facts = create(name).protocol.as_dict()
    assert set(facts) >= {"signal", "range", "clipping", "crop", "peak", "display", "unit"}
    assert facts["signal"] == "bt2020-pq-ycbcr2020-narrow-10"
    assert all(facts.values())
    assert json.dumps(facts) == json.dumps(Suite([name]).protocols[name].as_dict())


def test_no_two_metrics_share_a_protocol() -> None:
    protocols = Suite(OWN).protocols
    assert len(set(protocols.values())) == len(OWN)


def test_half_precision_prediction_scores_as_its_values_do(target: Tensor, preds: Tensor) -> None:
    half = preds[:1].bfloat16()
    for name, score in Suite(OWN).score(half, target[:1]).items():
        torch.testing.assert_close(score, create(name).score(half.float(), target[:1]), rtol=1e-9, atol=0)


def test_autocast_changes_no_figure(target: Tensor, preds: Tensor) -> None:
    expected = Suite(OWN).score(preds[:1], target[:1])
    with torch.autocast("cpu", torch.bfloat16):
        scores = Suite(OWN).score(preds[:1], target[:1])
    for name, score in scores.items():
        assert torch.equal(score, expected[name])


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("shape", [(1, 3, 176, 96), (2, 3, 176, 192), (3, 176, 192), (1, 1, 176, 192)])
def test_prediction_of_another_shape_is_refused(name: str, shape: tuple[int, ...], target: Tensor) -> None:
    with pytest.raises(SignalError, match=r"truth \(1, 3, 176, 192\) must both be \(B, 3, H, W\) of one size"):
        create(name).score(torch.zeros(shape), target[:1])


@pytest.mark.parametrize("name", OWN)
def test_integer_codes_are_refused(name: str, target: Tensor) -> None:
    with pytest.raises(SignalError, match=r"truth is int16, want float code / 1023 on bt2020-pq.*; divide the codes"):
        create(name).score(target[:1], (1023 * target[:1]).short())


def test_values_that_cant_be_scored_name_their_frame_and_add_nothing(target: Tensor, preds: Tensor) -> None:
    suite = Suite(["psnr", "ssim"])
    broken = preds.clone()
    broken[1, 0, 3, 4] = float("nan")
    with pytest.raises(DataError, match="frame 1 of the batch: NaN or infinity in the prediction"):
        suite.update(broken, target)
    with pytest.raises(DataError, match="frame 1 of the batch: NaN or infinity in the truth"):
        suite.update(preds, torch.where(broken.isnan(), torch.inf, target))
    with pytest.raises(DataError, match=r"frame 0 of the batch: the truth spans .*, want code / 1023 within 0..1"):
        suite.update(preds, 1023 * target)
    suite.update(preds[:1], target[:1])
    torch.testing.assert_close(suite.compute()["psnr"], PSNR().score(preds[:1], target[:1])[0])


def test_nan_in_training_validation_gives_nan_without_a_look_at_the_values(target: Tensor) -> None:
    assert PSNR().score(target[:1] * float("nan"), target[:1]).isnan().all()


def test_sdr_signal_is_refused() -> None:
    with pytest.raises(SignalError, match=r"bt709-bt1886-ycbcr709-narrow-8 isn't an HDR signal; the metrics want PQ"):
        create("psnr", SDR_VIDEO)


def test_unknown_metric_lists_known_names_and_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no metric 'ms-ssim'; did you mean 'ms_ssim'\? Known: psnr, psnr_rgb"):
        Suite(["psnr", "ms-ssim"])
