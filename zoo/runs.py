"""Folders of training runs, and where recipes lie. Standard library alone.

A run's folder holds ``config.yaml``, ``checkpoints/*.ckpt`` (to resume), ``weights.safetensors`` (to load and publish),
``report.json``, ``pictures/``, ``panels/``, ``scores.csv``, ``index.html`` and the loggers' files.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import time
import zipfile
from pathlib import Path

from zoo.errors import ConfigError
from zoo.files import lock

logger = logging.getLogger(__name__)

_PACKAGE = Path(__file__).resolve().parent
_NEXT = "-N"  # a run_dir that ends so is one of a numbered series
CONFIG_NAME = "config.yaml"
_PATIENCE = 10.0  # seconds: what a killed run leaves behind lives a little longer than it
_locks: dict[Path, int] = {}  # folders that are open while their run is this process's
CLAIMED = "SRITM_RUN_DIR"  # the folder that the first process claimed, for the ranks that it starts


def find_config(name: str) -> Path:
    """A recipe by path, or by its name (``jsigan``, ``paper/jsigan_x2``) among the project's own.

    Raises:
        ConfigError: there is no such file; the known names are listed.
    """
    given = Path(name)
    if given.is_file():
        return given
    folders = [_PACKAGE.parent / "configs", _PACKAGE / "configs"]  # a checkout, a wheel
    relative = name.removeprefix("configs/").removesuffix(".yaml")
    for folder in folders:
        if (folder / f"{relative}.yaml").is_file():
            return folder / f"{relative}.yaml"
    paths = (
        path.relative_to(folder)
        for folder in folders
        for kind in ("*", "paper/*")
        for path in folder.glob(f"{kind}.yaml")
    )
    known = sorted((path.with_suffix("").as_posix() for path in paths), key=lambda name: (name.count("/"), name))
    raise ConfigError(f"no config {name!r}: give a file, or one of {', '.join(known)}")


def git_commit() -> str | None:
    """The checkout's commit, with a plus where files differ from it; None outside a checkout."""
    command = ["git", "-C", str(_PACKAGE), "describe", "--always", "--abbrev=40", "--dirty=+"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def is_first_process() -> bool:
    """Whether this is rank 0 of a run, or its only process, by what launchers leave in the environment.

    Raises:
        ConfigError: what is there is no number.
    """
    for key in ("RANK", "SLURM_PROCID", "LOCAL_RANK"):
        if rank := os.environ.get(key):
            if not rank.isdecimal():
                raise ConfigError(f"the environment has {key}={rank}, which is no rank; unset {key}")
            return int(rank) == 0
    return True


def find_run_dir(run_dir: str) -> Path:
    """The folder of a run to go on with.

    Args:
        run_dir: the folder; ``.../NAME-N`` stands for the newest of them, which has the highest number.

    Raises:
        ConfigError: no folder has a number yet.
    """
    if CLAIMED in os.environ:
        return Path(os.environ[CLAIMED])
    path = Path(run_dir)
    if not path.name.endswith(_NEXT):
        return path
    numbers = _numbers(path)
    if not numbers:
        raise ConfigError(f"there is no run {path} to go on with; start one, without --ckpt_path")
    return _numbered(path, max(numbers))


def claim_run_dir(run_dir: str, resume: bool) -> Path:
    """Make a run's folder, or refuse one that holds a run. The first process decides for all.

    A folder is taken once it holds ``config.yaml`` or a checkpoint; :func:`release_run_dir` frees it again. While a
    process has it, no other on this machine gets it.

    Args:
        run_dir: the folder; ``.../NAME-N`` stands for the next free number.
        resume: go on with the run in the folder.

    Raises:
        ConfigError: the folder holds a run and ``resume`` is false, belongs to a process, or can't be made.
    """
    if CLAIMED in os.environ:
        return Path(os.environ[CLAIMED])
    path = Path(run_dir)
    try:
        if path.name.endswith(_NEXT):
            path = _make_next(path)
        else:
            path.mkdir(parents=True, exist_ok=True)
            if is_first_process():
                lock_folder(path)
                if not resume:
                    _take(path)
    except OSError as error:
        raise ConfigError(
            f"can't make the run's folder {path} ({error.strerror}); give another with --run_dir"
        ) from error
    os.environ[CLAIMED] = str(path)
    return path


def _make_next(path: Path) -> Path:
    if int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS", "1")) > 1:
        raise ConfigError(f"--run_dir {path}: processes started from outside can't agree on a number; give a name")
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        made = _numbered(path, max(_numbers(path), default=0) + 1)
        try:
            made.mkdir()  # only one of the runs that start at once can make it
        except FileExistsError:
            continue
        return made


def _take(path: Path) -> None:
    if any(path.glob("checkpoints/*.ckpt")):
        raise ConfigError(
            f"{path} holds a run already: go on with it (--ckpt_path last), or give another folder (--run_dir)"
        )
    try:
        (path / CONFIG_NAME).touch(exist_ok=False)  # as above
    except FileExistsError:
        raise ConfigError(
            f"{path} belongs to a run that has no checkpoint yet: give another folder (--run_dir), or remove it if "
            "that run is dead"
        ) from None


def lock_folder(path: Path) -> None:
    """Keep other processes of this machine out of a folder, until :func:`unlock_folder` or the end of this one.

    Raises:
        ConfigError: another process has it, and keeps it.
    """
    if os.name == "nt" or path.resolve() in _locks:  # Windows opens no folders
        return
    folder = os.open(path, os.O_RDONLY)
    end = time.monotonic() + _PATIENCE
    while not lock(folder):
        if time.monotonic() > end:
            os.close(folder)
            raise ConfigError(f"{path} is being written by another process: wait for it, or stop it")
        time.sleep(0.2)
    _locks[path.resolve()] = folder


def release_run_dir(run_dir: Path) -> None:
    """Give a run's folder up; that of one that ended before its first checkpoint may be taken by another."""
    unlock_folder(run_dir)
    if not any(run_dir.glob("checkpoints/*.ckpt")):
        (run_dir / CONFIG_NAME).unlink(missing_ok=True)


def unlock_folder(path: Path) -> None:
    """Let other processes write to a folder."""
    if (lock := _locks.pop(path.resolve(), None)) is not None:
        os.close(lock)


def _numbers(path: Path) -> list[int]:
    """Numbers taken for ``.../NAME-N``."""
    pattern = re.compile(re.escape(path.name.removesuffix("N")) + r"(\d+)")
    folders = path.parent.iterdir() if path.parent.is_dir() else ()
    return [int(match[1]) for folder in folders if (match := pattern.fullmatch(folder.name))]


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name.removesuffix('N')}{number}")


