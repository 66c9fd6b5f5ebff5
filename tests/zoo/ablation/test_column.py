"""Tests of one run of an ablation."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

from callbacks.stop_request import RunStopped
from datamodules import SRITMDataModule
from zoo.ablation import Budget, read_ablation
from zoo.ablation.column import read_result, train_column
from zoo.ablation.running import plan_runs, write_recipes
from zoo.errors import ConfigError
from zoo.metrics import psnr, ssim
from zoo.modules import ToySRITMModule
from zoo.nets.toy_sritm import ToySRITM


def planned(table: Path, output: str, updates: int = 20, seed: int = 0) -> Path:
    runs = plan_runs(read_ablation(str(table)).chosen(["a"]), Budget(updates), [seed], Path(output))
    write_recipes(runs)
    return runs[0].folder


def stop_at(update: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the run told to stop within an update."""
    step = ToySRITMModule.training_step

    def told(self: ToySRITMModule, batch: dict, batch_idx: int) -> torch.Tensor:
        if self.trainer.global_step == update:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(ToySRITMModule, "training_step", told)


def test_a_run_scores_the_last_weights_and_a_stopped_one_ends_with_the_same(
    mine: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = planned(mine, "whole")
    train_column(folder)
    whole = read_result(folder)
    assert whole["updates"] == 20
    assert (whole["split"], len(whole["frames"])) == ("val", 4)

    # The same figures from the checkpoint and the frames, by other ways.
    checkpoint = torch.load(max(folder.glob("checkpoints/*step=20.ckpt")), weights_only=True)
    assert checkpoint["sritm"]["stage"] == 2
    net = ToySRITM(channels=4)
    net.load_state_dict({key.removeprefix("net."): value for key, value in checkpoint["state_dict"].items()})
    data = SRITMDataModule(str(photographs))
    data.setup("validate")
    for name, metric in (("psnr", psnr), ("ssim", ssim)):
        with torch.no_grad():
            pairs = [(net(batch["sdr"] / 255), batch["hdr"] / 1023) for batch in data.val_dataloader()]
        assert whole[name] == pytest.approx(torch.cat([metric(*pair) for pair in pairs]).mean().item(), abs=1e-5)
    assert whole["filter_parameters"] == sum(p.numel() for p in net.parameters() if p.ndim == 4)

    stopped = planned(mine, "stopped")
    with monkeypatch.context() as patch:
        stop_at(13, patch)
        with pytest.raises(RunStopped):
            train_column(stopped)
    assert read_result(stopped) is None
    train_column(stopped)
    assert read_result(stopped)["frames"] == whole["frames"]


def test_an_epoch_longer_than_the_data_is_refused_instead_of_cut(mine: Path) -> None:
    folder = planned(mine, "long", updates=300)
    with pytest.raises(ConfigError, match="the set has 4 batches of 4, an epoch of this budget 30: give a smaller"):
        train_column(folder)


def test_a_folder_of_another_budget_is_refused(mine: Path) -> None:
    folder = planned(mine, "runs")
    assert planned(mine, "runs") == folder
    with pytest.raises(ConfigError, match="a-seed0 was begun with another budget or an older recipe"):
        planned(mine, "runs", updates=40)
