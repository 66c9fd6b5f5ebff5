"""What a run's failures mean, in one line for the user."""

from __future__ import annotations

import re
import traceback
from errno import EACCES, EDQUOT, EMFILE, ENOSPC, EPERM, EROFS
from os import strerror
from typing import Any

import torch
from pytorch_lightning import Trainer
from torch.distributed import DistError

from zoo.errors import ZooError
from zoo.fit.processes import WatchedDDP, WatchedLauncher
from zoo.runs import has_checkpoint

_CPU_MEMORY = "DefaultCPUAllocator"
_GPU_MEMORY = ("CUDA out of memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
_ENDING = 10.0  # seconds that a process may need to end after its connections broke
_SCORING = {"validation_step", "_score"}  # functions that take whole frames
_OLD_DRIVER = ("driver version is insufficient", "driver on your system is too old", "no kernel image is available")
# What a GPU says of itself; what else CUDA reports may well be a mistake of ours, and keeps its traceback.
_GPU_FAULT = ("ECC error", "unspecified launch failure", "busy or unavailable", "fallen off the bus")


class RunFailed(Exception):
    """A run that failed of something that is known here; its text is the line for the user."""


def explain_failure(error: BaseException, trainer: Trainer | None = None) -> str | None:
    """One line of what went wrong and what to do; None for an error that isn't known here.

    Args:
        error: what ended the run.
        trainer: of the run, whose figures then stand in the line.
    """
    if isinstance(error, RunFailed):
        return str(error)
    if isinstance(error, ZooError):
        return None  # it says so itself
    for explain in (_memory, _ranks, _worker, _files, _gpu):
        if text := explain(error, str(error), trainer):
            return text
    return None


def go_on(trainer: Trainer | None) -> str:
    """What to do once the cause is mended."""
    if trainer is not None and not has_checkpoint(trainer.default_root_dir):
        return "start the run anew"
    return "go on with the same command and --ckpt_path last"


def _memory(error: BaseException, text: str, trainer: Any) -> str | None:
    on_gpu = isinstance(error, torch.OutOfMemoryError) or any(sign in text for sign in _GPU_MEMORY)
    if not (on_gpu or isinstance(error, MemoryError) or _CPU_MEMORY in text):
        return None
    gpu = re.search(r"GPU (\d+) has a total capacity of ([\d.]+ \w+)", text)
    place = f"the {gpu[2]} of GPU {gpu[1]}" if gpu else "the GPU's memory" if on_gpu else "the memory"
    data = getattr(trainer, "datamodule", None)
    if _SCORING & {frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)}:
        if data is not None and data.val_batch_size == 1:
            return f"a validation frame doesn't fit {place}: choose scenes of smaller frames with data.val_scenes"
        return f"a batch of validation frames doesn't fit {place}: lower data.val_batch_size"
    if data is None:
        return f"a batch doesn't fit {place}: lower data.batch_size, and raise model.accumulate to keep the update's"
    size, accumulate = data.batch_size, trainer.lightning_module.accumulate
    if size == 1:
        return f"a batch of 1 doesn't fit {place}: lower data.crop"
    return (
        f"a batch of {size} doesn't fit {place}: lower data.batch_size to {size // 2}; --model.accumulate "
        f"{2 * accumulate} then keeps {size * accumulate} pictures for each update of a rank"
    )


def _ranks(error: BaseException, text: str, trainer: Any) -> str | None:
    if not isinstance(error, DistError) and "gloo" not in text and "NCCL" not in text:
        return None
    if "EADDRINUSE" in text or "address already in use" in text:
        port = re.search(r"port: (\d+)", text)
        return (
            f"the ranks can't meet at port {port[1] if port else '?'}, which is in use, by another run perhaps: give a "
            "free one as MASTER_PORT, or to torchrun as --master_port"
        )
    timed_out = re.search(r"tim(ed|e) ?out", text, re.IGNORECASE)
    rank = trainer.global_rank if trainer is not None else "?"
    strategy = trainer.strategy if trainer is not None else None
    launcher = strategy.launcher if strategy is not None else None
    if failed := launcher.what_failed(0.0 if timed_out else _ENDING) if isinstance(launcher, WatchedLauncher) else None:
        return f"{failed}; {go_on(trainer)}"
    if timed_out:
        minutes = f"{strategy.minutes:g} minutes" if isinstance(strategy, WatchedDDP) else "too long"
        return (
            f"rank {rank} has waited {minutes} (ddp_timeout) for another rank, which hangs or was stopped: see what it "
            f"says; {go_on(trainer)}"
        )
    return f"rank {rank} lost another rank: see what that one says; {go_on(trainer)}"


def _worker(error: BaseException, text: str, trainer: Any) -> str | None:
    # Which of the two is said first is a matter of chance; the other is then its cause.
    killed = re.search(r"DataLoader worker \(pid.*\) is killed by signal: ([\w ]+)", f"{text}\n{error.__cause__}")
    if not killed and not re.search(r"DataLoader worker \(pid.*\) exited unexpectedly", text):
        return None
    signal = killed[1].strip() if killed else None
    if signal == "Bus error" or "shared memory" in text:
        return (
            "a data worker found no shared memory left: allow more (/dev/shm), or lower data.num_workers; "
            f"{go_on(trainer)}"
        )
    how = f"was killed ({signal})" if signal else "ended unexpectedly"
    hint = (
        ", as Linux does when memory runs out: lower data.num_workers or data.batch_size" if signal == "Killed" else ""
    )
    return f"a data worker {how}{hint}; {go_on(trainer)}"


def _files(error: BaseException, text: str, trainer: Any) -> str | None:
    # An error that comes from a data worker has a text alone.
    if not isinstance(error, OSError):
        return None
    number, name = error.errno, error.filename
    if number is None and (found := re.search(r"\[Errno (\d+)\] [^:\n]*(?:: '([^']+)')?", text)):
        number, name = int(found[1]), found[2]
    where = f" ({name})" if name else ""
    if number in (ENOSPC, EDQUOT):
        return f"the disk is full{where}: {strerror(number)}; free some room, then {go_on(trainer)}"
    if number in (EACCES, EPERM, EROFS):
        return (
            f"no access to {name or 'a file'}: {strerror(number)}; change its rights, or give another --run_dir, "
            "--data.root or SRITM_HOME"
        )
    if number == EMFILE:
        return (
            f"too many files are open{where}: raise the limit (ulimit -n), or lower data.num_workers; {go_on(trainer)}"
        )
    return None


def _gpu(error: BaseException, text: str, trainer: Any) -> str | None:
    what = next((line.strip() for line in text.splitlines() if line.strip()), "").removeprefix("CUDA error: ")
    if any(sign in text for sign in _OLD_DRIVER):
        return f"this torch can't use the GPU ({what}): update its driver, or install a torch built for it"
    if "CUDA" in text and any(sign in text for sign in _GPU_FAULT):
        return f"the GPU failed ({what}): see nvidia-smi and the system's log; {go_on(trainer)}"
    return None