def find_checkpoint(ckpt_path: str, run_dir: str) -> Path:
    """The checkpoint to resume from: a path, or ``last`` for the newest whole file of the run in ``run_dir``.

    A damaged newer one that ``last`` passes over is named in the log.

    Raises:
        ConfigError: there is none.
    """
    if ckpt_path != "last":
        if not Path(ckpt_path).is_file():
            raise ConfigError(f"no checkpoint {ckpt_path}; --ckpt_path takes a file, or last")
        return Path(ckpt_path)
    folder = find_run_dir(run_dir) / "checkpoints"
    files = sorted(folder.glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for number, path in enumerate(files):
        if is_whole(path):
            if number and is_first_process():
                logger.warning("%s is damaged: going on from the one before, %s", files[number - 1], path)
            return path
    raise ConfigError(f"no whole checkpoint in {folder}; start the run anew, without --ckpt_path")


def is_of(checkpoint: Path, run_dir: str) -> bool:
    """Whether a checkpoint is one of the run in that folder."""
    return checkpoint.resolve().parent.parent == Path(run_dir).resolve()


def is_whole(path: Path) -> bool:
    """Whether a checkpoint is as it was written, by the checksums that torch's archives hold of all they contain."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:  # zipfile raises whatever the damage leads to: no kind is known in advance
        return False


def has_checkpoint(run_dir: str) -> bool:
    """Whether there is a run to go on with."""
    try:
        return any(find_run_dir(run_dir).glob("checkpoints/*.ckpt"))
    except ConfigError:
        return False


def is_requeued() -> bool:
    """Whether SLURM queued this job again after it ran before: the same command is to go on with its run."""
    return int(os.environ.get("SLURM_RESTART_COUNT", 0)) > 0
