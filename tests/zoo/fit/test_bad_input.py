"""Each wrong input gets one line that says what is wrong and what to do, and exit status 2."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import yaml

from zoo.fit import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trainer.max_epoch", "3"], r"no option --trainer\.max_epoch; did you mean --trainer\.max_epochs\?"),
        (["--conf", "x.yaml"], r"no option --conf; did you mean --config\?"),
        (["stray"], r"'stray' belongs to no option"),
        (["--model.base_chanels", "8"], r"JSIGANModule has no option 'base_chanels'; did you mean base_channels\?"),
        (["--model", "EDSRModule"], r"no module 'EDSRModule' to train; known: DeepSRITMModule, JSIGANModule, JSINet"),
        (["--model.scale", "2"], r"model\.scale on the command line follows from scale: set that instead"),
        (["--model.init_args.scale=2"], r"model\.init_args\.scale on the command line follows from scale"),
        (["--data.stage_epoch", "1"], r"data\.stage_epoch on the command line follows from stage\.epoch"),
        (["--scale", "3"], r"scale: Expected .*\[1, 2, 4\]"),
        (["--scale", "4"], r"are of scale 2, not 4"),
        (["--config", "nothing"], r"no config 'nothing': give a file, or one of deep_sritm_x2, jsigan"),
        (["--data.root", "nowhere"], r"no shard folder nowhere; make one with"),
        (["--data.root", "."], r"dataset\.json"),
        (["--data.global_batch_size", "64"], r"16 training samples, fewer than one global batch of 64"),
        (["--data.crop", "[30, 161]"], r"data\.crop is \[30, 161\]"),
        (["--data.batch_size", "2"], r"at least 4 images a rank of 160x160 HR pixels, not 2 of 160x160"),
        (["--data.crop", "[32, 96]"], r"at least 4 images a rank of 160x160 HR pixels, not 4 of 96x96"),
        (["--stage.epoch", "null", "--data.crop", "[160]"], r"JSIGANModule trains in two stages: give stage\.epoch"),
        (["--stage.epoch", "2"], r"stage\.epoch is 2, but the run has epochs 0 to 1"),
        (["--model", "JSINetModule"], r"model\.rates holds 2 rates, jsinet_x2 trains in 1 stage"),
        (["--model.weights", "jsinet_x7"], r"no model 'jsinet_x7' in the zoo; did you mean jsinet_x"),
        (["--model.weights", "jsinet_x2"], r"jsinet_x2 has no published weights yet"),
        (["--model.weights", "gone/weights.safetensors"], r"no weights file gone/weights\.safetensors"),
        (["--model.optimizer", "adamm"], r"unknown optimizer 'adamm'"),
        (["--trainer.accumulate_grad_batches", "2"], r"use model\.accumulate"),
        (["--ckpt_path", "last"], r"no whole checkpoint in runs/tiny/checkpoints"),
        (["--ckpt_path", "gone.ckpt"], r"no checkpoint gone\.ckpt"),
        (["--best", "val/ssim"], r"--best val/ssim: no such metric is logged; known: last, val/psnr"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_argument_is_said_in_one_line(
    recipe: Path, capsys: pytest.CaptureFixture[str], arguments: Sequence[str], message: str
) -> None:
    assert main(["--config", str(recipe), "--trainer.logger", "false", *arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert re.search(message, line), line


def edited(recipe: Path, key: str, value: object) -> Path:
    content = yaml.safe_load(recipe.read_text())
    *parents, last = key.split(".")
    place = content
    for parent in parents:
        place = place.setdefault(parent, {})
    place[last] = value
    recipe.write_text(yaml.safe_dump(content))
    return recipe


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("trainer.max_epoch", 3, r"max_epoch"),
        ("data.crops", [32, 160], r"crops"),
        ("model.init_args.lambda_f", 1, r"JSIGANModule has no option 'lambda_f'; did you mean lambda_fm\?"),
        ("model.init_args.scale", 2, r"model\.init_args\.scale in .*tiny\.yaml follows from scale"),
        ("data.seed", 3, r"data\.seed in .*tiny\.yaml follows from seed_everything"),
        ("unheard", 1, r"unheard"),
    ],
)
def test_a_wrong_key_in_a_config_is_said_in_one_line(
    recipe: Path, capsys: pytest.CaptureFixture[str], key: str, value: object, message: str
) -> None:
    assert main(["--config", str(edited(recipe, key, value))]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert re.search(message, line), line


def test_devices_without_a_gpu_are_refused_with_the_way_out(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    edited(recipe, "trainer.accelerator", "auto")
    assert main(["--config", str(recipe), "--trainer.devices", "8"]) == 2
    assert "add --trainer.accelerator cpu for 8 processes" in capsys.readouterr().err
    assert main(["--config", str(recipe), "--trainer.accelerator", "gpu"]) == 2
    assert "torch sees no GPU here" in capsys.readouterr().err


def test_a_shard_that_differs_from_its_manifest_is_refused_by_name(
    recipe: Path, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    damaged = tmp_path / "damaged"
    shutil.copytree(photographs, damaged)
    shard = sorted(damaged.glob("train*.tar"))[0]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    assert main(["--config", str(recipe), "--data.root", str(damaged), "--trainer.logger", "false"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert shard.name in line


def test_nothing_to_train_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "give a recipe with --config" in capsys.readouterr().err
