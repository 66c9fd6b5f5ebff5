"""Small sets, and models that cost nothing."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io

from datamodules.manifest import Manifest, SourceEntry
from datamodules.shards import Sample, write_shard
from zoo import hub
from zoo.signal import HDR10_VIDEO, SDR_VIDEO

SIGNALS = {"sdr": str(SDR_VIDEO), "hdr": str(HDR10_VIDEO)}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cache and no folder of the user's, no weights that come with the package."""
    monkeypatch.setenv("SRITM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(hub, "SHIPPED", tmp_path / "shipped")
    monkeypatch.chdir(tmp_path)


def smooth_codes(seed: int, height: int, width: int, low: int, high: int) -> np.ndarray:
    """Codes ``(height, width, 3)`` of a picture with large shapes."""
    small = np.random.default_rng(seed).uniform(low, high, (4, 4, 3))
    return np.clip(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), low, high).round()


def write_kaist(folder: Path, frames: int = 3, height: int = 32, width: int = 48, sdr_scale: int = 1) -> str:
    """Files in the layout of the authors' test set, Deep SR-ITM's (HR SDR) or JSI-GAN's (LR SDR), as ``--data`` is."""
    sdr_size = (height // sdr_scale, width // sdr_scale)
    sdr = np.stack([smooth_codes(i, *sdr_size, 16, 235) for i in range(frames)], axis=-1).astype(np.uint8)
    hdr = np.stack([smooth_codes(i, height, width, 64, 700) for i in range(frames)], axis=-1).astype(np.uint16)
    names = ("SDR", "HDR") if sdr_scale == 1 else ("SDR_YUV", "HDR_YUV")
    paths = folder / "testset_SDR.mat", folder / "testset_HDR.mat"
    for path, name, array in zip(paths, names, (sdr, hdr), strict=True):
        scipy.io.savemat(path, {name: array})
    return f"{paths[1]}+{paths[0]}"


@pytest.fixture
def kaist(tmp_path: Path) -> str:
    """Three frames of 48x32 in Deep SR-ITM's layout."""
    return write_kaist(tmp_path)


@pytest.fixture
def folder_of_pairs(tmp_path: Path) -> Path:
    """Three pairs of PNG without tags, of one size."""
    for side, peak, kind in (("hdr", 40000, np.uint16), ("sdr", 255, np.uint8)):
        (tmp_path / f"test_{side}").mkdir()
        for number in range(3):
            codes = smooth_codes(number, 16, 24, 0, peak).astype(kind)
            assert cv2.imwrite(str(tmp_path / f"test_{side}" / f"{number:03d}.png"), codes)
    return tmp_path


def write_set(folder: Path, signals: dict[str, str], samples: int = 4, shards: int = 1, odd: int = -1) -> Path:
    """Shards with a ``test`` split of frames of 32x16 at scale 2, two of each scene; one of another scale if wanted."""
    folder.mkdir()
    made = [
        Sample(
            f"scene{number // 2}-{number % 2:05d}",
            smooth_codes(number, *((4, 8) if number == odd else (8, 16)), 16, 235).astype(np.uint8),
            smooth_codes(number, 16, 32, 64, 700).astype(np.uint16),
            {"scene": f"scene{number // 2}"},
        )
        for number in range(samples)
    ]
    each = samples // shards
    test = tuple(write_shard(folder / f"test-{i}.tar", made[i * each : (i + 1) * each]) for i in range(shards))
    splits = {"train": (), "val": (), "test": test}
    Manifest(2, signals, "val-v1", 0, (SourceEntry("scene", None, "0" * 64),), splits).write(folder)
    return folder


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A set of shards."""
    return write_set(tmp_path / "shards", SIGNALS)


def write_super_resolver(folder: Path, monkeypatch: pytest.MonkeyPatch, call: int) -> str:
    """A super-resolver that gives NaN at one of its calls, the first of which is 1; its name."""
    name = f"failing_at_{call}"
    (folder / f"{name}.py").write_text(
        "import torch\n\n\nclass Failing(torch.nn.Module):\n    calls = 0\n\n    def forward(self, x):\n"
        f"        self.calls += 1\n        return x * float('nan') if self.calls == {call} else x\n"
    )
    monkeypatch.syspath_prepend(folder)
    return f"{name}:Failing"
