"""A whole run on real photographs: what it leaves, and that it can be repeated and resumed."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
import yaml

import zoo
from zoo.fit import FitCLI, main
from zoo.weights import read_weights

# The recipe as a JSInet run of one stage.
JSINET = ["--model", "JSINetModule", "--model.rates", "[{peak: 1e-3}]", "--stage.epoch", "null", "--data.crop", "[32]"]


def wandb_history(folder: Path) -> Iterator[dict[str, Any]]:
    """Scalars in an offline W&B file: a 7-byte header, then LevelDB log blocks of 32 KiB with one record each."""
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    data = path.read_bytes()
    assert data[:4] == b":W&B"
    place, part = 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        part += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(part)
            part = b""
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                yield {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


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
    assert checkpoint["sritm"] == {"model": "jsigan_x2", "stage": 2}
    live = {key for key in checkpoint["state_dict"] if key.startswith("net.")}
    assert {f"net.{key}" for key in tensors} == live
    # The published weights are the average, the checkpoint's the live ones.
    assert not torch.equal(checkpoint["state_dict"]["net.ir.head.weight"], tensors["ir.head.weight"])

    scalars = list(wandb_history(run))
    keys = set().union(*scalars)
    assert {"val/psnr", "trainer/global_step"} <= keys

    # The kept configuration is whole and makes the same run again.
    again = FitCLI(["--config", str(run / "config.yaml"), "--run_dir", "other"], probe=True)
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


def test_a_budget_becomes_epochs_that_the_config_keeps(recipe: Path) -> None:
    run = ["--run_dir", "runs/b-N", "--trainer.logger", "false", "--budget", "0.1"]
    assert main(["--config", str(recipe), *JSINET, *run]) == 0
    kept = yaml.safe_load(Path("runs/b-1/config.yaml").read_text())
    report = json.loads(Path("runs/b-1/report.json").read_text())
    assert kept["trainer"]["max_epochs"] == report["steps"] / 2 >= 1
    assert kept["budget"] is None
    assert kept["run_dir"] == "runs/b-N"


def test_every_recipe_parses(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    for path in sorted((root / "configs").glob("*.yaml")):
        cli = FitCLI(["--config", str(path)], probe=True)
        assert cli.model.net.scale == cli.config.scale
        assert path.name in path.read_text(), f"{path} doesn't state its command"
        assert "score to expect" in path.read_text().lower()
