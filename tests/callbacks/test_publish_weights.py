from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from callbacks import PublishWeights, StageSwitch
from tests.training import Trainer, random_codes
from zoo.errors import ConfigError
from zoo.modules import DeepSRITMModule, JSINetModule
from zoo.optim import Rate
from zoo.weights import read_weights


class Scored(JSINetModule):
    """Logs given scores, one for each validation."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__(rates=[Rate(1e-3)])
        self.given = iter(scores)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/psnr", next(self.given), batch_size=1)


def fit(module: Any, callbacks: list[Any], epochs: int, **options: Any) -> None:
    batches = DataLoader([random_codes(1, 6, 2, 0)], batch_size=None)
    Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=callbacks,
        **options,
    ).fit(module, batches, batches)


def published(folder: Path) -> tuple[int, int]:
    metadata = read_weights(folder / "weights.safetensors")[1]
    return metadata["stage"], metadata["step"]


@pytest.mark.parametrize(
    ("scores", "step"),
    [
        ([30.0, float("nan"), 10.0], 1),
        ([30.0, 10.0, 31.0], 3),
        ([float("nan"), 10.0, 5.0], 2),
        ([30.0, float("inf"), 31.0], 2),
    ],
)
def test_the_best_score_is_published_and_nan_is_none(tmp_path: Path, scores: list[float], step: int) -> None:
    fit(Scored(scores), [PublishWeights(tmp_path)], epochs=3)
    assert published(tmp_path) == (1, step)


def test_a_stage_that_ends_without_validation_publishes_its_own_weights(tmp_path: Path) -> None:
    module = DeepSRITMModule(rates=[Rate(1e-4)] * 2)
    # Stage 2 is cut by max_steps before its first validation, which stage 1 had.
    fit(module, [StageSwitch(2), PublishWeights(tmp_path)], epochs=9, check_val_every_n_epoch=2, max_steps=3)
    assert published(tmp_path) == (2, 3)


def test_the_last_epoch_is_validated_whatever_the_interval(tmp_path: Path) -> None:
    fit(Scored([30.0, 31.0]), [PublishWeights(tmp_path)], epochs=3, check_val_every_n_epoch=2)
    assert published(tmp_path) == (1, 3)


def test_without_validation_the_last_weights_are_published(tmp_path: Path) -> None:
    fit(JSINetModule(rates=[Rate(1e-3)]), [PublishWeights(tmp_path)], epochs=2, limit_val_batches=0)
    assert published(tmp_path) == (1, 2)


@pytest.mark.parametrize("best", ["train/loss", "val/psnrr"])
def test_a_score_that_the_module_does_not_have_is_refused_at_the_start(tmp_path: Path, best: str) -> None:
    module = JSINetModule(rates=[Rate(1e-3)])
    with pytest.raises(ConfigError, match=f"--best {best}: jsinet_x2 has no such score; known: last, val/psnr"):
        fit(module, [PublishWeights(tmp_path, best)], epochs=1)
    assert torch.isfinite(module.net.ir.head.weight).all()
    assert not list(tmp_path.iterdir())
