"""Failures that no configuration could have told: one line for the known ones, the traceback for the others."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed import DistBackendError, TCPStore
from torch.utils.data import DataLoader, Dataset

from zoo.errors import DataError
from zoo.fit import main
from zoo.fit.failures import explain_failure
from zoo.modules import JSINetModule

# The recipe as a JSInet run of one stage.
JSINET = ["--model", "JSINetModule", "--model.rates", "[{peak: 1e-3}]", "--stage.epoch", "null", "--data.crop", "[32]"]
QUIET = ["--trainer.logger", "false"]
MORE_THAN_THERE_IS = 1 << 56  # bytes


class Failing(Dataset):
    """Each sample meets its end in a data worker."""

    def __init__(self, end: Callable[[], Any]) -> None:
        self.end = end

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Any:
        return self.end()


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def write_to_a_full_disk() -> None:
    with open("/dev/full", "w") as file:
        file.write("all")


def in_a_worker(end: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: list(DataLoader(Failing(end), num_workers=1))


def meet_at_a_taken_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        TCPStore("127.0.0.1", taken.getsockname()[1], 2, is_master=True)


def raising(error: Exception) -> Callable[[], Any]:
    def end() -> None:
        raise error

    return end


def no_access() -> None:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "runs/report.json")


GPU_IS_FULL = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 3 has a total capacity of 79.10 GiB of which 1.00 GiB is free."
)


@pytest.mark.parametrize(
    ("fail", "line"),
    [
        (
            lambda: torch.empty(MORE_THAN_THERE_IS, dtype=torch.uint8),
            r"a batch doesn't fit the memory: lower data\.batc",
        ),
        (raising(MemoryError("Unable to allocate 9 PiB")), r"a batch doesn't fit the memory"),
        (
            raising(torch.OutOfMemoryError(GPU_IS_FULL)),
            r"a batch doesn't fit the 79\.10 GiB of GPU 3: lower data\.batch",
        ),
        (
            in_a_worker(killed),
            r"a data worker was killed \(Killed\), as Linux does when memory runs out: lower data\.num_w",
        ),
        (write_to_a_full_disk, r"the disk is full: No space left on device; free some room, then go on with .* last"),
        (in_a_worker(write_to_a_full_disk), r"the disk is full: No space left on device; free some room"),
        (no_access, r"no access to runs/report\.json: Permission denied; change its rights, or give another --run_dir"),
        (in_a_worker(no_access), r"no access to runs/report\.json: Permission denied"),
        (raising(OSError(errno.EROFS, "Read-only", "x")), r"no access to x: Read-only file system"),
        (
            raising(OSError(errno.EMFILE, "Too many open files")),
            r"too many files are open: raise the limit \(ulimit -n\)",
        ),
        (meet_at_a_taken_port, r"the ranks can't meet at port \d+, which is in use, .*: give a free one"),
        (
            raising(DistBackendError("NCCL error: remote process exited")),
            r"rank \? lost another rank: see what that one",
        ),
        (
            raising(RuntimeError("[gloo/transport/tcp/pair.cc:1] Timed out waiting 300000ms for recv operation")),
            r"rank \? has waited too long \(ddp_timeout\) for another rank, which hangs",
        ),
        (
            raising(RuntimeError("CUDA error: uncorrectable ECC error encountered\nCompile with TORCH_USE_CUDA_DSA")),
            r"the GPU failed \(uncorrectable ECC error encountered\): see nvidia-smi",
        ),
        (
            raising(RuntimeError("CUDA error: no kernel image is available for execution on the device\nMore")),
            r"this torch can't use the GPU \(no kernel image is available for execution on the device\): update its",
        ),
    ],
)
def test_a_known_failure_is_explained_in_one_line(fail: Callable[[], Any], line: str) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        fail()
    text = explain_failure(caught.value)
    assert text is not None, caught.value
    assert re.match(line, text), text
    assert "\n" not in text


@pytest.mark.parametrize(
    "error",
    [
        ValueError("the disk of the matrix is full"),
        RuntimeError("CUDA error: device-side assert triggered"),  # a mistake of ours, perhaps
        OSError(errno.ENOENT, "No such file or directory", "x"),
        DataError("x: No space left on device"),  # says itself what is to be done
    ],
)
def test_other_errors_are_left_as_they_are(error: Exception) -> None:
    assert explain_failure(error) is None


def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
    return torch.empty(MORE_THAN_THERE_IS, dtype=torch.uint8)


def validation_step(self: Any, batch: Any, batch_idx: int) -> Any:
    return torch.empty(MORE_THAN_THERE_IS, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("step", "options", "line"),
    [
        (
            training_step,
            [],
            "a batch of 4 doesn't fit the memory: lower data.batch_size to 2; --model.accumulate 2 then keeps 4 "
            "pictures for each update of a rank",
        ),
        (training_step, ["--data.batch_size", "1"], "a batch of 1 doesn't fit the memory: lower data.crop"),
        (
            validation_step,
            [],
            "a validation frame doesn't fit the memory: choose scenes of smaller frames with data.val_scenes",
        ),
        (
            validation_step,
            ["--data.val_batch_size", "2"],
            "a batch of validation frames doesn't fit the memory: lower data.val_batch_size",
        ),
    ],
)
def test_a_batch_that_does_not_fit_is_said_with_what_would(
    recipe: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    step: Callable[..., Any],
    options: list[str],
    line: str,
) -> None:
    monkeypatch.setattr(JSINetModule, step.__name__, step)
    assert main(["--config", str(recipe), *JSINET, *QUIET, *options]) == 1
    assert capsys.readouterr().err.strip().splitlines()[-1] == f"error: {line}"
    assert not Path("runs/tiny/config.yaml").exists()  # the folder can be taken again


def test_an_unknown_error_keeps_its_traceback(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(JSINetModule, "training_step", training_step)
    with pytest.raises(ZeroDivisionError, match="ours"):
        main(["--config", str(recipe), *JSINET, *QUIET])


def test_a_disk_that_is_full_at_the_end_takes_nothing_that_was_finished(
    recipe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Any, *args: Any) -> None:
        write_to_a_full_disk()

    with monkeypatch.context() as patched:
        patched.setattr("callbacks.RunReport.on_train_end", full)
        assert main(["--config", str(recipe), *JSINET, *QUIET]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line == (
        "error: the disk is full: No space left on device; free some room, then go on with the same command and "
        "--ckpt_path last"
    )
    assert Path("runs/tiny/weights.safetensors").exists()
    assert main(["--config", str(recipe), *JSINET, *QUIET, "--ckpt_path", "last"]) == 0
    assert Path("runs/tiny/report.json").exists()


def test_a_folder_that_cannot_be_written_is_said(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(recipe), *JSINET, *QUIET, "--run_dir", "/sys/run"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert re.match(r"error: can't make the run's folder /sys/run \(.*\); give another with --run_dir", line), line
