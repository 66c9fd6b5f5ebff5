"""Half precision from the command line to the report, for each module."""

from __future__ import annotations

import csv
import json
from math import isfinite
from pathlib import Path

import pytest
import torch

from zoo.fit import main
from zoo.weights import read_weights

MODULES = {
    "jsinet": ["--model", "JSINetModule", "--model.rates", "[{peak: 1e-4}]", "--stage.epoch", "null"],
    "deep_sritm": ["--model", "DeepSRITMModule", "--model.rates", "[{peak: 1e-4}, {peak: 1e-4}]"],
    "jsigan": [],
}


@pytest.mark.slow
@pytest.mark.parametrize("module", MODULES)
def test_every_module_trains_in_bf16_and_publishes_float32(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    crop = "[32]" if module == "jsinet" else "[32, 160]"
    words = ["--data.crop", crop, "--trainer.precision", "bf16-mixed", "--trainer.log_every_n_steps", "1"]
    assert main(["--config", str(recipe), *MODULES[module], *words]) == 0
    report = json.loads(Path("runs/tiny/report.json").read_text())
    assert (report["precision"], report["steps"]) == ("bf16-mixed", 4)
    assert isfinite(report["psnr_after"])
    tensors, _ = read_weights("runs/tiny/weights.safetensors")
    assert {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()} == {torch.float32}

    (metrics,) = Path("runs/tiny").rglob("metrics.csv")
    with metrics.open() as file:
        losses = [
            float(value)
            for row in csv.DictReader(file)
            for key, value in row.items()
            if key.startswith("train/") and "_step" not in key and value
        ]
    assert len(losses) >= 4
    assert all(map(isfinite, losses))
