"""Histograms of weights and gradients, for who asks for them."""

from __future__ import annotations

from typing import Any

import numpy as np
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import WandbLogger
from torch import Tensor

from zoo.errors import ConfigError

_BINS = 64


class Histograms(Callback):
    """Log histograms of the weights of ``net`` and of its last gradients, at the end of every few epochs.

    Not on by default: ``trainer.callbacks: [{class_path: Histograms}]``. W&B and TensorBoard get ``weights/NAME`` and
    ``gradients/NAME``; a tensor that isn't finite throughout has none. Gradients are those of the last update, as
    clipped. Under DDP they are the mean over ranks. Rank 0 alone logs.

    Args:
        every: epochs.

    Raises:
        ConfigError: fewer than 1.
    """

    def __init__(self, every: int = 1) -> None:
        if every < 1:
            raise ConfigError(f"Histograms takes at least 1 for every, not {every}")
        self.every = every

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Log, if it is time."""
        if not trainer.is_global_zero or (trainer.current_epoch + 1) % self.every:
            return
        for name, parameter in pl_module.net.named_parameters():
            for section, tensor in (("weights", parameter), ("gradients", parameter.grad)):
                if tensor is not None and (values := _finite(tensor)) is not None:
                    _log(trainer, f"{section}/{name}", values)


def _finite(tensor: Tensor) -> np.ndarray | None:
    values = tensor.detach().float().cpu().numpy().ravel()
    return values if np.isfinite(values).all() else None


def _log(trainer: Trainer, key: str, values: np.ndarray) -> None:
    for run in trainer.loggers:
        if isinstance(run, WandbLogger):
            import wandb

            histogram: Any = wandb.Histogram(np_histogram=np.histogram(values, _BINS))
            run.log_metrics({key: histogram}, trainer.global_step)
        elif (add := getattr(getattr(run, "experiment", None), "add_histogram", None)) is not None:
            add(key, values, global_step=trainer.global_step)
