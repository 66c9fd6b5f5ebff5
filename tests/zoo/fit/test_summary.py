from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from zoo.fit import FitCLI
from zoo.fit.summary import closing, opening
from zoo.runs import CLAIMED

QUIET = ["--trainer.logger", "false"]


@pytest.fixture(autouse=True)
def unclaimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command forgets its folder when it ends; these tests don't run it."""
    monkeypatch.setenv(CLAIMED, "")  # so that it is removed afterwards
    monkeypatch.delenv(CLAIMED)


def opened(recipe: Path, *words: str) -> dict[str, str]:
    """The opening of a run, by its rows; a row without a name belongs to the one above."""
    cli = FitCLI(["--config", str(recipe), *words])
    cli.check()
    cli.begin()
    rows: dict[str, str] = {}
    for line in opening(cli, cli.checkpoint()).splitlines():
        name, text = line[:10].strip(), line[12:]
        last = name or last  # noqa: F821
        rows[last] = f"{rows[last]}\n{text}" if last in rows else text
    return rows


def test_the_opening_says_what_is_about_to_run(recipe: Path, photographs: Path) -> None:
    rows = opened(recipe, "--model.accumulate", "2", "--data.exposure_jitter", "0.5", "--trainer.precision", "32-true")
    assert list(rows) == [
        *("network", "loss", "optimiser", "stage 1", "stage 2", "data", "batch", "precision", "run", "logs"),
    ]
    assert rows["network"].startswith("jsigan_x2, 1,454,159 parameters\nD1, ")
    assert rows["loss"].startswith("mse; in stage 2 1 x mse + 1 x adversarial")
    assert rows["optimiser"] == "authors_adam; weights averaged with decay 0.9"
    # Two batches an epoch make one update.
    assert rows["stage 1"] == "epochs 0 to 0, 1 updates, HR crops of 32, rate 0.001 constant"
    assert rows["stage 2"] == "epochs 1 to 1, 1 updates, HR crops of 160, rate 1e-05 constant"
    assert rows["data"].splitlines() == [
        f"{photographs}: 16 training samples, scale 2, preset val-v1",
        "at random: crops, flips and turns, exposure by up to 0.5 stops; validation: 4 frames",
    ]
    assert rows["batch"] == "8 = 4 a rank x 1 rank x 2 accumulated"
    assert rows["precision"] == "32-true on cpu"
    assert rows["run"].startswith("runs/tiny, ")
    csv, wandb = rows["logs"].splitlines()
    assert csv.startswith("CSV, ")
    assert "runs/tiny" in csv
    (session,) = Path("runs/tiny/wandb").glob("offline-run-*")
    assert wandb == f"W&B, offline; later: wandb sync {session}" or wandb.endswith(str(session.absolute()))


def test_ranks_steps_and_limits_count(recipe: Path) -> None:
    """Two ranks of CPU processes that are never started."""
    two = ["--trainer.devices", "2", "--trainer.limit_train_batches", "0.5"]
    ends = ["--trainer.max_epochs", "5", "--trainer.max_steps", "3", "--stage.epoch", "2"]
    rows = opened(recipe, *QUIET, *two, *ends)
    assert rows["batch"] == "8 = 4 a rank x 2 ranks x 1 accumulated"
    # 16 samples are two batches of four for each of two ranks, half of which are taken.
    assert "epochs 0 to 1, 2 updates" in rows["stage 1"]
    assert "epochs 2 to 4, 1 updates" in rows["stage 2"]
    assert rows["data"].endswith("validation: 2 frames a rank")
    assert "logs" not in rows


def test_a_run_of_one_stage_has_its_epochs_and_rate(recipe: Path) -> None:
    one = ["--model", "JSINetModule", "--stage.epoch", "null", "--data.crop", "[32]"]
    rate = ["--model.rates", "[{peak: 1e-3, shape: steps, at: [0.8, 0.9], warmup: 5}]"]
    rows = opened(recipe, *QUIET, *one, *rate)
    assert rows["epochs"] == (
        "epochs 0 to 1, 4 updates, HR crops of 32, rate 0.001 steps x 0.1 at 0.8, 0.9 of it after a warm-up of 5"
    )
    assert rows["loss"] == "mse"


def test_a_second_stage_alone_has_no_first(recipe: Path) -> None:
    rows = opened(recipe, *QUIET, "--stage.epoch", "0")
    assert rows["stage 1"] == "left out"
    assert "epochs 0 to 1, 4 updates" in rows["stage 2"]


def test_a_run_that_goes_on_says_from_where(recipe: Path) -> None:
    cli = FitCLI(["--config", str(recipe), *QUIET])
    cli.check()
    cli.begin()
    torch.save({"epoch": 1, "global_step": 7}, "other.ckpt")
    assert re.search(r"goes on +from other\.ckpt: epoch 1, step 7$", opening(cli, Path("other.ckpt")))


def ended(psnr_after: float | None, raw: dict[str, float | None], epoch: int = 6) -> str:
    """The closing of a run of these scores, without its table."""
    report = {
        "model": "jsinet_x2",
        "weights": "runs/tiny/weights.safetensors",
        "psnr_after": psnr_after,
        "baselines": {name: {"raw": score} for name, score in raw.items()},
    }
    cli: Any = SimpleNamespace(
        report=SimpleNamespace(report=report, text=lambda: "the table"),
        run_dir=Path("runs/tiny"),
        trainer=SimpleNamespace(max_epochs=6, current_epoch=epoch, is_last_batch=True, global_step=30, max_steps=-1),
    )
    return closing(cli)


def test_the_closing_compares_and_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scores = {"bicubic+white100": 32.0, "bicubic+bt2446c": 34.25, "bicubic+oracle": 41.0}
    assert ended(40.0, scores).splitlines() == [
        "the table",
        "The weights are 5.75 dB above the best static converter, bicubic+bt2446c (raw).",
        'use        zoo.load("jsinet_x2", weights="runs/tiny/weights.safetensors")',
        "go on      a new run with --model.weights runs/tiny/weights.safetensors --run_dir ANOTHER",
    ]
    assert "9.25 dB below" in ended(25.0, scores)
    Path("runs/tiny").mkdir(parents=True)
    Path("runs/tiny/index.html").touch()
    assert "\nlook       runs/tiny/index.html\n" in ended(40.0, scores)


def test_without_scores_nothing_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "static" not in ended(None, {"bicubic+bt2446c": None})
    early = ended(None, {"bicubic+bt2446c": None}, epoch=3)
    assert "ended      by trainer.max_time, or a callback, at step 30, before the end" in early
    assert "go on      the same command with --ckpt_path last, and more of it" in early
