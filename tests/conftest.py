"""Folders that tests read from, and a run that takes seconds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from zoo._torchvision import ensure_torchvision

ensure_torchvision()  # before a test module imports pytorch_lightning or torchmetrics

from datamodules.embedded import embedded_scenes  # noqa: E402
from datamodules.making import make_set  # noqa: E402
from zoo import hub  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = Path(os.environ.get("SRITM_REFERENCE", ROOT.parent / "shared"))


@pytest.fixture(scope="session")
def reference() -> Path:
    """The developers' folder of reference arrays and footage; tests that need it skip where it is absent."""
    if not (REFERENCE / "golden").is_dir():
        pytest.skip(f"reference folder {REFERENCE} is absent (set SRITM_REFERENCE to where it lies)")
    return REFERENCE


@pytest.fixture(scope="session")
def golden() -> Path:
    """Reference arrays that travel with the project."""
    return ROOT / "tests" / "golden"


@pytest.fixture(scope="session")
def root() -> Path:
    """The top of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small real set at scale 2: eight patches of each of two embedded photographs, four frames of a third."""
    folder = tmp_path_factory.mktemp("sets") / "photographs"
    scenes = embedded_scenes()
    make_set(folder, {"train": scenes["train"][:2], "val": scenes["val"][:1], "test": []}, scale=2, patches=8)
    return folder


@pytest.fixture
def recipe(tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config of a JSI-GAN run that takes seconds; the working folder is empty, no weights come with the package."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SRITM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(hub, "SHIPPED", tmp_path / "shipped")
    content = {
        "scale": 2,
        "average": 0.9,
        "stage": {"epoch": 1},
        "model": {
            "class_path": "JSIGANModule",
            "init_args": {"base_channels": 4, "rates": [{"peak": 1e-3}, {"peak": 1e-5}]},
        },
        "data": {"root": str(photographs), "batch_size": 4, "crop": [32, 160]},
        "trainer": {"max_epochs": 2, "limit_train_batches": 2, "accelerator": "cpu", "enable_progress_bar": False},
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(content))
    return path
