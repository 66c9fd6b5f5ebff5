"""Who started a process, and what becomes of it when another one is gone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.plugins.environments import LightningEnvironment

from zoo.errors import ConfigError
from zoo.fit import FitCLI, main, processes
from zoo.fit.processes import WatchedDDP, WatchedLauncher, ddp_strategy, match_launcher, processes_from_outside
from zoo.runs import is_first_process

# Rank 3 of two machines with two processes each.
TORCHRUN = {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "RANK": "3", "LOCAL_RANK": "1"}
SLURM = {
    "SLURM_JOB_ID": "12345",
    "SLURM_JOB_NAME": "train",
    "SLURM_NTASKS": "4",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_NNODES": "2",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_NODELIST": "node[1-2]",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets variables, after removing what the tests themselves were started with."""

    def put(variables: dict[str, str]) -> None:
        for name in {**TORCHRUN, **SLURM}:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return put


def test_processes_of_torchrun_and_slurm_are_counted(environment: Any) -> None:
    environment({})
    assert processes_from_outside() is None
    environment(TORCHRUN)
    assert processes_from_outside() == (2, 2)
    environment(SLURM)
    assert processes_from_outside() == (2, 2)
    assert not is_first_process()
    environment(SLURM | {"SLURM_PROCID": "0"})
    assert is_first_process()
    environment(SLURM | {"SLURM_JOB_NAME": "bash"})  # a shell in a job starts its processes itself
    assert processes_from_outside() is None
    environment({"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "train"})
    assert processes_from_outside() == (1, 1)
    environment({name: value for name, value in SLURM.items() if name != "SLURM_NTASKS_PER_NODE"})
    with pytest.raises(ConfigError, match="SLURM's job has 4 tasks: give --ntasks-per-node"):
        processes_from_outside()


def test_devices_and_machines_follow_from_what_was_started(environment: Any) -> None:
    environment({})
    assert match_launcher("auto", 1) == ("auto", 1)
    environment(TORCHRUN)
    assert match_launcher("auto", 1) == (2, 2)
    assert match_launcher([0, 1], 2) == ([0, 1], 2)
    for devices, nodes in ((1, 1), (8, 2), ("auto", 3)):
        with pytest.raises(ConfigError, match=r"2 processes were started on each of 2 machines.*: leave both out"):
            match_launcher(devices, nodes)


def test_under_slurm_a_run_takes_its_rank_and_number_of_processes(recipe: Path, environment: Any) -> None:
    environment(SLURM)
    cli = FitCLI(["--config", str(recipe)])
    assert (cli.trainer.world_size, cli.trainer.global_rank, cli.trainer.num_nodes) == (4, 3, 2)
    assert cli.config.trainer.strategy == "ddp_find_unused_parameters_true"
    one_stage = ["--model", "JSINetModule", "--model.rates", "[{peak: 1e-3}]", "--stage.epoch", "null"]
    cli = FitCLI(["--config", str(recipe), *one_stage, "--data.crop", "[32]"])
    assert cli.config.trainer.strategy == "ddp"
    assert cli.trainer.strategy._ddp_kwargs == {}


@pytest.mark.parametrize("started", [TORCHRUN | {"RANK": "0", "LOCAL_RANK": "0"}, SLURM | {"SLURM_PROCID": "0"}])
def test_a_budget_is_refused_where_each_process_would_time_for_itself(
    recipe: Path, capsys: pytest.CaptureFixture[str], environment: Any, started: dict[str, str]
) -> None:
    environment(started)
    assert main(["--config", str(recipe), "--budget", "1"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "budget: processes started from outside would each time for themselves; set trainer.max_epochs" in line


def test_ddp_waits_five_minutes_or_as_long_as_is_said() -> None:
    strategy = ddp_strategy("ddp_find_unused_parameters_true", None)
    assert isinstance(strategy, WatchedDDP)
    assert strategy._timeout.total_seconds() == 300
    assert strategy._ddp_kwargs == {"find_unused_parameters": True}
    assert ddp_strategy("ddp", 0.5)._timeout.total_seconds() == 30
    assert ddp_strategy("auto", 0.5) == "auto"
    assert ddp_strategy("fsdp", None) == "fsdp"
    with pytest.raises(ConfigError, match=r"ddp_timeout is for the strategies ddp, .*, not for fsdp"):
        ddp_strategy("fsdp", 1.0)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--ddp_timeout", "0"], "ddp_timeout is 0.0: give minutes, more than 0"),
        (["--trainer.devices", "5"], "has 4 val frames for 5 ranks, each needs one; use fewer ranks or more scenes"),
        (["--trainer.precision", "16-mixed"], "float16 is for GPUs, and Lightning would take bfloat16 on a CPU"),
    ],
)
def test_what_ranks_and_cpus_cannot_do_is_refused_before_any_rank_is_started(
    recipe: Path, capsys: pytest.CaptureFixture[str], options: list[str], line: str
) -> None:
    assert main(["--config", str(recipe), "--data.batch_size", "2", "--data.crop", "[32, 160]", *options]) == 2
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert line in said
    assert not Path("runs").exists()


def launcher_of(*commands: str) -> WatchedLauncher:
    launcher = WatchedLauncher(LightningEnvironment(), num_processes=1 + len(commands), num_nodes=1)
    launcher.procs = [subprocess.Popen(["sh", "-c", command]) for command in commands]
    return launcher


def test_a_rank_that_hangs_is_ended_when_another_is_killed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a GPU waits for a rank that is gone: then this process's own thread can't say anything."""
    ended: list[int] = []
    monkeypatch.setattr(processes, "_GRACE", 0.1)
    monkeypatch.setattr(processes.os, "_exit", ended.append)
    launcher = launcher_of("exec sleep 100", "kill -KILL $$")
    launcher._watch()
    assert ended == [1]
    assert launcher.procs[0].wait(10) == -9
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line == ("error: rank 2 was killed by SIGKILL, as Linux does when memory runs out; start the run anew")


def test_ranks_that_end_well_are_no_failure() -> None:
    launcher = launcher_of("exit 0", "exit 0")
    launcher._watch()
    assert launcher.what_failed() is None
    assert launcher_of("exit 2").what_failed(10) == "rank 1 failed: see what it says above"


@pytest.mark.parametrize("mark", [{"LOCAL_RANK": "1"}, TORCHRUN])
def test_a_rank_ends_soon_after_what_started_it(root: Path, tmp_path: Path, mark: dict[str, str]) -> None:
    program = tmp_path / "rank.py"
    program.write_text(
        "import time\n"
        "from zoo.fit import processes\n"
        "processes._GRACE = 0.1\n"
        "processes.end_with_launcher()\n"
        "print('ready', flush=True)\n"
        "time.sleep(100)\n"
    )
    said = tmp_path / "said.txt"
    command = f"{sys.executable} {program} >{said} 2>&1 & echo $!; wait"
    environment = {**os.environ, **mark, "PYTHONPATH": str(root)}
    with subprocess.Popen(["sh", "-c", command], env=environment, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout is not None
        pid = int(shell.stdout.readline())
        wait_for(lambda: said.exists() and "ready" in said.read_text(), 60)
        shell.kill()
        wait_for(lambda: not is_running(pid), 20)
    rank = mark.get("RANK", "1")
    assert said.read_text().splitlines()[-1] == f"error: rank {rank} ends: what started it is gone"


def wait_for(condition: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
