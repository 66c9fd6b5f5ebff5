"""Where a figure comes from: commit, code, packages, machine."""

from __future__ import annotations

import hashlib
import json
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

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


def packages() -> dict[str, str]:
    """Versions of the packages that scores may depend on, those that are installed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def device_name(device: torch.device) -> str:
    """What the figures of speed and memory were taken on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({platform.machine()}, {torch.get_num_threads()} threads)"
