"""A whole run on real photographs: what it leaves, and that it can be repeated and resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
import yaml

import zoo
from callbacks.run_report import _score
from datamodules.embedded import embedded_scenes
from datamodules.making import make_set
from tests.training import Trainer, leave_scores_out, random_codes
from tests.wandb_records import history, offline_files
from zoo.fit import FitCLI, main
from zoo.modules import JSINetModule
from zoo.weights import read_weights

# The recipe as a JSInet run of one stage.
JSINET = ["--model", "JSINetModule", "--model.rates", "[{peak: 1e-3}]", "--stage.epoch", "null", "--data.crop", "[32]"]


def test_a_run_leaves_what_it_promises(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(recipe)]) == 0
    run = Path("runs/tiny")
    printed = capsys.readouterr().out

    report = json.loads((run / "report.json").read_text())
    assert report["steps"] == 4
    assert report["validation_frames"] == 4
    assert set(report["baselines"]) == {
        "bicubic+white100",
        "bicubic+white203",
        "bicubic+bt2446c",
        "bicubic+oracle",
    }
    oracle = report["baselines"]["bicubic+oracle"]
    assert oracle["raw"] == pytest.approx(oracle["matched"], abs=0.01)
    assert report["psnr_before"] != report["psnr_after"]
    assert set(report["samples_per_second"]) == {"stage_1", "stage_2"}
    assert f"{report['psnr_after']:.2f}" in printed

    tensors, metadata = read_weights(run / "weights.safetensors")
    assert metadata["name"] == "jsigan_x2"
    assert (metadata["stage"], metadata["step"]) == (2, 4)
    assert metadata["input"] == "bt709-bt1886-ycbcr709-narrow-8"
    assert len(tensors) == 64
    net = zoo.load("jsigan_x2", weights=run / "weights.safetensors")
    assert torch.isfinite(net(torch.rand(1, 3, 8, 8))).all()

    for path in report["pictures"]:
        picture = cv2.imread(path)
        assert picture.shape[1] == 4 * 256  # input, baseline, prediction, truth

    checkpoint = torch.load(report["checkpoint"], weights_only=True)
    ours = {"format": 1, "model": "jsigan_x2", "stage": 2, "optimizer": "authors_adam"}
    assert checkpoint["sritm"] == ours | {"accumulate": 1, "batches": 2, "switch": 1}
    live = {key for key in checkpoint["state_dict"] if key.startswith("net.")}
    assert {f"net.{key}" for key in tensors} == live
    # The published weights are the average, the checkpoint's the live ones.
    assert not torch.equal(checkpoint["state_dict"]["net.ir.head.weight"], tensors["ir.head.weight"])

    scalars = [row for path in offline_files(run) for row in history(path)]
    keys = set().union(*scalars)
    assert {"val/psnr", "trainer/global_step"} <= keys

    # The kept configuration is whole and makes the same run again.
    again = FitCLI(["--config", str(run / "config.yaml"), "--run_dir", "other"])
    kept = yaml.safe_load((run / "config.yaml").read_text())
    assert kept["run_dir"] == "runs/tiny"
    assert again.config.stage.epoch == 1
    assert again.config.trainer.max_epochs == 2

    assert main(["--config", str(recipe)]) == 2
    assert "runs/tiny holds a run already: go on with it (--ckpt_path last)" in capsys.readouterr().err

    assert main(["--config", str(recipe), "--ckpt_path", "last", "--trainer.max_epochs", "3"]) == 0
    resumed = json.loads((run / "report.json").read_text())
    assert resumed["steps"] == 6
    assert resumed["psnr_before"] == report["psnr_before"]


def test_a_run_starts_from_given_weights_in_the_second_stage(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quiet = ["--trainer.logger", "false"]
    assert main(["--config", str(recipe), *JSINET, *quiet, "--trainer.max_epochs", "1", "--run_dir", "first"]) == 0
    start = json.loads(Path("first/report.json").read_text())
    gan = ["--model.weights", "first/weights.safetensors", "--stage.epoch", "0", "--trainer.max_epochs", "1"]
    assert main(["--config", str(recipe), *gan, *quiet, "--run_dir", "second"]) == 0
    report = json.loads(Path("second/report.json").read_text())
    assert report["psnr_before"] == pytest.approx(start["psnr_after"], abs=1e-6)
    assert set(report["samples_per_second"]) == {"stage_2"}


def test_a_budget_becomes_epochs_that_the_config_keeps(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_scores_out(monkeypatch)
    run = ["--run_dir", "runs/b-N", "--trainer.logger", "false", "--budget", "0.1"]
    assert main(["--config", str(recipe), *JSINET, *run]) == 0
    kept = yaml.safe_load(Path("runs/b-1/config.yaml").read_text())
    report = json.loads(Path("runs/b-1/report.json").read_text())
    assert kept["trainer"]["max_epochs"] == report["steps"] / 2 >= 1
    assert kept["budget"] is None
    assert kept["run_dir"] == "runs/b-N"

    # The run is gone on with in its own folder, with the epochs that it has; a longer one is asked for.
    again = ["--config", str(recipe), *JSINET, *run, "--ckpt_path", "last"]
    assert main(again) == 0
    assert main([*again, "--trainer.max_epochs", str(kept["trainer"]["max_epochs"] + 1)]) == 0
    assert json.loads(Path("runs/b-1/report.json").read_text())["steps"] == report["steps"] + 2
    assert [path.name for path in Path("runs").iterdir()] == ["b-1"]


def test_a_series_without_a_run_has_no_last(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--run_dir", "runs/b-N", "--budget", "1", "--ckpt_path", "last"]
    assert main(["--config", str(recipe), *words]) == 2
    assert "there is no run runs/b-N to go on with" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_run_that_diverges_stops_and_keeps_its_last_good_state(
    recipe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_scores_out(monkeypatch)
    explode = ["--model.rates", "[{peak: 1e-4, shape: steps, at: [0.3], factor: 1e30}]", "--average", "null"]
    assert main(["--config", str(recipe), *JSINET, *explode, "--trainer.logger", "false"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: training diverged at step 4: the loss is ")
    last = Path("runs/tiny/checkpoints/epoch=0-step=2.ckpt")
    assert line.endswith(f"the last good state is {last}")
    checkpoint = torch.load(last, weights_only=True)
    assert checkpoint["global_step"] == 2
    assert all(torch.isfinite(tensor).all() for tensor in checkpoint["state_dict"].values())
    assert read_weights("runs/tiny/weights.safetensors")[1]["step"] == 2
    assert not Path("runs/tiny/report.json").exists()


def test_a_set_without_validation_trains_and_reports_that_there_was_none(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_set(tmp_path / "set", {"train": embedded_scenes()["train"][:1], "val": [], "test": []}, scale=2, patches=8)
    words = ["--data.root", str(tmp_path / "set"), "--trainer.logger", "false"]
    assert main(["--config", str(recipe), *JSINET, *words]) == 0
    assert "No validation: the data has no held-out frames" in capsys.readouterr().out
    report = json.loads(Path("runs/tiny/report.json").read_text())
    assert report["validation_frames"] == 0
    assert report["psnr_before"] is report["psnr_after"] is report["psnr_after_matched"] is None
    assert report["baselines"]["bicubic+oracle"] == {"raw": None, "matched": None}
    assert read_weights("runs/tiny/weights.safetensors")[1]["step"] == report["steps"] == 4


def test_an_infinite_score_is_left_out_of_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callbacks.run_report.MatchedPSNR.compute", lambda self: torch.tensor(float("inf")))

    class Data:
        def val_dataloader(self) -> list[dict[str, Any]]:
            return [random_codes(1, 8, 2, 0)]

    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.datamodule = Data()  # type: ignore[attr-defined]
    module = JSINetModule()
    scores, frames = _score(module.net, trainer, module, matched=True)
    assert scores["matched"] is None
    assert scores["raw"] is not None
    assert frames == 1


def test_every_recipe_parses(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    for path in sorted((root / "configs").glob("*.yaml")):
        cli = FitCLI(["--config", str(path)])
        assert cli.model.net.scale == cli.config.scale
        assert path.name in path.read_text(), f"{path} doesn't state its command"
        assert "score to expect" in path.read_text().lower()
