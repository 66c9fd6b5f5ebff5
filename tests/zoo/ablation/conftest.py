from __future__ import annotations

from pathlib import Path

import pytest
import yaml


@pytest.fixture
def mine(tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table whose runs take a second each; the working folder is empty. The last column can't be run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SRITM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    content = {
        "title": "mine",
        "second_stage": 0.5,
        "recipe": {
            "scale": 2,
            "model": {
                "class_path": "ToySRITMModule",
                "init_args": {"loss": "mse", "rates": [{"peak": 1e-3}, {"peak": 1e-3}], "net_options": {"channels": 4}},
            },
            "data": {"root": str(photographs), "batch_size": 4, "crop": [32]},
            "trainer": {"accelerator": "cpu", "precision": "32-true"},
        },
        "columns": {
            "a": {"title": "modulated", "paper": {"psnr": 38.0, "ssim": 0.99}},
            "b": {
                "title": "without a picture",
                "paper": {"psnr": 37.0, "ssim": 0.98},
                "recipe": {"model": {"init_args": {"net_options": {"inputs": [["luma"]]}}}},
            },
        },
    }
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    return path
