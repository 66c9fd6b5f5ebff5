from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from datamodules.embedded import embedded_scenes
from datamodules.making import make_set


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small real set at scale 2: eight patches of each of two embedded photographs, four frames of a third."""
    folder = tmp_path_factory.mktemp("sets") / "photographs"
    scenes = embedded_scenes()
    make_set(folder, {"train": scenes["train"][:2], "val": scenes["val"][:1], "test": []}, scale=2, patches=8)
    return folder


@pytest.fixture
def recipe(tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config of a JSI-GAN run that takes seconds; the working folder is empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SRITM_HOME", str(tmp_path / "home"))
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
