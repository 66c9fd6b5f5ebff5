"""Signals that ask a run to stop, kept until the run is at a place where it can be gone on with."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.plugins.environments import SLURMEnvironment

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class RunStopped(SystemExit):
    """A run that was told to stop and did; where nobody catches it, the process ends with 128 + the signal.

    Attributes:
        signal: what told it.
        saved: the newest checkpoint; None before the first.
        complete: whether ``saved`` holds everything that was done.
    """

    def __init__(self, number: int, saved: Path | None, complete: bool) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number)
        self.saved = saved
        self.complete = complete


class StopRequest:
    """Keeps the first signal while there is something to save; otherwise, and at a second one, the run stops at once.

    A context that handles SIGINT and SIGTERM, restoring what handled them before. Lightning's own way isn't used: its
    handler broadcasts to the other ranks from within whatever the signal hit, and its run ends with status 0.

    Attributes:
        signal: the signal that is waiting; None without one.
        unsaved: whether there is something to save.
        saved: the newest checkpoint.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self.unsaved = False
        self.saved: Path | None = None
        self._before: dict[int, Any] = {}
        self._process = os.getpid()

    def __enter__(self) -> StopRequest:
        self._before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        self.listen(*STOP_SIGNALS)
        return self

    def __exit__(self, *error: object) -> None:
        self.signal, self.unsaved = None, False
        if _in_main_thread():
            for number, handler in self._before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def listen(self, *numbers: int) -> None:
        """Handle signals from now on, whoever does at present; Lightning takes them back at the end of a fit."""
        self._process = os.getpid()
        if _in_main_thread():
            for number in numbers:
                signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a worker that was forked with this handler: its parent decides
        if self.signal is not None or not self.unsaved:
            raise RunStopped(number, self.saved, complete=not self.unsaved)
        self.signal = number


def _in_main_thread() -> bool:
    """Where alone Python lets handlers be set."""
    return threading.current_thread() is threading.main_thread()


def requeue_signal(trainer: Trainer) -> int | None:
    """The signal by which SLURM announces the end of a job that is to be queued again; None elsewhere."""
    environment = trainer._accelerator_connector.cluster_environment
    if not isinstance(environment, SLURMEnvironment) or not environment.auto_requeue:
        return None
    return environment.requeue_signal


def requeue() -> int:
    """Have SLURM queue this job again; returns what ``scontrol`` exits with."""
    job = os.environ["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return subprocess.call(["scontrol", "requeue", job])
