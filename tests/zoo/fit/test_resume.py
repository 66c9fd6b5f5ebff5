"""A run that was broken off ends as if it hadn't been: to the bit, wherever it was, on one rank and on two."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from callbacks.save_checkpoints import OPTIMIZERS
from datamodules.embedded import embedded_scenes
from datamodules.making import make_set
from tests.training import leave_scores_out
from zoo.fit import main
from zoo.modules import DeepSRITMModule
from zoo.runs import CLAIMED
from zoo.weights import read_weights

# Three epochs of two updates, the second stage from the second epoch on.
POINTS = {
    "before the switch, mid-epoch": "epoch=0-step=1",
    "at the switch": "epoch=0-step=2",
    "after the switch, mid-epoch": "epoch=1-step=3",
    "after the switch": "epoch=1-step=4",
}
MODELS: dict[str, dict[str, Any]] = {
    "DeepSRITMModule": {"loss": "mae", "rates": [{"peak": 1e-4}, {"peak": 1e-4}]},
    "JSIGANModule": {"base_channels": 4, "rates": [{"peak": 1e-3}, {"peak": 1e-4}]},
}
EVERY_UPDATE = ["--checkpoint.minutes", "1e-9", "--checkpoint.keep", "99", "--panels.frames", "0"]


@pytest.fixture(scope="module")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight patches and a few frames of one photograph each, at scale 4 for its small LR pictures."""
    folder = tmp_path_factory.mktemp("sets") / "small"
    scenes = embedded_scenes()
    make_set(folder, {"train": scenes["train"][:1], "val": scenes["val"][:1], "test": []}, scale=4, patches=8)
    return folder


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Leave the scores of starting weights and baselines out: they have tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        leave_scores_out(patch)
        patch.setenv(CLAIMED, "")  # so that it is restored afterwards
        patch.delenv(CLAIMED)
        yield


def write_recipe(folder: Path, small_set: Path, model: str) -> Path:
    content = {
        "scale": 4,
        "average": 0.9,
        "stage": {"epoch": 1},
        "model": {"class_path": model, "init_args": MODELS[model]},
        "data": {
            "root": str(small_set),
            "batch_size": 4,
            "val_batch_size": 1,
            "crop": [32, 160 if model == "JSIGANModule" else 32],
        },
        "trainer": {
            "max_epochs": 3,
            "limit_val_batches": 1,
            "accelerator": "cpu",
            "logger": False,
            "enable_progress_bar": False,
        },
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module", params=["DeepSRITMModule", pytest.param("JSIGANModule", marks=pytest.mark.slow)])
def unbroken(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, small_set: Path) -> Path:
    """The recipe of a run that went through, and left a checkpoint of each update beside the recipe."""
    folder = tmp_path_factory.mktemp(request.param)
    recipe = write_recipe(folder, small_set, request.param)
    assert main(["--config", str(recipe), "--run_dir", str(folder / "unbroken"), *EVERY_UPDATE]) == 0
    return recipe


def differences(first: Any, second: Any, place: str = "") -> Iterator[str]:
    """Where two nests of plain values and tensors differ by a bit."""
    if isinstance(first, torch.Tensor):
        if not (isinstance(second, torch.Tensor) and torch.equal(first, second) and first.dtype == second.dtype):
            yield place
    elif isinstance(first, dict) and isinstance(second, dict):
        for key in first.keys() | second.keys():
            yield from differences(first.get(key), second.get(key), f"{place}/{key}")
    elif isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)) and len(first) == len(second):
        for index, pair in enumerate(zip(first, second, strict=True)):
            yield from differences(*pair, f"{place}/{index}")
    elif first != second:
        yield f"{place}: {first} {second}"


def last_checkpoint(run: Path) -> Path:
    return max(run.glob("checkpoints/*.ckpt"), key=lambda path: path.stat().st_mtime_ns)


def assert_same_end(run: Path, other: Path) -> None:
    """Network, average, optimisers, random state, counters, best score: all that the last checkpoint holds."""
    ends = [torch.load(last_checkpoint(each), weights_only=True) for each in (run, other)]
    assert list(differences(*ends)) == []
    tensors, metadata = zip(*(read_weights(each / "weights.safetensors") for each in (run, other)), strict=True)
    assert list(differences(*tensors)) == []
    assert metadata[0]["step"] == metadata[1]["step"]


@pytest.mark.parametrize("point", POINTS)
def test_a_resumed_run_ends_as_the_unbroken_one(unbroken: Path, point: str) -> None:
    folder = unbroken.parent
    checkpoint = folder / "unbroken" / "checkpoints" / f"{POINTS[point]}.ckpt"
    run = folder / POINTS[point]
    assert main(["--config", str(unbroken), "--run_dir", str(run), "--ckpt_path", str(checkpoint), *EVERY_UPDATE]) == 0
    assert_same_end(run, folder / "unbroken")
    # It made no step twice.
    first = int(POINTS[point].rpartition("=")[2]) + 1
    steps = sorted(int(path.stem.rpartition("=")[2]) for path in run.glob("checkpoints/*.ckpt"))
    assert steps == list(range(first, 7))


