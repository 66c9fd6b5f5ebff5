"""Each wrong input gets one line that says what is wrong and what to do, and exit status 2."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
import yaml

from zoo.errors import ConfigError, DataError
from zoo.fit import main
from zoo.fit.main import _one_line
from zoo.modules import JSIGANModule


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
        (["--scale", "3"], r"scale takes 1, 2 or 4, not '?3"),
        (["--scale", "two"], r"scale takes 1, 2 or 4, not 'two'"),
        (["--modl.base_channels", "8"], r"no option --modl\.base_channels; did you mean --model\.base_channels\?"),
        (["--model.optimizer", "[3]"], r"model\.optimizer takes a text, not"),
        (["--model.accumulate", "two"], r"model\.accumulate takes a whole number, not 'two'"),
        (["--model", "[1, 2]"], r"model takes a module \(DeepSRITM.*\), or class_path with init_args, not \[1, 2\]"),
        (["--trainer.max_epochs", "two"], r"trainer\.max_epochs takes a whole number or null, not 'two'"),
        (["--budget", "abc"], r"budget takes a number or null, not 'abc'"),
        (["--budget", "-1"], r"budget is -1\.0: give minutes, more than 0"),
        (["--budget", ".inf"], r"budget is inf: give minutes"),
        (["--data.crop", "80"], r"data\.crop takes a list such as \[80\], not"),
        (["--seed_everything", "-1"], r"seed_everything is -1: give 0 to 4294967295"),
        (["--average", "2"], r"decay is 2\.0: give .* below 1"),
        (["--trainer.max_epochs", "0"], r"nothing would be trained: trainer\.max_epochs"),
        (["--trainer.limit_train_batches", "0"], r"nothing would be trained"),
        (["--trainer.max_epochs", "-1"], r"the run has no end: set trainer\.max_epochs or trainer\.max_steps"),
        (["--trainer.max_epochs", "null", "--trainer.max_time", "00:01:00:00"], r"the run has no end: set trainer"),
        (["--trainer.max_time", "00:00:00:00"], r"max_time is 00:00:00:00: give days:hours:minutes:seconds, more"),
        (["--trainer.check_val_every_n_epoch", "0"], r"trainer\.check_val_every_n_epoch is 0: give more than 0"),
        (["--trainer.val_check_interval", "100"], r"val_check_interval is 100, but an epoch has 2 batches"),
        (["--trainer.strategy", "ddp_spawn"], r"trainer\.strategy is ddp_spawn: .*use ddp"),
        (
            ["--trainer.callbacks", "[{class_path: GradientAccumulationScheduler, init_args: {scheduling: {0: 2}}}]"],
            r"GradientAccumulationScheduler isn't taken here: use model\.accumulate",
        ),
        (["--model.clip_norm", "-1"], r"model\.clip_norm is -1\.0: give more than 0, or null"),
        (["--model.weight_decay", "-1"], r"model\.weight_decay is -1\.0: give 0 or more"),
        (["--model.lambda_rec", "-1"], r"model\.lambda_rec is -1\.0: give 0 or more"),
        (["--model.discriminator_rate", "0"], r"model\.discriminator_rate is 0\.0: give more than 0"),
        (["--model.optimizer", "adahessian"], r"'adahessian' needs second derivatives"),
        (["--model.rates", "[{peak: -1e-3}, {peak: 1e-5}]"], r"a rate's peak is -0\.001: give 0 or more"),
        (["--model.rates", "[{peak: 1, at: [1, 200], shape: steps}, {peak: 1}]"], r"at is \[1.*between 0 and 1"),
        (["--model.rates", "[{peak: 1, at: [0.5]}, {peak: 1}]"], r"of shape constant has at \[0\.5\]: boundaries be"),
        (
            ["--model.rates", "[{peak: 1, floor: -2}, {peak: 1}]"],
            r"its floor -2\.0: give more than 0, and a share of 1",
        ),
        (["--trainer.precision", "bf16-true"], r"precision bf16-true: signals and scores need float32; use bf16-mixed"),
        (["--trainer.precision", "16-true"], r"precision 16-true: signals and scores need float32; use bf16-mixed"),
        (["--trainer.accelerator", "foo"], r"invalid accelerator name: `accelerator='foo'`"),
        (["--trainer.strategy", "foo"], r"invalid strategy name: `strategy='foo'`"),
        (["--trainer.devices", "0"], r"--trainer\.devices 0: give a number of at least 1"),
        (["--data", "{scale: 4}"], r"data\.scale on the command line follows from scale"),
        (["--data={scale: 4}"], r"data\.scale on the command line follows from scale"),
        (["--model.init_args", "{scale: 4}"], r"model\.init_args\.scale on the command line follows from scale"),
        (["--scale", "4"], r"are of scale 2, not 4"),
        (["--config", "nothing"], r"no config 'nothing': give a file, or one of deep_sritm_x1, deep_sritm_x2, deep_s"),
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
        (["--best", "train/loss"], r"--best train/loss: jsigan_x2 has no such score"),
        (["--best", "val/ssim"], r"--best val/ssim: jsigan_x2 has no such score; known: last, val/psnr"),
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
    assert not Path("runs").exists()  # refused before a folder is claimed


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


@pytest.mark.parametrize(
    ("option", "content", "key"),
    [
        ("model", {"class_path": "JSIGANModule", "init_args": {"scale": 4}}, "model.init_args.scale"),
        ("data", {"scale": 4}, "data.scale"),
    ],
)
@pytest.mark.parametrize("place", ["on the command line", "tiny.yaml"])
def test_a_file_cannot_carry_a_value_to_where_it_would_be_overwritten(
    recipe: Path, capsys: pytest.CaptureFixture[str], option: str, content: object, key: str, place: str
) -> None:
    part = recipe.with_name("part.yaml")
    part.write_text(yaml.safe_dump(content))
    if place == "tiny.yaml":
        edited(recipe, option, "part.yaml")
    words = [f"--{option}", str(part)] if place != "tiny.yaml" else []
    assert main(["--config", str(recipe), *words]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert re.search(rf"{re.escape(key)} (in )?.*{place} follows from scale", line), line


@pytest.mark.parametrize(("content", "message"), [("", "is empty"), ("- 1", "is no mapping"), ("a: [", "is no YAML")])
def test_a_config_without_keys_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(content)
    assert main(["--config", str(path)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"{path} {message}" in line


class Checkpoints:
    """Files that a run can't go on from."""

    @staticmethod
    def of(path: Path, **changes: object) -> Path:
        module = JSIGANModule(base_channels=4)
        sritm = {"format": 1, "model": "jsigan_x2", "stage": 1}
        torch.save({"state_dict": module.state_dict(), "sritm": sritm} | changes, path)
        return path

    @classmethod
    def cut(cls, path: Path) -> None:
        cls.of(path).write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    @staticmethod
    def tensors(path: Path) -> None:
        torch.save({"state_dict": {}}, path)

    @staticmethod
    def text(path: Path) -> None:
        path.write_text("not a checkpoint")

    @classmethod
    def other_model(cls, path: Path) -> None:
        cls.of(path, sritm={"format": 1, "model": "jsigan_x4", "stage": 1})

    @classmethod
    def newer(cls, path: Path) -> None:
        cls.of(path, sritm={"format": 99})

    @classmethod
    def other_arguments(cls, path: Path) -> None:
        cls.of(path, state_dict=JSIGANModule(base_channels=2).state_dict())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Checkpoints.cut, "can't be read as a checkpoint: it is damaged, or of another kind"),
        (Checkpoints.text, "can't be read as a checkpoint"),
        (Checkpoints.tensors, "is no checkpoint of this project; weights alone are given with --model.weights"),
        (Checkpoints.other_model, "is a checkpoint of jsigan_x4, not of jsigan_x2"),
        (Checkpoints.newer, "has format 99, this version reads up to 1"),
        (Checkpoints.other_arguments, "was made with other arguments of JSIGANModule: tensor D1."),
    ],
)
def test_a_checkpoint_that_a_run_cannot_go_on_from_is_refused(
    recipe: Path, capsys: pytest.CaptureFixture[str], make: Callable[[Path], None], message: str
) -> None:
    path = recipe.with_name("odd.ckpt")
    make(path)
    assert main(["--config", str(recipe), "--ckpt_path", str(path)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"{path} {message}" in line
    assert not Path("runs").exists()


def test_what_a_data_worker_says_is_taken_whole() -> None:
    said = (
        'Caught DataError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File "a.py"'
    )
    assert _one_line(DataError(f"{said}\nzoo.errors.DataError: a.tar: Error: cut;\nmake it anew")) == (
        "a.tar: Error: cut; make it anew"
    )
    assert _one_line(ConfigError("an Error: as it is")) == "an Error: as it is"


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
