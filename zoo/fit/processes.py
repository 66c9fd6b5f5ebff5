"""The processes of one run: who starts them, how long they wait for each other, and that none outlives the others."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.strategies.launchers.subprocess_script import (
    _set_num_threads_if_needed,
    _SubprocessScriptLauncher,
)

from zoo.errors import ConfigError
from zoo.fit.hardware import count_devices
from zoo.runs import CLAIMED, has_checkpoint, is_first_process, release_run_dir

DDP_TIMEOUT = 5.0  # minutes; torch's own is 30 on CPUs, 10 with NCCL
_STRATEGIES = {
    "ddp": {},
    "ddp_find_unused_parameters_true": {"find_unused_parameters": True},
    "ddp_find_unused_parameters_false": {"find_unused_parameters": False},
}
_LOOK = 1.0  # seconds between two looks at another process
# Seconds that a process has to notice by itself that another is gone: at once where it waits for it on a CPU; not
# before the timeout where a GPU waits.
_GRACE = 15.0
# Seconds that the first process has to say what it and others failed of, and to end them.
_FIRST_SAYS = 5.0
_PARENT = os.getppid()


def processes_from_outside() -> tuple[int, int] | None:
    """Processes on each machine, and machines, where torchrun or srun started this one; None where neither did.

    Raises:
        ConfigError: SLURM's job says how many processes it has, but not how many on each machine.
    """
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        return int(env["LOCAL_WORLD_SIZE"]), int(env["WORLD_SIZE"]) // int(env["LOCAL_WORLD_SIZE"])
    # As Lightning tells: shells in a job have these names.
    if "SLURM_NTASKS" not in env or env.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return None
    each = env.get("SLURM_NTASKS_PER_NODE", "1" if env["SLURM_NTASKS"] == "1" else None)
    if each is None:
        raise ConfigError(f"SLURM's job has {env['SLURM_NTASKS']} tasks: give --ntasks-per-node instead of --ntasks")
    return int(each), int(env.get("SLURM_NNODES", 1))


def match_launcher(devices: Any, num_nodes: int) -> tuple[Any, int]:
    """``trainer.devices`` and ``trainer.num_nodes``, which what started this process decides where they are left out.

    Args:
        devices: as ``trainer.devices``.
        num_nodes: as ``trainer.num_nodes``.

    Raises:
        ConfigError: they were given, and something else was started.
    """
    outside = processes_from_outside()
    if outside is None:
        return devices, num_nodes
    each, nodes = outside
    devices = each if devices == "auto" else devices
    num_nodes = nodes if num_nodes == 1 else num_nodes
    if (count_devices(devices, each), num_nodes) != (each, nodes):
        raise ConfigError(
            f"{each} processes were started on each of {nodes} machines, but trainer.devices is {devices} and "
            f"trainer.num_nodes {num_nodes}: leave both out"
        )
    return devices, num_nodes


def ddp_strategy(name: Any, minutes: float | None) -> Any:
    """``trainer.strategy`` with a timeout of ``minutes`` and processes that watch each other; other than DDP as it is.

    Raises:
        ConfigError: a timeout for a strategy that takes none.
    """
    if isinstance(name, str) and name in _STRATEGIES:
        return WatchedDDP(DDP_TIMEOUT if minutes is None else minutes, **_STRATEGIES[name])
    if minutes is not None and name != "auto":
        raise ConfigError(f"ddp_timeout is for the strategies {', '.join(_STRATEGIES)}, not for {name}")
    return name


class WatchedDDP(DDPStrategy):
    """DDP whose processes watch each other.

    Args:
        minutes: how long a rank waits for another in a collective; with NCCL too.
        kwargs: for ``DistributedDataParallel``.
    """

    def __init__(self, minutes: float, **kwargs: Any) -> None:
        super().__init__(timeout=timedelta(minutes=minutes), **kwargs)
        self.minutes = minutes

    def _configure_launcher(self) -> None:
        assert self.cluster_environment is not None
        self._launcher = WatchedLauncher(self.cluster_environment, self.num_processes, self.num_nodes)


class WatchedLauncher(_SubprocessScriptLauncher):
    """Lightning's launcher, but for its watch: that kills this process before it can say what became of another."""

    def launch(self, function: Callable, *args: Any, trainer: Trainer | None = None, **kwargs: Any) -> Any:
        """Start the other processes of this machine, unless something else did, and call ``function``."""
        self.cluster_environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        if not self.cluster_environment.creates_processes_externally:
            self._call_children_scripts()
            threading.Thread(target=self._watch, daemon=True).start()
        _set_num_threads_if_needed(num_processes=self.num_processes)
        return function(*args, **kwargs)

    def what_failed(self, seconds: float = 0.0) -> str | None:
        """The rank among the processes started here that failed, and how.

        Args:
            seconds: how long to wait for one to end: its connections close before.
        """
        first = self.num_processes * self.cluster_environment.node_rank() + 1
        end = time.monotonic() + seconds
        while True:
            for rank, process in enumerate(self.procs, first):
                if status := process.poll():
                    return _how_it_ended(rank, status)
            if not self.procs or time.monotonic() >= end:
                return None
            time.sleep(0.1)

    def _watch(self) -> None:
        while (failed := self.what_failed()) is None:
            if all(process.poll() == 0 for process in self.procs):
                return
            time.sleep(_LOOK)
        time.sleep(_GRACE)
        run_dir = os.environ.get(CLAIMED, "")
        again = "go on with the same command and --ckpt_path last" if has_checkpoint(run_dir) else "start the run anew"
        print(f"error: {failed}; {again}", file=sys.stderr, flush=True)
        self.kill(signal.SIGKILL)
        if run_dir:
            release_run_dir(Path(run_dir))
        os._exit(1)


def _how_it_ended(rank: int, status: int) -> str:
    if status > 0:
        return f"rank {rank} failed: see what it says above"
    name = signal.Signals(-status).name
    hint = ", as Linux does when memory runs out" if name == "SIGKILL" else ""
    return f"rank {rank} was killed by {name}{hint}"


def end_children(trainer: Trainer) -> None:
    """Kill the processes that this one started: nothing else ends those that hang."""
    if isinstance(launcher := trainer.strategy.launcher, WatchedLauncher):
        launcher.kill(signal.SIGKILL)


def end_with_launcher() -> threading.Event:
    """End this process soon after the one that started it as a rank, whatever it waits for.

    Returns:
        To be set when the run is over.
    """
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_LOOK):
            if _is_orphan() and not done.wait(_GRACE):
                print(f"error: rank {_rank()} ends: what started it is gone", file=sys.stderr, flush=True)
                os._exit(1)

    if "TORCHELASTIC_RUN_ID" in os.environ or int(os.environ.get("LOCAL_RANK", 0)) > 0:
        threading.Thread(target=watch, daemon=True).start()
    return done


def give_way() -> None:
    """Let the first process speak, which mostly fails alike and ends the others: what is said after it is news."""
    if is_first_process():
        return
    # Ranks of another machine aren't ended by it: one speaks, is over, and its launcher ends the others.
    end = time.monotonic() + _FIRST_SAYS + int(os.environ.get("LOCAL_RANK", 0))
    while time.monotonic() < end and not _is_orphan():
        time.sleep(0.1)


def tell_launcher(text: str) -> None:
    """Leave what failed where torchrun looks for it."""
    if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        Path(path).write_text(json.dumps({"message": text}), encoding="utf-8")


def _is_orphan() -> bool:
    return os.getppid() != _PARENT


def _rank() -> str:
    return os.environ.get("RANK") or os.environ.get("LOCAL_RANK", "0")
