"""Small training runs for tests: fixed batches, a bare trainer, and notes of what was logged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from zoo._torchvision import ensure_torchvision

ensure_torchvision()

from pytorch_lightning import Callback, LightningModule, Trainer  # noqa: E402


def leave_scores_out(patch: pytest.MonkeyPatch) -> None:
    """Have runs report without scoring starting weights and baselines, and draw no pictures."""
    patch.setattr("callbacks.run_report._score", lambda *args, **options: ({"raw": 1.0, "matched": 1.0}, 2))
    patch.setattr("callbacks.run_report.RunReport._draw", lambda *args: [])


def codes(sdr: np.ndarray, hdr: np.ndarray) -> dict[str, Any]:
    """A batch as the data module makes it, from codes (B, H, W, 3)."""
    tensors = {
        "sdr": torch.from_numpy(np.ascontiguousarray(sdr.transpose(0, 3, 1, 2).astype(np.uint8))),
        "hdr": torch.from_numpy(np.ascontiguousarray(hdr.transpose(0, 3, 1, 2).astype(np.int16))),
    }
    return {**tensors, "key": [str(i) for i in range(len(sdr))]}


def random_codes(images: int, side: int, scale: int, seed: int) -> dict[str, Any]:
    """A batch of noise: SDR ``side`` x ``side``, within narrow range."""
    generator = np.random.default_rng(seed)
    sdr = generator.integers(16, 236, (images, side, side, 3))
    return codes(sdr, generator.integers(64, 941, (images, scale * side, scale * side, 3)))


class Notes(Callback):
    """Keeps the scalars of each training step.

    Attributes:
        steps: one dictionary for each step.
    """

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.steps.append({key: float(value) for key, value in trainer.callback_metrics.items()})


def train(
    module: LightningModule,
    batches: Sequence[dict[str, Any]],
    callbacks: Sequence[Callback] = (),
    epochs: int = 1,
    precision: Any = "64-true",
    **options: Any,
) -> list[dict[str, float]]:
    """Fit over ``batches`` in their order each epoch; returns what each step logged."""
    notes = Notes()
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        precision=precision,
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[*callbacks, notes],
        **options,
    )
    trainer.fit(module, DataLoader(list(batches), batch_size=None))
    return notes.steps