@pytest.mark.parametrize("unbroken", ["DeepSRITMModule"], indirect=True)
def test_a_stopped_run_says_what_it_saved_and_goes_on(
    unbroken: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, number = unbroken.parent, signal.SIGINT
    words = ["--config", str(unbroken), "--run_dir", str(folder / number.name), "--panels.frames", "0"]
    step = DeepSRITMModule.training_step
    steps = iter(range(1, 99))

    def signalled(self: Any, *args: Any) -> Any:
        if next(steps) == 3:
            os.kill(os.getpid(), number)
        return step(self, *args)

    monkeypatch.setattr(DeepSRITMModule, "training_step", signalled)
    assert main(words) == 128 + number
    saved = folder / number.name / "checkpoints" / "epoch=1-step=3.ckpt"
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "stopped" in line]
    assert line == (
        f"stopped by {number.name}, all is saved in {saved}: go on with the same command and --ckpt_path last"
    )
    assert not (folder / number.name / "report.json").exists()
    assert main([*words, "--ckpt_path", "last"]) == 0
    assert_same_end(folder / number.name, folder / "unbroken")


def test_a_run_that_was_killed_after_training_is_finished(
    unbroken: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its last checkpoint is there, its report isn't; Lightning alone would find nothing to do."""
    folder = unbroken.parent
    run = folder / "unfinished"
    words = ["--config", str(unbroken), "--run_dir", str(run), "--panels.frames", "0"]

    def killed(*args: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("callbacks.run_report.RunReport.on_train_end", killed)
        assert main(words) == 143
    (run / "weights.safetensors").unlink()
    assert not (run / "report.json").exists()

    # What publishes the best of a stage does so when it is scored; what publishes the last, at the end.
    assert main([*words, "--best", "last", "--ckpt_path", "last"]) == 0
    assert (run / "report.json").is_file()
    tensors = [read_weights(each / "weights.safetensors")[0] for each in (run, folder / "unbroken")]
    assert list(differences(*tensors)) == []

    written = (run / "report.json").stat().st_mtime_ns
    capsys.readouterr()
    assert main([*words, "--ckpt_path", "last"]) == 0  # nothing is done twice
    assert "nothing was left to train" in capsys.readouterr().out
    assert (run / "report.json").stat().st_mtime_ns == written


def test_a_damaged_newest_checkpoint_is_passed_over(unbroken: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = unbroken.parent
    run = folder / "damaged"
    words = ["--config", str(unbroken), "--run_dir", str(run), "--panels.frames", "0"]
    assert main([*words, "--trainer.max_epochs", "2", "--checkpoint.keep", "2"]) == 0
    newest = last_checkpoint(run)
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    assert main([*words, "--ckpt_path", "last"]) == 0
    assert [f"{newest} is damaged: going on from the one before, {run}/checkpoints/epoch=0-step=2.ckpt"] == [
        record.message for record in caplog.records if "damaged" in record.message
    ]
    assert_same_end(run, folder / "unbroken")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model.optimizer", "adamw"], r"holds the state of AuthorsAdam, not of AdamW: set model\.optimizer as it"),
        (["--model.weight_decay", "0"], r"made with model\.weight_decay 0\.0005, here it is 0\.0: an optimiser goes"),
        (["--model.bias_rate", "0.5"], r"model\.bias_rate or model\.discriminator_rate 0\.1, here it is 0\.5"),
        # The rates would be elsewhere than the updates: on fewer ranks too, which make more batches.
        (["--data.batch_size", "2"], r"has epochs of 2 batches, here they have 4 batches: give .*global_batch_size"),
        (["--trainer.limit_train_batches", "1"], r"has epochs of 2 batches, here they have 1 batches"),
        (["--model.accumulate", "2"], r"has epochs of 2 batches, here they have 2 batches, 2 for each update"),
        (["--stage.epoch", "2"], r"stage\.epoch is 2, it was 1, and the checkpoint is of epoch 1 in stage 2: give 1$"),
        (["--scale", "2", "--data.root", "embedded"], r"is a checkpoint of deep_sritm_x4, not of deep_sritm_x2"),
    ],
)
@pytest.mark.parametrize("unbroken", ["DeepSRITMModule"], indirect=True)
def test_a_checkpoint_of_other_settings_is_refused(
    unbroken: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = unbroken.parent / "unbroken" / "checkpoints" / "epoch=1-step=3.ckpt"
    assert torch.load(checkpoint, weights_only=True)[OPTIMIZERS] == ["AuthorsAdam"]
    assert main(["--config", str(unbroken), "--run_dir", "other", "--ckpt_path", str(checkpoint), *words]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert re.search(message, line), line
    assert not Path("other").exists()


def test_a_switch_that_the_run_has_passed_is_refused(unbroken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = unbroken.parent / "unbroken" / "checkpoints" / "epoch=0-step=1.ckpt"
    words = ["--config", str(unbroken), "--run_dir", "other", "--ckpt_path", str(checkpoint), "--stage.epoch", "0"]
    assert main(words) == 2
    assert "it was 1, and the checkpoint is of epoch 0 in stage 1: give 1, or more than 0" in capsys.readouterr().err


def test_a_resume_that_is_refused_while_it_starts_leaves_the_configuration(
    unbroken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = unbroken.parent / "unbroken"
    before = (run / "config.yaml").read_text()
    words = ["--config", str(unbroken), "--run_dir", str(run), "--seed_everything", "5"]
    assert main([*words, "--ckpt_path", str(run / "checkpoints" / "epoch=1-step=3.ckpt")]) == 2
    assert "seed" in capsys.readouterr().err
    assert (run / "config.yaml").read_text() == before


def test_a_checkpoint_from_elsewhere_takes_no_run_s_place(
    unbroken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, elsewhere = unbroken.parent / "unbroken", tmp_path / "elsewhere" / "checkpoints"
    shutil.copytree(run / "checkpoints", elsewhere)
    kept = sorted((run / "checkpoints").iterdir())
    words = ["--config", str(unbroken), "--run_dir", str(run), "--ckpt_path", str(elsewhere / "epoch=1-step=3.ckpt")]
    assert main(words) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert sorted((run / "checkpoints").iterdir()) == kept


def test_a_run_of_another_s_checkpoint_publishes_its_own_best(unbroken: Path, tmp_path: Path) -> None:
    """The score that came with the checkpoint is never reached; its file is not here."""
    source = unbroken.parent / "unbroken" / "checkpoints" / "epoch=1-step=4.ckpt"
    content = torch.load(source, weights_only=True)
    (state,) = [state for name, state in content["callbacks"].items() if name.startswith("PublishWeights")]
    state["score"] = 1000.0
    torch.save(content, tmp_path / "epoch=1-step=4.ckpt")
    run = tmp_path / "run"
    words = ["--config", str(unbroken), "--run_dir", str(run), "--panels.frames", "0"]
    assert main([*words, "--ckpt_path", str(tmp_path / "epoch=1-step=4.ckpt")]) == 0
    assert read_weights(run / "weights.safetensors")[1]["step"] == 6


def test_a_run_that_steps_ended_within_an_epoch_goes_on_there(
    unbroken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = unbroken.parent / "cut"
    words = ["--config", str(unbroken), "--run_dir", str(run), "--panels.frames", "0"]
    assert main([*words, "--trainer.max_steps", "3"]) == 0
    said = capsys.readouterr().out
    assert "ended      by trainer.max_steps at step 3, before the end of trainer.max_epochs" in said
    assert last_checkpoint(run).name == "epoch=1-step=3.ckpt"
    assert main([*words, "--ckpt_path", "last"]) == 0
    assert "changed     trainer.max_steps 3 -> -1" in capsys.readouterr().out
    ends = [torch.load(last_checkpoint(each), weights_only=True) for each in (run, unbroken.parent / "unbroken")]
    # The validation at the break has no like; all that is trained is the same.
    assert list(differences(*({key: end[key] for key in ("state_dict", "optimizer_states")} for end in ends))) == []
    assert ends[0]["global_step"] == 6


def test_what_a_run_began_with_is_not_needed_to_go_on(unbroken: Path, tmp_path: Path) -> None:
    start, run = tmp_path / "start.safetensors", unbroken.parent / "from weights"
    shutil.copy(unbroken.parent / "unbroken" / "weights.safetensors", start)
    words = ["--config", str(unbroken), "--run_dir", str(run), "--panels.frames", "0", "--model.weights", str(start)]
    assert main([*words, "--trainer.max_epochs", "2"]) == 0
    start.unlink()
    assert main([*words, "--ckpt_path", "last"]) == 0
    assert yaml.safe_load((run / "config.yaml").read_text())["model"]["init_args"]["weights"] == str(start)


def test_a_job_that_slurm_queued_again_goes_on_by_itself(
    unbroken: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--config", str(unbroken), "--run_dir", str(unbroken.parent / "unbroken"), *EVERY_UPDATE]
    assert main(words) == 2
    assert "holds a run already" in capsys.readouterr().err
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert main(words) == 0
    assert "nothing was left to train" in capsys.readouterr().out


def fit_on_two_ranks(root: Path, recipe: Path, run: Path, *words: str) -> None:
    command = [sys.executable, "tools/fit.py", "--config", str(recipe), "--run_dir", str(run), *EVERY_UPDATE, *words]
    environment = {key: value for key, value in os.environ.items() if key != CLAIMED}
    ended = subprocess.run(
        [*command, "--trainer.devices", "2", "--data.batch_size", "2"],
        cwd=root,
        env={**environment, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.slow
def test_two_ranks_resume_at_each_of_the_points(root: Path, small_set: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, small_set, "DeepSRITMModule")
    fit_on_two_ranks(root, recipe, tmp_path / "unbroken")
    for point in POINTS.values():
        checkpoint = tmp_path / "unbroken" / "checkpoints" / f"{point}.ckpt"
        fit_on_two_ranks(root, recipe, tmp_path / point, "--ckpt_path", str(checkpoint))
        assert_same_end(tmp_path / point, tmp_path / "unbroken")
