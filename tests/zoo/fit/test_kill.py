"""Runs that are killed again and again end in the weights of the run that wasn't."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import callbacks
from callbacks.checkpoint_files import PART, WholeFiles
from datamodules.embedded import embedded_scenes
from datamodules.making import make_set
from zoo.fit import main
from zoo.modules import DeepSRITMModule
from zoo.runs import CLAIMED
from zoo.weights import read_weights

pytestmark = pytest.mark.slow
KILLS = 20


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Deep SR-ITM through its switch: eight epochs of four updates, saved after each update."""
    folder = tmp_path_factory.mktemp("killed")
    scenes = embedded_scenes()
    splits = {"train": scenes["train"][:1], "val": scenes["val"][:1], "test": []}
    make_set(folder / "set", splits, scale=4, patches=16)
    content = {
        "scale": 4,
        "average": 0.9,
        "stage": {"epoch": 4},
        "checkpoint": {"minutes": 1e-9},
        "panels": {"frames": 0},
        "model": {
            "class_path": "DeepSRITMModule",
            "init_args": {"loss": "mae", "rates": [{"peak": 1e-4}, {"peak": 1e-4}]},
        },
        "data": {"root": str(folder / "set"), "batch_size": 4, "val_batch_size": 1, "crop": [32, 32]},
        "trainer": {"max_epochs": 8, "accelerator": "cpu", "logger": False, "enable_progress_bar": False},
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def start(recipe: Path, run: Path, prepare: Callable[[], None] = lambda: None) -> int:
    """Begin or go on with a run in a process group of its own, forked to save the imports; returns its id."""
    if not list(run.glob("checkpoints/*.ckpt")):
        shutil.rmtree(run, ignore_errors=True)  # killed before its first checkpoint: it starts anew
    process = os.fork()
    if process:
        return process
    os.setsid()
    os.environ.pop(CLAIMED, None)
    log = os.open(f"{run}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = 99
    try:
        callbacks.run_report._score = lambda *args, **options: ({"raw": 1.0, "matched": 1.0}, 2)  # type: ignore[attr-defined]
        prepare()
        words = ["--config", str(recipe), "--run_dir", str(run)]
        code = main([*words, "--ckpt_path", "last"] if run.exists() else words)
    finally:
        os._exit(code)


def wait(process: int) -> int:
    """The exit status, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def kill_self(*args: Any, **options: Any) -> None:
    os.killpg(0, signal.SIGKILL)


def kill_in_validation() -> None:
    DeepSRITMModule.validation_step = kill_self  # type: ignore[method-assign]


def kill_half_written() -> None:
    """In the second save."""
    save = WholeFiles.save_checkpoint
    second = iter((False, True))

    def half(self: WholeFiles, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        save(self, checkpoint, path)
        if next(second):
            content = Path(path).read_bytes()
            Path(path).unlink()
            Path(f"{path}{PART}").write_bytes(content[: len(content) // 2])
            kill_self()

    WholeFiles.save_checkpoint = half  # type: ignore[method-assign]


def kill_after_rename() -> None:
    callbacks.checkpoint_files._sync_folder = kill_self  # type: ignore[assignment]


def kill_in_publishing() -> None:
    callbacks.publish_weights.write_weights = kill_self  # type: ignore[attr-defined]


FORCED = [kill_in_validation, kill_half_written, kill_after_rename, kill_in_publishing]


def test_twenty_kills_at_any_moment_change_nothing(recipe: Path) -> None:
    began = time.monotonic()
    whole = recipe.parent / "whole"
    assert wait(start(recipe, whole)) == 0
    span = time.monotonic() - began
    expected, _ = read_weights(whole / "weights.safetensors")
    generator = random.Random(0)
    forced = list(FORCED)
    kills, runs, moments = 0, 0, []
    while kills < KILLS:
        run = recipe.parent / f"killed-{runs}"
        runs += 1
        while True:
            # Every fourth is killed where it hurts most, the others wherever they are.
            prepare = forced.pop() if forced and kills % 4 == 3 else None
            process = start(recipe, run, prepare or (lambda: None))
            if prepare is None and kills < KILLS:
                deadline = time.monotonic() + generator.uniform(0, span)
                while time.monotonic() < deadline and not _is_over(process):
                    time.sleep(0.02)
                with suppress(ProcessLookupError):  # it hasn't made its group yet
                    os.killpg(process, signal.SIGKILL)
            status = wait(process)
            if status == 0:
                break
            assert status == -signal.SIGKILL, Path(f"{run}.log").read_text()
            kills += 1
            moments.append(prepare.__name__ if prepare else _newest(run))
        tensors, metadata = read_weights(run / "weights.safetensors")
        assert metadata["step"] == read_weights(whole / "weights.safetensors")[1]["step"]
        assert all(torch.equal(tensors[name], expected[name]) for name in expected.keys() | tensors.keys())
        assert (run / "report.json").is_file()
        assert not list(run.glob("checkpoints/*.part"))
    print(f"{kills} kills in {runs} runs, a whole one takes {span:.0f} s; killed after or in: {', '.join(moments)}")
    assert not forced


def _is_over(process: int) -> bool:
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _newest(run: Path) -> str:
    files = sorted(run.glob("checkpoints/*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
    return files[-1].stem if files else "nothing"


def test_a_signal_to_the_whole_group_leaves_the_workers_alive_until_all_is_saved(recipe: Path, root: Path) -> None:
    """As a scheduler sends it, or a terminal: to the process, its ranks and the workers of its loaders."""
    run = recipe.parent / "stopped"
    command = [sys.executable, "tools/fit.py", "--config", str(recipe), "--run_dir", str(run)]
    command += ["--data.num_workers", "1", "--trainer.max_epochs", "5"]
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    environment = {key: value for key, value in os.environ.items() if key != CLAIMED} | threads
    for devices in ("1", "2"):
        words = ["--trainer.devices", devices, *(["--ckpt_path", "last"] if run.exists() else [])]
        process = subprocess.Popen(
            [*command, *words, "--data.batch_size", str(4 // int(devices))],
            cwd=root,
            env=environment,
            start_new_session=True,
            stderr=subprocess.PIPE,
            text=True,
        )
        before = _newest(run)
        deadline = time.monotonic() + 300
        while _newest(run) == before and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGTERM)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 143, said
        assert [line for line in said.splitlines() if "stopped by SIGTERM, all is saved in" in line], said
        assert "Traceback" not in said
