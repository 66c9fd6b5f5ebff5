"""Where a figure comes from: commit, code, packages, machine."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from datamodules.progress import counted

_ROOT = Path(__file__).resolve().parent.parent.parent
_PACKAGES = ("sritm-zoo", "torch", "torchmetrics", "numpy", "scipy", "h5py", "av", "opencv-python-headless", "cvvdp")
# What scores follow from, beside weights and data.
_SCORING = (
    "datamodules",
    "zoo/baselines",
    "zoo/color",
    "zoo/evaluation/running.py",
    "zoo/evaluation/sets.py",
    "zoo/metrics",
    "zoo/nets",
    "zoo/ops",
    "zoo/precision.py",
    "zoo/registry.py",
    "zoo/signal.py",
    "zoo/weights.py",
)


@cache  # what is edited while an evaluation runs has no part in it
def code_digest() -> str:
    """SHA-256 in hex of the source files and packages that scores follow from.

    A commit doesn't tell of a changed checkout.
    """
    digest = hashlib.sha256(json.dumps(packages()).encode())
    for name in _SCORING:
        path = _ROOT / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(f"{file.relative_to(_ROOT)}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def source_digest(module: str) -> str:
    """SHA-256 in hex of the Python files that a loaded module of the user's lies among.

    They are those of its outermost package, or, of a module without one, those of its folder. What it imports from
    elsewhere isn't seen.
    """
    outermost = sys.modules[module.partition(".")[0]]
    files: list[tuple[Path, Path]] = []
    if (folders := getattr(outermost, "__path__", None)) is not None:
        files = [(file.relative_to(folder), file) for folder in folders for file in Path(folder).rglob("*.py")]
    elif (path := getattr(outermost, "__file__", None)) is not None:
        files = [(Path(file.name), file) for file in Path(path).parent.glob("*.py")]
    digest = hashlib.sha256()
    for name, file in sorted(files):
        digest.update(f"{name.as_posix()}\n".encode() + file.read_bytes())
    return digest.hexdigest()


def packages() -> dict[str, str]:
    """Versions of the packages that scores may depend on, those that are installed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def device_name(device: torch.device, processes: int = 1, threads: int | None = None) -> str:
    """What figures of speed and memory are taken on; they can be compared where these names are equal.

    Args:
        device: a GPU or the CPU.
        processes: that share the CPU; a GPU is a process's own.
        threads: of each process; this one's by default.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    shared = "" if processes == 1 else f" in each of {processes} processes"
    return f"CPU ({_cpu()}, {counted(threads or torch.get_num_threads(), 'thread')}{shared})"


@cache
def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # another system than Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
